"""The commands of the GPQA pages run as they stand, with local files and servers in the place of what they name."""

from __future__ import annotations

import asyncio
import csv
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rrm_plugin.cli import main as rrm
from tests.engines.local_servers import chat, serve
from tests.house.source import ROOT
from tests.tiny import save_tiny_model

PAGES = [ROOT / "docs" / "gpqa.md", ROOT / "integrations" / "trl" / "gpqa" / "README.md"]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def commands(page: Path, name: str) -> list[list[str]]:
    """The words of each command `rrm NAME` on a page, without `rrm`."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith(f"rrm {name} ")]


def gpqa(path: Path) -> str:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Question", "Correct Answer", *WRONG, "Record ID", "High-level domain"])
        writer.writerows([f"What is {n} + {n}?", str(2 * n), "1", "3", "5", f"rec{n}", "Maths"] for n in range(4, 24))
    return str(path)


def mmlu_pro(path: Path) -> str:
    row = {"question": "Which of these is the letter q?", "options": ["p", "q"], "answer": "B", "category": "law"}
    path.write_text(json.dumps({**row, "question_id": 1}) + "\n")
    return str(path)


def webinstruct(path: Path) -> str:
    """With the columns of the data set's card."""
    label = {"answer": "SECRET", "answer_type": "SECRET", "category": "SECRET", "difficulty": "SECRET"}
    asked = ["Why is the sky blue?", "what is 7 + 7", "Which of these is the letter Q?", "How far is the moon?"]
    rows = [{"id": index, "question": question, **label} for index, question in enumerate(asked)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@each_page
def test_the_command_that_makes_the_data(page: Path, tmp_path: Path) -> None:
    (words,) = commands(page, "policy-data")
    assert words == commands(PAGES[0], "policy-data")[0]
    places = {
        "webinstruct=TIGER-Lab/WebInstruct-verified": f"webinstruct={webinstruct(tmp_path / 'web.jsonl')}",
        "Idavidrein/gpqa?name=gpqa_extended": gpqa(tmp_path / "gpqa_extended.csv"),
        "TIGER-Lab/MMLU-Pro?split=test": mmlu_pro(tmp_path / "mmlu.jsonl"),
        "Qwen/Qwen2.5-7B": str(save_tiny_model(tmp_path / "model")),
        "policy.jsonl": str(tmp_path / "policy.jsonl"),
    }
    assert places.keys() <= set(words)
    done = CliRunner().invoke(rrm, [places.get(word, word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = (tmp_path / "policy.jsonl").read_text()
    assert [json.loads(line)["id"] for line in written.splitlines()] == ["0", "3"] and "SECRET" not in written
    asked = json.loads(written.splitlines()[0])["prompt"][0]["content"]
    assert asked == "Why is the sky blue? Let's think step by step and output the final answer within \\boxed{}."
    assert "benchmark 2" in done.output


@each_page
def test_the_commands_that_evaluate(page: Path, tmp_path: Path) -> None:
    before, after = commands(page, "eval-policy")
    (tmp_path / "gpqa_diamond.csv").write_text(Path(gpqa(tmp_path / "g.csv")).read_text())
    report = asyncio.run(evaluated(before, after, tmp_path))
    assert report["benchmarks"]["gpqa_diamond"]["samples"] == 80 and report["settings"]["max_tokens"] == 4096
    assert report["compared"]["benchmarks"].keys() == {"gpqa_diamond", "mmlu_pro"}
    assert report["compared"]["differs"] == {}
    assert report["compared"]["benchmarks"]["gpqa_diamond"]["questions"] == 20


async def evaluated(before: list[str], after: list[str], folder: Path) -> dict[str, Any]:
    """The report of the second command, with a policy that names A before and B after."""
    letters = iter("AB")

    for words in (before, after):
        letter = next(letters)

        async def answer(*_: Any, letter: str = letter) -> Any:
            return chat(f"\\boxed{{{letter}}}")

        async with serve(answer) as server:
            await asyncio.to_thread(evaluate, words, server.url, letter, folder)
            assert all(body["stop_token_ids"] == [151645] for body in server.bodies)
    return json.loads((folder / "after.json").read_text())


def evaluate(words: list[str], url: str, model: str, folder: Path) -> None:
    config = yaml.safe_load((ROOT / words[words.index("--config") + 1]).read_text(encoding="utf-8"))
    (folder / "policy.yaml").write_text(yaml.safe_dump({**config, "engine": url, "model": model}))
    places = {
        "gpqa_diamond": f"gpqa_diamond={folder / 'gpqa_diamond.csv'}",
        "mmlu_pro": f"mmlu_pro={mmlu_pro(folder / 'mmlu.jsonl')}",
        "integrations/trl/gpqa/policy.yaml": str(folder / "policy.yaml"),
        "before.json": str(folder / "before.json"),
        "after.json": str(folder / "after.json"),
    }
    done = CliRunner().invoke(rrm, [places.get(word, word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
