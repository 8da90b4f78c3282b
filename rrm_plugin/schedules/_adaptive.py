"""Matches chosen one round after another for what they are expected to tell about the strengths of the candidates.

Strengths and the judge's liking for the first position have a Gaussian prior and verdicts the Bradley-Terry model, as
in the reducer of that name; what is known of them after each round is a Gaussian around the most probable strengths
(Laplace's approximation). The next match is the one whose verdict is expected to tell most, and the next after that
takes into account that the first will be played: so the first round connects everybody, and later ones ask where the
order is in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrm_plugin.errors import ConfigError
from rrm_plugin.schedules._base import Stepper, at_least
from rrm_plugin.schedules._orders import Orders, Pair, RunningBalance, per_pair, seated
from rrm_plugin.specs import number
from rrm_plugin.types import Judgement, Match, Verdict

__all__ = ["Adaptive"]

CALLS_PER_CANDIDATE = 3
PRIOR_VARIANCE = 4.0
"""Of a strength, in squared log-odds: wider than the reducer's, since who expects close matches alone asks anywhere."""
BIAS_VARIANCE = 1.0
NEWTON_STEPS = 25

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """See `rrm_plugin.schedules.adaptive`."""

    budget: int | None = None
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        if self.budget is not None:
            at_least(1, "adaptive calls", self.budget)
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"adaptive tolerance={self.tolerance!r} must be a number from 0 to below 1")

    @property
    def name(self) -> str:
        limits = [] if self.budget is None else [str(self.budget)]
        if self.tolerance != Adaptive.tolerance:
            limits = [*(limits or ["auto"]), number(self.tolerance)]
        return ":".join(["adaptive", *([",".join(limits)] if limits else [])])

    @property
    def needs_reference(self) -> bool:
        return False

    def start(self, n: int, orders: Orders, rng: np.random.Generator) -> Stepper:
        return _AdaptiveStepper(n, self.calls(n, orders), self.tolerance, orders, rng)

    def calls(self, n: int, orders: Orders) -> int:
        budget = CALLS_PER_CANDIDATE * n if self.budget is None else self.budget
        # Under `random` and `fixed` the order is not the schedule's to choose, so a pair is met once.
        most = n * (n - 1) // (1 if orders in ("both", "balanced") else 2)
        if n > 1 and budget < per_pair(orders):
            raise ConfigError(f"schedule={self.name!r} with orders={orders!r} needs a budget of at least 2 calls")
        return min(budget - budget % per_pair(orders), most)


class _AdaptiveStepper:
    def __init__(self, n: int, calls: int, tolerance: float, orders: Orders, rng: np.random.Generator) -> None:
        self._n = n
        self._pairs_left = calls // per_pair(orders)
        self._tolerance = tolerance
        self._orders: Orders = orders
        self._rng = rng
        self._balance = RunningBalance(n, rng)
        self._round = 0
        self._open = ~np.eye(n, dtype=bool)
        """(n, n) Whether i may still be shown first against j."""
        self._part = np.arange(n)
        """(n,) Candidates that matches connect have the same number."""

    def next_matches(self, judgements: Sequence[Judgement]) -> list[Match]:
        if self._pairs_left <= 0:
            return []
        known = _Knowledge(self._n, judgements)
        if self._round and known.unsettled <= self._tolerance:
            self._pairs_left = 0
            return []
        # Fewer at a time would choose better, and wait longer.
        size = self._n if self._round == 0 else max(1, self._n // 4)
        pairs = [pair for _ in range(min(size, self._pairs_left)) if (pair := self._pick(known)) is not None]
        matches = seated(pairs, self._orders, self._rng, balance=list, round=self._round)
        self._pairs_left = self._pairs_left - len(pairs) if pairs else 0
        self._round += 1
        return matches

    def _pick(self, known: _Knowledge) -> Pair | None:
        """The most telling pair still open, in the order to be shown; None where there is none left."""
        if not self._open.any():
            return None
        apart = self._part[:, None] != self._part[None, :]
        # Parts that have not met cannot be compared at all, so they come first.
        gain = np.where(self._open & apart if apart.any() else self._open, known.gains(), -np.inf)
        # Rounded, so that equal gains are drawn from and not decided by the last bits of a float.
        best = np.flatnonzero(np.round(gain, 9) == np.round(gain.max(), 9))
        first, second = (int(index) for index in divmod(self._rng.choice(best), self._n))
        if self._orders == "balanced":
            first, second = self._turned(first, second)
            self._open[first, second] = False
        else:
            self._open[first, second] = self._open[second, first] = False
        self._part[self._part == self._part[second]] = self._part[first]
        known.expect(first, second)
        return first, second

    def _turned(self, first: int, second: int) -> Pair:
        """Who was first less often is first, unless the pair was shown that way before."""
        if self._open[first, second] and self._open[second, first]:
            return self._balance([(first, second)])[0]
        first, second = (first, second) if self._open[first, second] else (second, first)
        self._balance.lead[first] += 1
        self._balance.lead[second] -= 1
        return first, second


class _Knowledge:
    """What verdicts tell of n strengths and of the position bias: a mean (n + 1,) and a covariance (n + 1, n + 1)."""

    def __init__(self, n: int, judgements: Sequence[Judgement]) -> None:
        self._n = n
        self._precision = np.append(np.full(n, 1 / PRIOR_VARIANCE), 1 / BIAS_VARIANCE)
        design, points = _outcomes(n, judgements)
        self.mean, self.covariance = self._fit(design, points)

    @property
    def unsettled(self) -> float:
        """Share of the spread of strengths that is uncertainty: 0 where they are known, 1 where nothing is.

        One minus the squared correlation to be expected of estimated with true strengths.
        """
        n, covariance = self._n, self.covariance[: self._n, : self._n]
        unknown = (np.trace(covariance) - covariance.sum() / n) / n
        return float(unknown / (unknown + np.var(self.mean[:n])))

    def gains(self) -> FloatArray:
        """(n, n) What the verdict on i, shown first, against j is expected to tell of them."""
        n, spread = self._n, self._spread()
        odds = self.mean[:n, None] - self.mean[None, :n] + self.mean[n]
        # The chance of winning, averaged over what is not known: a normal around `odds`, by MacKay's approximation.
        chance = 1.0 / (1.0 + np.exp(-odds / np.sqrt(1.0 + np.pi * spread / 8.0)))
        gains: FloatArray = np.log1p(chance * (1.0 - chance) * spread)
        return gains

    def expect(self, first: int, second: int) -> None:
        """This match will be played: its verdict, whatever it is, takes that much uncertainty away."""
        direction = self._direction(first, second)
        along = self.covariance @ direction
        spread = direction @ along
        weight = np.expm1(self.gains()[first, second]) / spread
        self.covariance -= np.outer(along, along) * (weight / (1.0 + weight * spread))

    def _direction(self, first: int, second: int) -> FloatArray:
        direction = np.zeros(self._n + 1)
        direction[[first, second, self._n]] = 1.0, -1.0, 1.0
        return direction

    def _spread(self) -> FloatArray:
        """(n, n) Variance of the log-odds that i, shown first, wins against j."""
        n, covariance = self._n, self.covariance
        own, bias = np.diag(covariance)[:n], covariance[:n, n]
        of_pair = own[:, None] + own[None, :] - 2.0 * covariance[:n, :n]
        spread: FloatArray = of_pair + 2.0 * (bias[:, None] - bias[None, :]) + covariance[n, n]
        return spread

    def _fit(self, design: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        mean = np.zeros(self._n + 1)
        for _ in range(NEWTON_STEPS):
            chance = 1.0 / (1.0 + np.exp(-(design @ mean)))
            slope = design.T @ (points - chance) - self._precision * mean
            curvature = (design * (chance * (1.0 - chance))[:, None]).T @ design + np.diag(self._precision)
            step = np.linalg.solve(curvature, slope)
            size = np.ptp(step[:-1]) + abs(step[-1])
            mean += step * (np.log1p(size) / max(size, 1e-300))
            if size < 1e-6:
                break
        return np.asarray(mean, dtype=np.float64), np.asarray(np.linalg.inv(curvature), dtype=np.float64)


def _outcomes(n: int, judgements: Sequence[Judgement]) -> tuple[FloatArray, FloatArray]:
    """Of each verdict, who met whom (m, n + 1) and the points of the one shown first (m,)."""
    told = [one for one in judgements if one.verdict is not None and one.match is not None]
    design = np.zeros((len(told), n + 1))
    design[:, n] = 1.0
    for row, judgement in enumerate(told):
        assert judgement.match is not None
        design[row, judgement.match.first], design[row, judgement.match.second] = 1.0, -1.0
    points = {Verdict.FIRST: 1.0, Verdict.SECOND: 0.0, Verdict.TIE: 0.5}
    return design, np.array([points[one.verdict] for one in told if one.verdict is not None])
