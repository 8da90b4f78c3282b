"""What the contract tests run in real TRL trainers: a tiny policy, a recorded judge, and one file of rows per rank.

Started by torchrun as a script too: `trl_runs.py MODEL_FOLDER OUT_FOLDER`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rrm_plugin import RRMJudge
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.errors import ConfigError

SEED = 3


class Ears(ScriptedEngine):
    """Prefers the response with the larger checksum, and writes down every prompt that it is asked."""

    def __init__(self, file: Path) -> None:
        super().__init__(self._listen)
        self.file = file

    def _listen(self, messages: Any) -> str:
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(messages[-1]["content"]) + "\n")
        head, _, second = messages[-1]["content"].partition("### Assistant 2")
        first = head.partition("### Assistant 1")[2]
        second = second.partition("## Analysis")[0]
        return rf"<think>.</think>\boxed{{Assistant {1 if _checksum(first) > _checksum(second) else 2}}}"


def _checksum(text: str) -> int:
    return sum(position * ord(letter) for position, letter in enumerate(text.strip(), start=1)) % 9973


@dataclass
class Rows:
    """A reward that notes what it was given and gave, around the judge."""

    judge: RRMJudge
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        rewards = self.judge(prompts, completions, **columns)
        self.seen.append(
            {"row": columns.get("row"), "prompts": prompts, "completions": completions, "rewards": rewards}
        )
        return rewards


def dataset(rows: int, *, conversational: bool = False, alike: bool = False):
    from datasets import Dataset

    texts = ["the sky" if alike else f"which is {number}" for number in range(rows)]
    prompts = [[{"role": "user", "content": text}] for text in texts] if conversational else texts
    return Dataset.from_dict({"prompt": prompts, "row": list(range(rows))})


def trainer(kind: str, model: Path, folder: Path, rewards: list[Any], data: Any, eval_data: Any = None, **changes: Any):
    """A real GRPOTrainer or RLOOTrainer for a few short steps on the CPU."""
    import trl

    settings: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "learning_rate": 1e-3,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "seed": SEED,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
    }
    config = getattr(trl, f"{kind}Config")(**(settings | changes))
    return getattr(trl, f"{kind}Trainer")(
        model=str(model), reward_funcs=rewards, args=config, train_dataset=data, eval_dataset=eval_data
    )


SPLITS: dict[str, dict[str, Any]] = {
    "whole": {"num_generations": 4, "per_device_train_batch_size": 4},
    "one group split": {"num_generations": 4, "per_device_train_batch_size": 2},
    "mixed": {"num_generations": 4, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2},
    "prompts alike": {"num_generations": 2, "per_device_train_batch_size": 4, "alike": True},
    "rloo split": {"num_generations": 4, "per_device_train_batch_size": 2, "kind": "RLOO"},
    "evaluation split": {"num_generations_eval": 2, "per_device_eval_batch_size": 3, "evaluate": True},
}
"""The splits of whole groups over two ranks: with G generations a prompt and B rows a rank."""


def run_split(name: str, model: Path, out: Path, rank: int) -> None:
    """Runs one of SPLITS on this rank and writes the rows that its reward saw."""
    changes = dict(SPLITS[name])
    kind, alike, evaluate = changes.pop("kind", "GRPO"), changes.pop("alike", False), changes.pop("evaluate", False)
    slug = name.replace(" ", "_")
    judge = RRMJudge(engine=Ears(out / f"{slug}.heard.{rank}"), schedule="circulant:2", orders="both")
    rows = Rows(judge)
    running = trainer(kind, model, out, [rows], dataset(14, alike=alike), dataset(5), **changes)
    if evaluate:
        running.evaluate()
    else:
        running.train()
    logged = [entry for entry in running.state.log_history if any(key.endswith("rrm/calls") for key in entry)]
    (out / f"{slug}.rows.{rank}").write_text(json.dumps({"seen": rows.seen, "logged": logged}), encoding="utf-8")
    judge.close()


FAILURES: dict[str, dict[str, Any]] = {
    "whole": {"per_device_train_batch_size": 4},
    "mixed": {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2},
}


def run_failure(name: str, model: Path, out: Path, rank: int) -> None:
    """Only one rank's judge is broken; each rank writes the error that its training ended with."""

    def fail(messages: Any) -> str:
        raise ConfigError("this rank's judge is set up wrongly")

    engine = ScriptedEngine(fail) if rank == 1 else Ears(out / "unused")
    judge = RRMJudge(engine=engine)
    running = trainer("GRPO", model, out, [judge], dataset(14), **FAILURES[name])
    try:
        running.train()
        outcome = "no error"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    (out / f"failure_{name}.{rank}").write_text(outcome, encoding="utf-8")
    judge.close()


def run_alarm(model: Path, out: Path, rank: int) -> None:
    """Neither rank's judge says a verdict; each rank writes the step and the error that its training ended with."""
    judge = RRMJudge(
        engine=ScriptedEngine(lambda _messages: "I wonder."), alarms={"action": "stop", "steps": 2, "groups": 3}
    )
    running = trainer("GRPO", model, out, [judge], dataset(14), max_steps=6, per_device_train_batch_size=2)
    try:
        running.train()
        outcome = "no error"
    except Exception as error:
        outcome = f"{running.state.global_step} {type(error).__name__}: {error}"
    (out / f"alarm.{rank}").write_text(outcome, encoding="utf-8")
    judge.close()


def main() -> None:
    model, out, rank = Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["RANK"])
    for name in SPLITS:
        run_split(name, model, out, rank)
    for name in FAILURES:
        run_failure(name, model, out, rank)
    run_alarm(model, out, rank)
    # gloo's threads may otherwise outlive the interpreter, which aborts the process on its way out.
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
