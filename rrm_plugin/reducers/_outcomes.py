"""Verdicts of many groups as columns, the counts made of them, and the ratings a reducer returns.

Groups are counted in blocks of equal size that fit a processor cache. So no block has padding, and what comes out for a
group does not depend on the groups beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrm_plugin.types import Judgement

__all__ = ["BoolArray", "FloatArray", "IntArray", "Outcomes", "Rated", "Ratings", "Reducer", "Tally", "rated_by_tally"]

IntArray = NDArray[np.intp]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_CELLS = 1 << 14
"""Pairs of candidates in a block: 128 KiB for each array of counts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """The verdicts of B groups, M of them, in the order of play. Matches without a verdict are not in it.

    Raises:
        ValueError: the columns differ in length, or name a group, candidate or result that does not exist.
    """

    sizes: IntArray
    """(B,) Candidates of each group."""
    group: IntArray
    """(M,) The group of each verdict, from 0."""
    first: IntArray
    """(M,) The candidate shown first, as its index in the group."""
    second: IntArray
    """(M,) The candidate shown second."""
    round: IntArray
    """(M,) The round of the tournament, from 0."""
    points: FloatArray
    """(M,) What the candidate shown first got, in [0, 1]: 1 for a win, 0 for a loss, 0.5 for a tie; the other got the
    rest. A number between is the probability of a win, and counts as so much of a win and the rest of a loss.
    """

    def __post_init__(self) -> None:
        for column in ("sizes", "group", "first", "second", "round"):
            object.__setattr__(self, column, np.ascontiguousarray(getattr(self, column), dtype=np.intp))
        object.__setattr__(self, "points", np.ascontiguousarray(self.points, dtype=np.float64))
        columns = (self.group, self.first, self.second, self.round, self.points)
        if self.sizes.ndim != 1 or any(column.shape != (len(self.group),) for column in columns):
            raise ValueError("the columns of Outcomes must have one dimension and equal lengths")
        if len(self.group) and not self._possible():
            raise ValueError("Outcomes names a group, candidate, round or result that does not exist")

    def _possible(self) -> bool:
        if self.group.min() < 0 or self.group.max() >= len(self.sizes):
            return False
        size = self.sizes[self.group]
        return bool(
            self.first.min() >= 0
            and self.second.min() >= 0
            and self.round.min() >= 0
            and np.all((self.first < size) & (self.second < size) & (self.first != self.second))
            and (self.whole or (self.points.min() >= 0.0 and self.points.max() <= 1.0))
        )

    @cached_property
    def whole(self) -> bool:
        """Whether each match was won, lost or tied, and none has a probability."""
        doubled = 2.0 * self.points
        return bool(np.all((doubled == 0.0) | (doubled == 1.0) | (doubled == 2.0)))

    @classmethod
    def from_judgements(cls, groups: Iterable[tuple[int, Sequence[Judgement]]]) -> Outcomes:
        """Columns of the judgements of each group, given as its number of candidates and what came of its matches.

        A judgement by several votes counts once, with their majority; one with a `chance` counts with that. One without
        a verdict is left out.

        Raises:
            ValueError: a judgement has no match, or its match is not of the group.
        """
        sizes: list[int] = []
        rows: list[tuple[int, int, int, int, float]] = []
        for index, (size, judgements) in enumerate(groups):
            sizes.append(size)
            for judgement in judgements:
                match = judgement.match
                if match is None:
                    raise ValueError("a judgement without a match cannot be counted in a group")
                points = judgement.points
                if points is not None:
                    rows.append((index, match.first, match.second, match.round, points))
        group, first, second, round, points = np.array(rows, dtype=np.float64).reshape(-1, 5).T
        return cls(
            sizes=_ints(sizes),
            group=_ints(group),
            first=_ints(first),
            second=_ints(second),
            round=_ints(round),
            points=points,
        )

    @property
    def groups(self) -> int:
        """B, the number of groups."""
        return len(self.sizes)

    @property
    def width(self) -> int:
        """The number of candidates of the largest group."""
        return int(self.sizes.max(initial=0))

    @cached_property
    def by_group(self) -> tuple[IntArray, IntArray, IntArray]:
        """Group numbers by size (B,), the order that puts verdicts by those groups (M,), where each begins (B + 1,).

        Verdicts of a group stay in the order of play.
        """
        arranged = np.argsort(self.sizes, kind="stable")
        place = np.empty_like(arranged)
        place[arranged] = np.arange(len(arranged))
        keys = place[self.group]
        in_order = bool(np.all(keys[1:] >= keys[:-1]))
        order = np.arange(len(keys)) if in_order else np.argsort(keys, kind="stable")
        starts = np.concatenate(([0], np.cumsum(np.bincount(keys, minlength=len(arranged)))))
        return arranged, order, starts

    def tallies(self) -> Iterator[Tally]:
        """The counts of all groups, in blocks of groups of one size."""
        arranged, order, starts = self.by_group
        sizes = self.sizes[arranged]
        begin = 0
        while begin < len(sizes):
            n = int(sizes[begin])
            end = min(int(np.searchsorted(sizes, n, side="right")), begin + max(1, _CELLS // max(n * n, 1)))
            rows = order[starts[begin] : starts[end]]
            which = np.repeat(np.arange(end - begin), np.diff(starts[begin : end + 1]))
            yield self._tally(arranged[begin:end], n, rows, which)
            begin = end

    def _tally(self, groups: IntArray, n: int, rows: IntArray, which: IntArray) -> Tally:
        # Where verdicts come by group, as they do, a slice reads them in place; an index array would copy them.
        in_place = len(rows) > 0 and np.all(rows[1:] - rows[:-1] == 1)
        chosen = slice(int(rows[0]), int(rows[-1]) + 1) if in_place else rows
        points, pairs = self.points[chosen], (which * n + self.first[chosen]) * n + self.second[chosen]
        cells = len(groups) * n * n
        if self.whole:
            results = (2.0 * points).astype(np.intp) * cells + pairs
            counts = np.bincount(results, minlength=3 * cells).astype(np.float64)
        else:
            counts = _shares(points, pairs, cells)
        lost, tied, won = counts.reshape(3, len(groups), n, n)
        return Tally(groups=groups, lost=lost, tied=tied, won=won, whole=self.whole)


def _shares(points: FloatArray, pairs: IntArray, cells: int) -> FloatArray:
    """(3, cells) Matches lost, tied and won in each cell; one with a probability is partly won, partly lost."""
    tied = points == 0.5
    lost, won = (np.bincount(pairs, np.where(tied, 0.0, share), cells) for share in (1.0 - points, points))
    counts: FloatArray = np.stack([lost, np.bincount(pairs[tied], minlength=cells), won]).astype(np.float64)
    return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Verdicts of b groups of n candidates each, counted by pair and order."""

    groups: IntArray
    """(b,) Which groups of the Outcomes these are."""
    lost: FloatArray
    """(b, n, n) Matches that i, shown first, lost to j."""
    tied: FloatArray
    """(b, n, n) Matches of i, shown first, and j that were tied."""
    won: FloatArray
    """(b, n, n) Matches that i, shown first, won against j."""
    whole: bool = True
    """Whether these are whole numbers; shares of matches, by their probability, need not add up in the last bit."""

    @cached_property
    def wins(self) -> FloatArray:
        """(b, n, n) Matches that i won against j, in either order."""
        return self.won + self.lost.swapaxes(1, 2)

    @cached_property
    def draws(self) -> FloatArray:
        """(b, n, n) Matches of i and j that were tied, in either order; symmetric."""
        return self.tied + self.tied.swapaxes(1, 2)

    @cached_property
    def shown(self) -> FloatArray:
        """(b, n, n) Matches with i shown first and j second."""
        shown: FloatArray = self.lost + self.tied + self.won
        return shown if self.whole else np.rint(shown)

    @cached_property
    def played(self) -> FloatArray:
        """(b, n) Matches of each candidate that have a verdict."""
        return self.shown.sum(axis=2) + self.shown.sum(axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ratings:
    """One number per candidate of B groups, the widest of which has n_max candidates."""

    sizes: IntArray
    """(B,) Candidates of each group."""
    values: FloatArray
    """(B, n_max) Higher is better; NaN for a candidate without any verdict and beyond the size of the group."""
    converged: BoolArray
    """(B,) False where an iterative reducer stopped before its tolerance, or no finite solution exists."""
    iterations: IntArray
    """(B,) Iterations taken; 0 for reducers that take none."""
    position_bias: FloatArray | None = None
    """(B,) Log-odds by which being shown first helps, where the reducer estimates it; NaN without any verdict."""

    def values_of(self, group: int) -> list[float | None]:
        """The values of one group in the order of its candidates, None for the unscored."""
        row = self.values[group, : self.sizes[group]].tolist()
        return [None if value != value else value for value in row]

    def position_bias_of(self, group: int) -> float | None:
        """The position bias of one group; None where it was not estimated."""
        bias = float("nan") if self.position_bias is None else float(self.position_bias[group])
        return None if bias != bias else bias


@runtime_checkable
class Reducer(Protocol):
    """Makes one number per candidate of the verdicts of its group. Frozen, comparable and picklable."""

    @property
    def name(self) -> str:
        """Text from which `reducer(name)` makes the same reducer, as far as its main settings go."""
        ...

    @property
    def unit(self) -> str:
        """One line on what the values mean."""
        ...

    def __call__(self, outcomes: Outcomes) -> Ratings: ...


class Rated(NamedTuple):
    """What a reducer found for one tally."""

    values: FloatArray
    """(b, n)"""
    converged: Any = True
    """(b,) or one for all"""
    iterations: Any = 0
    """(b,) or one for all"""
    position_bias: FloatArray | None = None
    """(b,)"""


def rated_by_tally(outcomes: Outcomes, rate: Callable[[Tally], Rated]) -> Ratings:
    """Rate each tally and put the groups back in order; a candidate without a verdict gets NaN in any case."""
    values = np.full((outcomes.groups, outcomes.width), np.nan)
    converged = np.ones(outcomes.groups, dtype=np.bool_)
    iterations = np.zeros(outcomes.groups, dtype=np.intp)
    bias: FloatArray | None = None
    for tally in outcomes.tallies():
        rated = rate(tally)
        n = rated.values.shape[1]
        values[tally.groups, :n] = np.where(tally.played > 0, rated.values, np.nan)
        converged[tally.groups] = rated.converged
        iterations[tally.groups] = rated.iterations
        if rated.position_bias is not None:
            bias = np.full(outcomes.groups, np.nan) if bias is None else bias
            bias[tally.groups] = np.where(tally.played.sum(axis=1) > 0, rated.position_bias, np.nan)
    return Ratings(sizes=outcomes.sizes, values=values, converged=converged, iterations=iterations, position_bias=bias)


def _ints(values: ArrayLike) -> IntArray:
    return np.asarray(values, dtype=np.intp).reshape(-1)
