"""Pairs of a right and a wrong answer: of comparable length, each answer used once, nothing graded by a guess."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin import ConfigError, MissingExtraError
from rrm_plugin.prompts import response_text
from rrm_plugin.training.layouts import Reading, recognise
from rrm_plugin.training.pairs import RowError
from rrm_plugin.training.samples import Sampled
from rrm_plugin.training.sources import Row
from rrm_plugin.training.verifiers import exact_verifier, final_answer, math_verifier, verifier


def pairs(values, columns=None, **settings):
    row = Row(values=values, source="s", file="f", line=1)
    layout = recognise(row, Reading(samples=Sampled(**settings), columns=columns or {}))
    return [(pair.chosen, pair.rejected) for pair in layout(row)]


def graded(*answers):
    return {"question": "q", "responses": [{"text": text, "is_correct": grade} for text, grade in answers]}


def test_the_pair_nearest_in_length_is_taken():
    values = graded(("r" * 10, True), ("r" * 30, True), ("w" * 31, False), ("w" * 15, False), ("x", None))
    assert pairs(values) == [("r" * 30, "w" * 31)]
    assert pairs(values, most=5) == [("r" * 30, "w" * 31), ("r" * 10, "w" * 15)]


@pytest.mark.parametrize(
    "values",
    [
        {"question": "q", "responses": ["aa", "bb"], "correct": [True, False]},
        {"question": "q", "responses": ["aa", "bb"], "is_correct": [1, 0.0]},
        {"question": "q", "responses": ["aa", "bb"], "correct": ["true", "Incorrect"]},
        {"problem": "q", "responses": [{"response": "aa", "score": 1.0}, {"response": "bb", "score": 0}]},
        {"prompt": "q", "responses": [{"content": "aa", "correct": True}, {"content": "bb", "correct": False}]},
    ],
)
def test_correctness_comes_in_several_forms(values):
    assert pairs(values) == [("aa", "bb")]


@pytest.mark.parametrize(
    ("values", "column", "reason"),
    [
        (graded(("a", True), ("b", True)), "responses", "ungraded"),
        (graded(("a", None), ("b", "perhaps")), "responses", "ungraded"),
        (graded(("same", True), ("same", False)), "responses", "ungraded"),
        (graded(("a", True), ("b" * 100, False)), "responses", "lengths_apart"),
        (graded(), "responses", "ungraded"),
        ({"question": "q", "responses": ["a", "b"]}, "correct", "missing"),
        ({"question": "q", "responses": ["a", "b"], "correct": [True]}, "correct", "wrong_type"),
        ({"question": "q", "responses": "a", "correct": [True]}, "responses", "wrong_type"),
        ({"question": "q", "responses": [1, 2], "correct": [True, False]}, "responses", "wrong_type"),
        ({"question": "q", "responses": [{"model": "m"}], "correct": [True]}, "responses", "missing"),
    ],
)
def test_rows_without_a_pair_say_why(values, column, reason):
    with pytest.raises(RowError) as caught:
        pairs(values)
    assert (caught.value.column, caught.value.reason) == (column, reason)


answers = st.lists(st.tuples(st.text(max_size=30), st.sampled_from([True, False, None])), max_size=12)


@given(answers, st.integers(1, 4), st.floats(1, 4))
def test_pairs_are_right_and_wrong_near_in_length_and_disjoint(given_answers, most, ratio):
    try:
        found = pairs(graded(*given_answers), most=most, ratio=ratio)
    except RowError:
        return
    right = {text for text, grade in given_answers if grade is True}
    wrong = {text for text, grade in given_answers if grade is False}
    used = [text for pair in found for text in pair]
    assert 1 <= len(found) <= most and len(used) == len(set(used))
    for chosen, rejected in found:
        assert chosen in right and rejected in wrong - right
        lengths = sorted(len(response_text(text)) + 1 for text in (chosen, rejected))
        assert lengths[1] <= lengths[0] * ratio * 1.000001


def test_lengths_are_those_without_thinking():
    long_thought = f"<think>{'t' * 500}</think>{'r' * 10}"
    assert pairs(graded((long_thought, True), ("w" * 12, False), ("v" * 400, False))) == [(long_thought, "w" * 12)]


def test_a_verifier_grades_what_comes_without_correctness():
    values = {
        "question": "1+1?",
        "answer": "2",
        "responses": [
            r"It is \boxed{2}.",
            r"It is \boxed{3}.",
            "<think>2</think>",
            r"<think>\boxed{2}</think>\boxed{4}",
        ],
    }
    assert pairs(values, verifier=exact_verifier) == [(r"It is \boxed{2}.", r"It is \boxed{3}.")]
    with pytest.raises(RowError) as caught:
        pairs({"question": "q", "responses": ["a"]}, verifier=exact_verifier)
    assert caught.value.column == "answer"


def test_a_verifier_that_fails_grades_nothing():
    def broken(answer, reference):
        raise ValueError("cannot parse")

    with pytest.raises(RowError) as caught:
        pairs({"question": "q", "answer": "1", "responses": ["1", "2"]}, verifier=broken)
    assert caught.value.reason == "ungraded"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{1}, no, \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("two steps\n#### 1,234", "1,234"),
        ("The answer is: 12.", "12."),
        ("work\nA: 5", "A: 5"),
        (r"\boxed{never closed", r"\boxed{never closed"),
        ("", ""),
    ],
)
def test_final_answers(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("#### 1,234", "1234", True),
        (r"\boxed{ Paris. }", "paris", True),
        (r"\boxed{Paris}", "London", False),
        ("", "1", None),
        ("...", "1", None),
    ],
)
def test_exact(answer, reference, right):
    assert exact_verifier(answer, reference) is right


def test_math_is_compared_as_mathematics():
    pytest.importorskip("math_verify", reason="needs math-verify: pip install 'rrm-plugin[training]'")
    check = verifier("math")
    assert check(r"The answer is \boxed{\frac{1}{2}}.", "0.5") is True
    assert check(r"\boxed{x+1}", "$1+x$") is True
    assert check(r"\boxed{3}", "2") is False
    assert check("no answer here", "2") is None


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "math_verify", None)
    with pytest.raises(MissingExtraError, match=r"\[training\]"):
        math_verifier()


def even(answer, reference):
    return len(answer) % 2 == 0


def test_a_verifier_may_be_a_function_of_the_users(tmp_path, monkeypatch):
    (tmp_path / "my_verifier.py").write_text("def check(answer, reference):\n    return answer == reference\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert verifier("my_verifier:check")("a", "a") is True
    for spec in ("my_verifier:nothing", "nowhere:check", "my_verifier:__name__", "maths"):
        with pytest.raises(ConfigError, match="verifier"):
            verifier(spec)


def test_real_answers_become_pairs(shared_data):
    path = shared_data("gsm8k/gsm8k_multi4.jsonl")
    found = 0
    for line in path.read_text(encoding="utf-8").splitlines()[:200]:
        values = json.loads(line)
        grades = {answer["text"]: answer["is_correct"] for answer in values["responses"]}
        try:
            ((chosen, rejected),) = pairs(values)
        except RowError as error:
            assert error.reason in ("ungraded", "lengths_apart")
            continue
        found += 1
        assert grades[chosen] is True and grades[rejected] is False
    assert found > 60
