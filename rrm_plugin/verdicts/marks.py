"""What a grammar finds in a text, and what every grammar can do.

Left out: the grammars (`grammars.py`, `phrases.py`), and what several marks of one text mean together (`parsing.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rrm_plugin.types import Verdict

__all__ = ["Edit", "Grammar", "Mark"]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One place where a text holds a grammar's markup."""

    start: int
    end: int
    text: str
    verdict: Verdict | None
    """None where the markup holds something that names neither response nor a tie."""
    aimed: bool = True
    """Without a verdict: whether the markup still speaks of the responses; `\\boxed{42}` does not."""
    unclosed: bool = False
    """Whether the text ends before the markup does."""


Edit = tuple[int, int, str]
"""Start and end of a piece of text, and what to put in its place."""


@runtime_checkable
class Grammar(Protocol):
    """The markup of a verdict. Instances are immutable, hashable, picklable, and their repr says all that they do."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def marks(self, text: str) -> list[Mark]:
        """All markup in a text, in order."""
        ...

    def edits(self, text: str) -> list[Edit]:
        """What to replace in a text that a judge is shown, so that its readable content stays and its markup goes."""
        ...
