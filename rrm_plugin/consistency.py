"""How far the judgements of one group agree with themselves: between orders, between positions, and round circles.

A judgement without a verdict is left out everywhere. What cannot be told is None, never 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from rrm_plugin.types import Judgement, Match, Verdict

__all__ = ["agreement", "cycles", "first_rate"]


def agreement(judgements: Sequence[Judgement]) -> float | None:
    """Share of the pairs judged in both orders in which both orders name the same winner, or both a tie.

    An order judged more than once says what most of its verdicts say. None where no pair has a verdict in both orders.
    """
    net: dict[tuple[int, int], float] = defaultdict(float)
    for match, points in _decided(judgements):
        net[match.first, match.second] += points
    both = [(points, net[j, i]) for (i, j), points in list(net.items()) if i < j and (j, i) in net]
    if not both:
        return None
    agreed = [np.sign(straight) == -np.sign(swapped) for straight, swapped in both]
    return float(np.mean(agreed))


def first_rate(judgements: Sequence[Judgement]) -> float | None:
    """Share of the matches with a winner that the response shown first won; None where no match has one.

    0.5 is unbiased where every response is shown first as often as second.
    """
    decided = [judgement.verdict for judgement in judgements if judgement.verdict in (Verdict.FIRST, Verdict.SECOND)]
    if not decided:
        return None
    return decided.count(Verdict.FIRST) / len(decided)


def cycles(n: int, judgements: Sequence[Judgement]) -> int:
    """Triples of `n` candidates that beat each other in a circle; a pair is won by who won more of its matches.

    Triples in which a pair was not judged, or came out even, are no cycles.
    """
    net = np.zeros((n, n))
    for match, points in _decided(judgements):
        net[match.first, match.second] += points
        net[match.second, match.first] -= points
    beats = (net > 0).astype(np.float64)
    # Closed walks of three steps: each circle is counted from each of its three members.
    return round(float(np.sum((beats @ beats) * beats.T)) / 3)


def _decided(judgements: Sequence[Judgement]) -> Iterator[tuple[Match, float]]:
    """Matches that have a verdict, with 1 for a win of the first shown, -1 for a loss, 0 for a tie."""
    points = {Verdict.FIRST: 1.0, Verdict.SECOND: -1.0, Verdict.TIE: 0.0}
    for judgement in judgements:
        if judgement.verdict is not None and judgement.match is not None:
            yield judgement.match, points[judgement.verdict]
