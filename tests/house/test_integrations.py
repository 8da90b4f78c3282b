"""What a framework is pointed at stays in step with the package and with the framework's own parser."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import py_compile
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rrm_plugin import RRMJudge
from rrm_plugin.config import read_settings
from rrm_plugin.engines import HttpEngine
from tests.house.source import ROOT, tracked_files
from tests.tiny import save_tiny_model

TRL = ROOT / "integrations" / "trl"
FILES = [path for path in tracked_files() if path.relative_to(ROOT).parts[0] == "integrations"]


def of_kind(suffix: str) -> pytest.MarkDecorator:
    chosen = [path for path in FILES if path.suffix == suffix]
    return pytest.mark.parametrize("path", chosen, ids=lambda path: str(path.relative_to(ROOT)))


def grpo() -> dict[str, Any]:
    return yaml.safe_load((TRL / "grpo_rrm.yaml").read_text(encoding="utf-8"))


@of_kind(".yaml")
def test_yaml_is_a_mapping_without_repeated_keys(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    keys = re.findall(r"^([\w-]+):", text, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))


@of_kind(".py")
def test_entry_file_compiles_and_stays_an_entry(path: Path, tmp_path: Path) -> None:
    py_compile.compile(str(path), cfile=str(tmp_path / "compiled.pyc"), doraise=True)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "README.md"], ids=str)
def test_readme_shows_a_log_or_says_that_there_is_none(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "| host | version tested | command | result | limits |" in text
    assert "```text" in text.rpartition("\n## ")[2] or "not run" in text.rpartition("\n## ")[2]


def settings_written_out() -> set[str]:
    """The keys of judge.yaml, those in comments included."""
    text = (TRL / "judge.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"^(?:# )?(\w+):(?= |$)", text, flags=re.MULTILINE))


def test_keys_of_the_judge_are_its_arguments() -> None:
    known = set(inspect.signature(RRMJudge).parameters) - {"engine_options"}
    options = {
        name for name, each in inspect.signature(HttpEngine).parameters.items() if each.kind is each.KEYWORD_ONLY
    }
    assert settings_written_out() <= known | options
    assert known <= settings_written_out(), "every setting of the judge stands in the file, if only in a comment"


def test_the_judge_of_the_file_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with RRMJudge(**read_settings(TRL / "judge.yaml")) as judge:
        made = judge.tournament.settings
        assert judge.tournament.judge.engine.special_tokens
    for name in ("schedule", "orders", "votes", "temperature", "max_tokens", "seed"):
        assert made[name] == read_settings(TRL / "judge.yaml")[name]


def test_a_rank_holds_whole_groups() -> None:
    config = grpo()
    rows = config["per_device_train_batch_size"] * config["gradient_accumulation_steps"]
    assert rows % config["num_generations"] == 0


def test_the_costs_told_are_those_of_the_settings() -> None:
    config, judge = grpo(), read_settings(TRL / "judge.yaml")
    with RRMJudge(engine="scripted:longer", schedule=judge["schedule"], orders=judge["orders"]) as made:
        group = made.tournament.schedule.calls(config["num_generations"], judge["orders"])
    groups = config["per_device_train_batch_size"] * config["gradient_accumulation_steps"] // config["num_generations"]
    text = (TRL / "README.md").read_text(encoding="utf-8")
    assert f"makes {group} calls of a group of {config['num_generations']}, so {group * groups} calls a rank" in text


def test_paths_and_dotted_names_lead_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_CONFIG", str(TRL / "judge.yaml"))
    config = grpo()
    assert (ROOT / config["env"]["RRM_CONFIG"]).samefile(TRL / "judge.yaml")
    for name in config["reward_funcs"]:
        module, _, attribute = name.rpartition(".")
        assert attribute in dir(importlib.import_module(module)) or attribute == "rrm_judge"
    text = (TRL / "README.md").read_text(encoding="utf-8")
    for named in re.findall(r"integrations/[\w/.-]+\w", text):
        assert (ROOT / named).exists(), named


def test_pins_have_reasons_and_are_those_of_the_tests_where_they_say_so() -> None:
    lines = (TRL / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    reason = ""
    for line in lines:
        if line.startswith("#"):
            reason = line
        elif "==" in line:
            assert reason, f"{line} has no reason above it"
            name, _, version = line.partition("==")
            pins[name] = version
    tested = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints/test.txt").read_text(), flags=re.MULTILINE))
    for name in ("trl", "torch", "accelerate", "datasets"):
        assert pins[name] == tested[name]
    assert f"transformers {tested['transformers']}" in "\n".join(lines)
    assert f"trl {pins['trl']}" in (TRL / "README.md").read_text(encoding="utf-8")


@pytest.mark.trl
@pytest.mark.filterwarnings("ignore")
def test_keys_are_accepted_by_the_parser_of_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    trl = pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")
    from trl.scripts.grpo import make_parser

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("RRM_CONFIG", "")
    # bf16 is refused where there is no GPU, while the file is parsed.
    parsed = make_parser().parse_args_and_config(
        ["--config", str(TRL / "grpo_rrm.yaml"), "--bf16", "false", "--use_cpu", "true"], fail_with_unknown_args=True
    )
    script, training, model, _ = parsed
    assert os.environ["RRM_CONFIG"] == grpo()["env"]["RRM_CONFIG"]
    assert isinstance(training, trl.GRPOConfig)
    assert script.reward_funcs == grpo()["reward_funcs"]
    assert (training.num_generations, model.model_name_or_path) == (8, grpo()["model_name_or_path"])
    assert training.steps_per_generation * training.per_device_train_batch_size % training.num_generations == 0


@pytest.mark.trl
@pytest.mark.slow
def test_entry_file_trains_with_the_keys_of_the_file(tmp_path: Path) -> None:
    """The real file, with what needs a GPU or a network replaced."""
    pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")
    rows = [json.dumps({"prompt": f"which is {number}"}) for number in range(8)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(rows))
    (tmp_path / "judge.yaml").write_text("engine: scripted:longer\nledger: ledger.db\nname: from_file\n")
    smaller: dict[str, Any] = {
        "env": {"RRM_CONFIG": "judge.yaml"},
        "model_name_or_path": str(save_tiny_model(tmp_path / "model")),
        "dtype": "float32",
        "dataset_name": str(tmp_path / "data"),
        "use_vllm": False,
        "use_cpu": True,
        "bf16": False,
        "max_completion_length": 8,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_steps": 2,
        "log_completions": False,
        "output_dir": "out",
    }
    (tmp_path / "grpo.yaml").write_text(yaml.safe_dump(grpo() | smaller))
    run = subprocess.run(
        [sys.executable, str(TRL / "grpo_rrm.py"), "--config", "grpo.yaml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        timeout=110,
    )
    output = run.stdout + run.stderr
    assert run.returncode == 0, output[-5000:]
    assert "rewards/from_file/mean" in output and "from_file/calls" in output
    assert (tmp_path / "ledger.db").exists() and (tmp_path / "out" / "model.safetensors").exists()
