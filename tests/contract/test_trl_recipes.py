"""The recipes of integrations/trl that train a judge: TRL's parser and accelerate's launcher take them, and they train.

They train for real with a tiny model, on a file that `rrm train-data` wrote and by the keys of the recipe. Replaced is
what needs a GPU or a network, and nothing else: `SMALLER` lists it. vLLM and DeepSpeed are therefore not run.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")

from rrm_plugin.config import read_settings
from rrm_plugin.training import RewardRule
from tests.contract.test_trl_training import Noted, rrm
from tests.house.source import ROOT
from tests.tiny import save_tiny_model

pytestmark = [pytest.mark.trl, pytest.mark.filterwarnings("ignore")]

TRL = ROOT / "integrations" / "trl"
NAMES = ("judge_7b", "judge_32b", "judge_1_5b_lora")
SIZES = {
    "judge_7b": {"gpus": 8, "machines": 1, "prompts": 128, "replies": 16, "updates": 2, "steps": 500},
    "judge_32b": {"gpus": 32, "machines": 4, "prompts": 128, "replies": 16, "updates": 2, "steps": 500},
    "judge_1_5b_lora": {"gpus": 1, "machines": 1, "prompts": 32, "replies": 8, "updates": 1, "steps": 300},
}
SMALLER: dict[str, Any] = {
    "dtype": "float32",
    "attn_implementation": "sdpa",
    "use_vllm": False,
    "use_cpu": True,
    "bf16": False,
    "num_generations": 4,
    "per_device_train_batch_size": 4,
    "max_completion_length": 8,
    "save_steps": 2,
    "report_to": "none",
}
each_recipe = pytest.mark.parametrize("name", NAMES)


def config(name: str) -> dict[str, Any]:
    return yaml.safe_load((TRL / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a recipe sets environment variables: they are put back, as is the folder to start in."""
    monkeypatch.setenv("RRM_REWARD_CONFIG", "")
    monkeypatch.chdir(ROOT)


def parsed(path: Path, *flags: str) -> tuple[Any, ...]:
    """As `trl grpo` reads a file: script, training, model, data, and what file and flags have for the launcher."""
    from trl.scripts.grpo import make_parser

    # bf16 is refused where there is no GPU, while the file is read.
    return make_parser().parse_args_and_config(
        ["--config", str(path), "--bf16", "false", "--use_cpu", "true", *flags],
        return_remaining_strings=True,
        separate_remaining_strings=True,
    )


def launched(name: str, *flags: str) -> Any:
    """What accelerate's launcher makes of a recipe."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from trl.cli.accelerate_config import resolve_accelerate_config_argument

    *_, of_file, of_flags = parsed(TRL / f"{name}.yaml", *flags)
    words = resolve_accelerate_config_argument(of_file + of_flags)
    return _validate_launch_command(launch_command_parser().parse_args([*words, "grpo.py"]))[0]


@each_recipe
def test_every_key_is_one_of_trl_or_for_the_launcher(name: str) -> None:
    script, training, model, data, of_file, of_flags = parsed(TRL / f"{name}.yaml")
    written = config(name)
    assert of_file == ["--accelerate_config", written["accelerate_config"]] and of_flags == []
    assert script.reward_funcs == written["reward_funcs"]
    assert [each.data_files for each in data.datasets] == ["train.jsonl"]
    read = {**vars(training), **vars(model)}
    of_others = ("env", "accelerate_config", "datasets", "reward_funcs", "bf16", "report_to", "lora_target_modules")
    for key in set(written) - set(of_others):
        found = getattr(read[key], "value", read[key])
        assert found == written[key] or str(found) == str(written[key]), key


@each_recipe
def test_paths_and_dotted_names_lead_somewhere(name: str) -> None:
    parsed(TRL / f"{name}.yaml")
    settings = read_settings(os.environ["RRM_REWARD_CONFIG"])
    assert RewardRule(**settings) == RewardRule()
    for dotted in config(name)["reward_funcs"]:
        module, _, attribute = dotted.rpartition(".")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_the_reward_file_writes_every_key_of_the_rule() -> None:
    from dataclasses import fields

    text = (TRL / "judge_reward.yaml").read_text(encoding="utf-8")
    assert [field.name for field in fields(RewardRule) if field.name not in text] == []


@each_recipe
def test_the_launcher_starts_a_process_for_each_gpu(name: str) -> None:
    sizes = SIZES[name]
    launch = launched(name)
    # Without DeepSpeed and without several GPUs accelerate starts one process, whatever the file's num_processes says.
    processes = launch.num_processes if launch.use_deepspeed or launch.multi_gpu else 1
    assert (processes, launch.num_machines) == (sizes["gpus"], sizes["machines"])
    assert launch.use_deepspeed == (sizes["gpus"] > 1)
    if launch.use_deepspeed:
        assert int(launch.zero_stage) == 3 and launch.mixed_precision == "bf16"


def test_a_machine_of_several_is_told_its_rank_on_the_command_line() -> None:
    launch = launched("judge_32b", "--machine_rank", "2", "--main_process_ip", "10.0.0.1")
    assert (launch.machine_rank, launch.main_process_ip, launch.main_process_port) == (2, "10.0.0.1", 29500)


@each_recipe
def test_a_step_has_its_prompts_and_updates(name: str) -> None:
    sizes, training = SIZES[name], parsed(TRL / f"{name}.yaml")[1]
    rows_of_a_pass = training.per_device_train_batch_size * sizes["gpus"]
    assert rows_of_a_pass * training.steps_per_generation == sizes["prompts"] * sizes["replies"]
    assert training.num_generations == sizes["replies"] and training.num_iterations == 1
    rows_of_an_update = rows_of_a_pass * training.gradient_accumulation_steps
    assert rows_of_an_update * sizes["updates"] == sizes["prompts"] * sizes["replies"]
    assert training.max_steps == sizes["steps"] * sizes["updates"]
    # A rank of the step holds whole groups, and so does an update of the rank.
    on_a_rank = training.per_device_train_batch_size * training.gradient_accumulation_steps
    assert on_a_rank % training.num_generations == 0
    assert training.vllm_max_model_length - training.max_completion_length in (4096, 3072)
    assert sizes["gpus"] % training.vllm_tensor_parallel_size == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    pairs = [{"prompt": f"which {n}", "chosen": f"longer {n}" * (2 + n), "rejected": f"short {n}"} for n in range(8)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    rrm("train-data", str(folder / "pairs.jsonl"), "--out", str(folder / "train.jsonl"))
    return folder / "train.jsonl"


def made_small(name: str, model: Path, data: Path, folder: Path) -> Path:
    """The recipe with its sizes cut down, two steps long, with as many updates a step as it has."""
    updates = SIZES[name]["updates"]
    changed = {
        **SMALLER,
        "model_name_or_path": str(model),
        "datasets": [{**config(name)["datasets"][0], "data_files": str(data)}],
        "gradient_accumulation_steps": 2,
        "steps_per_generation": 2 * updates,
        "max_steps": 2 * updates,
        "output_dir": str(folder / "out"),
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(config(name) | changed))
    return folder / "recipe.yaml"


def trained(name: str, model: Path, data: Path, folder: Path) -> list[dict[str, Any]]:
    """Runs the script of `trl grpo` on the small recipe; the lines of its log, one for each update."""
    from trl.scripts.grpo import main

    main(*parsed(made_small(name, model, data, folder))[:4])
    last = folder / "out" / f"checkpoint-{2 * SIZES[name]['updates']}" / "trainer_state.json"
    return [entry for entry in json.loads(last.read_text(encoding="utf-8"))["log_history"] if "loss" in entry]


def test_a_recipe_pays_by_the_file_that_it_names(model: Path, data: Path, tmp_path: Path) -> None:
    log = trained("judge_7b", model, data, tmp_path)
    told = [entry for entry in log if "judge/malformed" in entry]
    # Of four updates every second one has replies of its own. Random weights name nobody.
    assert (len(log), len(told)) == (4, 2)
    for entry in told:
        assert entry["judge/malformed"] == 1.0 and entry["rewards/judge_training_reward/mean"] == -1.0


def test_a_step_computes_what_the_estimates_count(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policy and reference once over all replies, then the updates; every row is as wide as the widest of the step."""
    from trl import GRPOTrainer

    passes: list[tuple[int, int]] = []
    compute = GRPOTrainer._get_per_token_logps_and_entropies

    def noted(self: Any, model: Any, input_ids: Any, *rest: Any, **more: Any) -> Any:
        passes.append(tuple(input_ids.shape))
        return compute(self, model, input_ids, *rest, **more)

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", noted)
    trained("judge_7b", model, data, tmp_path)
    # A step is 16 rows, which its two updates see in two passes of 4 each.
    one, other = passes[:6], passes[6:]
    for step in (one, other):
        assert [rows for rows, _ in step] == [16, 16, 4, 4, 4, 4]
        assert len({width for _, width in step}) == 1


@pytest.mark.slow
@each_recipe
def test_a_recipe_trains(name: str, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With verdicts put into the replies, since random weights name nobody."""
    from safetensors.torch import load_file

    adapter = bool(config(name).get("use_peft"))
    if adapter:
        pytest.importorskip("peft", reason="needs peft: pip install peft")
    reward = Noted()
    monkeypatch.setattr("rrm_plugin.training.judge_training_reward", reward, raising=False)
    log = trained(name, model, data, tmp_path)
    updates = SIZES[name]["updates"]
    assert (len(log), len(reward.seen)) == (2 * updates, 2)
    for entry in log:
        assert math.isfinite(entry["loss"]) and entry["grad_norm"] > 0 and entry["kl"] >= 0
        assert entry["learning_rate"] == config(name)["learning_rate"]
    for step in reward.seen:
        assert len(step["rewards"]) == 4 * 2 * updates and set(step["rewards"]) == {1.0, -1.0}
    saved = load_file(tmp_path / "out" / ("adapter_model.safetensors" if adapter else "model.safetensors"))
    if adapter:
        kinds = {key.split(".")[-3] for key in saved}
        assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
        assert all(config(name)["lora_r"] in tensor.shape for tensor in saved.values())
        # The second matrix of an adapter starts at zero.
        assert all(tensor.any() for key, tensor in saved.items() if "lora_B" in key)
    else:
        before = load_file(model / "model.safetensors")
        assert all((saved[key] != before[key]).any() for key in before if "weight" in key)


@pytest.mark.slow
def test_the_command_of_the_page_starts_a_recipe(model: Path, data: Path, tmp_path: Path) -> None:
    """`trl grpo --config FILE` itself: TRL's command line, the launcher that the file names, and the script."""
    recipe = made_small("judge_7b", model, data, tmp_path)
    (tmp_path / "cpu.yaml").write_text(yaml.safe_dump({"distributed_type": "NO", "use_cpu": True, "num_processes": 1}))
    recipe.write_text(
        yaml.safe_dump(yaml.safe_load(recipe.read_text()) | {"accelerate_config": str(tmp_path / "cpu.yaml")})
    )
    run = subprocess.run(
        [sys.executable, "-c", "from trl.cli import main; main()", "grpo", "--config", str(recipe), "--max_steps", "2"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]
    assert "judge/malformed" in run.stdout + run.stderr
    assert (tmp_path / "out" / "checkpoint-2" / "trainer_state.json").exists()
