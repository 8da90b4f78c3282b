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

_WEAK = 1e-6
"""A prior below this leaves to rounding errors what the verdicts do not determine, so that is then looked for."""
_CERTAIN = 25.0
"""Log-odds beyond which, without a prior, a pair counts as won for certain: the likelihood has no maximum."""


@dataclass(frozen=True, kw_only=True)
class BradleyTerry:
    """See `rrm_plugin.reducers.bradley_terry`."""

    prior: float = 1.0
    position_bias: bool = False
    tolerance: float = 1e-8
    max_iterations: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.prior < np.inf:
            raise ConfigError(f"bradley_terry prior={self.prior!r} must be 0 (none) or a number above 0")
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
        self.shown = tally.shown
        self.points = tally.won + 0.5 * tally.tied
        self.prior = prior
        self.bias = bias
        b, n = tally.played.shape
        self.shape = b, n + bias
        self.solvable = np.ones(b, dtype=np.bool_)
        """Whether a finite, unique maximum can exist; always with a prior."""
        self.gauge = np.zeros((b, n + bias, n + bias))
        """Added to the curvature where the prior does not make it regular; changes no step that is determined."""
        if prior < _WEAK:
            self._regularise(tally)

    def _regularise(self, tally: Tally) -> None:
        n = tally.played.shape[1]
        beaten = tally.wins + tally.draws > 0
        together = _reachable(beaten | beaten.swapaxes(1, 2))
        # Strengths of candidates that no chain of matches connects can be shifted freely: this holds each part's mean.
        self.gauge[:, :n, :n] = together / together.sum(axis=2, keepdims=True)
        if self.prior > 0:
            return
        scored = tally.played > 0
        chained = _reachable(beaten) | ~(scored[:, :, None] & scored[:, None, :])
        self.solvable = chained.all(axis=(1, 2))
        if self.bias:
            everyone = np.arange(len(self.shown))
            _, curvature = self.slopes(np.zeros(self.shape), everyone)
            distinct = np.linalg.eigvalsh(curvature)[:, 0] > 1e-9
            # Strengths and bias confounded, as where one candidate is second in all its matches.
            self.gauge[~distinct] += np.eye(n + 1)
            self.solvable &= distinct

    def log_odds(self, parameters: FloatArray) -> FloatArray:
        """(b, n, n) Log-odds of i, shown first, against j."""
        n = self.shown.shape[1]
        log_odds = parameters[:, :n, None] - parameters[:, None, :n]
        return log_odds + parameters[:, n, None, None] if self.bias else log_odds

    def slopes(self, parameters: FloatArray, groups: IntArray) -> tuple[FloatArray, FloatArray]:
        """Gradient (b, m) and curvature, the negative Hessian (b, m, m), of some `groups` at their `parameters`."""
        n = self.shown.shape[1]
        shown = self.shown[groups]
        expected = 1.0 / (1.0 + np.exp(-self.log_odds(parameters)))
        weight = shown * expected
        residual = self.points[groups] - weight
        weight *= 1.0 - expected
        gradient = -self.prior * parameters
        gradient[:, :n] += _rows(residual) - _columns(residual)
        curvature = self.gauge[groups]
        curvature[:, :n, :n] -= weight + weight.swapaxes(1, 2)
        diagonal = np.einsum("bii->bi", curvature)
        diagonal += self.prior
        diagonal[:, :n] += _rows(weight) + _columns(weight)
        if self.bias:
            gradient[:, n] += residual.sum(axis=(1, 2))
            curvature[:, :n, n] += _rows(weight) - _columns(weight)
            curvature[:, n, :n] = curvature[:, :n, n]
            curvature[:, n, n] += weight.sum(axis=(1, 2))
        return gradient, curvature

    def bounded(self, parameters: FloatArray, groups: IntArray) -> BoolArray:
        """(b,) Whether the strengths have stayed where a maximum can still be."""
        if self.prior > 0:
            return np.ones(len(groups), dtype=np.bool_)
        return ~np.any((np.abs(self.log_odds(parameters)) > _CERTAIN) & (self.shown[groups] > 0), axis=(1, 2))


def _maximum(problem: _Problem, tolerance: float, max_iterations: int) -> tuple[FloatArray, BoolArray, IntArray]:
    """Parameters (b, m), whether they are the maximum (b,), and the iterations taken (b,).

    Newton steps d, cut to ln(1 + s) / s of their length, with s the largest change of a log-odds along d. The logistic
    loss has |f'''| <= s f'' along any such line, and for these functions that length is sure to increase the posterior
    (Sun and Tran-Dinh 2019, generalised self-concordance); near the maximum it tends to the full step. Each group stops
    on its own, so that what comes out of it does not depend on the groups beside it.
    """
    parameters = np.zeros(problem.shape)
    converged = np.zeros(problem.shape[0], dtype=np.bool_)
    iterations = np.zeros(problem.shape[0], dtype=np.intp)
    n = problem.shown.shape[1]
    running = np.arange(problem.shape[0])
    for _ in range(max_iterations if n else 0):
        running = running[problem.bounded(parameters[running], running)]
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
    return parameters, converged & problem.solvable, iterations


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
