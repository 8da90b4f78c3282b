"""Judges as models of their errors, and groups of responses whose truth is known.

A judge's verdict on an ordered pair is drawn once, so that everybody who asks is told the same: schedules are compared
on the same groups and the same verdicts. Each ordered pair has one verdict; votes are not simulated here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoolArray", "FloatArray", "Groups", "Judge", "groups", "logistic"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
RIGHT_WINS = 0.85
"""Mean over both orders, in groups of right and wrong responses."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """How a judge errs: the log-odds that it names the first are `slope` * (difference in truth) + errors + `bias`."""

    name: str
    slope: float
    bias: float = 0.8
    """Log-odds for the response shown first, the same for all pairs."""
    pair_error: float = 0.0
    """Standard deviation of an error of the pair, in log-odds, that both orders share."""
    truth: Literal["quality", "correct"] = "quality"
    """quality is normal with variance 1; correct is 1 or 0, and `slope` is then for a hidden taste among the alike."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """B groups of n responses, and what the judge says when asked."""

    truth: FloatArray
    """(B, n)"""
    wins: BoolArray
    """(B, n, n) Whether i, shown first, is named better than j."""

    @property
    def count(self) -> int:
        """B"""
        return self.truth.shape[0]

    @property
    def size(self) -> int:
        """n"""
        return self.truth.shape[1]


def groups(judge: Judge, count: int, size: int, seed: int) -> Groups:
    """`count` groups of `size`; the first groups are the same whatever the count."""
    drawn = [_group(judge, size, np.random.default_rng([seed, size, index])) for index in range(count)]
    return Groups(truth=np.stack([truth for truth, _ in drawn]), wins=np.stack([wins for _, wins in drawn]))


def logistic(log_odds: FloatArray) -> FloatArray:
    """Chances of log-odds, elementwise."""
    return np.asarray(1.0 / (1.0 + np.exp(-log_odds)), dtype=np.float64)


def _group(judge: Judge, n: int, rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    # All judges draw the same numbers in the same order: the same groups, judged differently.
    quality, share, error, call = rng.normal(size=n), rng.random(), rng.normal(size=(n, n)), rng.random((n, n))
    ahead = quality[:, None] - quality[None, :]
    if judge.truth == "quality":
        truth, margin = quality, judge.slope * ahead
    else:
        truth = _some_of_each(rng.random(n) < share).astype(np.float64)
        step = truth[:, None] - truth[None, :]
        margin = np.where(step == 0, judge.slope * ahead, step * _margin_of(RIGHT_WINS, judge.bias))
    error = np.triu(error, 1)
    margin = margin + judge.pair_error * (error - error.T) + judge.bias
    return truth, call < logistic(margin)


def _some_of_each(right: BoolArray) -> BoolArray:
    """A group that is all right or all wrong has no order to be found: its first response is made the other."""
    if right.all() or not right.any():
        right[0] = not right[0]
    return right


def _margin_of(rate: float, bias: float) -> float:
    """Log-odds at which the better wins in `rate` of its matches, half of them shown first."""
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        won = 0.5 * float(logistic(np.array([middle + bias, middle - bias])).sum())
        low, high = (middle, high) if won < rate else (low, middle)
    return 0.5 * (low + high)
