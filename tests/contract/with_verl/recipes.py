"""The recipes of integrations/verl, composed by hydra on top of verl's own configuration as its command does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "integrations" / "verl"
JUDGES = ("judge_7b", "judge_32b", "judge_1_5b_lora")
POLICIES = ("policy_7b", "policy_7b_colocated", "gpqa")


def composed(name: str, *overrides: str) -> Any:
    """The configuration that verl's command makes of a recipe: struct mode, interpolations unresolved."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(FOLDER), version_base=None):
        return compose(name, overrides=["hydra.searchpath=[pkg://verl.trainer.config]", *overrides])


def verls_own(*overrides: str) -> Any:
    """What a recipe is laid over."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=list(overrides))


def written(name: str) -> dict[str, Any]:
    """What the file itself says."""
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def keys(settings: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all values; a list is a value."""
    for name, value in settings.items():
        path = f"{prefix}{name}"
        if hasattr(value, "items") and value:
            yield from keys(value, f"{path}.")
        else:
            yield path
