"""What errors of a bulk run mean."""

from __future__ import annotations

import pytest

from rrm_plugin.bulk.failures import ends_all, in_one_line
from rrm_plugin.errors import ConfigError, EngineError, EngineUnavailableError, LedgerError


@pytest.mark.parametrize(
    ("error", "at_first", "later"),
    [
        (ConfigError("no such model"), True, True),
        (LedgerError("disk full"), True, True),
        (EngineUnavailableError("nobody there"), True, False),
        (FileNotFoundError("gone"), True, False),
        (PermissionError("not yours"), True, False),
        (EngineError("one call"), False, False),
        (OSError("network"), False, False),
        (ZeroDivisionError(), False, False),
    ],
)
def test_what_ends_a_run_and_what_only_a_part(error, at_first, later):
    assert (ends_all(error, begun=False), ends_all(error, begun=True)) == (at_first, later)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("plain", "plain"),
        ("", "ValueError"),
        ("\x1b[36mremote()\x1b[39m\n  File x\nrrm_plugin.errors.ConfigError: no such model\n", None),
        ("first\nsecond", "first"),
        ("x" * 900, "x" * 500),
    ],
)
def test_an_error_is_told_in_one_line(said, line):
    assert in_one_line(ValueError(said)) == (line or "rrm_plugin.errors.ConfigError: no such model")
