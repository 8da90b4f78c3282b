"""Real TRL trainers read what `rrm train-data` and `rrm cold-start` wrote, and train a judge on it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")

from click.testing import CliRunner

from rrm_plugin import GroupError
from rrm_plugin.cli import main
from rrm_plugin.training import JudgeTrainingReward
from tests.contract.trl_runs import trainer
from tests.tiny import save_tiny_model

pytestmark = [pytest.mark.trl, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def rrm(*arguments: str) -> None:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Training rows in a random order and in both, and rows of a cold start."""
    folder = tmp_path_factory.mktemp("data")
    pairs = [{"prompt": f"which {n}", "chosen": f"longer {n}" * 2, "rejected": f"short {n}"} for n in range(8)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for orders in ("random", "both"):
        rrm("train-data", str(folder / "pairs.jsonl"), "--out", str(folder / f"{orders}.jsonl"), "--orders", orders)
    for form in ("messages", "prompt-completion"):
        arguments = ("--engine", "scripted:longer", "--samples", "1", "--format", form)
        rrm("cold-start", str(folder / "both.jsonl"), "--out", str(folder / f"{form}.jsonl"), *arguments)
    return {path.stem: path for path in folder.glob("*.jsonl")}


def load(path: Path) -> Any:
    from datasets import load_dataset

    return load_dataset("json", data_files=str(path), split="train")


class Noted(JudgeTrainingReward):
    """Notes what the trainer passed and what it was paid."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seen: list[dict[str, Any]] = []

    def __call__(self, prompts, completions, completion_ids=None, **columns):
        # Random weights name nobody, so the verdicts are put into the replies, and their turns are ended.
        told = [
            [{"role": "assistant", "content": rf"\boxed{{Assistant {1 + index % 2}}}"}]
            for index, _ in enumerate(completions)
        ]
        end = columns["log_metric"].__self__.eos_token_ids[0]
        own = [[*ids, end] for ids in completion_ids]
        rewards = super().__call__(prompts, told, own, **columns)
        self.seen.append({"prompts": prompts, "rewards": rewards, **columns})
        return rewards


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
def test_a_judge_is_trained_on_the_rows_as_they_are(kind, model, tmp_path, files):
    reward = Noted()
    running = trainer(kind, model, tmp_path, [reward], load(files["random"]))
    before = [parameter.detach().clone() for parameter in running.model.parameters()]
    running.train()
    assert any((old != new).any() for old, new in zip(before, running.model.parameters(), strict=True))
    for step in reward.seen:
        assert step["prompts"][0][-1]["content"].startswith("## Query")
        assert step["rewards"] == [1.0 if 1 + index % 2 == label else -1.0 for index, label in enumerate(step["label"])]
    logged = [entry for entry in running.state.log_history if "judge/accuracy" in entry]
    assert len(logged) == 2 and logged[0]["judge/accuracy"] == 0.5 and logged[0]["judge/malformed"] == 0.0
    assert "rewards/judge_training_reward/mean" in logged[0]


def test_replies_of_random_weights_are_malformed_and_counted(model, tmp_path, files):
    running = trainer("GRPO", model, tmp_path, [JudgeTrainingReward()], load(files["random"]))
    running.train()
    (first, _) = [entry for entry in running.state.log_history if "judge/malformed" in entry]
    assert first["judge/malformed"] == 1.0 and first["rewards/judge_training_reward/mean"] == -1.0
    # Eight tokens do not suffice for random weights to end their turn.
    assert first["judge/no_verdict/cut_off"] > 0


def test_consistency_finds_the_other_order_in_the_batch(model, tmp_path, files):
    changes = {"shuffle_dataset": False, "per_device_train_batch_size": 8, "max_steps": 1}
    reward = Noted(consistency=True)
    running = trainer("GRPO", model, tmp_path, [reward], load(files["both"]), **changes)
    running.train()
    (step,) = reward.seen
    assert len(set(step["pair"])) == 1 and sorted(step["label"]) == [1] * 4 + [2] * 4
    # The n-th replies to the two orders name the same place, so never the same response.
    assert step["rewards"] == [-1.0] * 8
    (logged,) = [entry for entry in running.state.log_history if "judge/both_right" in entry]
    assert logged["judge/both_right"] == 0.0 and logged["judge/unpaired"] == 0.0 and logged["judge/accuracy"] == 0.5


def test_consistency_without_the_other_order_ends_the_run_with_what_to_change(model, tmp_path, files):
    running = trainer("GRPO", model, tmp_path, [JudgeTrainingReward(consistency=True)], load(files["random"]))
    with pytest.raises(GroupError, match="shuffle_dataset=False"):
        running.train()


@pytest.mark.parametrize("form", ["messages", "prompt-completion"])
def test_a_cold_start_is_what_supervised_fine_tuning_reads(form, model, tmp_path, files):
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=2,
        max_length=2048,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        bf16=False,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        gradient_checkpointing=False,
    )
    running = SFTTrainer(model=str(model), args=config, train_dataset=load(files[form]))
    row = running.train_dataset[0]
    reply = running.processing_class.decode(row["input_ids"])
    assert "\\boxed{Assistant 1}" in reply.rpartition("<|im_start|>assistant")[2]
    if form == "prompt-completion":
        learnt = [token for token in row["labels"] if token != -100]
        assert "## Query" not in running.processing_class.decode(learnt)
        assert "\\boxed{Assistant 1}" in running.processing_class.decode(learnt)
    running.train()
    losses = [entry["loss"] for entry in running.state.log_history if "loss" in entry]
    assert len(losses) == 3 and all(map(math.isfinite, losses)) and losses[-1] < losses[0]
