"""The stages of one seed: which needs which, and what each leaves in its folder.

A stage is a folder with the model it trained and `stage.json`, written last: what was measured and how long it took.
A stage whose `stage.json` is there is done, so a run that was interrupted goes on where it stopped; one that other code
or another set of questions led to is done again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.experiment import judge_rl, policy_rl, pretraining
from examples.experiment.languages import save

__all__ = ["REWARDS", "STAGES", "Run", "Stage", "code_mark", "run_stage"]

REWARDS = ("rrm", "labels", "cold_start", "random")
"""What the policy is rewarded by: the trained judge, the true labels, the judge before its training, or chance."""


_TELLING = ("__init__", "__main__", "charts", "embed", "page", "playing", "report", "results")
"""Modules that start stages and tell of them, and change nothing about what they come to."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One seed of an experiment."""

    folder: Path
    seed: int
    split: str = "test"
    """Where it is measured: `dev` while settings are tuned, `test` once."""

    def at(self, stage: str) -> Path:
        return self.folder / f"seed-{self.seed}" / stage

    def results(self, stage: str) -> dict[str, Any] | None:
        """What a stage wrote; None as long as it is not done, or was done by other code or for other questions."""
        file = self.at(stage) / "stage.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return found if (found.get("code"), found.get("split")) == (code_mark(), self.split) else None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage, what it is in a few words, and the stages whose models it reads."""

    work: Callable[[Run, Path], Mapping[str, Any]]
    what: str
    needs: tuple[str, ...] = ()


def run_stage(run: Run, name: str) -> dict[str, Any]:
    """Does a stage, whatever was there of it, and writes its `stage.json`."""
    folder = run.at(name)
    folder.mkdir(parents=True, exist_ok=True)
    began, worked = time.perf_counter(), time.process_time()
    found = dict(STAGES[name].work(run, folder))
    found |= {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
    }
    found |= {"code": code_mark(), "split": run.split}
    # By its name only when it is whole, since its being there says that the stage is done.
    partial = folder / "stage.json.partial"
    partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / "stage.json")
    return found


@functools.cache
def code_mark() -> str:
    """Of the code and settings that decide what a stage comes to."""
    files = sorted(file for file in Path(__file__).parent.glob("*.py") if file.stem not in _TELLING)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _policy(run: Run, folder: Path) -> Mapping[str, Any]:
    save(*pretraining.pretrain_policy(run.seed), folder)
    return {}


def _cold_start(run: Run, folder: Path) -> Mapping[str, Any]:
    save(*pretraining.cold_start(run.seed), folder)
    return {}


def _judge(run: Run, folder: Path) -> Mapping[str, Any]:
    return judge_rl.train(run.at("policy"), run.at("cold_start"), folder, run.seed, run.split)


def _policy_by(reward: str) -> Callable[[Run, Path], Mapping[str, Any]]:
    def work(run: Run, folder: Path) -> Mapping[str, Any]:
        judges = {"rrm": run.at("judge"), "cold_start": run.at("cold_start")}
        return policy_rl.train(run.at("policy"), reward, judges.get(reward), folder, run.seed, run.split)

    return work


STAGES = {
    "cold_start": Stage(work=_cold_start, what="a judge learns the form of a verdict, from texts that mostly guess"),
    "policy": Stage(work=_policy, what="a policy learns to add, from texts that are mostly wrong"),
    "judge": Stage(
        work=_judge, what="GRPO of the judge: +1 for the right verdict, -1 otherwise", needs=("policy", "cold_start")
    ),
    "policy-rrm": Stage(
        work=_policy_by("rrm"),
        what="GRPO of the policy by the trained judge alone, no label",
        needs=("policy", "judge"),
    ),
    "policy-cold_start": Stage(
        work=_policy_by("cold_start"), what="control: by the judge before its GRPO", needs=("policy", "cold_start")
    ),
    "policy-labels": Stage(work=_policy_by("labels"), what="control: by the true labels", needs=("policy",)),
    "policy-random": Stage(work=_policy_by("random"), what="control: by the toss of a coin", needs=("policy",)),
}
"""By name, the longest first among those that may begin."""
