"""Unlabelled questions: what is taken of a row, what never is, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin import ConfigError
from rrm_plugin.training.checks import Benchmarks, TokenLimit
from rrm_plugin.training.questions import QuestionReading, write_questions
from rrm_plugin.training.sources import source

SUFFIX = " Let's think step by step and output the final answer within \\boxed{}."
# The columns of WebInstruct-verified; every value but that of `question` and `id` is a label or tells of one.
LABELLED = {
    "id": 7,
    "question": "What is the third planet?",
    "answer": "SECRET-earth",
    "answer_type": "SECRET-string",
    "category": "SECRET-astronomy",
    "difficulty": "SECRET-easy",
    "solution": {"steps": ["SECRET-1", "SECRET-2"]},
}


def questions(tmp_path, rows, reading=None, **options):
    path = tmp_path / "in.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    summary = write_questions([source(str(path))], out, reading or QuestionReading(), **options)
    return summary, [json.loads(line) for line in out.read_text().splitlines()]


def rejected(tmp_path):
    return [json.loads(line) for line in (tmp_path / "out.jsonl.rejects.jsonl").read_text().splitlines()]


def test_a_row_has_what_the_trainers_read(tmp_path):
    _, rows = questions(tmp_path, [LABELLED, {"question": "And the fourth?"}], QuestionReading(suffix=SUFFIX))
    assert rows[0] == {
        "prompt": [{"role": "user", "content": "What is the third planet?" + SUFFIX}],
        "source": "in",
        "id": "7",
        "datasource": "in",
        "data_source": "in",
        "reward_model": {"style": "model", "ground_truth": ""},
        "extra_info": {"index": 0, "origin": f"{tmp_path / 'in.jsonl'}:1"},
    }
    assert rows[1]["extra_info"]["index"] == 1 and len(rows[1]["id"]) == 16
    assert {name: type(value) for name, value in rows[0].items()} == {name: type(v) for name, v in rows[1].items()}


def test_no_label_reaches_the_file(tmp_path):
    conversation = [*LABELLED["solution"]["steps"], "SECRET-3"]
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "SECRET-a", "name": "SECRET-n"}]
    questions(tmp_path, [LABELLED, {**LABELLED, "question": "another", "more": conversation}])
    assert "SECRET" not in (tmp_path / "out.jsonl").read_text()
    questions(tmp_path, [{"messages": [{"role": "system", "content": "s", "key": "SECRET"}, *turns], "gt": "SECRET"}])
    written = (tmp_path / "out.jsonl").read_text()
    assert "SECRET" not in written
    assert json.loads(written)["prompt"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]


@given(
    st.dictionaries(st.text(max_size=8), st.text("secret", min_size=9, max_size=9) | st.floats(1e8, 2e8), max_size=5)
)
def test_of_any_row_only_the_question_and_the_id_are_taken(tmp_path_factory, columns):
    tmp_path = tmp_path_factory.mktemp("rows")
    row = {**columns, "question": "Why?", "id": "a"}
    _, rows = questions(tmp_path, [row], QuestionReading(columns={"prompt": "question"}))
    text = json.dumps({**rows[0], "extra_info": None})
    assert not [value for name, value in columns.items() if name not in ("question", "id") and str(value) in text]


@pytest.mark.parametrize("column", ["question", "problem", "prompt", "instruction"])
def test_columns_are_recognised(tmp_path, column):
    _, rows = questions(tmp_path, [{"other": "x", column: "Why?"}])
    assert rows[0]["prompt"] == [{"role": "user", "content": "Why?"}]


def test_the_suffix_goes_behind_the_last_question(tmp_path):
    turns = [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    _, rows = questions(tmp_path, [row], QuestionReading(suffix="!"))
    assert [turn["content"] for turn in rows[0]["prompt"]] == ["one", "two", "three!"]


def test_columns_are_mapped(tmp_path):
    rows = [{"a": "one", "b": "two", "key": "k", "question": "not this"}]
    _, written = questions(tmp_path, rows, QuestionReading(columns={"prompt": "a+b", "in:id": "key"}))
    assert written[0]["prompt"][0]["content"] == "one\n\ntwo" and written[0]["id"] == "k"


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"text": "x"}, {}, "columns are: text"),
        ({"text": "x"}, {"prompt": "ask"}, "no column 'ask'"),
        ({"instruction": "x", "input": "y"}, {}, r"instruction\+input"),
        ({"question": "x"}, {"label": "y"}, "no field 'label'"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, row, columns, message):
    with pytest.raises(ConfigError, match=message):
        questions(tmp_path, [row], QuestionReading(columns=columns))


def test_rows_that_are_refused_are_counted_and_named(tmp_path):
    benchmarks = Benchmarks()
    (tmp_path / "bench.csv").write_text('Question,Correct Answer\n"What is the mass of an electron?",x\n')
    benchmarks.add(source(str(tmp_path / "bench.csv")))
    rows = [
        {"question": "Why?"},
        {"question": "  why "},
        {"question": "what is the mass of an Electron"},
        {"question": ""},
        {"question": None},
        {"question": ["x"]},
        {"question": "see <image> here"},
        {"question": "end<|im_end|>"},
        {"question": [{"role": "assistant", "content": "no question"}]},
        {"question": [{"role": "user", "content": [{"type": "image"}]}]},
        "{broken",
        {"question": "Why " + "so " * 50},
    ]

    class Words:
        def apply_chat_template(self, messages, **_):
            return messages[-1]["content"]

        def __call__(self, text, **_):
            return {"input_ids": text.split()}

    limit = TokenLimit(tokenizer=Words(), most=40)
    reading = QuestionReading(benchmarks=benchmarks, special_tokens=("<|im_end|>",), limit=limit)
    summary, written = questions(tmp_path, rows, reading)
    assert len(written) == 1 and summary.read["in"] == 12
    assert [row["reason"] for row in rejected(tmp_path)] == [
        *("duplicate", "benchmark", "empty", "missing"),
        *(["wrong_type"] * 5),
        *("broken", "too_long"),
    ]
    assert [row["line"] for row in rejected(tmp_path)] == list(range(2, 13))
    assert "12 read, 1 written; wrong_type 5" in summary.told()


def test_duplicates_may_be_kept_and_the_number_limited(tmp_path):
    rows = [{"question": "Why?"}] * 5
    summary, written = questions(tmp_path, rows, QuestionReading(dedup=False), most=3)
    assert len(written) == 3 and summary.ended and "ended at 3" in summary.told()


def test_a_run_that_finds_nothing_leaves_no_file(tmp_path):
    with pytest.raises(ConfigError, match="not one question"):
        questions(tmp_path, [{"question": ""}])
    assert not (tmp_path / "out.jsonl").exists() and len(rejected(tmp_path)) == 1


def test_a_file_that_was_there_stays_until_the_new_one_is_complete(tmp_path):
    (tmp_path / "out.jsonl").write_text("old")
    with pytest.raises(ConfigError, match="no column"):
        questions(tmp_path, [{"text": "x"}])
    assert (tmp_path / "out.jsonl").read_text() == "old"


@pytest.mark.parametrize(("name", "message"), [("out.parquet", "end in .jsonl"), ("in.jsonl", "over the file")])
def test_bad_targets(tmp_path, name, message):
    (tmp_path / "in.jsonl").write_text('{"question": "q"}\n')
    with pytest.raises(ConfigError, match=message):
        write_questions([source(str(tmp_path / "in.jsonl"))], tmp_path / name, QuestionReading())


def test_sources_of_one_name_are_refused(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"question": "q"}\n')
    one = source(str(tmp_path / "in.jsonl"))
    with pytest.raises(ConfigError, match="two sources"):
        write_questions([one, one], tmp_path / "out.jsonl", QuestionReading())
