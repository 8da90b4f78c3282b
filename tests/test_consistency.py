from __future__ import annotations

import itertools

import numpy as np
import pytest

from rrm_plugin.consistency import agreement, cycles, first_rate
from rrm_plugin.types import Judgement, Match, Reason, Verdict

FIRST, SECOND, TIE = Verdict.FIRST, Verdict.SECOND, Verdict.TIE


def said(first: int, second: int, verdict: Verdict | None) -> Judgement:
    reason = None if verdict else Reason.NO_VERDICT
    return Judgement(verdict=verdict, reason=reason, match=Match(first=first, second=second))


@pytest.mark.parametrize(
    ("straight", "swapped", "expected"),
    [
        (FIRST, SECOND, 1.0),
        (SECOND, FIRST, 1.0),
        (TIE, TIE, 1.0),
        (FIRST, FIRST, 0.0),
        (SECOND, SECOND, 0.0),
        (FIRST, TIE, 0.0),
        (TIE, SECOND, 0.0),
        (FIRST, None, None),
        (None, None, None),
    ],
)
def test_agreement_of_one_pair(straight: Verdict | None, swapped: Verdict | None, expected: float | None) -> None:
    assert agreement([said(0, 1, straight), said(1, 0, swapped)]) == expected
    assert agreement([said(1, 0, straight), said(0, 1, swapped)]) == expected


def test_agreement_counts_only_pairs_judged_in_both_orders() -> None:
    judgements = [said(0, 1, FIRST), said(1, 0, SECOND), said(1, 2, FIRST), said(2, 1, FIRST), said(0, 2, FIRST)]
    assert agreement(judgements) == 0.5
    assert agreement([*judgements, said(2, 0, None)]) == 0.5
    assert agreement([said(0, 1, FIRST)]) is None
    assert agreement([]) is None
    assert type(agreement(judgements)) is float


def test_agreement_takes_the_majority_of_an_order() -> None:
    repeated = [said(0, 1, FIRST), said(0, 1, SECOND), said(0, 1, FIRST), said(1, 0, SECOND)]
    assert agreement(repeated) == 1.0


def test_first_rate() -> None:
    assert first_rate([said(0, 1, FIRST), said(1, 0, FIRST), said(1, 2, SECOND), said(0, 2, TIE)]) == 2 / 3
    assert first_rate([said(0, 1, TIE), said(0, 1, None)]) is None
    assert first_rate([]) is None


def test_cycles_golden() -> None:
    circle = [said(0, 1, FIRST), said(1, 2, FIRST), said(2, 0, FIRST)]
    assert cycles(3, circle) == 1
    assert cycles(3, [*circle[:2], said(2, 0, SECOND)]) == 0
    assert cycles(3, [*circle[:2], said(2, 0, TIE)]) == 0
    assert cycles(3, [*circle[:2], said(2, 0, None)]) == 0
    assert cycles(3, [*circle, said(0, 2, FIRST)]) == 0
    assert cycles(0, []) == cycles(2, [said(0, 1, FIRST)]) == 0


@pytest.mark.parametrize("n", [3, 7, 64])
def test_cycles_are_counted_exactly(n: int) -> None:
    rng = np.random.default_rng(n)
    verdicts = [FIRST, SECOND, TIE, None]
    judgements = [
        said(i, j, verdicts[int(rng.integers(4))]) for i, j in itertools.permutations(range(n), 2) if rng.random() < 0.9
    ]
    net: dict[tuple[int, int], int] = {}
    for judgement in judgements:
        assert judgement.match is not None
        i, j = judgement.match.first, judgement.match.second
        points = {FIRST: 1, SECOND: -1}.get(judgement.verdict, 0) if judgement.verdict else 0
        net[i, j] = net.get((i, j), 0) + points
        net[j, i] = net.get((j, i), 0) - points

    def beats(i: int, j: int) -> bool:
        return net.get((i, j), 0) > 0

    expected = sum(
        (beats(a, b) and beats(b, c) and beats(c, a)) or (beats(a, c) and beats(c, b) and beats(b, a))
        for a, b, c in itertools.combinations(range(n), 3)
    )
    assert cycles(n, judgements) == expected
