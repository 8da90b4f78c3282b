"""What the verdicts so far say of pairs and of candidates."""

from __future__ import annotations

from collections.abc import Iterable

from rrm_plugin.schedules._orders import Pair
from rrm_plugin.types import Judgement

__all__ = ["net", "points"]


def net(judgements: Iterable[Judgement]) -> dict[Pair, float]:
    """Mean result of each pair with a verdict, in [-1, 1]: above 0 the lower index won more."""
    results: dict[Pair, list[float]] = {}
    for judgement in judgements:
        share = judgement.points
        if share is None or judgement.match is None:
            continue
        result = 2.0 * share - 1.0
        straight = judgement.match.first < judgement.match.second
        results.setdefault(judgement.match.pair, []).append(result if straight else -result)
    # Rounded, so that a pair whose chances are even is not decided by the last bit of their sum.
    return {pair: round(sum(values) / len(values), 9) for pair, values in results.items()}


def points(judgements: Iterable[Judgement], n: int) -> list[float]:
    """Points of each candidate: 1 for a pair won, -1 for one lost, less for a split; a bye and no verdict give 0."""
    totals = [0.0] * n
    for (low, high), result in net(judgements).items():
        totals[low] += result
        totals[high] -= result
    return totals
