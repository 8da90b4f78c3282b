"""Real TRL trainers take their rewards from a judge: in one process, awaited, evaluated, and from the command line."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")

from rrm_plugin import EngineUnavailableError, GroupError, RRMJudge
from rrm_plugin.adapters.trl import OnlineDPOReward
from rrm_plugin.engines import ScriptedEngine
from tests.contract.trl_runs import Rows, dataset, trainer
from tests.tiny import save_tiny_model

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.trl, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def judge():
    with RRMJudge(engine="scripted:longer", reducer="win_rate") as judge:
        yield judge


def _weights(running) -> list:
    return [parameter.detach().clone() for parameter in running.model.parameters()]


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
@pytest.mark.parametrize("conversational", [False, True], ids=["texts", "messages"])
def test_a_trainer_learns_from_the_judge(kind, conversational, model, tmp_path, judge):
    rows = Rows(judge)
    running = trainer(kind, model, tmp_path, [rows], dataset(4, conversational=conversational))
    before = _weights(running)
    running.train()
    assert len(rows.seen) == 2
    assert all(len(step["rewards"]) == 4 and set(step["rewards"]) != {0.0} for step in rows.seen)
    assert isinstance(rows.seen[0]["completions"][0], list if conversational else str)
    assert any((old != new).any() for old, new in zip(before, _weights(running), strict=True))
    logged = [entry for entry in running.state.log_history if "rrm/calls" in entry]
    assert len(logged) == 2
    for name in ("verdict_rate", "order_agreement", "first_rate", "cycles", "unscored", "tokens", "seconds", "spread"):
        assert math.isfinite(logged[0][f"rrm/{name}"])


def test_the_judge_itself_is_the_reward_function_and_its_words_reach_the_completions_table(model, tmp_path, judge):
    running = trainer("GRPO", model, tmp_path, [judge], dataset(4))
    running.train()
    assert any("rewards/rrm/mean" in entry for entry in running.state.log_history)
    notes = running._logs["extra"]["rrm_notes"]
    assert notes and all(note.startswith(("won", "not judged")) for note in notes)


def test_an_awaited_reward_is_taken_too(model, tmp_path, judge):
    running = trainer("GRPO", model, tmp_path, [judge.as_async()], dataset(4))
    running.train()
    assert any("rewards/rrm/mean" in entry for entry in running.state.log_history)


def test_evaluation_has_groups_of_its_own_size(model, tmp_path, judge):
    rows = Rows(judge)
    changes = {"num_generations_eval": 2, "per_device_eval_batch_size": 4}
    running = trainer("GRPO", model, tmp_path, [rows], dataset(4), dataset(4), **changes)
    metrics = running.evaluate()
    seen = [step["row"] for step in rows.seen]
    assert all(row[0] == row[1] != row[2] == row[3] for row in seen)
    assert sorted(row for own in seen for row in own) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert math.isfinite(metrics["eval_reward"])


def test_an_evaluation_that_splits_groups_over_batches_names_the_setting(model, tmp_path, judge):
    changes = {"num_generations_eval": 4, "per_device_eval_batch_size": 6}
    running = trainer("GRPO", model, tmp_path, [judge], dataset(4), dataset(4), **changes)
    with pytest.raises(GroupError, match="per_device_eval_batch_size"):
        running.evaluate()


def test_rows_without_a_verdict_are_unscorable_to_the_trainer(model, tmp_path):
    calls = iter(range(10**6))

    def mumble(messages):
        return r"\boxed{Assistant 1}" if next(calls) < 2 else "I wonder."

    with RRMJudge(engine=ScriptedEngine(mumble)) as judge:
        rows = Rows(judge)
        running = trainer("GRPO", model, tmp_path, [rows], dataset(4))
        running.train()
    assert rows.seen[1]["rewards"] == [None] * 4
    assert any(entry.get("rrm/unscored") == 1.0 for entry in running.state.log_history)
    assert all(math.isfinite(entry["loss"]) for entry in running.state.log_history if "loss" in entry)


def test_a_wrong_address_ends_the_run_at_its_first_step(model, tmp_path):
    with RRMJudge(engine="http://127.0.0.1:9/v1", model="m", retry_for=0.0) as judge:
        running = trainer("GRPO", model, tmp_path, [judge], dataset(4))
        with pytest.raises(EngineUnavailableError, match=r"127\.0\.0\.1:9"):
            running.train()


@pytest.mark.slow
def test_online_dpo_takes_pairs_from_the_judge(model, tmp_path, judge, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from transformers import AutoTokenizer
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    config = OnlineDPOConfig(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=2,
        max_new_tokens=8,
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    seen = []

    class Reward(OnlineDPOReward):
        def __call__(self, prompts, completions, **columns):
            rewards = super().__call__(prompts, completions, **columns)
            seen.append((prompts, completions, rewards))
            return rewards

    running = OnlineDPOTrainer(
        model=str(model),
        reward_funcs=Reward(judge),
        args=config,
        train_dataset=dataset(4, conversational=True),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    running.train()
    prompts, completions, rewards = seen[0]
    texts = [message[-1]["content"] if isinstance(message, list) else message for message in completions]
    half = len(prompts) // 2
    assert prompts[:half] == prompts[half:]
    for index in range(half):
        if texts[index] != texts[index + half]:
            assert rewards[index] == -rewards[index + half] != 0


@pytest.mark.slow
def test_the_command_line_takes_a_judge_from_a_settings_file(model, tmp_path):
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"prompt": f"which is {n}"}) + "\n" for n in range(4)))
    (tmp_path / "judge.yaml").write_text("engine: scripted:longer\nledger: ledger.db\nname: configured\n")
    (tmp_path / "grpo.yaml").write_text(
        f"""
model_name_or_path: {model}
output_dir: out
reward_funcs: [rrm_plugin.adapters.trl.rrm_judge]
datasets:
  - path: json
    data_files: {tmp_path / "data.jsonl"}
max_steps: 2
per_device_train_batch_size: 4
num_generations: 4
max_completion_length: 8
report_to: none
use_cpu: true
bf16: false
logging_steps: 1
save_strategy: "no"
gradient_checkpointing: false
env:
  RRM_CONFIG: judge.yaml
"""
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "HF_HOME": str(tmp_path / "hf")}
    command = [str(Path(sys.executable).with_name("trl")), "grpo", "--config", "grpo.yaml"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    output = run.stdout + run.stderr
    assert run.returncode == 0, output[-5000:]
    assert "rewards/configured/mean" in output and "configured/calls" in output
    assert (tmp_path / "ledger.db").exists()
