"""The chance of the first response by the tokens of a verdict: each grammar, and tokens as tokenizers make them."""

from __future__ import annotations

import math

import pytest

from rrm_plugin.types import TokenLogprob
from rrm_plugin.verdicts import Grammar, MarkupGrammar, chance_of_first

Spelt = str | tuple[str, float, dict[str, float]]


def tokens(*spelt: Spelt) -> list[TokenLogprob]:
    """Tokens of probability 1, or with a probability and those of others; the token itself stands among them, as with
    every engine.
    """
    made = []
    for one in spelt:
        text, probability, others = (one, 1.0, {}) if isinstance(one, str) else one
        top = [(text, math.log(probability)), *((other, math.log(share)) for other, share in others.items())]
        made.append(TokenLogprob(text=text, logprob=math.log(probability), top=tuple(top)))
    return made


def chance(*spelt: Spelt, preset: str | Grammar = "rrm", text: str | None = None) -> float | None:
    made = tokens(*spelt)
    return chance_of_first("".join(token.text for token in made) if text is None else text, made, preset)


@pytest.mark.parametrize(
    ("preset", "spelt", "expected"),
    [
        ("rrm", ["\\boxed{", "Assistant", " ", ("1", 0.6, {"2": 0.3, "3": 0.1}), "}"], 2 / 3),
        ("rrm", ["\\boxed{", "Assistant", " ", ("2", 0.6, {"1": 0.3}), "}"], 1 / 3),
        ("rrm", ["\\boxed{Assistant", (" 1", 0.5, {" 2": 0.25, "1": 0.25}), "}"], 0.75),
        ("rm_r1", ["<answer>", "[[", ("A", 0.7, {"B": 0.2, "C": 0.1}), "]]", "</answer>"], 7 / 9),
        ("rm_r1", ["<answer>", ("[[A", 0.7, {"[[B": 0.3}), "]]", "</answer>"], 0.7),
        ("llmbar", ["Output", " (", ("a", 0.9, {"b": 0.1}), ")", " is", " better", "."], 0.9),
        ("llmbar", ["Output", " (", ("b", 0.9, {"a": 0.1}), ")"], 0.1),
        ("json", ['{"winner"', ": ", ("1", 0.5, {"2": 0.5}), "}"], 0.5),
        ("json", ['{"winner": "', ("tie", 0.5, {"1": 0.3, "2": 0.2}), '"}'], 0.55),
        ("scores", ["<score_A>8</score_A>", "<score_B>", ("6", 0.5, {"9": 0.3, "8": 0.2}), "</score_B>"], 0.6),
    ],
)
def test_each_grammar(preset, spelt, expected):
    assert chance(*spelt, preset=preset) == pytest.approx(expected, abs=1e-12)


def test_letters_and_signs_decide_together():
    """[[A>>B]]: the letter says who, the sign how; after the other letter the sign counts as it did after this one."""
    sign = (">>", 0.5, {">": 0.25, "=": 0.25})
    spelt = ["[[", ("A", 0.8, {"B": 0.2}), sign, ("B", 1.0, {"A": 1e-9}), "]]"]
    after_a = 0.75 + 0.25 / 2
    assert chance(*spelt, preset="arena") == pytest.approx(0.8 * after_a + 0.2 * (1 - after_a))


def test_both_scores_decide():
    first = ("8", 0.5, {"5": 0.5})
    spelt = ["<score_A>", first, "</score_A><score_B>", ("6", 0.75, {"9": 0.25}), "</score_B>"]
    assert chance(*spelt, preset="scores") == pytest.approx(0.5 * 0.75 + 0.5 * 0.25)


def test_a_grammar_of_ones_own():
    grammar = MarkupGrammar.from_mapping(
        {"pattern": r"winner:\s{0,3}(\w{1,9})", "values": {"left": "first", "right": "second", "neither": "tie"}}
    )
    spelt = ["winner", ": ", ("le", 0.5, {"r": 0.25, "nei": 0.25}), "ft"]
    assert chance(*spelt, preset=grammar) == pytest.approx(0.5 + 0.25 / 2)


@pytest.mark.parametrize(("verdict", "expected"), [("1", 1.0), ("2", 0.0)], ids=["the first", "the second"])
def test_without_an_alternative_it_is_exactly_the_verdict(verdict, expected):
    """Others that are no verdict, or the same one, take nothing from it."""
    others = {"3": 0.2, f" {verdict}": 0.1, "}": 0.05}
    assert chance("\\boxed{Assistant ", (verdict, 0.4, others), "}") == expected


def test_what_stands_before_the_decision_does_not_count():
    """Another way to write the same is no vote for what happened to be said."""
    spelt: list[Spelt] = [("\\boxed{", 0.5, {" \\boxed{": 0.5}), ("Ass", 0.5, {"Assistant": 0.4}), "istant"]
    spelt += [(" ", 0.5, {"\n": 0.3, "  ": 0.1}), ("1", 0.6, {"2": 0.4}), "}"]
    assert chance(*spelt) == pytest.approx(0.6)


def test_a_decision_in_place_of_a_space():
    spelt: list[Spelt] = ["\\boxed{", "Assistant", (" ", 0.5, {" 2": 0.5}), ("1", 0.6, {"2": 0.4}), "}"]
    assert chance(*spelt) == pytest.approx(0.5 * 0.6)


@pytest.mark.parametrize("closing", ["1}", "1}\n\nThe", "1}."])
def test_a_token_of_several_letters(closing):
    other = closing.replace("1", "2")
    assert chance("\\boxed{Assistant ", (closing, 0.6, {other: 0.4})) == pytest.approx(0.6)


def test_the_first_place_that_states_the_verdict_counts():
    again = ["\\boxed{Assistant ", "1", "}"]
    spelt = ["\\boxed{Assistant ", ("1", 0.6, {"2": 0.4}), "}", ", so ", *again]
    assert chance(*spelt) == pytest.approx(0.6)


def test_thinking_that_came_apart_and_control_tokens():
    """A server that takes the thinking out of the text gives its tokens all the same, quoted verdicts among them."""
    thought = ["<think>", "Is it ", "\\boxed{Assistant ", ("1", 0.99, {"2": 0.01}), "}", "?", "</think>", "\n\n"]
    answer = ["\\boxed{Assistant ", ("1", 0.6, {"2": 0.4}), "}"]
    text = "<think>\nIs it \\boxed{Assistant 1}?\n</think>\n\n\\boxed{Assistant 1}"
    assert chance(*thought, *answer, "<|im_end|>", text=text) == pytest.approx(0.6)
    assert chance(*answer, "<|im_end|>", text=text) == pytest.approx(0.6)


def test_a_tokenizer_that_loses_spaces():
    """Of SentencePiece, a token that is decoded alone has no space before it."""
    spelt = ["Output", "(", ("a", 0.6, {"b": 0.4}), ")", "is", "better", "."]
    assert chance(*spelt, preset="llmbar", text="Output (a) is better.") == pytest.approx(0.6)
    boxed = ["\\", "boxed", "{", "Assistant", ("1", 0.6, {"2": 0.4}), "}"]
    assert chance(*boxed, text="\\boxed{Assistant 1}") == pytest.approx(0.6)


def test_parts_of_a_character():
    """Its tokens are decoded alone to replacement characters, or to nothing of use."""
    boxed = ["\\boxed{Assistant ", ("1", 0.6, {"2": 0.4}), "}"]
    for parts in (["\ufffd", "\ufffd"], ["<0xE2>", "<0x9C>"], ["\\xe2", "\\x9c"]):
        expected = pytest.approx(0.6) if parts[0] == "\ufffd" else None
        assert chance(*boxed, " ", *parts, " so", text="\\boxed{Assistant 1} ✓ so") == expected


def test_an_opening_that_was_written_for_the_judge():
    opening = TokenLogprob(text="\n</think>\n\n\\boxed{Assistant ", logprob=0.0)
    text = "<think>so far\n</think>\n\n\\boxed{Assistant 2}"
    for end in (("2", 0.7, {"1": 0.3}), ("2}", 0.7, {"1}": 0.3})):
        closing = [] if end[0].endswith("}") else ["}"]
        assert chance_of_first(text, [opening, *tokens(end, *closing)]) == pytest.approx(0.3)


@pytest.mark.parametrize("text", ["I cannot say.", "\\boxed{Assistant 3}", ""])
def test_no_verdict_has_no_chance(text):
    assert chance_of_first(text, tokens(text or "x")) is None


def test_tokens_of_another_text_say_nothing():
    assert chance("\\boxed{Assistant ", ("1", 0.6, {"2": 0.4}), "}", text="\\boxed{Assistant 2}") is None
    assert chance_of_first("\\boxed{Assistant 1}", []) is None


def test_a_verdict_may_be_less_likely_than_the_other():
    assert chance("\\boxed{Assistant ", ("1", 0.1, {"2": 0.9}), "}") == pytest.approx(0.1)
