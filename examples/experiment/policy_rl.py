"""GRPO of the policy (C) on questions without answers: a judge is the only reward. And its controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOTrainer

from examples.experiment.grpo import Curve, grpo_config
from examples.experiment.grpo import train as run_trainer
from examples.experiment.measures import make_judge, pass_at_1
from examples.experiment.pairs import ANSWER_TOKENS
from examples.experiment.questions import Question, split

__all__ = ["STEPS", "train"]

STEPS = 120

Reward = Callable[..., list[float | None]]


def train(
    policy: Path, reward: str, judge: Path | None, folder: Path, seed: int, measured_on: str, steps: int = STEPS
) -> dict[str, Any]:
    """Trains the policy and keeps it in `folder`.

    Args:
        reward: `labels`, `random`, or anything else for the judge in the folder `judge`.
        judge: where the judge lies.

    Returns:
        `before` and `after`, the exact pass@1 on held-out questions in percent, and the `curve` between them.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(policy)
    questions, held_out = split("policy_rl"), split(measured_on)
    curve = Curve(lambda model: {"pass_at_1": round(pass_at_1(model, tokenizer, held_out), 2)}, every=10)
    trainer = GRPOTrainer(
        model=str(policy),
        processing_class=tokenizer,
        reward_funcs=[_reward(reward, judge, seed)],
        train_dataset=_dataset(questions, with_labels=reward == "labels"),
        args=grpo_config(
            folder,
            max_steps=steps,
            max_completion_length=ANSWER_TOKENS,
            learning_rate=2e-4,
            beta=0.1,
            seed=seed,
        ),
        callbacks=[curve],
    )
    log = run_trainer(trainer)
    trainer.save_model(str(folder))
    found = {"before": curve.points[0]["pass_at_1"], "after": curve.points[-1]["pass_at_1"], "curve": curve.points}
    if "rrm/order_agreement" in log[0]:
        found["order_agreement"] = [round(row["rrm/order_agreement"], 3) for row in log]
        found["judge_seconds"] = round(sum(row["rrm/seconds"] for row in log), 1)
        found["judge_calls"] = round(sum(row["rrm/calls"] for row in log))
    return found


def _dataset(questions: Sequence[Question], *, with_labels: bool) -> Dataset:
    """Questions alone, unless the reward needs the answers: what is not there cannot leak."""
    rows = [{"prompt": question.text} for question in questions]
    if with_labels:
        rows = [row | {"right": question.right} for row, question in zip(rows, questions, strict=True)]
    return Dataset.from_list(rows)


def _reward(reward: str, judge: Path | None, seed: int) -> Reward:
    if reward == "labels":
        return right_answer
    if reward == "random":
        return _chance(seed)
    assert judge is not None
    return make_judge(judge)


def right_answer(completions: Sequence[str], right: Sequence[str], **_: Any) -> list[float | None]:
    """1 for the right answer, 0 for another: the upper bound, which the judge never sees."""
    return [float(completion == answer) for completion, answer in zip(completions, right, strict=True)]


def _chance(seed: int) -> Reward:
    draws = np.random.default_rng([seed, 4])

    def chance(completions: Sequence[str], **_: Any) -> list[float | None]:
        return [float(value) for value in draws.integers(0, 2, size=len(completions))]

    return chance
