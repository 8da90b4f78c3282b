"""Two texts, and where they differ: lines first, then the words of lines that took each other's place.

    compare("It is 4.", "It is 5.")      ([Piece("It is ", False), Piece("4.", True)], [... Piece("5.", True)])

The work is bounded by `STEPS`, counted and not timed, so that a text looks the same on every machine. Where they are
used up lines are marked as a whole, and where lines alone take as many nothing is; `detail` says which. Texts that
share little are told as such, since marks on nearly everything help nobody. Left out: HTML.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

__all__ = ["Difference", "Piece", "compare"]

STEPS = 6_000_000
"""Comparisons of a word or line with another one; about a second. Words may take twice as many."""
LONG = 20_000
"""Characters of changed lines that are not compared as one text."""
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
    """Share of the characters that both have in common, as far as they were compared."""
    detail: Literal["words", "lines", "none"] = "words"
    """What was compared: words, lines where words took too long, or nothing."""

    @property
    def marked(self) -> bool:
        """Whether marks tell more than that the two have nothing in common."""
        return self.shared >= LEAST_SHARED


class _Exhausted(Exception):
    """Comparing would take more steps than are left."""


class _Matcher(difflib.SequenceMatcher[str]):
    """Python's own, with a bound on its work, which grows with the square of the texts and beyond.

    Args:
        left: a list of one number, the steps that are left, of which it takes its own.

    Raises:
        _Exhausted: while comparing, it needs more.
    """

    def __init__(self, one: Sequence[str], other: Sequence[str], left: list[int], autojunk: bool) -> None:
        super().__init__(None, one, other, autojunk)
        places = self.b2j  # pyright: ignore[reportAttributeAccessIssue]
        self._left = left
        self._before = [0, *itertools.accumulate(1 + len(places.get(each, ())) for each in one)]

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        end = len(self._before) - 1 if ahi is None else ahi
        self._left[0] -= self._before[end] - self._before[alo]
        if self._left[0] < 0:
            raise _Exhausted
        return super().find_longest_match(alo, ahi, blo, bhi)


def compare(first: str, second: str) -> Difference:
    """Where two texts differ."""
    one, other = first.splitlines(keepends=True), second.splitlines(keepends=True)
    left: list[Piece] = []
    right: list[Piece] = []
    steps = [2 * STEPS]
    detail = "words"
    lines = _lines(one, other)
    if lines is None:
        return Difference([Piece(first, False)], [Piece(second, False)], 0.0, "none")
    for before, after in _stretches(one, other, lines):
        if before == after:
            left.append(Piece(before, False))
            right.append(Piece(after, False))
        elif not _words(before, after, left, right, steps):
            detail = "lines"
            left.append(Piece(before, True))
            right.append(Piece(after, True))
    kept = sum(len(piece.text) for side in (left, right) for piece in side if not piece.differs)
    shared = kept / (len(first) + len(second)) if first or second else 1.0
    return Difference(_joined(left), _joined(right), shared, detail)


def _lines(one: Sequence[str], other: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]] | None:
    """Which lines became which; None where that takes too many steps."""
    if one == other:
        return [("equal", 0, len(one), 0, len(other))]
    # Lines that come again and again, such as empty ones, take most steps; Python's own can pass over them.
    for autojunk in (False, True):
        with contextlib.suppress(_Exhausted):
            return _Matcher(one, other, [STEPS], autojunk).get_opcodes()
    return None


def _stretches(
    one: Sequence[str], other: Sequence[str], lines: Sequence[tuple[str, int, int, int, int]]
) -> Iterator[tuple[str, str]]:
    """What stands in the same place; of as many lines that are long, each with the one in its place."""
    for _, a, b, c, d in lines:
        if b - a == d - c and sum(map(len, one[a:b])) > LONG:
            yield from zip(one[a:b], other[c:d], strict=True)
        else:
            yield "".join(one[a:b]), "".join(other[c:d])


def _words(before: str, after: str, left: list[Piece], right: list[Piece], steps: list[int]) -> bool:
    """Adds the pieces of two stretches; adds none, and says so, where that takes more steps than are left."""
    one, other = _WORDS.findall(before), _WORDS.findall(after)
    head = _alike(one, other)
    tail = _alike(one[head:][::-1], other[head:][::-1])
    ends = len(one) - tail, len(other) - tail
    rest = steps[0]
    try:
        found = _Matcher(one[head : ends[0]], other[head : ends[1]], steps, autojunk=True).get_opcodes()
    except _Exhausted:
        # Others may be short, and are compared with half of what this one did not suffice with.
        steps[0] = rest // 2
        return False
    for side in left, right:
        side.append(Piece("".join(one[:head]), False))
    for tag, a, b, c, d in found:
        left.append(Piece("".join(one[head + a : head + b]), tag != "equal"))
        right.append(Piece("".join(other[head + c : head + d]), tag != "equal"))
    for side in left, right:
        side.append(Piece("".join(one[ends[0] :]), False))
    return True


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """Words that both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


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
