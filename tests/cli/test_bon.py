"""`rrm bon` as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rrm_plugin.cli import main


def rrm(*words: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    made = [
        {
            "id": i,
            "question": f"question {i}",
            "responses": [
                {"text": "x" * (1 + (i + place) % 4), "is_correct": (i + place) % 4 == 3, "pred": str((i + place) % 4)}
                for place in range(4)
            ],
        }
        for i in range(12)
    ]
    (tmp_path / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return tmp_path / "groups.jsonl"


def report(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_judge_that_likes_what_is_right_reaches_the_oracle(tmp_path: Path, groups: Path) -> None:
    """The longest response is the right one, and `scripted:longer` plays the whole road: prompt, text, verdict."""
    out = tmp_path / "a.json"
    pages = ["--markdown", tmp_path / "a.md", "--html", tmp_path / "a.html", "--png", tmp_path / "a.png"]
    result = rrm("bon", groups, "--engine", "scripted:longer", "--json", out, *pages)
    assert result.exit_code == 0, result.output
    made = report(out)
    ways = ["knockout", "adaptive", "swiss:3", "circulant:3", "round_robin"]
    assert [row["strategy"] for row in made["strategies"]] == ways
    assert {row["accuracy"] for row in made["strategies"]} == {1.0}
    calls = {row["strategy"]: row["calls_per_group"] for row in made["strategies"]}
    assert [calls[way] for way in ways if way != "adaptive"] == [6, 12, 12, 12] and calls["adaptive"] <= 12
    assert made["baselines"]["random"]["accuracy"] == 0.25
    assert made["settings"]["strategies"]["knockout"]["reducer"] == "knockout_rank"
    assert "| knockout | 100.0 |" in (tmp_path / "a.md").read_text()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("engine", "accuracy"), [("simulated:1", 1.0), ("simulated:0", 0.0)])
def test_a_simulated_judge_gives_what_it_must(tmp_path: Path, groups: Path, engine: str, accuracy: float) -> None:
    out = tmp_path / "a.json"
    assert rrm("bon", groups, "--engine", engine, "--strategy", "round_robin", "--json", out).exit_code == 0
    (row,) = report(out)["strategies"]
    assert row["accuracy"] == accuracy


def test_matches_that_two_ways_share_are_paid_once(tmp_path: Path, groups: Path) -> None:
    import sqlite3

    words = ["bon", groups, "--engine", "scripted:longer", "--json", tmp_path / "a.json"]
    rrm(*words, "--strategy", "round_robin", "--strategy", "circulant:3", "--strategy", "round_robin/win_rate")
    connection = sqlite3.connect(tmp_path / "a.json.ledger.db")
    (paid,) = connection.execute("SELECT count(*) FROM judgements").fetchone()
    connection.close()
    made = report(tmp_path / "a.json")
    assert [row["calls"] for row in made["strategies"]] == [144, 144, 144] and paid == 144


def test_a_limit_draws_groups(tmp_path: Path, groups: Path) -> None:
    out = tmp_path / "a.json"
    words = ["bon", groups, "--engine", "simulated:1", "--strategy", "knockout", "--limit", 5, "--json", out]
    assert rrm(*words).exit_code == 0 and report(out)["groups"] == 5


def test_an_engine_that_answers_nothing_ends_the_run(tmp_path: Path, groups: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    result = rrm("bon", groups, "--engine", f"replay:{tmp_path}/empty.jsonl", "--json", tmp_path / "a.json")
    assert result.exit_code == 1 and "has answered none of the judge's calls" in result.output
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--votes", "3", "--engine", "simulated:1"], "--strategy knockout@5"),
        (["--engine", "simulated:1", "--strategy", "cup"], "is not known"),
        ([], "which judge?"),
        (["--engine", "simulated:half"], "between 0 and 1"),
    ],
)
def test_what_cannot_work_says_so(tmp_path: Path, groups: Path, words: list[str], said: str) -> None:
    result = rrm("bon", groups, "--json", tmp_path / "a.json", *words)
    assert result.exit_code != 0 and said in result.output
    assert not (tmp_path / "a.json").exists()


def test_it_does_not_write_over_what_it_reads(tmp_path: Path, groups: Path) -> None:
    result = rrm("bon", groups, "--json", groups, "--engine", "simulated:1")
    assert result.exit_code == 2 and "are the same file" in result.output
    result = rrm("bon", "nowhere.jsonl", "--json", tmp_path / "a.json", "--engine", "simulated:1")
    assert result.exit_code == 1 and "there is no file 'nowhere.jsonl'" in result.output


def test_a_picture_that_cannot_be_drawn_is_refused_before_any_call(
    tmp_path: Path, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = tmp_path / "a.json"
    result = rrm("bon", groups, "--engine", "scripted:longer", "--json", out, "--png", tmp_path / "a.png")
    assert result.exit_code == 1 and "rrm-plugin[plots]" in result.output
    assert not Path(f"{out}.ledger.db").exists()
