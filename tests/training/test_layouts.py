"""The layouts of public preference data, and what is wrong with rows that do not keep to them."""

from __future__ import annotations

import pytest

from rrm_plugin import ConfigError
from rrm_plugin.training.layouts import Reading, recognise
from rrm_plugin.training.pairs import Pair, RowError
from rrm_plugin.training.sources import RejectReason, Row


def row(values, line=1, source="data"):
    return Row(values=values, source=source, file="data.jsonl", line=line)


def pairs(values, **reading) -> list[Pair]:
    return list(recognise(row(values), Reading(**reading))(row(values)))


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


GOOD_BAD = Pair(prompt="q", chosen="good", rejected="bad")
ASKED = Pair(prompt=[user("q")], chosen=[said("good")], rejected=[said("bad")])


@pytest.mark.parametrize(
    ("values", "pair"),
    [
        ({"prompt": "q", "chosen": "good", "rejected": "bad"}, GOOD_BAD),
        # TRL: the prompt apart from the responses, all of them messages.
        ({"prompt": [user("q")], "chosen": [said("good")], "rejected": [said("bad")]}, ASKED),
        # Skywork-Reward-Preference-80K: two conversations and a source.
        ({"chosen": [user("q"), said("good")], "rejected": [user("q"), said("bad")], "source": "magpie"}, ASKED),
        # Tülu 3 preference mixtures and UltraFeedback binarized: the prompt column holds the first turn.
        (
            {
                "prompt": "q",
                "prompt_id": "1",
                "chosen": [user("q"), said("a"), user("r"), said("good")],
                "rejected": [user("q"), said("a"), user("r"), said("bad")],
                "messages": [user("q")],
                "score_chosen": 8.0,
                "score_rejected": 5.0,
            },
            Pair(prompt=[user("q"), said("a"), user("r")], chosen=[said("good")], rejected=[said("bad")]),
        ),
        # HelpSteer3: a conversation, two texts and a strength.
        (
            {
                "domain": "general",
                "language": "english",
                "context": [user("q")],
                "response1": "bad",
                "response2": "good",
                "overall_preference": 2,
                "individual_preference": [{"score": 2}],
            },
            Pair(prompt=[user("q")], chosen="good", rejected="bad"),
        ),
        # HelpSteer2 preference: further turns stand in the prompt.
        (
            {
                "prompt": "q\n<extra_id_1>Assistant\na\n<extra_id_1>User\nr",
                "response_1": "good",
                "response_2": "bad",
                "preference_strength": -1,
                "split": "train",
            },
            Pair(prompt=[user("q"), said("a"), user("r")], chosen="good", rejected="bad"),
        ),
        ({"prompt": "q", "response_1": "bad", "response_2": "good", "preference_strength": 3}, GOOD_BAD),
        # LLMBar
        ({"input": "q", "output_1": "bad", "output_2": "good", "label": 2}, GOOD_BAD),
        # Chatbot Arena: conversations with a winner.
        (
            {
                "conversation_a": [user("q"), said("good")],
                "conversation_b": [user("q"), said("bad")],
                "winner": "model_a",
                "model_a": "x",
            },
            ASKED,
        ),
    ],
)
def test_known_layouts(values, pair):
    assert pairs(values) == [pair]


@pytest.mark.parametrize(
    ("value", "first_is_better"),
    [
        *((value, True) for value in (1, "1", 1.0, "A", "first", "Response 1", "model_a")),
        *((value, False) for value in (2, "b", "second", "assistant_2", "output_b")),
        *((value, "tie") for value in ("tie", "tie (bothbad)")),
        *((value, None) for value in ("c", 3, -1, 1.5, True, "")),
    ],
)
def test_labels(value, first_is_better):
    values = {"prompt": "q", "response_a": "x", "response_b": "y", "label": value}
    if isinstance(first_is_better, bool):
        assert pairs(values)[0].chosen == ("x" if first_is_better else "y")
        return
    with pytest.raises(RowError) as caught:
        pairs(values)
    assert caught.value.reason == ("tie" if first_is_better == "tie" else "wrong_label")
    assert caught.value.column == "label"


@pytest.mark.parametrize(("strength", "reason"), [(0, "tie"), (float("nan"), "wrong_label"), (None, "missing")])
def test_strengths_that_prefer_neither(strength, reason):
    values = {"context": "q", "response1": "x", "response2": "y", "overall_preference": strength}
    with pytest.raises(RowError) as caught:
        pairs(values)
    assert (caught.value.reason, caught.value.column) == (reason, "overall_preference")


def test_a_zero_is_never_guessed():
    values = {"prompt": "q", "response_a": "x", "response_b": "y", "label": 0}
    with pytest.raises(ConfigError, match=r"data\.jsonl, line 1, column 'label': 0 can mean"):
        pairs(values)
    assert pairs(values, labels={"0": "1", "1": "2"})[0].chosen == "x"
    assert pairs(values | {"label": "1"}, labels={"0": "1", "1": "2"})[0].chosen == "y"
    with pytest.raises(RowError):
        pairs(values, labels={"0": "tie"})


def test_columns_are_mapped():
    values = {"instruction": "q", "input": "data", "good": "x", "bad": "y"}
    columns = {"prompt": "instruction+input", "chosen": "good", "rejected": "bad"}
    assert pairs(values, columns=columns) == [Pair(prompt="q\n\ndata", chosen="x", rejected="y")]
    assert pairs(values | {"input": " "}, columns=columns)[0].prompt == "q"
    assert pairs(values, columns=columns | {"prompt": "input"})[0].prompt == "data"


def test_a_mapping_may_be_of_one_source():
    reading = Reading(columns={"prompt": "asked", "other:prompt": "prompt"}, labels={"0": "tie", "other:0": "1"})
    values = {"asked": "q", "prompt": "p", "response_a": "x", "response_b": "y", "label": 0}
    other = row(values, source="other")
    assert next(iter(recognise(other, reading)(other))) == Pair(prompt="p", chosen="x", rejected="y")
    with pytest.raises(RowError):
        list(recognise(row(values), reading)(row(values)))
    values["label"] = 1
    assert next(iter(recognise(row(values), reading)(row(values)))).prompt == "q"


@pytest.mark.parametrize(
    ("values", "said_"),
    [
        ({"text": "a"}, "The columns are: text"),
        ({}, "none"),
        ({"prompt": "q", "response": "a", "helpfulness": 4}, "prompt, response, helpfulness"),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "b"}, "what was asked"),
        ({"instruction": "q", "input": "i", "chosen": "a", "rejected": "b"}, "prompt=instruction+input"),
        ({"chosen": "a", "label": 1, "prompt": "q"}, "which is better"),
    ],
)
def test_an_unknown_layout_names_the_columns_and_what_to_write(values, said_):
    with pytest.raises(ConfigError, match="--columns") as caught:
        recognise(row(values, line=4), Reading())
    assert said_ in str(caught.value) and "data.jsonl, line 4" in str(caught.value)


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"columns": {"promt": "q"}}, "'promt'"),
        ({"labels": {"0": "draw"}}, "'draw'"),
        ({"labels": {"own:0": "3"}}, "'3'"),
    ],
)
def test_a_reading_that_cannot_work_is_refused(reading, message):
    with pytest.raises(ConfigError, match=message):
        Reading(**reading)


def test_a_mapped_column_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"'good'.*'chosen'"):
        pairs({"prompt": "q", "bad": "x"}, columns={"chosen": "good", "rejected": "bad"})


FIRST = {"prompt": "q", "chosen": "x", "rejected": "y"}


@pytest.mark.parametrize(
    ("values", "column", "reason"),
    [
        ({"prompt": "q", "chosen": "x"}, "rejected", RejectReason.MISSING),
        ({"prompt": "q", "chosen": None, "rejected": "y"}, "chosen", RejectReason.MISSING),
        ({"prompt": "q", "chosen": 3, "rejected": "y"}, "chosen", RejectReason.WRONG_TYPE),
        ({"prompt": "q", "chosen": [], "rejected": "y"}, "chosen", RejectReason.WRONG_TYPE),
        ({"prompt": "q", "chosen": ["a"], "rejected": "y"}, "chosen", RejectReason.WRONG_TYPE),
        ({"prompt": "q", "chosen": [{"role": "user"}], "rejected": "y"}, "chosen", RejectReason.WRONG_TYPE),
        ({"prompt": {"text": "q"}, "chosen": "x", "rejected": "y"}, "prompt", RejectReason.WRONG_TYPE),
        ({"chosen": "x", "rejected": "y"}, "prompt", RejectReason.MISSING),
        ({"prompt": "q", "chosen": [user("q")], "rejected": [user("r")]}, "chosen", RejectReason.WRONG_TYPE),
    ],
)
def test_rows_that_leave_the_layout_are_named_by_column(values, column, reason):
    layout = recognise(row(FIRST), Reading())
    with pytest.raises(RowError) as caught:
        list(layout(row(values)))
    assert (caught.value.column, caught.value.reason) == (column, reason)


def test_conversations_that_do_not_begin_alike_have_no_prompt():
    with pytest.raises(RowError) as caught:
        pairs({"chosen": [user("q"), said("x")], "rejected": [user("r"), said("y")]})
    assert caught.value.reason is RejectReason.NO_SHARED_PROMPT
