"""Bradley-Terry strengths: the most probable ones given the verdicts, under a Gaussian prior, by Newton's method.

The model: the first shown candidate i wins against j with the probability 1 / (1 + exp(-(x_i - x_j + b))), b being the
position bias, 0 unless asked for. A tie counts as half a win of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rrm_plugin.errors import ConfigError
from rrm_plugin.reducers._outcomes import (
    BoolArray,
    FloatArray,
    IntArray,
    Outcomes,
    Rated,
    Ratings,
    Tally,
    rated_by_tally,
)
from rrm_plugin.specs import number

__all__ = ["BradleyTerry"]

_LEAST_PRIOR = 1e-6
"""Below this, rounding errors would move what only the prior determines."""
_STAND_IN_PRIOR = 0.01
"""Where no prior was asked for and the likelihood has no maximum."""


@dataclass(frozen=True, kw_only=True)
class BradleyTerry:
    """See `rrm_plugin.reducers.bradley_terry`."""

    prior: float = 1.0
    position_bias: bool = False
    tolerance: float = 1e-8
    max_iterations: int = 50

    def __post_init__(self) -> None:
        if self.prior != 0 and not _LEAST_PRIOR <= self.prior < np.inf:
            raise ConfigError(f"bradley_terry prior={self.prior!r} must be 0 (none) or at least {_LEAST_PRIOR}")
        if not 0 < self.tolerance < np.inf:
            raise ConfigError(f"bradley_terry tolerance={self.tolerance!r} must be a number above 0")
        if self.max_iterations < 1:
            raise ConfigError(f"bradley_terry max_iterations={self.max_iterations!r} must be at least 1")

    @property
    def name(self) -> str:
        return f"bradley_terry:{number(self.prior)}" + (":position_bias" if self.position_bias else "")

    @property
    def unit(self) -> str:
        return "natural log-odds, mean 0 over the group: of two, the difference gives the odds of winning"

    def __call__(self, outcomes: Outcomes) -> Ratings:
        return rated_by_tally(outcomes, self._strengths)

    def _strengths(self, tally: Tally) -> Rated:
        problem = _Problem(tally, self.prior, self.position_bias)
        found, converged, iterations = _maximum(problem, self.tolerance, self.max_iterations)
        n = tally.played.shape[1]
        scored = tally.played > 0
        mean = np.sum(found[:, :n], axis=1, where=scored) / np.maximum(scored.sum(axis=1), 1)
        return Rated(
            values=found[:, :n] - mean[:, None],
            converged=converged,
            iterations=iterations,
            position_bias=found[:, n] if self.position_bias else None,
        )


class _Problem:
    """The log-posterior of b groups in their parameters (b, m): n strengths, then the bias if there is one."""

    def __init__(self, tally: Tally, prior: float, bias: bool) -> None:
        b, n = tally.played.shape
        self.shape = b, n + bias
        self.bias = bias
        self.won = tally.won + 0.5 * tally.tied
        self.lost = tally.lost + 0.5 * tally.tied
        self.prior = np.full(b, float(prior))
        self.empty = ~np.any(tally.played > 0, axis=1)
        """Groups without a verdict: nothing to be found."""
        self.solvable = np.ones(b, dtype=np.bool_)
        """Whether there is one finite maximum; always so with a prior."""
        self.gauge = np.zeros((b, n + bias, n + bias))
        """Added to the curvature without a prior: holds what can be shifted freely, and changes no other step."""
        if prior == 0:
            self.solvable = _has_maximum(tally, bias)
            self.prior[~self.solvable] = _STAND_IN_PRIOR
            scored = (tally.played > 0).astype(np.float64)
            self.gauge[:, :n, :n] = (
                scored[:, :, None] * scored[:, None, :] / np.maximum(scored.sum(axis=1), 1.0)[:, None, None]
            )
            self.gauge[:, :n, :n] += np.eye(n) * (1.0 - scored[:, :, None])

    def slopes(self, parameters: FloatArray, groups: IntArray) -> tuple[FloatArray, FloatArray]:
        """Gradient (b, m) and curvature, the negative Hessian (b, m, m), of some `groups` at their `parameters`."""
        n = self.won.shape[1]
        log_odds = parameters[:, :n, None] - parameters[:, None, :n]
        if self.bias:
            log_odds += parameters[:, n, None, None]
        against = np.exp(-log_odds)
        expected = 1.0 / (1.0 + against)
        # Not 1 - expected, which has lost its digits where the odds are long; the residual is small there too.
        against *= expected
        won, lost = self.won[groups], self.lost[groups]
        residual = won * against - lost * expected
        weight = (won + lost) * (expected * against)
        gradient = -self.prior[groups, None] * parameters
        gradient[:, :n] += _rows(residual) - _columns(residual)
        curvature = self.gauge[groups]
        curvature[:, :n, :n] -= weight + weight.swapaxes(1, 2)
        diagonal = np.einsum("bii->bi", curvature)
        diagonal += self.prior[groups, None]
        diagonal[:, :n] += _rows(weight) + _columns(weight)
        if self.bias:
            gradient[:, n] += residual.sum(axis=(1, 2))
            curvature[:, :n, n] += _rows(weight) - _columns(weight)
            curvature[:, n, :n] = curvature[:, :n, n]
            curvature[:, n, n] += weight.sum(axis=(1, 2))
        return gradient, curvature


def _maximum(problem: _Problem, tolerance: float, max_iterations: int) -> tuple[FloatArray, BoolArray, IntArray]:
    """Parameters (b, m), whether they are the maximum (b,), and the iterations taken (b,).

    Newton steps d, cut to ln(1 + s) / s of their length, with s the largest change of a log-odds along d. The logistic
    loss has |f'''| <= s f'' along any such line, and for these functions that length is sure to increase the posterior
    (Sun and Tran-Dinh 2019, generalised self-concordance); near the maximum it tends to the full step. Each group stops
    on its own, so that what comes out of it does not depend on the groups beside it.
    """
    b, m = problem.shape
    n = m - problem.bias
    parameters = np.zeros((b, m))
    converged = problem.empty.copy()
    iterations = np.zeros(b, dtype=np.intp)
    running = np.flatnonzero(~converged)
    for _ in range(max_iterations):
        if not len(running):
            break
        gradient, curvature = problem.slopes(parameters[running], running)
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        change = np.ptp(step[:, :n], axis=1) + (np.abs(step[:, n]) if problem.bias else 0.0)
        parameters[running] += step * (np.log1p(change) / np.maximum(change, 1e-300))[:, None]
        iterations[running] += 1
        done = change < tolerance
        converged[running[done]] = True
        running = running[~done]
    return parameters, converged & (problem.solvable | problem.empty), iterations


def _has_maximum(tally: Tally, bias: bool) -> BoolArray:
    """(b,) Whether the likelihood has one finite maximum.

    It has none if the parameters can move without end and no verdict becomes less likely. For the strengths, that is so
    unless every candidate leads to every other by a chain of wins (Ford 1957). For the bias, say upwards by 1, a win
    shown first lets the loser rise by up to 1 against the winner, and a win shown second makes it fall by 1 or more:
    strengths that follow exist unless these steps, along a circle of wins, sum to less than 0. Downwards, signs change.
    """
    beaten = tally.wins + tally.draws > 0
    scored = tally.played > 0
    chained = _reachable(beaten) | ~(scored[:, :, None] & scored[:, None, :])
    exists: BoolArray = np.all(chained, axis=(1, 2))
    if bias:
        as_first = tally.won + tally.tied > 0
        as_second = (tally.lost + tally.tied > 0).swapaxes(1, 2)
        for up in (1.0, -1.0):
            steps = np.minimum(np.where(as_first, up, np.inf), np.where(as_second, -up, np.inf))
            exists = exists & _has_negative_circle(steps)
    return exists


def _has_negative_circle(steps: FloatArray) -> BoolArray:
    """(b,) Whether a closed walk along steps (b, n, n) of -1, 1 or infinity has a sum below 0 (Floyd and Warshall)."""
    n = steps.shape[1]
    # Bounded, since walks round a negative circle shrink without end, and infinity less infinity is no number.
    shortest = np.minimum(steps, 4.0 * n)
    for via in range(n):
        shortest = np.minimum(shortest, shortest[:, :, via, None] + shortest[:, None, via, :])
        np.maximum(shortest, -4.0 * n, out=shortest)
    return np.einsum("bii->bi", shortest).min(axis=1, initial=0.0) < 0


def _reachable(edges: BoolArray) -> BoolArray:
    """Which candidate leads to which by any number of steps, none included: (b, n, n) from (b, n, n)."""
    n = edges.shape[1]
    reach = edges | np.eye(n, dtype=np.bool_)
    for _ in range(max(n - 1, 0).bit_length()):
        paths = reach.astype(np.float32)
        reach = paths @ paths > 0
    return reach


def _rows(cells: FloatArray) -> FloatArray:
    # einsum, since a sum over so short an axis is three times as slow.
    return np.einsum("bij->bi", cells)


def _columns(cells: FloatArray) -> FloatArray:
    return np.einsum("bij->bj", cells)
