"""What a run says about its judge and its policy, as numbers, and when one of them is an alarm.

    batch       a batch of scores
    groups      one group, for a ledger
    openings    how responses begin, which of them speak to the judge, and what that wins
    steering    what it looks like when a text speaks to its judge
    names       what each metric is called, where it appears and what to make of it
    alarms      limits, and a watch over them

Pure: nothing is logged, written or stopped here. Who is told what is in `reporting/`.
"""

from __future__ import annotations

from rrm_plugin.metrics.batch import length_correlation, summary

__all__ = ["length_correlation", "summary"]
