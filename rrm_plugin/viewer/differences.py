"""Two texts, and where they differ: lines first, then the words of lines that took each other's place.

    compare("It is 4.", "It is 5.")      ([Piece("It is ", False), Piece("4.", True)], [... Piece("5.", True)])

The work is bounded: of lines that differ in too many words all is marked. Texts that share little are told as such,
since marks on nearly everything help nobody. Left out: HTML.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Difference", "Piece", "compare"]

MOST_WORDS = 6000
"""Words of a stretch that are compared one by one."""
MOST_LINES = 3000
LEAST_SHARED = 0.15
"""Share of the characters in common below which nothing is marked."""

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


class Piece(NamedTuple):
    """A stretch of a text."""

    text: str
    differs: bool


class Difference(NamedTuple):
    """Both texts in pieces."""

    first: list[Piece]
    second: list[Piece]
    shared: float
    """Share of the characters that both have in common."""

    @property
    def marked(self) -> bool:
        """Whether marks tell more than that the two have nothing in common."""
        return self.shared >= LEAST_SHARED


def compare(first: str, second: str) -> Difference:
    """Where two texts differ."""
    one, other = first.splitlines(keepends=True), second.splitlines(keepends=True)
    if len(one) > MOST_LINES or len(other) > MOST_LINES:
        same = first == second
        return Difference([Piece(first, not same)], [Piece(second, not same)], float(same))
    left: list[Piece] = []
    right: list[Piece] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        before, after = "".join(one[a:b]), "".join(other[c:d])
        if tag == "equal":
            left.append(Piece(before, False))
            right.append(Piece(after, False))
        else:
            _words(before, after, left, right)
    kept = sum(len(piece.text) for side in (left, right) for piece in side if not piece.differs)
    shared = kept / (len(first) + len(second)) if first or second else 1.0
    return Difference(_joined(left), _joined(right), shared)


def _words(before: str, after: str, left: list[Piece], right: list[Piece]) -> None:
    one, other = _WORDS.findall(before), _WORDS.findall(after)
    if len(one) > MOST_WORDS or len(other) > MOST_WORDS:
        left.append(Piece(before, True))
        right.append(Piece(after, True))
        return
    for tag, a, b, c, d in difflib.SequenceMatcher(None, one, other).get_opcodes():
        left.append(Piece("".join(one[a:b]), tag != "equal"))
        right.append(Piece("".join(other[c:d]), tag != "equal"))


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours of a kind as one, and a blank between two marks marked as well: longer stretches read better."""
    joined: list[Piece] = []
    kept = [piece for piece in pieces if piece.text]
    for piece, behind in zip(kept, [*kept[1:], None], strict=False):
        blank = piece.text.isspace() and "\n" not in piece.text
        bridge = blank and bool(joined) and joined[-1].differs and behind is not None and behind.differs
        differs = piece.differs or bridge
        if joined and joined[-1].differs == differs:
            joined[-1] = Piece(joined[-1].text + piece.text, differs)
        else:
            joined.append(Piece(piece.text, differs))
    return joined
