"""What the verdicts so far say of pairs and of candidates."""

from __future__ import annotations

from collections.abc import Iterable

from rrm_plugin.schedules._orders import Pair
from rrm_plugin.types import Judgement, Verdict

__all__ = ["net", "points"]


def net(judgements: Iterable[Judgement]) -> dict[Pair, float]:
    """Mean result of each pair with a verdict, in [-1, 1]: above 0 the lower index won more."""
    results: dict[Pair, list[float]] = {}
    for judgement in judgements:
        if judgement.verdict is None or judgement.match is None:
            continue
        winner = {Verdict.FIRST: 1.0, Verdict.SECOND: -1.0, Verdict.TIE: 0.0}[judgement.verdict]
        straight = judgement.match.first < judgement.match.second
        results.setdefault(judgement.match.pair, []).append(winner if straight else -winner)
    return {pair: sum(values) / len(values) for pair, values in results.items()}


def points(judgements: Iterable[Judgement], n: int) -> list[float]:
    """Points of each candidate: 1 for a pair won, -1 for one lost, less for a split; a bye and no verdict give 0."""
    totals = [0.0] * n
    for (low, high), result in net(judgements).items():
        totals[low] += result
        totals[high] -= result
    return totals
