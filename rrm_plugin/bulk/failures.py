"""What errors of a bulk run mean: which of them end it, and how they are told in a line."""

from __future__ import annotations

import re

from rrm_plugin.errors import EngineError, EngineUnavailableError, RRMError

__all__ = ["ends_all", "in_one_line"]

_LONGEST = 500
"""Characters."""


def ends_all(error: BaseException, *, begun: bool) -> bool:
    """Whether nothing can be ranked with this: settings that cannot work, or a first try in vain.

    Args:
        error: that a part ended with.
        begun: whether anything was ever ranked in this run.
    """
    if isinstance(error, EngineUnavailableError | FileNotFoundError | PermissionError):
        return not begun
    return isinstance(error, RRMError) and not isinstance(error, EngineError)


def in_one_line(error: BaseException) -> str:
    """An error in one line without colours; of those that come with a whole story, the part that tells most."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        found = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception)\b|The actor is dead", line)]
        lines = found[-1:] or lines[:1]
    return (lines[0] if lines else type(error).__name__)[:_LONGEST]
