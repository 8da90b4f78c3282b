"""What the benchmarks' own figures are made of: accuracies of groups of pairs, and means of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from rrm_plugin.evaluation.scores import JudgedPair, units

__all__ = ["accuracies", "accuracy", "best_of_all", "by", "mean"]


def accuracy(judged: Sequence[JudgedPair]) -> float | None:
    """Mean over pairs and orders; None of no pairs."""
    return float(np.mean([one.accuracy for one in judged])) if judged else None


def accuracies(judged: Sequence[JudgedPair]) -> list[float]:
    """One number a question, whose mean is the mean over pairs."""
    return list(units(judged, [one.accuracy for one in judged]).values())


def best_of_all(pairs: Sequence[JudgedPair]) -> float:
    """Whether the better response of a question wins all of its pairs, in the mean over the orders."""
    return float(np.mean([np.prod([one.right(swapped) for one in pairs]) for swapped in pairs[0].orders]))


def by(judged: Iterable[JudgedPair], key: Callable[[JudgedPair], str]) -> dict[str, list[JudgedPair]]:
    """The pairs by what `key` makes of each, in the order in which they come."""
    groups: dict[str, list[JudgedPair]] = {}
    for one in judged:
        groups.setdefault(key(one), []).append(one)
    return groups


def mean(parts: Mapping[str, float | None] | Iterable[float | None]) -> float | None:
    """Mean of the parts, None where one is missing or there is none: a mean of the rest would be another figure."""
    values = list(parts.values() if isinstance(parts, Mapping) else parts)
    if not values or any(value is None for value in values):
        return None
    return float(np.mean([value for value in values if value is not None]))
