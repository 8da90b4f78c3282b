"""What all layouts share: a pair, a row that holds none, and how a column's value is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm_plugin.training.sources import RejectReason, Row
from rrm_plugin.types import Prompt, Response

__all__ = ["Pair", "RowError", "column", "content"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two responses to a prompt, one known to be better."""

    prompt: Prompt
    chosen: Response
    rejected: Response


class RowError(ValueError):
    """A row cannot be used; it is counted and goes into the rejects file."""

    def __init__(self, column: str | None, reason: RejectReason, detail: str) -> None:
        super().__init__(column, reason, detail)
        self.column = column
        self.reason = reason
        self.detail = detail


def column(row: Row, name: str) -> Any:
    """The value of a column.

    Raises:
        RowError: it is missing or null.
    """
    value = row.values.get(name)
    if value is None:
        detail = "null" if name in row.values else f"the row has only {', '.join(map(str, row.values)) or 'no columns'}"
        raise RowError(name, RejectReason.MISSING, detail[:300])
    return value


def content(row: Row, name: str) -> Any:
    """A text or a list of messages in a column; of several columns joined by `+`, their texts, a blank line apart.

    Raises:
        RowError: a column is missing, or holds something else.
    """
    if "+" in name and name not in row.values:
        parts = [content(row, part) for part in name.split("+")]
        if not all(isinstance(part, str) for part in parts):
            raise RowError(name, RejectReason.WRONG_TYPE, "only texts can be joined")
        return "\n\n".join(filter(str.strip, parts))
    value = column(row, name)
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, Sequence) and value and all(map(_is_message, value)):
        return list(value)
    raise RowError(name, RejectReason.WRONG_TYPE, f"a text or a list of messages is needed, not {_kind(value)}")


def _is_message(part: Any) -> bool:
    return isinstance(part, Mapping) and ("content" in part or "tool_calls" in part)


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {type(value[0]).__name__}" if value else "an empty list"
    return type(value).__name__
