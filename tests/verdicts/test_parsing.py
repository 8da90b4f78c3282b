"""What each preset reads as a verdict, and why it reads none."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin.errors import ConfigError
from rrm_plugin.types import Reason, Verdict
from rrm_plugin.verdicts import GRAMMARS, MarkupGrammar, parse

FIRST, SECOND, TIE = Verdict.FIRST, Verdict.SECOND, Verdict.TIE

CLEAR = {
    "rrm": [
        (r"\boxed{Assistant 1}", FIRST),
        (r"<think>I lean to \boxed{Assistant 1}.</think>\boxed{Assistant 2}", SECOND),
        (r"**\boxed{Assistant 1}**", FIRST),
        (r"$\boxed{\text{Assistant 2}}$", SECOND),
        (r"\boxed { Assistant 1 }", FIRST),
        (r"\\boxed{Assistant 2}", SECOND),
        (r"\boxed{\textbf{Assistant~1}}.", FIRST),
        ("\\boxed{assistant\n 1}", FIRST),
        (r"\boxed{Assistant １}", FIRST),
        (r"Assistant 2 has \boxed{42}, which is right: \boxed{Assistant 2} and not \boxed{43}", SECOND),
        (r"\boxed{Assistant 1} ... so: \boxed{Assistant 1}", FIRST),
        (r"I will end with \boxed{Assistant 1} or \boxed{Assistant 2}. Both are fine. \boxed{Assistant 2}", SECOND),
        (r"\boxed{Assistant X} goes here: \boxed{Assistant 1}", FIRST),
        (r"\boxed{Assistant 1", FIRST),
        ("\\boxed{Assis\n\n\\boxed{Assistant 1}", FIRST),
        (r"It is not close: \boxed{Assistant 1}", FIRST),
        (r"I do not hesitate to say \boxed{Assistant 2}", SECOND),
        (r"\boxed{Assistant 1}, and not \boxed{Assistant 2}", FIRST),
    ],
    "rm_r1": [
        ("<answer>[[A]]</answer>", FIRST),
        ("<think>[[A]]</think><answer>[[B]]</answer>\n", SECOND),
        ("matrix [[1, 2]], so [[ B ]]", SECOND),
        ("[[A]] or [[B]]? <answer>[[B]]</answer>", SECOND),
        ("<eval>I first lean to [[B]].</eval> <answer>[[A]]</answer> since [[B]] is longer", FIRST),
        ("A says <answer>42</answer>. <answer>[[A]]", FIRST),
    ],
    "arena": [
        ("[[A>>B]]", FIRST),
        ("[[A>B]]", FIRST),
        ("[[A=B]]", TIE),
        ("[[B>A]]", SECOND),
        ("[[B>>A]]", SECOND),
        ("[[A<B]]", SECOND),
        ("[[ B = A ]]", TIE),
        ("[[A>>B]], or rather [[A>B]]", FIRST),
    ],
    "llmbar": [
        ("Output (a) is better.", FIRST),
        ("Therefore, **Output (b)** is better", SECOND),
        ("Output (b)", SECOND),
        ("Output (a) (as it is shorter)", FIRST),
        ("Which is better?\nOutput (b).", SECOND),
        ("Output (a) is not better and Output (b) is better.", SECOND),
        ("I cannot say whether Output (a) is better. No: Output (b) is better.", SECOND),
        ("Output (a) is better formatted, but overall Output (b) is the better answer.", SECOND),
        ("Output (a) is better in tone.\n\nTherefore, Output (b) is clearly better.", SECOND),
        ("At first glance, Output (a) is better. But it is wrong, so my choice is Output (b).", SECOND),
        ("At first glance Output (a) is better, but ... my choice is **Output (b)**.", SECOND),
        ("Output (b) is slightly better, as it is shorter", SECOND),
        ('"Output (b)" is "better" than Output (a) because it is right.', SECOND),
        ("Although Output (b) does not explain itself, Output (a) is the better of the two!", FIRST),
        ("Output (a)\n\nOutput (b) is better in tone, but wrong.", FIRST),
        ("Therefore, Output (a) is better. Output (b) is better only in tone.", FIRST),
    ],
    "scores": [
        ("<score_A>8</score_A> <score_B>6.5</score_B>", FIRST),
        ("<score_B>8</score_B>\n<score_A>7</score_A>", SECOND),
        ("<score_A>7</score_A> <score_B>7.0</score_B>", TIE),
        ("<score_a> 3/10 </score_a><score_b> 9/10 </score_b>", SECOND),
        ("<score_A>-1</score_A><score_B>-2", FIRST),
    ],
    "json": [
        ('{"reasoning": "x", "winner": 1}', FIRST),
        ('```json\n{"winner": "2", "reasoning": "x"}\n```', SECOND),
        ('{"winner": "tie"}', TIE),
        ("{'winner': 'Response 2'}", SECOND),
        ('{"reasoning": "they say \\"winner\\": 2", "winner": 1}', FIRST),
        ('{"winner": 1} or {"winner": 2}? {"winner": 2}', SECOND),
    ],
}

NONE = {
    "rrm": [
        ("", Reason.EMPTY),
        ("<think>so</think> \n", Reason.EMPTY),
        (r"<think>\boxed{Assistant 1}", Reason.CUT_OFF),
        (r"\boxed{Assistant 1} \boxed{Assistant 2}", Reason.CONTRADICTORY),
        (r"I will end with \boxed{Assistant 1} or \boxed{Assistant 2}.", Reason.CONTRADICTORY),
        (r"\boxed{Assistant 1}, that is \boxed{Assistant 1} or \boxed{Assistant 2}", Reason.CONTRADICTORY),
        (r"\boxed{Assistant 1}. No, \boxed{neither}", Reason.CONTRADICTORY),
        (r"\boxed{Assistant 3}", Reason.INVALID),
        (r"\boxed{Assistant 12}", Reason.INVALID),
        (r"\boxed{42}", Reason.INVALID),
        (r"\boxed{1}", Reason.INVALID),
        (r"\boxed{Assistant 1 and 2}", Reason.INVALID),
        (r"The answer is not \boxed{Assistant 1}.", Reason.INVALID),
        (r"I can give neither \boxed{Assistant 1} nor \boxed{Assistant 2}.", Reason.INVALID),
        (r"I would not say \boxed{Assistant 1} or \boxed{Assistant 2}.", Reason.INVALID),
        (r"\boxed{Assistant 1} is wrong.", Reason.INVALID),
        (r"\boxed{Assistant 1}. No, it is not \boxed{Assistant 1}.", Reason.CONTRADICTORY),
        (r"\boxed{Assistant 1}/\boxed{Assistant 1} ... \boxed{Assistant 2}", Reason.CONTRADICTORY),
        ("I'm sorry, but I cannot compare these.", Reason.REFUSAL),
        ("I can’t help with that request.", Reason.REFUSAL),
        ("Assistant 1 is better.", Reason.NO_VERDICT),
        ("The boxed answer is Assistant 1", Reason.NO_VERDICT),
    ],
    "rm_r1": [
        ("<answer>[[A]] or [[B]]</answer>", Reason.CONTRADICTORY),
        ("[[C]]", Reason.INVALID),
        ("<answer>A</answer>", Reason.NO_VERDICT),
        ("[[A]] [[tie]]", Reason.CONTRADICTORY),
        ("I first lean to [[B]]. <answer>[A]</answer>", Reason.INVALID),
    ],
    "arena": [("[[A>B]] [[B>A]]", Reason.CONTRADICTORY), ("[[A>A]]", Reason.INVALID), ("[[A]]", Reason.INVALID)],
    "llmbar": [
        ("Output (a) is better. Output (b) is better.", Reason.CONTRADICTORY),
        ("Therefore, neither Output (a) nor Output (b) is better.", Reason.INVALID),
        ("I do not think that Output (a) is better.", Reason.INVALID),
        ("Say whether Output (a) is better.", Reason.INVALID),
        ("Output (a) is better in tone.", Reason.INVALID),
        ("Output (a) is better, but the other one is right.", Reason.INVALID),
        ("It would be wrong to say that Output (a) is better. The second is right.", Reason.INVALID),
        ("I doubt that Output (a) is better; the other output follows the instruction.", Reason.INVALID),
        ("One could argue that Output (a) is better.", Reason.INVALID),
        ("Is Output (a) is better? Hardly.", Reason.INVALID),
        ("Output (a) is hardly better.", Reason.INVALID),
        ("Output (a) is better. Still, I choose Output (b).", Reason.CONTRADICTORY),
        ("Output (a) is better. No, Output (b) is clearly better.", Reason.CONTRADICTORY),
        ("Output (a) is the better choice. Output (b) is the best answer.", Reason.CONTRADICTORY),
        ("Output (a): Yes\nOutput (b): No", Reason.NO_VERDICT),
        ("Output (a) says more. Output (b) says less.", Reason.NO_VERDICT),
    ],
    "scores": [
        ("<score_A>8</score_A>", Reason.INVALID),
        ("<score_A>good</score_A> <score_B>bad</score_B>", Reason.INVALID),
        ("<score_A>8/10</score_A> <score_B>70/100</score_B>", Reason.INVALID),
        ("<score_A>nan</score_A> <score_B>inf</score_B>", Reason.INVALID),
        ("<score_A>8</score_A><score_B>6</score_B> <score_A>5</score_A><score_B>6</score_B>", Reason.CONTRADICTORY),
        ("8 6", Reason.NO_VERDICT),
    ],
    "json": [
        ('{"winner": 1, "winner": 2}', Reason.CONTRADICTORY),
        ('{"winner": 3}', Reason.INVALID),
        ('{"winner": null}', Reason.INVALID),
        ("winner: 1", Reason.NO_VERDICT),
    ],
}


@pytest.mark.parametrize(("preset", "text", "verdict"), [(p, *case) for p, cases in CLEAR.items() for case in cases])
def test_a_clear_verdict_is_read(preset: str, text: str, verdict: Verdict) -> None:
    parsed = parse(text, preset)
    assert (parsed.verdict, parsed.reason) == (verdict, None)
    assert parsed.detail


@pytest.mark.parametrize(("preset", "text", "reason"), [(p, *case) for p, cases in NONE.items() for case in cases])
def test_nothing_is_guessed(preset: str, text: str, reason: Reason) -> None:
    parsed = parse(text, preset)
    assert (parsed.verdict, parsed.reason) == (None, reason)


@pytest.mark.parametrize(
    ("preset", "text", "verdict", "reason"),
    [
        ("rrm", r"perhaps \boxed{Assistant 1}", None, Reason.CUT_OFF),
        ("rrm", r"a</think>\boxed{Assistant 1} because", FIRST, None),
        ("rrm", r"a</think>\boxed{Assistant 1", None, Reason.CUT_OFF),
        ("rrm", r"a</think>the answer \boxed{42}", None, Reason.CUT_OFF),
        ("rrm", "a</think>", None, Reason.CUT_OFF),
        ("rrm", r"a</think>\boxed{Assistant 1} \boxed{Assistant 2} ", None, Reason.CONTRADICTORY),
        ("rrm", r"a</think>\boxed{Assistant 1} or rather \boxed{Assistant 2", None, Reason.CUT_OFF),
        ("rm_r1", "a</think><answer>[[A]", None, Reason.CUT_OFF),
        ("rm_r1", "a</think><answer>[[A]]", FIRST, None),
        ("arena", "a</think>[[A>", None, Reason.CUT_OFF),
        ("scores", "a</think><score_A>8</score_A> <score_B>1", None, Reason.CUT_OFF),
        ("scores", "a</think><score_A>8</score_A> <score_B>1</score_B>", FIRST, None),
        ("scores", "a</think><score_A>8</score_A> <score_B>1</score_B> <score_A>9", None, Reason.CUT_OFF),
        ("json", 'a</think>{"winner": 1', None, Reason.CUT_OFF),
        ("json", 'a</think>{"winner": 1}', FIRST, None),
        ("llmbar", "a</think>Output (a) is better", None, Reason.CUT_OFF),
        ("llmbar", "a</think>Output (a) is better.", FIRST, None),
        ("llmbar", "a</think>Output (a)", None, Reason.CUT_OFF),
    ],
)
def test_cut_off_at_the_token_limit(preset: str, text: str, verdict: Verdict | None, reason: Reason | None) -> None:
    parsed = parse(text, preset, finished=False)
    assert (parsed.verdict, parsed.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("preset", "text"),
    [
        ("rrm", r"\boxed{Assistant 2}, because"),
        ("rm_r1", "[[B]]</answer>"),
        ("scores", "<score_A>1</score_A> <score_B>8</score_B> and"),
        ("json", '{"winner": 2} and'),
        ("json", '{"winner": 2, "runner_up": 1}'),
        ("llmbar", "Output (b) is better. It"),
    ],
)
def test_a_text_cut_behind_its_first_complete_mark_still_says_it(preset: str, text: str) -> None:
    """A reply that goes on after its verdict is cut there, and must read the same."""
    end = next(mark.end for mark in GRAMMARS[preset].marks(text) if not mark.unclosed)
    assert parse("a</think>" + text[:end], preset, finished=False).verdict is SECOND


def test_a_grammar_of_ones_own() -> None:
    own = MarkupGrammar.from_mapping(
        {"pattern": r"\\boxed\{Solution ([12])\}", "values": {1: "first", "2": "second"}, "name": "solutions"}
    )
    assert parse(r"so \boxed{Solution 2}", own).verdict is SECOND
    assert parse(r"\boxed{Solution 1} \boxed{Solution 2}", own).reason is Reason.CONTRADICTORY
    assert parse(r"\boxed{Assistant 1}", own).reason is Reason.NO_VERDICT


@pytest.mark.parametrize(
    ("mapping", "names"),
    [
        ({"values": {"1": "first", "2": "second"}}, "pattern"),
        ({"pattern": "(", "values": {"1": "first", "2": "second"}}, "pattern"),
        ({"pattern": "x", "values": {"1": "first", "2": "second"}}, "one group"),
        ({"pattern": "(.*)", "values": {"1": "first", "2": "second"}}, "too wide"),
        ({"pattern": "x(.)"}, "values"),
        ({"pattern": "x(.)", "values": {"1": "first"}}, "second"),
        ({"pattern": "x(.)", "values": {"1": "first", "2": "won"}}, "won"),
        ({"pattern": "x(.)", "values": {"a": "first", "A": "second"}}, "same"),
        ({"pattern": "x(.)", "values": {"1": "first", "2": "second"}, "flags": "i"}, "flags"),
        ({"pattern": "x(.)", "values": {"1": "first", "2": "second"}, "ignore_case": "yes"}, "ignore_case"),
    ],
)
def test_a_wrong_grammar_says_what_is_wrong(mapping: dict[str, object], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        MarkupGrammar.from_mapping(mapping)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ConfigError, match="'rmm' is none of rrm"):
        parse("x", "rmm")


FRAGMENTS = [
    "\\boxed{", "Assistant 1", "Assistant 2", "}", "{", "[[", "]]", "A", "B", ">", "=", "[[A]]", "Output (a)",
    "Output (b)",    " is better", "\n", "<think>", "</think>", "<score_A>",
    "</score_A>", "<score_B>", "7", '{"winner":', "1", '"tie"',
    ",",    " or ", "neither ", "I cannot ", "judge", "\\", "$", "é", "\ud800",
]  # fmt: skip
MARKUP = {
    "rrm": "boxed",
    "rm_r1": "[[",
    "arena": "[[",
    "llmbar": "output",
    "scores": "<score_",
    "json": "winner",
}


@pytest.mark.parametrize("preset", list(GRAMMARS))
@given(st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)), st.booleans())
def test_never_raises_and_never_invents(preset: str, text: str, finished: bool) -> None:
    parsed = parse(text, preset, finished=finished)
    assert (parsed.verdict is None) == (parsed.reason is not None)
    if MARKUP[preset] not in text.lower():
        assert parsed.verdict is None


LONG = 1_000_000
HOSTILE = [
    "\\boxed{", "\\boxed{{", "\\boxed{Assistant 1} or ", "[[", "[[A]] or ", "<score_A>", '{"winner":', "Output (a) ",
    "not a ",    "I cannot ", "<think>", "\n", " ", "\\", "\\text{",
]  # fmt: skip


@pytest.mark.parametrize("preset", list(GRAMMARS))
def test_a_megabyte_takes_linear_time(preset: str) -> None:
    def seconds(size: int) -> float:
        started = time.process_time()
        for piece in HOSTILE:
            parse(piece * (size // len(piece)), preset)
        return time.process_time() - started

    # Quadratic time would take hours here; the bound leaves room for a busy machine.
    assert seconds(LONG) < 60
