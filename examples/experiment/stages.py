"""The stages of one seed: which needs which, and what each leaves in its folder.

A stage is a folder with the model it trained and `stage.json`, written last: what was measured and how long it took.
A stage whose `stage.json` is there is done, so a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.experiment import judge_rl, policy_rl, pretraining
from examples.experiment.languages import save
from rrm_plugin import miniature

__all__ = ["QUICK_REWARDS", "REWARDS", "Run", "Stage", "run_stage", "stages"]

REWARDS = ("rrm", "labels", "cold_start", "random")
"""What the policy is rewarded by: the trained judge, the true labels, the judge before its training, or chance."""

QUICK_REWARDS = ("rrm", "labels", "random")
QUICK_STEPS = 60


@dataclass(frozen=True, kw_only=True)
class Run:
    """One seed of an experiment."""

    folder: Path
    seed: int
    split: str = "test"
    """Where it is measured: `dev` while settings are tuned, `test` once."""
    quick: bool = False
    """Whether the judge is the one of the package, and the policy trained for a short time."""

    @property
    def policy_steps(self) -> int:
        return QUICK_STEPS if self.quick else policy_rl.STEPS

    def at(self, stage: str) -> Path:
        return self.folder / f"seed-{self.seed}" / stage

    def results(self, stage: str) -> dict[str, Any] | None:
        """What a stage wrote; None as long as it is not done."""
        file = self.at(stage) / "stage.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage, and the stages whose models it reads."""

    work: Callable[[Run, Path], Mapping[str, Any]]
    needs: tuple[str, ...] = ()


def run_stage(run: Run, name: str) -> dict[str, Any]:
    """Does a stage, whatever was there of it, and writes its `stage.json`."""
    folder = run.at(name)
    folder.mkdir(parents=True, exist_ok=True)
    began, worked = time.perf_counter(), time.process_time()
    found = dict(stages(run.quick)[name].work(run, folder))
    found |= {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
    }
    (folder / "stage.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def stages(quick: bool = False) -> dict[str, Stage]:
    """The stages of a seed by name, the longest first among those that may begin."""
    if quick:
        return {
            "policy": Stage(work=_policy),
            "judge": Stage(work=_judge_of_package, needs=("policy",)),
            **{f"policy-{reward}": Stage(work=_policy_by(reward), needs=("policy",)) for reward in QUICK_REWARDS},
        }
    return {
        "cold_start": Stage(work=_cold_start),
        "policy": Stage(work=_policy),
        "judge": Stage(work=_judge, needs=("policy", "cold_start")),
        "policy-rrm": Stage(work=_policy_by("rrm"), needs=("policy", "judge")),
        "policy-cold_start": Stage(work=_policy_by("cold_start"), needs=("policy", "cold_start")),
        "policy-labels": Stage(work=_policy_by("labels"), needs=("policy",)),
        "policy-random": Stage(work=_policy_by("random"), needs=("policy",)),
    }


def _policy(run: Run, folder: Path) -> Mapping[str, Any]:
    save(*pretraining.pretrain_policy(run.seed), folder)
    return {}


def _cold_start(run: Run, folder: Path) -> Mapping[str, Any]:
    save(*pretraining.cold_start(run.seed), folder)
    return {}


def _judge(run: Run, folder: Path) -> Mapping[str, Any]:
    return judge_rl.train(run.at("policy"), run.at("cold_start"), folder, run.seed, run.split)


def _judge_of_package(run: Run, folder: Path) -> Mapping[str, Any]:
    return judge_rl.measure(run.at("policy"), miniature.FOLDER, run.seed, run.split)


def _policy_by(reward: str) -> Callable[[Run, Path], Mapping[str, Any]]:
    def work(run: Run, folder: Path) -> Mapping[str, Any]:
        judges = {"rrm": miniature.FOLDER if run.quick else run.at("judge"), "cold_start": run.at("cold_start")}
        return policy_rl.train(
            run.at("policy"), reward, judges.get(reward), folder, run.seed, run.split, run.policy_steps
        )

    return work
