"""Recorded calls: texts and verdicts, whose order, what is missing, what is doubled, what the source read otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.recorded import Difference, Replayed, replay
from rrm_plugin.verdicts import grammar
from tests.evaluation.judged import pair

PAIRS = [pair("0"), pair("1"), pair("2", subset="t")]


def run(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Replayed:
    path = folder / "calls.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return replay(PAIRS, path, grammar(options.pop("grammar", "llmbar")), **options)


def text(name: int, letter: str, *, swapped: bool = False, **more: Any) -> dict[str, Any]:
    return {"subset": "s", "idx": name, "swapped": swapped, "raw": f"Output ({letter}) is better.", **more}


def test_texts_are_read_by_the_order_of_the_data_set(tmp_path: Path) -> None:
    rows = [text(0, "a"), text(0, "a", swapped=True), text(1, "b"), text(1, "b", swapped=True)]
    result = run(tmp_path, rows)
    assert [one.accuracy for one in result.judged] == [0.5, 0.5]
    assert [one.verdict(True).value for one in result.judged] == ["second", "first"]
    assert result.used == 4 and result.absent == ["t"]


def test_verdicts_are_by_the_position_shown_and_winners_by_the_data_set(tmp_path: Path) -> None:
    rows = [
        {"subset": "s", "id": "0", "swapped": True, "verdict": "second"},
        {"subset": "s", "id": "1", "swapped": True, "winner": 1},
    ]
    assert [one.verdict(True).value for one in run(tmp_path, rows).judged] == ["first", "first"]


def test_verdicts_may_be_taken_in_place_of_texts(tmp_path: Path) -> None:
    rows = [text(0, "a", verdict="second"), text(1, "a", parsed_winner="2")]
    assert [one.accuracy for one in run(tmp_path, rows).judged] == [1.0, 1.0]
    assert [one.accuracy for one in run(tmp_path, rows, take="verdicts").judged] == [0.0, 0.0]


def test_what_nobody_recorded_is_wrong_and_said(tmp_path: Path) -> None:
    result = run(tmp_path, [text(0, "a"), text(0, "b", swapped=True), text(1, "a")])
    (reason,) = [call.reason for one in result.judged for call in one.calls if call.verdict is None]
    assert reason == "not_recorded" and [one.accuracy for one in result.judged] == [1.0, 0.5]


def test_votes_are_kept_apart(tmp_path: Path) -> None:
    rows = [text(0, letter, rep=vote) for vote, letter in enumerate("aab")]
    (one, _) = run(tmp_path, rows).judged
    assert [call.vote for call in one.calls] == [0, 1, 2] and one.accuracy == 1.0


def test_a_cut_off_text_is_no_verdict(tmp_path: Path) -> None:
    rows = [text(0, "a", finish="length"), {**text(1, "a"), "raw": "Output (a", "finished": False}]
    assert [one.calls[0].reason for one in run(tmp_path, rows).judged] == ["cut_off", "cut_off"]


def test_a_failure_of_the_engine_stays_one(tmp_path: Path) -> None:
    rows = [{"subset": "s", "id": "0", "swapped": False, "text": "", "verdict": None, "reason": "timeout"}]
    assert run(tmp_path, rows).judged[0].calls[0].reason == "timeout"


def test_what_the_source_read_otherwise_is_listed(tmp_path: Path) -> None:
    rows = [
        text(0, "a", parsed_winner="1"),
        text(0, "a", swapped=True, parsed_winner="1"),
        {**text(1, "a", parsed_winner=None), "raw": "I cannot say."},
        {**text(1, "a", swapped=True, parsed_winner="2"), "raw": "Output (b) is better. No: Output (a) is better."},
    ]
    result = run(tmp_path, rows)
    assert [(one.id, one.swapped, one.source, one.here, one.reason) for one in result.differences] == [
        ("0", True, "1", "2", "other_verdict"),
        ("1", True, "2", None, "contradictory"),
    ]
    assert isinstance(result.differences[0], Difference) and "Output (a) is better" in result.differences[0].detail
    assert result.source is not None and [one.accuracy for one in result.source] == [1.0, 0.0]


def test_a_source_that_names_some_winners_only_has_no_accuracy(tmp_path: Path) -> None:
    assert run(tmp_path, [text(0, "a", parsed_winner="1"), text(1, "a")]).source is None


def test_rows_are_chosen_by_their_columns(tmp_path: Path) -> None:
    rows = [text(0, "a", evaluator="X"), text(0, "b", evaluator="Y")]
    assert run(tmp_path, rows, where={"evaluator": "Y"}).judged[0].accuracy == 0.0
    with pytest.raises(ConfigError, match=r"rows 1 and 2 hold the same call.*--where evaluator=X or evaluator=Y"):
        run(tmp_path, rows)
    with pytest.raises(ConfigError, match="no column 'judge' to choose by; it has subset"):
        run(tmp_path, rows, where={"judge": "X"})
    with pytest.raises(ConfigError, match="holds no call on a pair of this benchmark with evaluator=Z"):
        run(tmp_path, rows, where={"evaluator": "Z"})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"subset": "s", "swapped": False, "raw": "x"}, "no column id or idx"),
        ({"subset": "s", "id": "0"}, r"neither a text \(text or raw\) nor a verdict"),
        ({"subset": "s", "id": "0", "swapped": "yes", "raw": "x"}, "`swapped` has to be true or false"),
        ({"subset": "s", "id": "0", "verdict": "A"}, "column 'verdict': 'A' is none of first, second, tie"),
        ({"subset": "s", "id": "0", "raw": 5}, "has to be a text"),
    ],
)
def test_a_row_of_another_form_is_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, [row])


def test_rows_without_a_subset_are_found_by_their_id(tmp_path: Path) -> None:
    rows = [{"id": "2", "verdict": "first"}]
    result = run(tmp_path, rows)
    assert [one.pair.id for one in result.judged] == ["2"] and result.absent == ["s"]


def test_rows_of_other_pairs_are_counted(tmp_path: Path) -> None:
    assert run(tmp_path, [text(0, "a"), text(77, "a")]).unused == 1
