"""What judged pairs amount to: every number against a hand count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin.evaluation.scores import agreement, counted, units, worth
from rrm_plugin.types import Verdict
from tests.evaluation.judged import MARKS, judged


@pytest.mark.parametrize(
    ("votes", "label", "value"),
    [
        ("1", "1", 1.0),
        ("1", "2", 0.0),
        ("?", "1", 0.0),
        ("112", "1", 1.0),
        ("12", "1", 0.5),
        ("12=", "1", 1 / 3),
        ("1??", "1", 1.0),
        ("??", "=", 0.0),
        ("=", "=", 1.0),
        ("=", "1", 0.0),
    ],
)
def test_what_votes_are_worth(votes: str, label: str, value: float) -> None:
    said = MARKS[label]
    assert said is not None
    assert worth([MARKS[mark] for mark in votes], said) == pytest.approx(value)


def test_the_numbers_of_four_pairs() -> None:
    pairs = [judged("1", "1"), judged("1", "2", name="b"), judged("2", "2", name="c"), judged("?", "1", name="d")]
    numbers = counted(pairs)
    assert numbers["n"] == 4
    assert numbers["accuracy"] == (2 + 1 + 0 + 1) / 8
    assert (numbers["accuracy_straight"], numbers["accuracy_swapped"]) == (2 / 4, 2 / 4)
    assert numbers["both"] == 1 / 4
    # JudgeBench counts a right verdict beside a missing one as right, and two that contradict each other as wrong.
    assert numbers["together"] == 2 / 4
    assert numbers["agreement"] == 2 / 3
    assert numbers["failures"] == {"no_verdict": 1} and numbers["failed"] == 1 / 8
    # By the position shown: straight 1, 1, 2 are first, first, second; swapped 1, 2, 2, 1 second, first, first, second.
    assert numbers["first_rate"] == 4 / 7
    assert numbers["cost"]["calls"] == 8 and numbers["cost"]["completion_tokens"] == 80


def test_one_order_has_no_agreement_and_no_both() -> None:
    numbers = counted([judged("1"), judged("2", name="b")])
    assert numbers["accuracy"] == 0.5
    assert numbers["both"] is None and numbers["agreement"] is None and numbers["together"] is None


def test_no_pairs_have_no_numbers() -> None:
    assert counted([])["accuracy"] is None and agreement([]) is None


def test_a_tie_is_right_only_where_the_label_is_one() -> None:
    assert judged("=", "=", label="=").accuracy == 1.0
    assert judged("=", "=").accuracy == 0.0
    assert judged("?", "?", label="=").accuracy == 0.0


votes = st.text(alphabet="12=?", min_size=1, max_size=5)


@given(st.lists(st.tuples(votes, votes, st.sampled_from("12=")), min_size=1, max_size=8), st.data())
def test_the_mean_over_questions_is_the_mean_over_pairs(rows: list[tuple[str, str, str]], data: st.DataObject) -> None:
    pairs = [
        judged(straight, swapped, name=str(i), label=label, question=str(data.draw(st.integers(0, 2))))
        for i, (straight, swapped, label) in enumerate(rows)
    ]
    by_question = units(pairs, [one.accuracy for one in pairs])
    assert np.mean(list(by_question.values())) == pytest.approx(np.mean([one.accuracy for one in pairs]))


@given(votes, votes, st.sampled_from("12="))
def test_naming_the_responses_the_other_way_round_changes_nothing(straight: str, swapped: str, label: str) -> None:
    turned = {"1": "2", "2": "1", "=": "=", "?": "?"}
    one = judged(straight, swapped, label=label)
    other = judged(
        "".join(turned[mark] for mark in straight), "".join(turned[mark] for mark in swapped), label=turned[label]
    )
    assert (one.accuracy, one.both, one.agrees) == (other.accuracy, other.both, other.agrees)
    assert one.together in (None, Verdict.TIE) or one.together is not other.together
