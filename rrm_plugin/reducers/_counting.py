"""Reducers that only count: no rating model, no iteration, exact in any order of verdicts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rrm_plugin.reducers._outcomes import FloatArray, Outcomes, Rated, Ratings, Tally, rated_by_tally

__all__ = ["KnockoutRank", "Majority", "WinRate"]


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """Mean result over a candidate's own matches."""

    @property
    def name(self) -> str:
        return "win_rate"

    @property
    def unit(self) -> str:
        return "mean over own matches of +1 (won), 0 (tied), -1 (lost)"

    def __call__(self, outcomes: Outcomes) -> Ratings:
        return rated_by_tally(outcomes, _win_rate)


@dataclass(frozen=True, kw_only=True)
class Majority:
    """Mean result over the opponents met, each pair decided by the majority of its verdicts."""

    @property
    def name(self) -> str:
        return "majority"

    @property
    def unit(self) -> str:
        return "mean over opponents met of +1 (won more often), 0 (as often), -1 (lost more often)"

    def __call__(self, outcomes: Outcomes) -> Ratings:
        return rated_by_tally(outcomes, _majority)


@dataclass(frozen=True, kw_only=True)
class KnockoutRank:
    """How far a candidate came: the last round it played, and what came of it there."""

    @property
    def name(self) -> str:
        return "knockout_rank"

    @property
    def unit(self) -> str:
        return "rounds survived: the last round played (from 0), plus 1 if won there, 0.5 if left open"

    def __call__(self, outcomes: Outcomes) -> Ratings:
        width, cells = outcomes.width, outcomes.groups * outcomes.width
        first, second = outcomes.group * width + outcomes.first, outcomes.group * width + outcomes.second
        last = np.full(cells, -1, dtype=np.intp)
        np.maximum.at(last, first, outcomes.round)
        np.maximum.at(last, second, outcomes.round)
        signed = 2.0 * outcomes.points - 1.0
        net = _sum_of_last(first, outcomes, signed, last) - _sum_of_last(second, outcomes, signed, last)
        depth = np.where(last < 0, np.nan, last + 0.5 + 0.5 * _sign(net))
        return Ratings(
            sizes=outcomes.sizes,
            values=depth.reshape(outcomes.groups, width),
            converged=np.ones(outcomes.groups, dtype=np.bool_),
            iterations=np.zeros(outcomes.groups, dtype=np.intp),
        )


def _win_rate(tally: Tally) -> Rated:
    net = tally.wins.sum(axis=2) - tally.wins.sum(axis=1)
    return Rated(_quotient(net, tally.played))


def _majority(tally: Tally) -> Rated:
    met = (tally.shown + tally.shown.swapaxes(1, 2) > 0).sum(axis=2).astype(np.float64)
    net = tally.wins - tally.wins.swapaxes(1, 2)
    decided = np.sign(net) if tally.whole else _sign(net)
    return Rated(_quotient(decided.sum(axis=2), met))


def _sign(net: FloatArray) -> FloatArray:
    # Cut to 9 digits, so that even probabilities are not told apart by the last bit of their sums.
    sign: FloatArray = np.sign(np.trunc(1e9 * net))
    return sign


def _quotient(net: FloatArray, count: FloatArray) -> FloatArray:
    return np.asarray(net / np.maximum(count, 1.0), dtype=np.float64)


def _sum_of_last(candidate: np.ndarray, outcomes: Outcomes, signed: FloatArray, last: np.ndarray) -> FloatArray:
    """Signed results of the side `candidate` of each match, summed over each candidate's last round."""
    final = outcomes.round == last[candidate]
    sums = np.bincount(candidate[final], weights=signed[final], minlength=len(last))
    return sums.astype(np.float64, copy=False)
