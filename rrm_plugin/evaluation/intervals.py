"""How far a mean over questions can be trusted: bootstrap over questions, not over samples.

Several samples of one question are not independent of each other: what they have in common is the question. So a
question's mean is one number, and the questions are drawn anew, with repetition. The percentiles of the means of such
draws are the interval (Efron's percentile bootstrap). Left out: what cannot be estimated from the questions at hand,
such as whether they are like those that matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rrm_plugin.errors import ConfigError

__all__ = ["LEVEL", "PairedDifference", "bootstrap_interval", "paired_difference", "weighted_interval"]

LEVEL = 0.95
RESAMPLES = 10_000
_AT_A_TIME = 4_000_000
"""Numbers drawn at a time: 32 MB."""


def bootstrap_interval(
    values: Sequence[float] | npt.NDArray[np.floating],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The interval of a mean.

    Args:
        values: one number a question, (questions,).
        level: share of the resampled means inside.
        resamples: times that the questions are drawn anew.
        seed: of the draws; equal seeds and values give equal intervals.

    Returns:
        Its ends, or None where nothing can be said: of fewer than two questions, or where all values are the same, so
        that every draw is like every other and the interval would have no width.

    Raises:
        ConfigError: the level is not between 0 and 1, or there are no resamples.
    """
    if not 0 < level < 1 or resamples < 1:
        raise ConfigError(f"an interval needs a level between 0 and 1 and resamples, not {level!r} and {resamples!r}")
    given = np.asarray(values, dtype=np.float64)
    if len(given) < 2 or np.all(given == given[0]):
        return None
    means = _resampled_means(given, resamples, np.random.default_rng(seed))
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def weighted_interval(
    parts: Sequence[tuple[float, Sequence[float]]],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The interval of a weighted sum of means, such as the mean of several subsets' accuracies.

    Args:
        parts: a weight, and one number a question; the questions of each part are drawn anew by themselves.
        level, resamples, seed: as in `bootstrap_interval`.

    Returns:
        Its ends, or None where every part has one question, or all values of each part are the same.
    """
    random = np.random.default_rng(seed)
    given = [(weight, np.asarray(values, dtype=np.float64)) for weight, values in parts if len(values)]
    if all(np.all(values == values[0]) for _, values in given):
        return None
    sums = np.sum([weight * _resampled_means(values, resamples, random) for weight, values in given], axis=0)
    tail = (1 - level) / 2
    low, high = np.quantile(sums, [tail, 1 - tail])
    return float(low), float(high)


_FEW = 64
"""Distinct values up to which their counts are drawn instead of each question."""


def _resampled_means(values: npt.NDArray[np.float64], resamples: int, random: np.random.Generator) -> np.ndarray:
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= _FEW:
        # How often each value is drawn is multinomial: the same distribution, at a cost that does not grow with n.
        drawn = random.multinomial(len(values), counts / len(values), size=resamples)
        return drawn @ distinct / len(values)
    rows = max(1, _AT_A_TIME // len(values))
    parts = [
        values[random.integers(0, len(values), (min(rows, resamples - start), len(values)))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """What two runs over the same questions differ by."""

    questions: int
    """That both runs have."""
    difference: float | None
    """Of the mean accuracies on these, this one's less the other's; None where they share no question."""
    interval: tuple[float, float] | None
    better: int
    """Questions on which this run is right more often."""
    worse: int


def paired_difference(
    this: Mapping[str, float], other: Mapping[str, float], *, level: float = LEVEL, seed: int = 0
) -> PairedDifference:
    """The difference of two runs, question by question, which takes out that some questions are harder than others.

    Args:
        this, other: a question's mean by its id.
        level, seed: of the interval.
    """
    common = [name for name in this if name in other]
    differences = np.array([this[name] - other[name] for name in common])
    return PairedDifference(
        questions=len(common),
        difference=float(differences.mean()) if common else None,
        interval=bootstrap_interval(differences, level=level, seed=seed) if common else None,
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
    )
