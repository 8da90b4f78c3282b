"""Real schedules, played against simulated groups, and how well a reward tells the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rrm_plugin.reducers import Outcomes, reducer
from rrm_plugin.schedules import Orders, Stepper, schedule
from rrm_plugin.types import Judgement, Match, Verdict
from simulated.judges import FloatArray, Groups

__all__ = ["Measured", "Play", "measured", "play", "play_stepper"]

_POINTS = {Verdict.FIRST: 1.0, Verdict.SECOND: 0.0}


@dataclass(frozen=True, kw_only=True, eq=False)
class Play:
    """All calls made for some groups, in the order of play."""

    groups: Groups
    judgements: list[list[Judgement]]
    """Those of each group."""

    @cached_property
    def _columns(self) -> NDArray[np.float64]:
        """(M, 6) group, place in the order of play, first, second, round, points."""
        rows = [
            (index, place, one.match.first, one.match.second, one.match.round, _POINTS[one.verdict])
            for index, judgements in enumerate(self.judgements)
            for place, one in enumerate(judgements)
            if one.match is not None and one.verdict is not None
        ]
        return np.array(rows, dtype=np.float64).reshape(-1, 6)

    @property
    def calls(self) -> float:
        """Mean calls of a group."""
        return float(np.mean([len(judgements) for judgements in self.judgements]))

    def values(self, reducing: str, calls: int | None = None) -> FloatArray:
        """(B, n) What a reducer makes of the first `calls` judgements of each group, of all without; 0 if unscored."""
        columns = self._columns if calls is None else self._columns[self._columns[:, 1] < calls]
        group, _, first, second, round, points = columns.T
        outcomes = Outcomes(
            sizes=np.full(self.groups.count, self.groups.size),
            group=group.astype(np.intp),
            first=first.astype(np.intp),
            second=second.astype(np.intp),
            round=round.astype(np.intp),
            points=points,
        )
        return np.nan_to_num(reducer(reducing)(outcomes).values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What rewards of B groups are worth, group by group."""

    correlation: FloatArray
    """(B,) Pearson's, of the rewards with the truth within the group; 0 where all rewards are equal."""
    best: FloatArray
    """(B,) Truth of the response with the highest reward, the mean of those that share it."""


def play(spec: str, orders: Orders, groups: Groups) -> Play:
    """A schedule's matches, judged."""
    plan = schedule(spec)
    steppers = (plan.start(groups.size, orders, np.random.default_rng([7, index])) for index in range(groups.count))
    return Play(groups=groups, judgements=[play_stepper(one, groups, index) for index, one in enumerate(steppers)])


def play_stepper(stepper: Stepper, groups: Groups, index: int) -> list[Judgement]:
    """One group's matches, judged."""
    wins = groups.wins[index].tolist()
    judgements: list[Judgement] = []
    while matches := stepper.next_matches(judgements):
        judgements += [_judged(match, wins) for match in matches]
    return judgements


def measured(values: FloatArray, groups: Groups) -> Measured:
    """Compares rewards (B, n) with the truth."""
    # Rewards that differ by rounding alone are equal.
    values = np.round(values, 9)
    own, truth = (each - each.mean(axis=1, keepdims=True) for each in (values, groups.truth))
    scale = np.sqrt((own**2).sum(axis=1) * (truth**2).sum(axis=1))
    top = values == values.max(axis=1, keepdims=True)
    return Measured(
        correlation=(own * truth).sum(axis=1) / np.where(scale > 0, scale, 1.0),
        best=(groups.truth * top).sum(axis=1) / top.sum(axis=1),
    )


def _judged(match: Match, wins: list[list[bool]]) -> Judgement:
    return Judgement(verdict=Verdict.FIRST if wins[match.first][match.second] else Verdict.SECOND, match=match)
