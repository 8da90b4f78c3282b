"""What both GRPO runs share: TRL's settings for two CPU cores, and a curve measured along the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

__all__ = ["GROUP", "QUESTIONS", "Curve", "grpo_config", "train"]

GROUP, QUESTIONS = 8, 32
"""Answers to a question, and questions in a step."""

Measure = Callable[[Any], Mapping[str, float]]


class Curve(TrainerCallback):
    """Measures the model before the first step, every few steps and after the last one."""

    def __init__(self, measure: Measure, every: int) -> None:
        self.points: list[dict[str, float]] = []
        self._measure = measure
        self._every = every

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self._add(0, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step % self._every == 0 or state.global_step == state.max_steps:
            self._add(state.global_step, model)

    def _add(self, step: int, model: Any) -> None:
        training = model.training
        model.eval()
        point = {"step": step, **self._measure(model)}
        model.train(training)
        self.points.append(point)
        print("    " + "  ".join(f"{name} {value:g}" for name, value in point.items()), flush=True)


def grpo_config(folder: Path, **settings: Any) -> GRPOConfig:
    """Settings of a run: what is not named here or by the caller is TRL's default."""
    return GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=GROUP * QUESTIONS,
        num_generations=GROUP,
        model_init_kwargs={"dtype": "float32"},
        scale_rewards="group",
        gradient_checkpointing=False,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        **settings,
    )


def train(trainer: GRPOTrainer) -> list[dict[str, Any]]:
    """Trains without a word, and returns the trainer's log, a row per step."""
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [row for row in trainer.state.log_history if "reward" in row]
