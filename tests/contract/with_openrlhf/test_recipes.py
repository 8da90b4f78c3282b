"""The command lines of the recipes: OpenRLHF's own parser, its own checks, and its data set read what they name.

A recipe's script is run by bash with a `python` that only writes its arguments down. Those go through
`openrlhf.cli.train_ppo_ray` as a program, whose `train` runs up to the point where engines would be made on GPUs.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from rrm_plugin.adapters.openrlhf.texts import asked
from rrm_plugin.schedules import schedule
from rrm_plugin.training.builder import write_training_data
from rrm_plugin.training.candidates import Preparation
from rrm_plugin.training.questions import QuestionReading, write_questions
from rrm_plugin.training.sources import source
from tests.tiny import save_tiny_model

pytest.importorskip("openrlhf", reason="needs OpenRLHF: make test-openrlhf", exc_type=ImportError)

FOLDER = Path(__file__).resolve().parents[3] / "integrations" / "openrlhf"
JUDGES = {
    "judge_7b.sh": {"steps": 500, "updates": 2, "replies": 16, "gpus": 8, "engines": 8, "lr": 1e-6, "prompt": 4096},
    "judge_32b.sh": {"steps": 500, "updates": 2, "replies": 16, "gpus": 32, "engines": 8, "lr": 5e-7, "prompt": 4096},
    "judge_1_5b.sh": {"steps": 300, "updates": 1, "replies": 8, "gpus": 1, "engines": 1, "lr": 1e-6, "prompt": 3072},
}
each_judge = pytest.mark.parametrize("name", JUDGES)


class ReachedTheGpus(Exception):
    """What `train` would have needed GPUs for."""


@pytest.fixture
def rows(tmp_path):
    pairs = [{"prompt": f"q {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    write_training_data([source(str(tmp_path / "pairs.jsonl"))], tmp_path / "train.jsonl", Preparation())
    return tmp_path / "train.jsonl"


@pytest.fixture
def command_line(tmp_path, rows):
    """Arguments that a script passes to python, when it is started in an empty folder."""

    def run(name, *extra, data=rows):
        shim = tmp_path / "bin" / "python"
        shim.parent.mkdir(exist_ok=True)
        shim.write_text("#!/bin/bash\nprintf '%s\\0' \"$@\"\n")
        shim.chmod(0o755)
        env = {**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}"}
        command = ["bash", str(FOLDER / name), str(data), *extra]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        return done.stdout.split("\0")[:-1]

    return run


@pytest.fixture
def started(monkeypatch):
    """What OpenRLHF makes of arguments: (args, arguments of the engines, GPUs it asks Ray for)."""
    import openrlhf.trainer.ray
    import ray

    # The package ray.util has a function of the same name as this module.
    placing = importlib.import_module("ray.util.placement_group")

    def start(arguments):
        assert arguments[:2] == ["-m", "openrlhf.cli.train_ppo_ray"]
        asked, seen = [], {}

        def group(bundles, strategy):
            asked.extend(bundles)
            return SimpleNamespace(ready=lambda: None)

        def engines(*values, **named):
            seen["engines"] = (values, named)
            seen["args"] = sys._getframe(1).f_locals["args"]
            raise ReachedTheGpus

        monkeypatch.setattr(sys, "argv", [arguments[1], *arguments[2:]])
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(ray, "get", lambda _: None)
        monkeypatch.setattr(placing, "placement_group", group)
        monkeypatch.setattr(openrlhf.trainer.ray, "create_vllm_engines", engines)
        with pytest.raises(ReachedTheGpus):
            runpy.run_module(arguments[1], run_name="__main__")
        return seen["args"], seen["engines"], asked

    return start


@each_judge
def test_its_own_parser_and_checks_take_the_command_line(name, command_line, started, capsys):
    wanted = JUDGES[name]
    args, (_, engines), bundles = started(command_line(name))
    told = capsys.readouterr().out
    assert "[Warning]" not in told and "Recommend" not in told and "Set args" not in told
    replies = args.rollout.batch_size * args.rollout.n_samples_per_prompt
    assert args.data.max_samples / args.rollout.batch_size == wanted["steps"]
    assert replies / args.train.batch_size == wanted["updates"]
    assert args.rollout.n_samples_per_prompt == wanted["replies"]
    assert sum(bundle["GPU"] for bundle in bundles) == wanted["gpus"] and args.vllm.num_engines == wanted["engines"]
    assert replies % wanted["gpus"] == 0 == args.train.batch_size % wanted["gpus"]
    assert args.data.max_len - args.rollout.max_new_tokens == wanted["prompt"]
    assert args.rollout.max_tokens_per_gpu >= args.data.max_len <= args.train.max_tokens_per_gpu
    assert args.actor.adam.lr == wanted["lr"] and args.actor.lr_scheduler == "constant"
    assert args.actor.eps_clip_low_high == (0.2, 0.2)
    assert args.ds.lora.rank == 0, "this version does not bring LoRA's weights into vLLM"
    assert engines["remote_rm_url"] == [str(FOLDER / "judge_reward.py")] and engines["agent_func_path"] is None


@each_judge
def test_values_that_are_the_same_for_every_size(name, command_line, started):
    args, _, _ = started(command_line(name))
    assert (args.rollout.temperature, args.rollout.top_p) == (0.6, 1.0)
    assert (args.algo.kl.use_loss, args.algo.kl.estimator, args.algo.kl.init_coef) == (True, "k3", 1e-3)
    assert args.algo.advantage.estimator == "group_norm"
    assert args.critic.model_name_or_path is None


@each_judge
def test_flags_behind_the_data_win_and_paths_are_absolute(name, command_line, started, rows, tmp_path):
    args, _, _ = started(command_line(name, "--data.max_samples", "640", data=os.path.relpath(rows, tmp_path)))
    assert args.data.max_samples == 640
    for path in (args.data.prompt_dataset, args.reward.remote_url[0], args.ckpt.path, args.ckpt.output_dir):
        assert os.path.isabs(path)
    assert Path(args.ckpt.path).is_relative_to(args.ckpt.output_dir)


@each_judge
def test_it_reads_the_data_and_the_reward_file_that_they_name(name, command_line, started, rows, tmp_path):
    from openrlhf.trainer.ppo_trainer import prepare_datasets
    from openrlhf.utils import get_strategy
    from openrlhf.utils.agent import SingleTurnAgentExecutor
    from transformers import AutoTokenizer

    args, _, _ = started(command_line(name))
    tokenizer = AutoTokenizer.from_pretrained(save_tiny_model(tmp_path / "model"))
    args.eval.dataset = None
    loader, evaluation, _ = prepare_datasets(get_strategy(args), tokenizer)
    read = sorted((prompts[0], labels[0]) for _, prompts, labels, _ in loader)
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    prompts = [
        tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True) for row in written
    ]
    assert evaluation is None
    assert read == sorted(zip(prompts, [row["label"] for row in written], strict=True))
    executor = SingleTurnAgentExecutor(args.reward.remote_url)
    assert executor.reward_func([rf"{prompts[0]}\boxed{{Assistant 1}}<|im_end|>"], [prompts[0]], [1])["rewards"] == 1.0


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [
        (["--remote_rm_url", "x"], SystemExit),
        (["--vllm.num_engines", "3"], AssertionError),
        (["--rollout.n_samples_per_prompt", "1"], AssertionError),
    ],
)
def test_those_checks_refuse_what_is_wrong(flags, refusal, command_line, started):
    with pytest.raises(refusal):
        started(command_line("judge_7b.sh", *flags))


def test_a_script_without_data_says_what_it_wants():
    done = subprocess.run(["bash", str(FOLDER / "judge_7b.sh")], capture_output=True, text=True)
    assert done.returncode != 0 and "rrm train-data" in done.stderr


def test_the_policy_recipe(command_line, started, rows, monkeypatch, capsys):
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    args, (_, engines), bundles = started(command_line("policy_7b.sh"))
    told = capsys.readouterr().out
    assert "[Warning]" not in told and "Recommend" not in told and "Set args" not in told
    assert args.data.max_samples / args.rollout.batch_size == 200
    assert args.rollout.batch_size * args.rollout.n_samples_per_prompt == args.train.batch_size
    assert args.eval.n_samples_per_prompt == args.rollout.n_samples_per_prompt == 8
    assert sum(bundle["GPU"] for bundle in bundles) == args.vllm.num_engines == 4
    assert args.rollout.max_tokens_per_gpu >= args.data.max_len <= args.train.max_tokens_per_gpu
    assert engines["agent_func_path"] == str(FOLDER / "agent.py") and engines["remote_rm_url"] == ["agent"]
    assert args.data.label_key == args.data.input_key
    judge = yaml.safe_load((FOLDER / "judge.yaml").read_text())
    calls = schedule(judge["schedule"]).calls(args.rollout.n_samples_per_prompt, judge["orders"])
    told = f"the judge's {calls} calls a group make {calls * args.rollout.batch_size:,} calls a step"
    assert (
        told in (FOLDER / "README.md").read_text() and f"{calls} calls a group" in (FOLDER / "judge.yaml").read_text()
    )


def test_its_labels_bring_the_judge_the_conversation(command_line, started, tmp_path):
    from openrlhf.trainer.ppo_trainer import prepare_datasets
    from openrlhf.utils import get_strategy
    from transformers import AutoTokenizer

    (tmp_path / "in.jsonl").write_text('{"question": "Why is the sky blue?", "answer": "secret"}\n')
    write_questions([source(str(tmp_path / "in.jsonl"))], tmp_path / "policy.jsonl", QuestionReading(suffix=" Think."))
    args, _, _ = started(command_line("policy_7b.sh", data=tmp_path / "policy.jsonl"))
    args.eval.dataset = None
    loader, _, _ = prepare_datasets(
        get_strategy(args), AutoTokenizer.from_pretrained(save_tiny_model(tmp_path / "model"))
    )
    ((_, prompts, labels, _),) = loader
    asked_for = [{"role": "user", "content": "Why is the sky blue? Think."}]
    assert asked(prompts[0], labels[0]) == (asked_for, None)
    assert json.loads(json.dumps(labels[0])) == asked_for, "OpenRLHF's HTTP client posts it as JSON"


def test_its_loader_makes_the_executor_with_the_settings_of_the_file(monkeypatch):
    from openrlhf.trainer.ray.vllm_engine import _load_agent_executor
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    monkeypatch.setenv("RRM_CONFIG", str(FOLDER / "judge.yaml"))
    executor = _load_agent_executor(str(FOLDER / "agent.py"))
    assert isinstance(executor, SingleTurnAgentExecutor) and not executor.reward_endpoints
    assert (executor.gate.size, executor.gate.deadline) == (8, 1800)
    assert executor.gate.judge.tournament.schedule.calls(8, "balanced") == 24
    executor.gate.judge.close()


def test_the_policy_script_names_its_own_settings_unless_told_otherwise(tmp_path, rows):
    shim = tmp_path / "python"
    shim.write_text('#!/bin/bash\necho "$RRM_CONFIG"\n')
    shim.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    env.pop("RRM_CONFIG", None)
    for given, wanted in (({}, str(FOLDER / "judge.yaml")), ({"RRM_CONFIG": "/own.yaml"}, "/own.yaml")):
        command = ["bash", str(FOLDER / "policy_7b.sh"), str(rows)]
        done = subprocess.run(command, env=env | given, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted
