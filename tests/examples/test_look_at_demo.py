"""What the demo leaves to look at: a ledger of the trained judge, with answers before and after."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("trl")

from examples import look_at_demo
from examples.experiment.languages import new_model, policy_tokenizer, save
from examples.experiment.policy_rl import STEPS
from examples.experiment.stages import Run
from rrm_plugin import miniature


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """As training leaves it, but with policies that were never trained, and the judge of the package."""
    found = Run(folder=tmp_path, seed=11)
    for stage, seed in (("policy", 1), ("policy-rrm", 2)):
        save(new_model(policy_tokenizer(), seed), policy_tokenizer(), found.at(stage))
    shutil.copytree(Path(miniature.__file__).parent, found.at("judge"), ignore=shutil.ignore_patterns("*.py", "__*"))
    return found


def test_the_judge_is_recorded_on_answers_before_and_after(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_at_demo, "QUESTIONS", 2)
    monkeypatch.setattr(look_at_demo, "ANSWERS", 3)
    for _ in range(2):  # A second demo begins its ledger anew.
        ledger = look_at_demo.record(run)
    with sqlite3.connect(ledger) as connection:
        groups = connection.execute("SELECT name, step FROM groups ORDER BY id").fetchall()
        texts = [text for (text,) in connection.execute("SELECT text FROM judgements")]
    assert [step for _, step in groups] == [0, 0, STEPS, STEPS]
    assert [name.split()[-1] for name, _ in groups] == ["before", "before", "after", "after"]
    assert texts and all("<think>" in text or "</think>" in text for text in texts)
