"""Checks of a set-up before a long run: what is installed, whether the judge answers, whether the trainer's flags fit.

    installation.py   versions of the trainers, and verl's entry point, whose load errors verl swallows
    judging.py        the settings file, and a judge that is asked three questions in both orders
    flags.py          group sizes and rewards in a trainer's own configuration file

Each check gives `Finding`s, and each of them that is not fine says what to change. Left out: anything that needs a GPU
or changes something; nothing is installed, started or written but the judge's ledger, where it has one.
"""

from __future__ import annotations

from rrm_plugin.doctor.findings import Finding, Status
from rrm_plugin.doctor.flags import check_flags, environment_of, group_size_of
from rrm_plugin.doctor.installation import check_installation
from rrm_plugin.doctor.judging import check_group, check_judge, check_settings

__all__ = [
    "Finding",
    "Status",
    "check_flags",
    "check_group",
    "check_installation",
    "check_judge",
    "check_settings",
    "environment_of",
    "group_size_of",
]
