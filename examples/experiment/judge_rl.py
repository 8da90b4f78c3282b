"""GRPO of the judge (B2): +1 for naming the right answer, -1 for anything else. Nobody shows it how to think."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOTrainer

from examples.experiment.grpo import Curve, grpo_config
from examples.experiment.grpo import train as run_trainer
from examples.experiment.measures import JUDGE_TOKENS, judge_accuracy, make_judge
from examples.experiment.pairs import Pair, own_answers, test_pairs, training_pairs
from examples.experiment.questions import split
from rrm_plugin.prompts import load_prompt
from rrm_plugin.training import JudgeTrainingReward

__all__ = ["STEPS", "train"]

STEPS = 60
SHOWN = 4
CURVE_PAIRS = 200
"""Pairs of the curve; the figures before and after are measured on all pairs."""


def train(
    policy: Path, cold_start: Path, folder: Path, seed: int, measured_on: str, steps: int = STEPS
) -> dict[str, Any]:
    """Trains the judge on the policy's own answers and keeps it in `folder`.

    Returns:
        `before` and `after`, measured on held-out pairs, and the `curve` between them.
    """
    pairs = training_pairs(split("judge_rl"), _answers(policy, "judge_rl", seed))
    tests = _held_out_pairs(policy, seed, measured_on)
    before = judge_accuracy(cold_start, tests)
    curve = Curve(lambda judge: _accuracy(judge, cold_start, tests[:CURVE_PAIRS]), every=5)
    reward: Any = JudgeTrainingReward()
    trainer = GRPOTrainer(
        model=str(cold_start),
        processing_class=AutoTokenizer.from_pretrained(cold_start),
        reward_funcs=[reward],
        train_dataset=Dataset.from_list([_row(pair) for pair in pairs]),
        args=grpo_config(
            folder,
            max_steps=steps,
            max_completion_length=JUDGE_TOKENS,
            learning_rate=2e-4,
            lr_scheduler_type="linear",
            beta=0.005,
            seed=seed,
        ),
        callbacks=[curve],
    )
    log = run_trainer(trainer)
    trainer.save_model(str(folder))
    after = judge_accuracy(folder, tests)
    return {
        "before": before,
        "after": after,
        "curve": curve.points,
        "rewards": [round(row["reward"], 3) for row in log],
        "rows": len(pairs),
        "samples": [_sample(pair, cold_start, folder) for pair in tests[:SHOWN]],
    }


def _answers(policy: Path, name: str, seed: int) -> list[list[str]]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(policy), AutoTokenizer.from_pretrained(policy)
    return own_answers(model, tokenizer, split(name), seed)


def _held_out_pairs(policy: Path, seed: int, measured_on: str) -> list[Pair]:
    return test_pairs(split(measured_on), _answers(policy, measured_on, seed), seed)


def _row(pair: Pair) -> dict[str, Any]:
    prompt = load_prompt("miniature")
    return {"prompt": prompt.render(pair.question.text, pair.first, pair.second), "label": pair.side}


def _sample(pair: Pair, *judges: Path) -> dict[str, Any]:
    """What the judges say to a pair, for a person to read."""
    texts = []
    for folder in judges:
        with make_judge(folder) as judge:
            texts.append(judge.compare(pair.question.text, pair.first, pair.second).text)
    before, after = texts
    shown = {"question": pair.question.text, "first": pair.first, "second": pair.second, "right": pair.side}
    return shown | {"before": before, "after": after}


def _accuracy(judge: Any, cold_start: Path, pairs: Sequence[Pair]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        judge.save_pretrained(folder)
        AutoTokenizer.from_pretrained(cold_start).save_pretrained(folder)
        return judge_accuracy(Path(folder), pairs, runs=1)
