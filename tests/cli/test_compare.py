"""`rrm compare`: what its three texts may be, and what it shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main
from rrm_plugin.engines import scripted


def compare(*arguments):
    return CliRunner().invoke(main, ["compare", *arguments, "--engine", "scripted:longer"])


@pytest.fixture
def asked(monkeypatch):
    """What the judge was shown; its reply tells its calls apart and holds half of a surrogate pair."""
    shown: list[str] = []

    def judge(messages) -> str:
        shown.append(messages[-1]["content"])
        return f"call {len(shown)} \ud83d é \\boxed{{Assistant 1}}"

    monkeypatch.setitem(scripted.NAMED_SCRIPTS, "longer", judge)
    return shown


def test_a_text_that_begins_with_an_at_sign_can_be_written(asked, tmp_path):
    (tmp_path / "a.txt").write_text("from a file", encoding="utf-8-sig")
    result = compare("@@alice: hi", f"@{tmp_path / 'a.txt'}", "@@@b", "--orders", "fixed")
    assert result.exit_code == 0, result.output
    assert "@alice: hi" in asked[0] and "@@alice" not in asked[0]
    assert "from a file" in asked[0] and "\ufeff" not in asked[0]
    assert "@@b" in asked[0] and "@@@b" not in asked[0]


def test_an_at_sign_taken_for_a_file_is_explained():
    result = compare("@alice hi", "a", "b")
    assert result.exit_code == 2 and "@@alice hi" in result.output


def test_every_call_of_votes_in_both_orders_is_shown(asked):
    result = compare("q", "a", "b", "--votes", "3", "--json")
    row = json.loads(result.output)
    assert len(asked) >= 4 and row["calls"] == len(asked)
    assert sorted(text[:6] for text in row["texts"]) == [f"call {n}" for n in range(1, len(asked) + 1)]
    assert compare("q", "a", "b", "--votes", "3").output.count("call ") == len(asked) / 2


def test_half_of_a_surrogate_pair_is_escaped(asked):
    assert json.loads(compare("q", "a", "b", "--json").output)["texts"][0].startswith("call 1 \ud83d é")
    result = compare("q", "a", "b")
    assert result.exit_code in (0, 1) and "\\ud83d é" in result.output


def test_a_terminal_of_few_letters_gets_escapes(tmp_path):
    (tmp_path / "é-none").write_text("")
    command = [sys.executable, "-m", "rrm_plugin.cli", "compare", "q", "a", "b"]
    engine = ["--engine", f"replay:{tmp_path / 'é-none'}"]
    run = subprocess.run([*command, *engine], capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert run.returncode == 1 and b"\\xe9-none" in run.stdout, run.stderr


def test_each_order_has_a_head():
    told = compare("q", "short", "a longer one").output
    first, other = told.split("in the other order, SECOND shown first:")
    assert first.startswith("FIRST shown first:") and "Assistant 2" in first and "Assistant 1" in other
    assert "shown first" not in compare("q", "short", "a longer one", "--orders", "fixed").output
