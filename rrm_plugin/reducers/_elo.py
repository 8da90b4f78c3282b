"""Elo ratings: averaged over all orders of play, or updated verdict by verdict.

Elo's update takes one result after another, so ratings depend on which came first, and a group's verdicts have no such
order: they are judged at once. The average over all orders is what the verdicts say without it. It is found here
without drawing orders, by following its mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rrm_plugin.errors import ConfigError
from rrm_plugin.reducers._outcomes import FloatArray, Outcomes, Rated, Ratings, Tally, rated_by_tally
from rrm_plugin.specs import number

__all__ = ["Elo"]

_POINTS_PER_LOGIT = 400.0 / np.log(10.0)
"""Elo's scale: 400 points are odds of 10 to 1."""


@dataclass(frozen=True, kw_only=True)
class Elo:
    """See `rrm_plugin.reducers.elo`."""

    k: float = 32.0
    initial: float = 0.0
    sequential: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.k < np.inf:
            raise ConfigError(f"elo k={self.k!r} must be a number above 0")
        if not np.isfinite(self.initial):
            raise ConfigError(f"elo initial={self.initial!r} must be a number")

    @property
    def name(self) -> str:
        return f"elo:{number(self.k)}" + (":sequential" if self.sequential else "")

    @property
    def unit(self) -> str:
        return f"Elo points around {number(self.initial)}; 400 more are odds of 10 to 1"

    def __call__(self, outcomes: Outcomes) -> Ratings:
        return self._in_order_of_play(outcomes) if self.sequential else rated_by_tally(outcomes, self._averaged)

    def _averaged(self, tally: Tally) -> Rated:
        k = self.k / _POINTS_PER_LOGIT
        values = np.empty_like(tally.played)
        steps = _steps(k, tally)
        for count in np.unique(steps):
            some = steps == count
            wins, draws = (tally.wins, tally.draws) if some.all() else (tally.wins[some], tally.draws[some])
            values[some] = _mean_path(wins, draws, k, int(count))
        return Rated(self.initial + _POINTS_PER_LOGIT * values)

    def _in_order_of_play(self, outcomes: Outcomes) -> Ratings:
        _, order, starts = outcomes.by_group
        counts = np.diff(starts)
        longest_first = np.argsort(-counts, kind="stable")
        under_way = np.searchsorted(-counts[longest_first], -np.arange(1, counts.max(initial=0) + 1), side="right")
        ratings = np.full(outcomes.groups * outcomes.width, np.nan)
        cells = outcomes.group * outcomes.width
        first, second = cells + outcomes.first, cells + outcomes.second
        ratings[first] = ratings[second] = self.initial
        for turn, groups in enumerate(under_way):
            # One match of each group that has one left, so no candidate is in two of them.
            rows = order[starts[longest_first[:groups]] + turn]
            one, other = first[rows], second[rows]
            expected = 1.0 / (1.0 + np.exp((ratings[other] - ratings[one]) / _POINTS_PER_LOGIT))
            change = self.k * (outcomes.points[rows] - expected)
            ratings[one] += change
            ratings[other] -= change
        return Ratings(
            sizes=outcomes.sizes,
            values=ratings.reshape(outcomes.groups, outcomes.width),
            converged=np.ones(outcomes.groups, dtype=np.bool_),
            iterations=np.zeros(outcomes.groups, dtype=np.intp),
        )


def _steps(k: float, tally: Tally) -> np.ndarray:
    """Integration steps of each group: enough for its busiest candidate, whose rating changes fastest.

    By group and not by block, or a group's ratings would depend on the groups beside it.
    """
    return np.maximum(2, np.ceil(0.5 * k * tally.played.max(axis=1, initial=0.0))).astype(np.intp)


def _mean_path(wins: FloatArray, draws: FloatArray, k: float, steps: int) -> FloatArray:
    """Mean change of the ratings over all orders of play, (b, n) in logits; `k` in logits too.

    Give every match a time drawn evenly from [0, 1]: that draws an order, all equally likely. A match that i won
    against j at time u adds k (1 - E) to i, where E is the result expected from the ratings that all other matches have
    made by then. With c the mean that this match has added by time u, and R the ratings, the sum of that over matches,

        dc/du = k (1 - E(R_i - R_j - 2 c)),

    where 2 c takes out what the match itself has added to the one and taken from the other. Matches of one pair and
    result are alike, so there is one c for each pair and kind of result; a tie has 1/2 in place of 1. Left out are the
    spread of R at time u and the effect of a match on the results of later ones. Both are of the order of k squared.
    """
    # A tie adds to both sides, with opposite signs, so that its two cells count half each.
    counts, points = [wins], [1.0]
    if draws.any():
        counts, points = [wins, 0.5 * draws], [1.0, 0.5]
    weights, target = np.stack(counts), k * np.reshape(points, (-1, 1, 1, 1))

    def ratings(added: FloatArray) -> FloatArray:
        # einsum, since a sum over so short an axis is three times as slow.
        return np.einsum("mbij,mbij->bi", weights, added) - np.einsum("mbij,mbij->bj", weights, added)

    def slope(added: FloatArray) -> FloatArray:
        rating = ratings(added)
        ahead = rating[:, :, None] - rating[:, None, :]
        behind = 2.0 * added
        behind -= ahead
        np.exp(behind, out=behind)
        behind += 1.0
        np.divide(-k, behind, out=behind)
        behind += target
        return behind

    added = np.zeros_like(weights)
    width = 1.0 / steps
    for _ in range(steps):
        # Runge-Kutta of the fourth order.
        begin = slope(added)
        middle = slope(added + (0.5 * width) * begin)
        again = slope(added + (0.5 * width) * middle)
        end = slope(added + width * again)
        added = added + (width / 6.0) * (begin + 2.0 * (middle + again) + end)
    return ratings(added)
