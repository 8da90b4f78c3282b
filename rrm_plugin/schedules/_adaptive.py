"""Matches chosen one round after another for what they are expected to tell about the strengths of the candidates.

Strengths and the judge's liking for the first position have a Gaussian prior and verdicts the Bradley-Terry model, as
in the reducer of that name; what is known of them after each round is a Gaussian around the most probable strengths
(Laplace's approximation). The next match is the one whose verdict is expected to tell most, and the next after that
takes into account that the first will be played.

The first n - 1 matches connect everybody, round by round: candidates connected by matches are a part, and the best of
one part meets the best of another. That is a knockout: a good beginning for the order of the whole group, and by far
the best for knowing who comes first. Later rounds ask where the order is in doubt.

A group ends before its budget where further calls are not worth their price, which is the same for all groups: so calls
go where they tell most, although no group has to wait for another or to know of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrm_plugin.errors import ConfigError
from rrm_plugin.schedules._base import Stepper, at_least
from rrm_plugin.schedules._orders import Orders, Pair, RunningBalance, coin, per_pair, seated
from rrm_plugin.specs import number
from rrm_plugin.types import Judgement, Match

__all__ = ["Adaptive"]

CALLS_PER_CANDIDATE = 3
PRIOR_VARIANCE = 4.0
"""Of a strength, in squared log-odds: wider than the reducer's, since who expects close matches alone asks anywhere."""
BIAS_VARIANCE = 1.0
NEWTON_STEPS = 25
SHARE_OF_ROUND = 4
"""Once everybody is connected, a round has one match for so many candidates."""
SECOND_LOOK = 0.8
"""What the other order of a pair is taken to be worth, of what it would be if a judge did not repeat its errors."""

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """See `rrm_plugin.schedules.adaptive`."""

    budget: int | None = None
    least_gain: float = 0.01

    def __post_init__(self) -> None:
        if self.budget is not None:
            at_least(1, "adaptive calls", self.budget)
        if not 0 <= self.least_gain < 1:
            raise ConfigError(f"adaptive least_gain={self.least_gain!r} must be a number from 0 to below 1")

    @property
    def name(self) -> str:
        limits = [] if self.budget is None else [str(self.budget)]
        if self.least_gain != Adaptive.least_gain:
            limits = [*(limits or ["auto"]), number(self.least_gain)]
        return ":".join(["adaptive", *([",".join(limits)] if limits else [])])

    @property
    def needs_reference(self) -> bool:
        return False

    def start(self, n: int, orders: Orders, rng: np.random.Generator) -> Stepper:
        return _AdaptiveStepper(n, self.calls(n, orders), self.least_gain, orders, rng)

    def calls(self, n: int, orders: Orders) -> int:
        budget = CALLS_PER_CANDIDATE * n if self.budget is None else self.budget
        # Under `random` and `fixed` the order is not the schedule's to choose, so a pair is met once.
        most = n * (n - 1) // (1 if orders in ("both", "balanced") else 2)
        if n > 1 and budget < per_pair(orders):
            raise ConfigError(f"schedule={self.name!r} with orders={orders!r} needs a budget of at least 2 calls")
        return min(budget - budget % per_pair(orders), most)


class _AdaptiveStepper:
    def __init__(self, n: int, calls: int, least_gain: float, orders: Orders, rng: np.random.Generator) -> None:
        self._n = n
        self._pairs_left = calls // per_pair(orders)
        self._least_gain = least_gain
        self._orders: Orders = orders
        self._rng = rng
        self._toss = coin(rng)
        self._balance = RunningBalance(n)
        self._round = 0
        self._open = ~np.eye(n, dtype=bool)
        """(n, n) Whether i may still be shown first against j."""
        self._part = np.arange(n)
        """(n,) Candidates that matches connect have the same number."""
        self._lots = rng.permutation(n)
        """(n,) Decide between the equally good of a part."""
        self._known = _Knowledge(n)

    def next_matches(self, judgements: Sequence[Judgement]) -> list[Match]:
        if self._pairs_left <= 0:
            return []
        known = self._known
        known.learn(judgements)
        leaders = self._leaders()
        before = known.expected_correlation
        connected = len(leaders) < 2
        pairs = self._telling() if connected else self._connecting(leaders)
        gain = known.expected_correlation - before
        if connected and pairs and gain * self._n < self._least_gain * len(pairs) * per_pair(self._orders):
            pairs = []
        matches = seated(pairs, self._orders, self._toss, balance=lambda pairs, _: list(pairs), round=self._round)
        self._pairs_left = self._pairs_left - len(pairs) if pairs else 0
        self._round += 1
        return matches

    def _leaders(self) -> NDArray[np.intp]:
        """The best of each part."""
        best_first = np.lexsort((self._lots, -np.round(self._known.mean[:-1], 9)))
        return best_first[np.unique(self._part[best_first], return_index=True)[1]]

    def _connecting(self, leaders: NDArray[np.intp]) -> list[Pair]:
        """Pairs of parts, each by its best."""
        waiting = np.zeros(self._n, dtype=bool)
        waiting[leaders] = True
        pairs: list[Pair] = []
        for _ in range(min(len(leaders) // 2, self._pairs_left)):
            first, second = self._pick(waiting[:, None] & waiting[None, :] & self._open)
            waiting[[first, second]] = False
            self._part[self._part == self._part[second]] = self._part[first]
            pairs.append((first, second))
        return pairs

    def _telling(self) -> list[Pair]:
        """The pairs that tell most, of any still open."""
        pairs: list[Pair] = []
        # Fewer at a time would choose better, and wait longer.
        for _ in range(min(max(1, self._n // SHARE_OF_ROUND), self._pairs_left)):
            if not self._open.any():
                break
            pairs.append(self._pick(self._open))
        return pairs

    def _pick(self, allowed: BoolArray) -> Pair:
        """The most telling of the pairs allowed, in the order to be shown."""
        gains = self._known.gains() * np.where(self._open & self._open.T, 1.0, SECOND_LOOK)
        # Rounded, so that equal gains are drawn from and not decided by the last bits of a float.
        gain = np.where(allowed, np.round(gains, 9), -np.inf)
        first, second = (int(i) for i in divmod(self._rng.choice(np.flatnonzero(gain == gain.max())), self._n))
        if self._orders == "balanced":
            first, second = self._turned(first, second)
            self._open[first, second] = False
        else:
            self._open[first, second] = self._open[second, first] = False
        self._known.expect(first, second, gains[first, second])
        return first, second

    def _turned(self, first: int, second: int) -> Pair:
        """Who was first less often is first, unless the pair was shown that way before."""
        if self._open[first, second] and self._open[second, first]:
            return self._balance([(first, second)], self._toss)[0]
        first, second = (first, second) if self._open[first, second] else (second, first)
        self._balance.lead[first] += 1
        self._balance.lead[second] -= 1
        return first, second


class _Knowledge:
    """What verdicts tell of n strengths and of the position bias: a mean (n + 1,) and a covariance (n + 1, n + 1)."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._precision = np.append(np.full(n, 1 / PRIOR_VARIANCE), 1 / BIAS_VARIANCE)
        self.mean = np.zeros(n + 1)
        self.covariance = np.diag(1 / self._precision)
        self._spread_of_strengths = self._unknown()

    @property
    def expected_correlation(self) -> float:
        """Of estimated with true strengths, from 0 to 1, after the verdicts learnt and those expected."""
        # What is not uncertainty any more is known: the spread to be expected of true strengths stays the same.
        return float(np.sqrt(max(0.0, 1.0 - self._unknown() / self._spread_of_strengths)))

    def _unknown(self) -> float:
        """Mean variance of the strengths, their common level aside."""
        n, covariance = self._n, self.covariance[: self._n, : self._n]
        return float(np.trace(covariance) - covariance.sum() / max(n, 1)) / max(n, 1)

    def learn(self, judgements: Sequence[Judgement]) -> None:
        """Takes all verdicts so far into account, and nothing else: what was expected of matches is forgotten."""
        won, lost = _outcomes(self._n, judgements)
        # Steps from the last estimate, which is near. Their length is explained in the reducer.
        for _ in range(NEWTON_STEPS):
            slope, curvature = self._slopes(won, lost)
            step = np.linalg.solve(curvature, slope)
            size = np.ptp(step[:-1]) + abs(step[-1])
            self.mean = self.mean + step * (np.log1p(size) / max(size, 1e-300))
            # What is left after a step is of the order of its square.
            if size < 1e-4:
                break
        self.covariance = np.linalg.inv(self._slopes(won, lost)[1])
        self._spread_of_strengths = self._unknown() + float(np.var(self.mean[: self._n]))

    def gains(self) -> FloatArray:
        """(n, n) What the verdict on i, shown first, against j is expected to tell.

        The share of the variance of their log-odds that is expected to go. A verdict y of 1 or 0 leaves the log-odds z,
        on average and at best linearly read, with the variance Var z - Cov(z, y)^2 / Var y. Here Var y = p (1 - p), p
        being the chance of winning averaged over a normal z, and Cov(z, y) = Var z dp / dE z; both by MacKay's
        approximation of p.
        """
        n, spread = self._n, self._spread()
        odds = self.mean[:n, None] - self.mean[None, :n] + self.mean[n]
        flatter = 1.0 / (1.0 + np.pi * spread / 8.0)
        chance = 1.0 / (1.0 + np.exp(-odds * np.sqrt(flatter)))
        gains: FloatArray = spread * flatter * chance * (1.0 - chance)
        return gains

    def expect(self, first: int, second: int, gain: float) -> None:
        """This match will be played: its verdict, whatever it is, takes that share of uncertainty away."""
        direction = np.zeros(self._n + 1)
        direction[[first, second, self._n]] = 1.0, -1.0, 1.0
        along = self.covariance @ direction
        self.covariance -= np.outer(along, along) * (gain / (direction @ along))

    def _spread(self) -> FloatArray:
        """(n, n) Variance of the log-odds that i, shown first, wins against j."""
        n, covariance = self._n, self.covariance
        own, bias = np.diag(covariance)[:n], covariance[:n, n]
        of_pair = own[:, None] + own[None, :] - 2.0 * covariance[:n, :n]
        spread: FloatArray = of_pair + 2.0 * (bias[:, None] - bias[None, :]) + covariance[n, n]
        return spread

    def _slopes(self, won: FloatArray, lost: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient (n + 1,) and curvature (n + 1, n + 1) of the log-posterior at the mean."""
        n, mean = self._n, self.mean
        chance = 1.0 / (1.0 + np.exp(mean[None, :n] - mean[:n, None] - mean[n]))
        residual = won * (1.0 - chance) - lost * chance
        weight = (won + lost) * chance * (1.0 - chance)
        slope = -self._precision * mean
        slope[:n] += residual.sum(axis=1) - residual.sum(axis=0)
        slope[n] += residual.sum()
        as_first, as_second = weight.sum(axis=1), weight.sum(axis=0)
        curvature = np.diag(self._precision)
        curvature[:n, :n] += np.diag(as_first + as_second) - weight - weight.T
        curvature[:n, n] = curvature[n, :n] = as_first - as_second
        curvature[n, n] += weight.sum()
        return slope, curvature


def _outcomes(n: int, judgements: Sequence[Judgement]) -> tuple[FloatArray, FloatArray]:
    """(n, n) Matches that i, shown first, won against j, and lost; a tie is half of each, a chance its share."""
    won, lost = np.zeros((n, n)), np.zeros((n, n))
    for judgement in judgements:
        points = judgement.points
        if points is None or judgement.match is None:
            continue
        won[judgement.match.first, judgement.match.second] += points
        lost[judgement.match.first, judgement.match.second] += 1.0 - points
    return won, lost
