"""Questions with choices: the layouts of GPQA and MMLU-Pro, the order of choices, and data that is not to be had."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from rrm_plugin import ConfigError
from rrm_plugin.evaluation.choices import BENCHMARKS, Question, load_questions, shuffled, subset

# The columns of the official file that matter, with others that a loader must pass over. The questions are made up.
GPQA = {
    "Pre-Revision Question": "old",
    "Question": "Which is\nheaviest?\n",
    "Correct Answer": "lead\n",
    "Incorrect Answer 1": "tin",
    "Incorrect Answer 2": "iron, cast",
    "Incorrect Answer 3": "zinc",
    "Explanation": "SECRET",
    "Record ID": "rec1",
    "High-level domain": "Chemistry",
}
MMLU = {
    "question_id": 70,
    "question": "Which?",
    "options": ["p", "q", "r", "N/A"],
    "answer": "B",
    "answer_index": 1,
    "cot_content": "SECRET",
    "category": "business",
    "src": "x",
}

ORDERS = [("d", "b", "c", "a"), ("d", "b", "a", "c"), ("b", "a", "c", "d")]


def gpqa_file(path, rows=(GPQA,)):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def numbered(count):
    return [{**GPQA, "Record ID": f"rec{n}", "Question": f"{n}?"} for n in range(count)]


def test_gpqa_from_the_file_of_the_archive(tmp_path):
    gpqa_file(tmp_path / "gpqa_diamond.csv")
    (question,) = load_questions(f"gpqa_diamond={tmp_path / 'gpqa_diamond.csv'}")
    assert (question.id, question.benchmark, question.category) == ("rec1", "gpqa_diamond", "Chemistry")
    assert sorted(question.choices) == ["iron, cast", "lead", "tin", "zinc"]
    assert question.choices[question.answer] == "lead" and "SECRET" not in question.prompt
    letter = "ABCD"[question.choices.index("tin")]
    assert question.prompt.startswith("Which is\nheaviest?\n\nA. ") and f"\n{letter}. tin\n" in question.prompt


@pytest.mark.parametrize("inside", ["", "dataset"])
def test_gpqa_from_the_unpacked_archive(tmp_path, inside):
    (tmp_path / inside).mkdir(exist_ok=True)
    gpqa_file(tmp_path / inside / "gpqa_diamond.csv")
    assert len(load_questions(f"gpqa_diamond={tmp_path}")) == 1


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_mmlu_pro_from_a_file(tmp_path, form):
    path = tmp_path / f"test.{form}"
    if form == "jsonl":
        path.write_text(json.dumps(MMLU) + "\n")
    else:
        pyarrow = pytest.importorskip("pyarrow", reason="reads Parquet")
        __import__("pyarrow.parquet")
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([MMLU]), path)
    (question,) = load_questions(f"mmlu_pro={path}")
    assert sorted(question.choices) == ["p", "q", "r"] and question.choices[question.answer] == "q"
    assert (question.id, question.category) == ("70", "business")


def test_real_rows_of_mmlu_pro(shared_data):
    questions = load_questions(f"mmlu_pro={shared_data('mmlu_pro/mmlu_pro_multi.jsonl')}")
    assert len(questions) == 300 and len({question.category for question in questions}) == 14
    assert {len(question.choices) for question in questions} <= set(range(3, 11))
    places = Counter(question.answer for question in questions if len(question.choices) == 10)
    assert len(places) == 10 and max(places.values()) < 0.2 * places.total()


def test_the_right_choice_stands_anywhere(tmp_path):
    gpqa_file(tmp_path / "g.csv", numbered(400))
    places = Counter(question.answer for question in load_questions(f"gpqa_diamond={tmp_path / 'g.csv'}"))
    assert sorted(places) == [0, 1, 2, 3] and all(70 <= count <= 130 for count in places.values())


def test_the_order_is_the_same_wherever_it_is_drawn():
    question = Question(id="rec1", benchmark="gpqa_diamond", text="?", choices=("a", "b", "c", "d"), answer=0)
    # Written down once: with another order, runs of different versions could not be compared.
    assert [shuffled(question, seed).choices for seed in range(3)] == ORDERS
    for seed in range(3):
        assert shuffled(question, seed).choices[shuffled(question, seed).answer] == "a"


def test_a_question_keeps_its_order_whatever_others_there_are(tmp_path):
    gpqa_file(tmp_path / "all.csv", numbered(20))
    gpqa_file(tmp_path / "one.csv", numbered(20)[7:8])
    every = load_questions(f"gpqa_diamond={tmp_path / 'all.csv'}", seed=5)
    assert load_questions(f"gpqa_diamond={tmp_path / 'one.csv'}", seed=5) == every[7:8]
    assert load_questions(f"gpqa_diamond={tmp_path / 'all.csv'}", seed=6) != every


def test_a_subset_is_drawn_and_in_order(tmp_path):
    gpqa_file(tmp_path / "all.csv", numbered(50))
    every = load_questions(f"gpqa_diamond={tmp_path / 'all.csv'}")
    some = subset(every, 10, 0)
    assert len(some) == 10 and some != every[:10] and [one for one in every if one in some] == some
    assert set(some) <= set(subset(every, 20, 0)), "a larger subset holds the smaller one"
    assert subset(every, 99, 0) == every


def test_a_choice_that_stands_there_twice_is_right_in_both_places():
    question = Question(id="x", benchmark="b", text="?", choices=("7 kg", "8 kg", "7  kg", "7 Kg"), answer=0)
    assert [question.is_right(choice) for choice in (0, 1, 2, 3, None)] == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("gpqa_diamond", [{"Question": "q"}], "needed are the columns Question, Correct Answer"),
        ("gpqa_diamond", [{**GPQA, "Incorrect Answer 2": " "}], "a choice is empty"),
        ("gpqa_diamond", [GPQA, GPQA], "the id 'rec1' stands in a row before"),
        ("mmlu_pro", [{**MMLU, "answer_index": 3}], "number 4 of 3 choices"),
        ("mmlu_pro", [{"question": "q"}], "needed are the columns question_id"),
        ("mmlu_pro", [], "no question"),
    ],
)
def test_other_layouts_are_named(tmp_path, name, rows, message):
    path = tmp_path / "f.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match=message):
        load_questions(f"{name}={path}")


@pytest.mark.parametrize(("spec", "message"), [("gpqa", "not known"), ("mmlu_pro=no/file.parquet", "no file")])
def test_what_is_not_there(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_questions(spec)


def hub(monkeypatch, load):
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))


def test_the_official_data_sets_are_asked_for_as_they_are_published(monkeypatch):
    asked = []

    def load(path, **options):
        asked.append((path, options))
        return [GPQA] if "gpqa" in path else [MMLU]

    hub(monkeypatch, load)
    for name in BENCHMARKS:
        assert len(load_questions(name)) == 1
    of_gpqa = {"split": "train", "streaming": True}
    assert asked == [
        *(("Idavidrein/gpqa", {"name": f"gpqa_{part}", **of_gpqa}) for part in ("diamond", "main", "extended")),
        ("TIGER-Lab/MMLU-Pro", {"split": "test", "streaming": True}),
    ]


@pytest.mark.parametrize(
    "said",
    [
        "Dataset 'Idavidrein/gpqa' is a gated dataset on the Hub. You must be authenticated to access it.",
        "403 Client Error: Forbidden",
    ],
)
def test_a_gated_data_set_says_what_to_do(monkeypatch, said):
    def load(*_, **__):
        raise RuntimeError(said)

    hub(monkeypatch, load)
    with pytest.raises(ConfigError) as caught:
        load_questions("gpqa_diamond")
    for part in ("accept its terms at https://huggingface.co/datasets/Idavidrein/gpqa", "HF_TOKEN", said[:20]):
        assert part in str(caught.value)
    assert "gpqa_diamond=gpqa_diamond.csv" in str(caught.value)


def test_a_hub_that_is_not_there_is_no_gate(monkeypatch):
    def load(*_, **__):
        raise ConnectionError("Couldn't reach the Hub")

    hub(monkeypatch, load)
    with pytest.raises(ConfigError, match=r"Or give its file: mmlu_pro=FILE\.parquet") as caught:
        load_questions("mmlu_pro")
    assert "terms" not in str(caught.value)
