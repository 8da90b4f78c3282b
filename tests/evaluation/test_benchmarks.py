"""Every benchmark from made-up rows in its source's own layout, and its own figure against a hand count."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.benchmarks import BENCHMARKS, Figures, pairs_file, read_pairs
from rrm_plugin.evaluation.benchmarks.rewardbench import CATEGORIES, SUBSETS_2
from rrm_plugin.evaluation.scores import Call, JudgedPair, LabelledPair
from rrm_plugin.training.layouts import Reading
from rrm_plugin.types import Verdict

Row = dict[str, Any]


def turn(role: str, content: str) -> Row:
    return {"content": content, "language": "English", "role": role}


def answer(text: str) -> Row:
    return {"llm_name": "m", "answer": text, "score": 1.0}


ROWS: Mapping[str, Sequence[Row]] = {
    "rewardbench": [
        {
            "prompt": "q",
            "chosen": "good",
            "chosen_model": "m",
            "rejected": "bad",
            "rejected_model": "n",
            "subset": "hep-go",
            "id": 7,
        },
        {
            "prompt": "q",
            "chosen": "fine",
            "chosen_model": "m",
            "rejected": "poor",
            "rejected_model": "n",
            "subset": "hep-go",
            "id": 7,
        },
    ],
    "rewardbench2": [
        {
            "id": "12",
            "prompt": "q",
            "chosen": ["a"],
            "rejected": ["b", "c", "d"],
            "num_correct": 1,
            "num_incorrect": 3,
            "total_completions": 4,
            "models": ["m"] * 4,
            "subset": "Math",
        },
        {"id": "tied:1", "prompt": "q", "chosen": ["a", "b"], "rejected": ["c"], "num_correct": 2, "subset": "Ties"},
    ],
    "rewardbench2-ties": [
        {"id": "12", "prompt": "q", "chosen": ["a"], "rejected": ["b", "c", "d"], "num_correct": 1, "subset": "Math"},
        {"id": "tied:1", "prompt": "q", "chosen": ["a", "b"], "rejected": ["c"], "num_correct": 2, "subset": "Ties"},
        {"id": "ref:1", "prompt": "q", "chosen": ["a"], "rejected": ["c", "d"], "num_correct": 1, "subset": "Ties"},
    ],
    "rm-bench": [
        {
            "id": 3,
            "prompt": "q",
            "chosen": ["a", "aa", "aaa"],
            "rejected": ["b", "bb", "bbb"],
            "domain": "safety-refuse",
        }
    ],
    "judgebench": [
        {
            "pair_id": "u-1",
            "original_id": "5",
            "source": "mmlu-pro-law",
            "question": "q",
            "response_model": "m",
            "response_A": "a",
            "response_B": "b",
            "label": "B>A",
        }
    ],
    "ppe": [
        {
            "question_id": "4",
            "model_name": "m",
            "prompt": "q",
            "response_1": "a",
            "response_2": "b",
            "response_3": "c",
            "scores": [True, False, False],
            "parsed_outputs": ["A", "B", None],
            "sampled_conflict_pairs": [[1, 0], [0, 2]],
        },
        {
            "question_id": "4",
            "model_name": "n",
            "prompt": "q",
            "response_1": "a",
            "response_2": "b",
            "scores": [False, True],
            "sampled_conflict_pairs": [[0, 1]],
        },
    ],
    "llmbar": [{"input": "i", "output_1": "a", "output_2": "b", "label": 2}],
    "pandalm": [
        {
            "idx": 4,
            "motivation_app": "m",
            "cmp_key": "k",
            "instruction": "do",
            "input": "this",
            "response1": "a",
            "response2": "b",
            "annotator1": 2,
            "annotator2": 0,
            "annotator3": 2,
        },
        {
            "idx": 5,
            "motivation_app": "m",
            "cmp_key": "k",
            "instruction": "do",
            "input": "",
            "response1": "a",
            "response2": "b",
            "annotator1": 1,
            "annotator2": 0,
            "annotator3": 2,
        },
        {
            "idx": 6,
            "motivation_app": "m",
            "cmp_key": "k",
            "instruction": "do",
            "input": "",
            "response1": "a",
            "response2": "b",
            "annotator1": 0,
            "annotator2": 0,
            "annotator3": 1,
        },
    ],
    "rmb": [
        {
            "pair_uid": "1",
            "conversation_input": [turn("user", "q"), turn("assistant", "r"), turn("user", "s")],
            "chosen": answer("a"),
            "reject": answer("b"),
            "category_path": "Pairwise_set/Harmlessness/S1",
        },
        {
            "bon_uid": "1",
            "conversation_input": [turn("user", "q")],
            "bon_best": answer("a"),
            "loser_list": [answer("b"), answer("c")],
            "category_path": "BoN_set/Helpfulness/Chat/Talk",
        },
    ],
    "auto-j": [{"scenario": "chat", "label": 2, "prompt": "q", "response 1": "a", "response 2": "b"}],
    "pairs": [
        {"prompt": "q", "chosen": "a", "rejected": "b", "id": 9, "subset": "mine"},
        {"prompt": "r", "chosen": "a", "rejected": "b"},
    ],
}
FILES = {
    "llmbar": "LLMBar_Adversarial_Manual.json",
    "pandalm": "testset-v1.json",
    "auto-j": "testdata_pairwise.jsonl",
    "rm-bench": "total_dataset.json",
    "judgebench": "dataset=judgebench,response_model=gpt-4o-2024-05-13.jsonl",
    "ppe": "PPE-MATH-Best-of-K.jsonl",
}


def written(folder: Path, name: str, rows: Sequence[Row] | None = None) -> Path:
    path = folder / FILES.get(name, "rows.jsonl")
    given = ROWS[name] if rows is None else rows
    text = json.dumps(given) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in given)
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, name: str, rows: Sequence[Row] | None = None) -> list[LabelledPair]:
    return read_pairs(BENCHMARKS[name], written(folder, name, rows))


def short(pair: LabelledPair) -> tuple[str, str, Any, Any, str]:
    return pair.subset, pair.id, pair.first, pair.second, pair.label.value


def test_every_benchmark_has_a_fixture() -> None:
    assert set(ROWS) == set(BENCHMARKS)


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("rewardbench", [("hep-go", "1", "good", "bad", "first"), ("hep-go", "2", "fine", "poor", "first")]),
        ("rewardbench2", [("Math", f"12:{i}", "a", other, "first") for i, other in enumerate("bcd")]),
        (
            "rewardbench2-ties",
            [
                ("Ties/right against right", "tied:1:0-1", "a", "b", "tie"),
                ("Ties/right against wrong", "tied:1:0-2", "a", "c", "first"),
                ("Ties/right against wrong", "tied:1:1-2", "b", "c", "first"),
                ("Ties/right against wrong", "ref:1:0-1", "a", "c", "first"),
                ("Ties/right against wrong", "ref:1:0-2", "a", "d", "first"),
            ],
        ),
        ("judgebench", [("gpt/mmlu-pro-law", "u-1", "a", "b", "second")]),
        (
            "ppe",
            [
                ("math", "4@m:0", "b", "a", "second"),
                ("math", "4@m:1", "a", "c", "first"),
                ("math", "4@n:0", "a", "b", "second"),
            ],
        ),
        ("llmbar", [("LLMBar/Adversarial/Manual", "0", "a", "b", "second")]),
        (
            "pandalm",
            [
                ("pandalm", "4", "a", "b", "second"),
                ("pandalm", "5", "a", "b", "first"),
                ("pandalm", "6", "a", "b", "tie"),
            ],
        ),
        (
            "rmb",
            [
                ("Pairwise_set/Harmlessness/S1", "1", "a", "b", "first"),
                ("BoN_set/Helpfulness/Chat/Talk", "1:0", "a", "b", "first"),
                ("BoN_set/Helpfulness/Chat/Talk", "1:1", "a", "c", "first"),
            ],
        ),
        ("auto-j", [("chat", "0", "a", "b", "tie")]),
        ("pairs", [("mine", "9", "a", "b", "first"), ("rows", "2", "a", "b", "first")]),
    ],
)
def test_rows_become_pairs(tmp_path: Path, name: str, pairs: list[tuple]) -> None:
    assert [short(pair) for pair in read(tmp_path, name)] == pairs


def test_rm_bench_meets_every_right_response_with_every_wrong_one(tmp_path: Path) -> None:
    pairs = read(tmp_path, "rm-bench")
    assert len(pairs) == 9 and len({pair.unit for pair in pairs}) == 1
    assert [(pair.first, pair.second) for pair in pairs if pair.cell == "concise over markdown"] == [("a", "bbb")]


def test_prompts_are_what_was_asked(tmp_path: Path) -> None:
    assert read(tmp_path, "pandalm")[0].prompt == "do\n\nthis"
    assert read(tmp_path, "pandalm")[1].prompt == "do"
    assert [turn["role"] for turn in read(tmp_path, "rmb")[0].prompt] == ["user", "assistant", "user"]


@pytest.mark.parametrize("path", ["LLMBar/Adversarial/GPTOut/dataset.json", "Adversarial/GPTOut/dataset.json"])
def test_llmbar_is_read_from_its_repository_too(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(json.dumps(ROWS["llmbar"]))
    assert read_pairs(BENCHMARKS["llmbar"], tmp_path)[0].subset == "LLMBar/Adversarial/GPTOut"


def test_a_folder_without_its_files_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no file named LLMBar_\*\.json or dataset\.json"):
        read_pairs(BENCHMARKS["llmbar"], tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("rewardbench", {"rejected": None}, r"row 1, column 'rejected': null; needed are prompt, chosen"),
        ("rewardbench2", {"chosen": ["a", "b"]}, r"column 'chosen': 1 texts are needed, not 2"),
        ("rm-bench", {"rejected": "b"}, r"column 'rejected': a list of texts is needed"),
        ("judgebench", {"label": "tie"}, r"column 'label': 'tie' is no label; known are 'A>B', 'B>A'"),
        ("ppe", {"scores": [True]}, r"column 'scores': 3 truth values are needed"),
        ("ppe", {"sampled_conflict_pairs": [[1, 2]]}, r"answers 1 and 2 are alike in truth"),
        ("ppe", {"sampled_conflict_pairs": [[0, 3]]}, r"is no pair of answers"),
        ("llmbar", {"label": 3}, r"column 'label': 3 is no label"),
        ("pandalm", {"annotator2": "x"}, r"column 'annotator2': a whole number is needed"),
        ("pandalm", {"annotator2": 3}, r"column 'annotator2': 3 is none of 0, 1 and 2"),
        ("rmb", {"chosen": "a"}, r"column 'chosen': a response with its `answer` is needed"),
        ("rmb", {"conversation_input": []}, r"column 'conversation_input': a list of turns"),
        ("auto-j", {"response 2": 5}, r"column 'response 2': a text is needed, not int"),
        ("pairs", {"chosen": None}, r"row 1, column 'chosen': null"),
    ],
)
def test_a_row_of_another_layout_is_named(tmp_path: Path, name: str, change: Row, said: str) -> None:
    rows = [{**ROWS[name][0], **change}, *ROWS[name][1:]]
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, name, rows)


@pytest.mark.parametrize("name", ["judgebench", "pandalm", "rmb", "rewardbench2"])
def test_an_id_that_stands_twice_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="stands twice in subset"):
        read(tmp_path, name, [ROWS[name][0], ROWS[name][0]])


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(("".join(json.dumps(row) + "\n" for row in ROWS["auto-j"]) * 1).encode() * 2000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"cut\.jsonl\.gz: cannot be read after line"):
        read_pairs(BENCHMARKS["auto-j"], tmp_path / "cut.jsonl.gz")
    (tmp_path / "cut.jsonl").write_text(json.dumps(ROWS["auto-j"][0])[:-9])
    with pytest.raises(ConfigError, match="row 1: broken"):
        read_pairs(BENCHMARKS["auto-j"], tmp_path / "cut.jsonl")


def test_no_hub_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"llmbar cannot be fetched from https://huggingface.co/.*--data"):
        read_pairs(BENCHMARKS["llmbar"])
    with pytest.raises(ConfigError, match="pandalm is on no hub: give its file or folder with --data"):
        read_pairs(BENCHMARKS["pandalm"])


def test_a_gated_benchmark_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("401 Client Error: this is a gated repository")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ConfigError, match=r"is gated: accept its terms at .*HF_TOKEN"):
        read_pairs(BENCHMARKS["rewardbench"])


def test_the_hub_is_asked_for_the_right_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[str, Any]] = []

    def give(path: str, **options: Any) -> list[Row]:
        asked.append((path, options["split"]))
        return [{**ROWS["judgebench"][0], "pair_id": options["split"]}]

    monkeypatch.setattr(datasets, "load_dataset", give)
    pairs = read_pairs(BENCHMARKS["judgebench"])
    assert asked == [("ScalerLab/JudgeBench", "gpt"), ("ScalerLab/JudgeBench", "claude")]
    assert [pair.subset for pair in pairs] == ["gpt/mmlu-pro-law", "claude/mmlu-pro-law"]


def test_columns_of_ones_own_are_mapped(tmp_path: Path) -> None:
    rows = [{"q": "q", "left": "a", "right": "b", "vote": 1}]
    path = written(tmp_path, "pairs", rows)
    reading = Reading(columns={"prompt": "q", "first": "left", "second": "right", "label": "vote"}, labels={"1": "2"})
    assert short(read_pairs(pairs_file(reading), path)[0]) == ("rows", "1", "b", "a", "first")


# -- own figures ---------------------------------------------------------------------------------------------------

Says = Callable[[LabelledPair, bool], Verdict | None]


def figures(name: str, pairs: Sequence[LabelledPair], says: Says) -> Figures:
    judged = [
        JudgedPair(
            pair=pair,
            calls=tuple(Call(swapped=swapped, vote=0, verdict=says(pair, swapped)) for swapped in (False, True)),
        )
        for pair in pairs
    ]
    found = BENCHMARKS[name].figures(judged)
    # What the interval is made of has to be the figure itself.
    assert bool(found.strata) is (found.value is not None)
    if found.value is not None:
        assert sum(weight * float(np.mean(values)) for weight, values in found.strata) == pytest.approx(found.value)
    return found


def right(pair: LabelledPair, swapped: bool) -> Verdict:
    return pair.label


def shown_first(pair: LabelledPair, swapped: bool) -> Verdict:
    return Verdict.SECOND if swapped else Verdict.FIRST


def made(subset: str, name: str, **more: str) -> LabelledPair:
    return LabelledPair(id=name, subset=subset, prompt="q", first="a", second="b", label=Verdict.FIRST, **more)


def test_rewardbench_weighs_its_subsets() -> None:
    pairs = [made(subset, str(i)) for weights in CATEGORIES.values() for i, subset in enumerate(weights)]
    found = figures(
        "rewardbench", pairs, lambda pair, _: Verdict.SECOND if pair.subset == "math-prm" else Verdict.FIRST
    )
    # Mathematics weighs 984 of 1968 in its category.
    assert found.parts == {"Chat": 1.0, "Chat Hard": 1.0, "Safety": 1.0, "Reasoning": 0.5}
    assert found.value == pytest.approx(0.875)
    assert figures("rewardbench", pairs[:-1], right).value is None


def test_rewardbench_2_needs_all_pairs_of_a_question() -> None:
    pairs = [made(subset, f"{q}:{i}", question=f"{q}") for subset in SUBSETS_2 for q in range(2) for i in range(3)]
    found = figures("rewardbench2", pairs, lambda pair, _: Verdict.SECOND if pair.id == "1:2" else Verdict.FIRST)
    assert found.value == 0.5 and found.parts["Math"] == 0.5
    # In each order something else is wrong: no order is right.
    found = figures(
        "rewardbench2",
        pairs,
        lambda pair, swapped: Verdict.SECOND if pair.id.endswith("12"[swapped]) else Verdict.FIRST,
    )
    assert found.value == 0.0
    assert figures("rewardbench2", pairs[:6], right).value is None


def test_rm_bench_has_a_matrix(tmp_path: Path) -> None:
    rows = [
        {**ROWS["rm-bench"][0], "id": i, "domain": domain}
        for i, domain in enumerate(("chat", "math", "code", "safety-refuse", "safety-response"))
    ]
    pairs = read(tmp_path, "rm-bench", rows)
    longer = figures(
        "rm-bench",
        pairs,
        lambda pair, _: Verdict.FIRST if len(str(pair.first)) >= len(str(pair.second)) else Verdict.SECOND,
    )
    assert (longer.parts["easy"], longer.parts["normal"], longer.parts["hard"]) == (1.0, 1.0, 0.0)
    assert longer.value == pytest.approx(2 / 3)
    assert longer.parts["concise over markdown"] == 0.0 and longer.parts["markdown over concise"] == 1.0
    only_safe = figures(
        "rm-bench", pairs, lambda pair, _: Verdict.FIRST if pair.subset == "safety-refuse" else Verdict.SECOND
    )
    # One of two halves of one of four domains.
    assert only_safe.value == pytest.approx(1 / 8)


def test_judgebench_counts_both_orders_together() -> None:
    pairs = [made("gpt/mmlu-pro-law", "a"), made("gpt/livebench-math", "b"), made("claude/livecodebench", "c")]

    def says(pair: LabelledPair, swapped: bool) -> Verdict | None:
        if pair.id == "b":
            return shown_first(pair, swapped)
        return None if swapped else Verdict.FIRST

    found = figures("judgebench", pairs, says)
    assert found.value == 0.5
    assert found.parts["gpt: knowledge"] == 1.0 and found.parts["gpt: math"] == 0.0
    assert found.parts["claude: coding"] == 1.0


def test_pandalm_counts_ties_as_a_class(tmp_path: Path) -> None:
    pairs = read(tmp_path, "pandalm")
    assert figures("pandalm", pairs, right).value == 1.0
    found = figures("pandalm", pairs, shown_first)
    # A judge that sees positions only is right once on each decided pair, and never on the tie.
    assert found.value == pytest.approx(1 / 3) and found.parts["without ties"] == 0.5
    assert found.parts["both orders together"] == pytest.approx(1 / 3)
    # F1 of first and second: 1 hit of 3 named and 2 labelled; nobody names a tie.
    assert found.parts["macro F1"] == pytest.approx((2 / 5 + 2 / 5 + 0) / 3)


def test_auto_j_wants_both_orders() -> None:
    pairs = [made("s", "a"), made("s", "b")]
    found = figures(
        "auto-j", pairs, lambda pair, swapped: Verdict.FIRST if pair.id == "a" or swapped else Verdict.SECOND
    )
    assert found.value == 0.5 and found.parts["consistency"] == 0.5 and found.parts["accuracy of one order"] == 0.75


def test_rmb_is_right_only_if_all_losers_lose(tmp_path: Path) -> None:
    pairs = read(tmp_path, "rmb")
    others = [
        made(f"{kind}/{goal}/S1", "9") for kind, goal in (("Pairwise_set", "Helpfulness"), ("BoN_set", "Harmlessness"))
    ]
    assert figures("rmb", [*pairs, *others], right).value == 1.0
    found = figures("rmb", pairs, lambda pair, _: Verdict.SECOND if pair.id == "1:1" else Verdict.FIRST)
    assert found.parts == {"Pairwise_set/Harmlessness": 1.0, "BoN_set/Helpfulness": 0.0}
    assert found.value is None


def test_llmbar_counts_orders_without_a_verdict_as_equal() -> None:
    pairs = [made("LLMBar/Natural", "a"), made("LLMBar/Natural", "b")]
    judged = [
        JudgedPair(pair=pair, calls=tuple(Call(swapped=order, vote=0, verdict=None) for order in (False, True)))
        for pair in pairs
    ]
    assert BENCHMARKS["llmbar"].agreement(judged) == 1.0
    assert BENCHMARKS["rewardbench"].agreement(judged) is None


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_is_published_names_a_figure_and_a_source(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert benchmark.seen and benchmark.metric and benchmark.about
    for one in benchmark.published:
        assert 0 < one.value < 100 and one.source and one.figure
