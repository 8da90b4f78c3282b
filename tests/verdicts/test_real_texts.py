"""Real judges' texts, with the verdict that their own source read in them."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rrm_plugin.types import Reason, Verdict
from rrm_plugin.verdicts import parse

SharedData = Callable[[str], Path]

PRESET = {"RM-R1": "rm_r1", "NeMo-Gym": "arena", "LLMBar": "llmbar"}
"""The preset for each source, by the part of its name before the slash."""

SAME = {
    "1": Verdict.FIRST, "A": Verdict.FIRST, "A>B": Verdict.FIRST, "A>>B": Verdict.FIRST, "A=B": Verdict.TIE,
    "2": Verdict.SECOND, "B": Verdict.SECOND, "B>A": Verdict.SECOND, "B>>A": Verdict.SECOND,
}  # fmt: skip

MISREAD_BY_SOURCE = {
    114: ("1. Does the narrative involve", None),  # answers questions about both outputs, compares nothing
    237: ("Output (b) is better.", Verdict.SECOND),  # names (b) alone; the source took the first label of the text
}
"""Rows whose source read a verdict that the text does not give: how the text begins, and what it says."""


def test_no_verdict_is_read_differently_and_none_is_guessed(shared_data: SharedData) -> None:
    lines = shared_data("verdicts/verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) >= 269
    wrong, read, ambiguous = [], 0, 0
    for number, row in enumerate(rows):
        verdict = parse(row["raw"], PRESET[row["source"].split("/")[0]]).verdict
        if row.get("ambiguous"):
            ambiguous += 1
            expected = None
        elif number in MISREAD_BY_SOURCE:
            start, expected = MISREAD_BY_SOURCE[number]
            assert row["raw"].startswith(start)
        elif row["parsed_by_source"] is None:
            continue
        else:
            read += 1
            expected = SAME[row["parsed_by_source"]]
        if verdict is not expected:
            wrong.append((number, row["source"], verdict, expected))
    assert not wrong
    assert (read, ambiguous) == (162, 40)


def test_a_real_refusal_is_called_one(shared_data: SharedData) -> None:
    lines = shared_data("verdicts/verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    raws = [json.loads(line)["raw"] for line in lines]
    declined = [
        raw for raw in raws if raw.startswith(("I cannot provide a response", "I cannot provide a direct answer"))
    ]
    assert len(declined) >= 10
    assert {parse(raw, "llmbar").reason for raw in declined} == {Reason.REFUSAL}


MISREAD_JUDGES = {("PaLM2", "CoT"), ("LLaMA2", "Vanilla_1shot"), ("LLaMA2", "Vanilla_2shot")}
"""Where the source's parser took the first label that stands in an answer with reasons, whatever the answer says."""


def test_accuracy_of_each_judge_is_that_of_its_source(shared_data: SharedData) -> None:
    accuracy: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    with gzip.open(shared_data("llmbar/evaluator_verdicts_all.jsonl.gz"), "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["method"] != "Swap_CoT":  # shown both sides' claims, these often quote both
                count = accuracy[row["evaluator"], row["method"]]
                count[0] += 1
                count[1] += row["parsed_winner"] == str(row["label"])
                count[2] += _winner(row) == str(row["label"])
    apart = {judge: 100 * (own - theirs) / rows for judge, (rows, theirs, own) in accuracy.items()}
    assert len(apart) >= 50
    assert {judge: gap for judge, gap in apart.items() if abs(gap) > 0.5 and judge not in MISREAD_JUDGES} == {}


def _winner(row: dict[str, Any]) -> str | None:
    """The better output by the data set's numbering: where the outputs were swapped, the first shown is its second."""
    verdict = parse(row["raw"], "llmbar").verdict
    if verdict is not None and row["swapped"]:
        verdict = verdict.swapped
    return {Verdict.FIRST: "1", Verdict.SECOND: "2"}.get(verdict) if verdict else None
