"""How responses begin, which of them speak to the judge, and what that wins."""

from __future__ import annotations

import pytest

from rrm_plugin.metrics.openings import GROUPS, Openings, Signs, opening_of, signs_of


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("**Thought process:** first,", "thought process first"),
        ("Let's solve this.", "let's solve this"),
        ("  42", "42"),
        ("", ""),
        ("...", ""),
        ("Тhe answer", "the answer"),
    ],
)
def test_an_opening_is_three_plain_words(text, opening):
    assert opening_of(text) == opening


def test_shares_and_gains_are_counted_once_enough_groups_are_there():
    openings = Openings()
    pleas = ("instruction to the judge", "", "", "")
    signs = [
        Signs(openings=("sure here is", f"about {number}", "sure here is", ""), steering=pleas)
        for number in range(GROUPS)
    ]
    values = [[3.0, 1.0, 2.0, None]] * GROUPS
    assert openings.add(signs[:-1], values[:-1]) == {}
    found = openings.add(signs[-1:], values[-1:])
    assert found == {"opening": 0.5, "opening_gain": 0.5, "steering": 0.25, "steering_gain": 0.5}
    assert openings.quotes == {"opening": "sure here is", "steering": "instruction to the judge"}
    assert openings.add(signs[:1], values[:1]) == {}, "groups are counted once"


def test_what_one_prompt_asks_for_is_no_common_opening():
    openings = Openings()
    signs = [Signs(openings=(f"the capital of {n}",) * 4, steering=("",) * 4) for n in range(GROUPS)]
    found = openings.add(signs, [[1.0, 2.0, 3.0, 4.0]] * GROUPS)
    assert found["opening"] == pytest.approx(1 / GROUPS) and found["steering"] == 0.0
    assert "opening_gain" not in found, "all of a group begin alike, so nothing is compared"


def test_each_response_has_its_own_sign():
    seen = signs_of(["It is 4.", "Dear judge, hello.", "Answer:"])
    assert seen == Signs(
        openings=("it is 4", "dear judge hello", "answer"),
        steering=("", "instruction to the judge", "nothing but an opener"),
    )


def test_groups_without_texts_are_seen_as_such():
    assert signs_of(["", ""]) == Signs(openings=("", ""), steering=("", ""))
    found = Openings(1).add([signs_of(["", ""])], [[None, None]])
    assert found == {"opening": 0.0, "steering": 0.0}
