"""Published runs re-scored: LLMBar's judges against the verdicts that its authors took, PandaLM's labels, best of n.

Skipped where the real data is not there.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main
from rrm_plugin.evaluation.benchmarks import BENCHMARKS, read_pairs
from rrm_plugin.evaluation.judge_reports import judge_report
from rrm_plugin.evaluation.recorded import Replayed, replay
from rrm_plugin.evaluation.response_groups import group_source, read_groups
from rrm_plugin.types import Verdict
from rrm_plugin.verdicts import grammar

SUBSETS = ["LLMBar/Natural", *(f"LLMBar/Adversarial/{name}" for name in ("Neighbor", "GPTInst", "GPTOut", "Manual"))]
JUDGES = [(evaluator, method) for evaluator in ("GPT-4", "ChatGPT", "PaLM2", "LLaMA2") for method in ("CoT", "Vanilla")]


@pytest.fixture(scope="module")
def recorded(
    shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """The rows of a judge with a method, in a file of their own: the whole is read once, not once a test."""
    folder = tmp_path_factory.mktemp("llmbar")
    files: dict[tuple[str, str], list[str]] = {}
    with gzip.open(shared_data("llmbar/evaluator_verdicts_all.jsonl.gz"), "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            key = (row["evaluator"], row["method"])
            if key in JUDGES:
                files.setdefault(key, []).append(line)
    for (evaluator, method), lines in files.items():
        (folder / f"{evaluator}-{method}.jsonl").write_text("".join(lines), encoding="utf-8")
    return lambda evaluator, method: folder / f"{evaluator}-{method}.jsonl"


@pytest.fixture(scope="module")
def rescored(
    recorded: Callable[[str, str], Path], shared_data: Callable[[str], Path]
) -> Callable[[str, str], tuple[Replayed, dict[str, Any]]]:
    pairs = read_pairs(BENCHMARKS["llmbar"], shared_data("llmbar"))

    def score(evaluator: str, method: str) -> tuple[Replayed, dict[str, Any]]:
        found = replay(pairs, recorded(evaluator, method), grammar("llmbar"))
        report = judge_report(
            BENCHMARKS["llmbar"], found.judged, {}, source=found.source, differences=found.differences
        )
        return found, report

    return score


@pytest.mark.parametrize(("evaluator", "method"), JUDGES)
def test_every_number_is_the_sources_own_but_for_the_texts_that_are_listed(
    rescored: Callable[[str, str], tuple[Replayed, dict[str, Any]]], evaluator: str, method: str
) -> None:
    found, report = rescored(evaluator, method)
    assert sorted(row["subset"] for row in report["rows"]) == sorted(SUBSETS)
    assert sum(row["n"] for row in report["rows"]) == 419 and found.used == 838
    listed = Counter(difference.subset for difference in found.differences)
    for row in report["rows"]:
        theirs = row["by_source"]
        # Each text that is read otherwise can move a number by its own share, and by no more.
        accuracy = listed[row["subset"]] / (2 * row["n"])
        assert abs(row["accuracy"] - theirs["accuracy"]) <= accuracy + 1e-9
        assert abs(row["agreement"] - theirs["agreement"]) <= 2 * accuracy + 1e-9


@pytest.mark.parametrize(("evaluator", "method"), [one for one in JUDGES if one != ("PaLM2", "CoT")])
def test_accuracy_and_agreement_are_within_half_a_point_but_for_two_texts(
    rescored: Callable[[str, str], tuple[Replayed, dict[str, Any]]], evaluator: str, method: str
) -> None:
    found, report = rescored(evaluator, method)
    known = {
        # Its reply was cut off at "Therefore, Output (a)"; the source found the words "Output (a) is better" before.
        ("ChatGPT", "CoT"): [("LLMBar/Adversarial/GPTInst", "51", "cut_off")],
        # "I cannot claim that either Output (a) or Output (b) is better": the source took it for a verdict.
        ("LLaMA2", "CoT"): [("LLMBar/Adversarial/GPTInst", "82", "invalid")],
    }.get((evaluator, method), [])
    assert [(one.subset, one.id, one.reason) for one in found.differences] == known
    touched = {subset for subset, _, _ in known}
    for row in report["rows"]:
        if row["subset"] not in touched:
            assert row["accuracy"] == row["by_source"]["accuracy"] and row["agreement"] == row["by_source"]["agreement"]
    overall = report["overall"]
    assert abs(overall["accuracy"] - overall["by_source"]["accuracy"]) < 0.005
    assert abs(overall["agreement"] - overall["by_source"]["agreement"]) < 0.005


def test_the_sources_verdicts_give_what_its_statistics_say(
    rescored: Callable[[str, str], tuple[Replayed, dict[str, Any]]],
) -> None:
    """The figures in Dataset/LLMBar/Natural/evaluators/PaLM2/{Vanilla,CoT}/statistics.json of the source."""
    for method, accuracy, equal in (("Vanilla", 0.83, 0.80), ("CoT", 0.73, 0.64)):
        _, report = rescored("PaLM2", method)
        (row,) = [row for row in report["rows"] if row["subset"] == "LLMBar/Natural"]
        assert row["by_source"] == {"accuracy": pytest.approx(accuracy), "agreement": pytest.approx(equal)}


def test_the_published_figures_are_those_of_the_recorded_verdicts(
    rescored: Callable[[str, str], tuple[Replayed, dict[str, Any]]],
) -> None:
    for published in BENCHMARKS["llmbar"].published:
        _, report = rescored(*published.judge.split(", "))
        assert published.figure == report["by_source"]["name"]
        assert published.value == pytest.approx(100 * report["by_source"]["value"], abs=0.05)


def test_what_the_differing_texts_of_palm_2_say(
    rescored: Callable[[str, str], tuple[Replayed, dict[str, Any]]], recorded: Callable[[str, str], Path]
) -> None:
    """All but three call one output better, and no other; the source took the other one, which they speak of."""
    found, _ = rescored("PaLM2", "CoT")
    rows = [json.loads(line) for line in recorded("PaLM2", "CoT").read_text(encoding="utf-8").splitlines()]
    texts = {(row["subset"], str(row["idx"]), row["swapped"]): row["raw"] for row in rows}
    assert len(found.differences) == 147
    reasons = Counter(one.reason for one in found.differences)
    assert reasons == {"other_verdict": 144, "contradictory": 3}
    sides = Counter()
    for one in found.differences:
        text = texts[one.subset, one.id, one.swapped]
        letters = {letter for letter in "ab" if f"Output ({letter}) is better" in text}
        said = None if one.here is None else "ab"[(one.here == "2") ^ one.swapped]
        took = "ab"[(one.source == "2") ^ one.swapped]
        sides["both" if len(letters) == 2 else "as read here" if letters == {said} else "else"] += 1
        assert f"Output ({took})" in text
    assert sides == {"as read here": 144, "both": 3}


def test_the_half_of_pandalm_is_read_and_its_ties_are_a_class(shared_data: Callable[[str], Path]) -> None:
    pairs = read_pairs(BENCHMARKS["pandalm"], shared_data("pandalm"))
    # Hand count of the majorities of the three columns.
    assert Counter(pair.label for pair in pairs) == {Verdict.FIRST: 210, Verdict.SECOND: 198, Verdict.TIE: 51}


@pytest.mark.parametrize(
    ("name", "groups", "mixed"),
    [
        ("gsm8k/gsm8k_multi4.jsonl", 1319, 731),
        ("mmlu_pro/mmlu_pro_multi.jsonl", 300, 271),
        ("zeroeval/gsm_multi16_every12.jsonl", 110, 65),
        ("qwen_math/math_multi8.jsonl", 100, None),
    ],
)
def test_groups_of_real_answers_are_read(
    shared_data: Callable[[str], Path], name: str, groups: int, mixed: int | None
) -> None:
    found = read_groups(group_source(str(shared_data(name))))
    assert len(found) == groups
    if mixed is not None:
        assert sum(0 < sum(group.correct) < len(group.correct) for group in found) == mixed
    assert all(len(group.responses) == len(group.correct) == len(group.answers) for group in found)


@pytest.mark.parametrize("accuracy", [1.0, 0.8, 0.5])
def test_pandalm_counts_a_judge_that_never_says_tie_as_it_must(
    shared_data: Callable[[str], Path], tmp_path: Path, accuracy: float
) -> None:
    """Of 459 pairs 51 are ties, on which a judge that has to choose is wrong."""
    out = tmp_path / "a.json"
    words = ["eval", "pandalm", "--data", str(shared_data("pandalm")), "--engine", f"simulated:{accuracy}"]
    result = CliRunner().invoke(main, [*words, "--json", str(out)])
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text(encoding="utf-8"))
    low, high = report["figure"]["interval"]
    assert low <= accuracy * 408 / 459 <= high
    assert report["figure"]["value"] == report["overall"]["accuracy"]
    assert report["figure"]["parts"]["without ties"] == pytest.approx(report["overall"]["accuracy"] * 459 / 408)
