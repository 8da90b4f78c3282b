"""The GPQA recipe of integrations/trl/gpqa: TRL's parser and accelerate's launcher take it, and it trains.

It trains for real with a tiny model and a scripted judge, on a file that `rrm policy-data` wrote. Replaced is what
needs a GPU or a network: `SMALLER` lists it.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")

from rrm_plugin import RRMJudge
from rrm_plugin.config import read_settings
from rrm_plugin.engines import Sampling, engine
from rrm_plugin.evaluation.choices import SUFFIX
from tests.contract.test_trl_training import rrm
from tests.house.source import ROOT
from tests.tiny import save_tiny_model

pytestmark = [pytest.mark.trl, pytest.mark.filterwarnings("ignore")]

FOLDER = ROOT / "integrations" / "trl" / "gpqa"
GPUS = 4
SMALLER: dict[str, Any] = {
    "dtype": "float32",
    "attn_implementation": "sdpa",
    "use_vllm": False,
    "use_cpu": True,
    "bf16": False,
    "num_generations": 4,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "steps_per_generation": 2,
    "max_completion_length": 8,
    "max_steps": 2,
    "save_steps": 2,
    "report_to": "none",
    # The name that transformers has for what vLLM is told, with an end of the tiny model.
    "generation_kwargs": {"eos_token_id": [2]},
}


def config() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "gpqa.yaml").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a recipe sets environment variables: they are put back, as is the folder to start in."""
    monkeypatch.setenv("RRM_CONFIG", "")
    monkeypatch.chdir(ROOT)


def parsed(path: Path, *flags: str) -> tuple[Any, ...]:
    """As `trl grpo` reads a file: script, training, model, data, and what file and flags have for the launcher."""
    from trl.scripts.grpo import make_parser

    return make_parser().parse_args_and_config(
        ["--config", str(path), "--bf16", "false", "--use_cpu", "true", *flags],
        return_remaining_strings=True,
        separate_remaining_strings=True,
    )


def test_every_key_is_one_of_trl_or_for_the_launcher() -> None:
    script, training, model, data, of_file, of_flags = parsed(FOLDER / "gpqa.yaml")
    written = config()
    assert of_file == ["--accelerate_config", written["accelerate_config"]] and of_flags == []
    assert script.reward_funcs == ["rrm_plugin.adapters.trl.rrm_judge"]
    assert [each.data_files for each in data.datasets] == ["policy.jsonl"]
    read = {**vars(training), **vars(model)}
    for key in set(written) - {"env", "accelerate_config", "datasets", "reward_funcs", "bf16", "report_to"}:
        found = getattr(read[key], "value", read[key])
        assert found == written[key] or str(found) == str(written[key]), key
    assert (ROOT / os.environ["RRM_CONFIG"]).samefile(FOLDER / "judge.yaml")


def test_a_step_is_whole_groups_on_each_of_the_policys_gpus() -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from trl.cli.accelerate_config import resolve_accelerate_config_argument

    _, training, _, _, of_file, of_flags = parsed(FOLDER / "gpqa.yaml")
    words = resolve_accelerate_config_argument(of_file + of_flags)
    launch = _validate_launch_command(launch_command_parser().parse_args([*words, "grpo.py"]))[0]
    assert (launch.num_processes, launch.num_machines, int(launch.zero_stage)) == (GPUS, 1, 3)
    on_a_rank = training.per_device_train_batch_size * training.steps_per_generation
    assert on_a_rank % training.num_generations == 0 and on_a_rank * GPUS == 64 * 8
    assert training.steps_per_generation == training.gradient_accumulation_steps
    assert training.max_steps * 64 == 12_800, "the questions that docs/gpqa.md speaks of"


def test_the_judge_takes_all_calls_of_a_rank_at_once() -> None:
    judge = read_settings(FOLDER / "judge.yaml")
    training = parsed(FOLDER / "gpqa.yaml")[1]
    with RRMJudge(**{**judge, "ledger": None}) as made:
        calls = made.tournament.schedule.calls(training.num_generations, made.tournament.orders)
    groups = training.per_device_train_batch_size * training.steps_per_generation // training.num_generations
    assert calls == 3 * training.num_generations and calls * groups == judge["concurrency"]
    assert judge["timeout"] < training.ddp_timeout


@pytest.mark.parametrize("page", [FOLDER / "README.md", ROOT / "docs" / "gpqa.md"], ids=lambda page: page.name)
def test_servers_have_room_for_what_they_are_asked(page: Path) -> None:
    text, training, judge = page.read_text(encoding="utf-8"), config(), read_settings(FOLDER / "judge.yaml")
    lengths = {
        model: int(length) for model, length in re.findall(r"vllm serve (\S+) [^\n]*--max-model-len (\d+)", text)
    }
    question = int(re.findall(r"--max-tokens (\d+) --most", text)[0])
    reply = training["max_completion_length"]
    assert training["vllm_max_model_length"] == question + reply
    # The judge reads the question and two replies, and its instructions, for which a thousand tokens are plenty.
    assert lengths.pop("Reward-Reasoning/RRM-7B") >= 1000 + question + 2 * reply + judge["max_tokens"]
    policy = read_settings(FOLDER / "policy.yaml")
    assert set(lengths) == {training["model_name_or_path"], training["output_dir"]}
    assert all(length >= 2048 + policy["max_tokens"] for length in lengths.values())
    for name in lengths:
        assert f"vllm serve {name} --port 8000 --generation-config vllm" in text
    assert f'"{SUFFIX}"' in text, "the policy is evaluated with the suffix that it is trained with"


def test_the_policy_is_evaluated_as_it_is_trained() -> None:
    policy, training = read_settings(FOLDER / "policy.yaml"), config()
    assert policy["max_tokens"] == training["max_completion_length"]
    assert policy["extra_body"]["stop_token_ids"] == training["generation_kwargs"]["stop_token_ids"] == [151645]
    sampling = {name: policy.pop(name) for name in ("temperature", "top_p", "max_tokens")}
    Sampling(**sampling)
    assert engine(policy.pop("engine"), **policy).name == "http:?"


def test_hours_are_computed_for_these_files() -> None:
    sys.path.append(str(ROOT / "docs" / "scripts"))
    import gpqa_tables

    recipe = gpqa_tables.policy_recipe()
    assert (recipe.gpus, recipe.prompts, recipe.replies, recipe.updates, recipe.steps) == (GPUS, 64, 8, 1, 200)
    assert gpqa_tables.judge_calls() == 64 * 24
    small, large = (gpqa_tables.judge_recipe(f"deepseek-ai/DeepSeek-R1-Distill-Qwen-{size}") for size in ("7B", "32B"))
    assert (small.rows, large.tensor_parallel) == (64 * 24, 4)


def test_it_fits_into_the_memory_of_its_gpus() -> None:
    sys.path.append(str(ROOT / "docs" / "scripts"))
    import gpqa_tables
    from estimates import GPUS as KNOWN
    from estimates import memory

    held = memory(gpqa_tables.policy_recipe(), KNOWN["H100"])
    assert held.fits(KNOWN["H100"]), held


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def test_it_trains_on_what_policy_data_wrote(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rrm_plugin.adapters import trl as adapter

    rows = [{"id": n, "question": f"which is {n}", "answer": "SECRET", "category": "SECRET"} for n in range(8)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = tmp_path / "policy.jsonl"
    rrm("policy-data", str(tmp_path / "questions.jsonl"), "--suffix", SUFFIX, "--out", str(data))
    judge = {**read_settings(FOLDER / "judge.yaml"), "engine": "scripted:longer", "ledger": str(tmp_path / "judge.db")}
    for name in ("timeout", "retry_for", "concurrency", "special_tokens"):
        del judge[name]
    (tmp_path / "judge.yaml").write_text(yaml.safe_dump(judge))
    changed = {
        **SMALLER,
        "env": {"RRM_CONFIG": str(tmp_path / "judge.yaml")},
        "model_name_or_path": str(model),
        "datasets": [{**config()["datasets"][0], "data_files": str(data)}],
        "output_dir": str(tmp_path / "out"),
    }
    (tmp_path / "gpqa.yaml").write_text(yaml.safe_dump(config() | changed))
    log = trained(tmp_path, adapter, monkeypatch)
    assert len(log) == 2
    for entry in log:
        assert entry["rrm/calls"] > 0 and entry["rrm/verdict_rate"] == 1.0 and math.isfinite(entry["loss"])
        assert math.isfinite(entry["kl"]), "the KL term is on"
    table = next((tmp_path / "out" / "completions").glob("*.parquet"))
    import pandas

    asked = str(pandas.read_parquet(table)["prompt"].iloc[0])
    assert "which is" in asked and "step by step" in asked and "SECRET" not in asked


def trained(folder: Path, adapter: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Runs the script of `trl grpo` on the small recipe; the lines of its log."""
    from trl.scripts.grpo import main

    monkeypatch.setenv("RRM_CONFIG", str(folder / "judge.yaml"))
    # The judge of the command line is made once a process: of this file, and of no test before.
    monkeypatch.delitem(sys.modules, adapter.__name__)
    main(*parsed(folder / "gpqa.yaml")[:4])
    state = json.loads((folder / "out" / "checkpoint-2" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry for entry in state["log_history"] if "loss" in entry]
