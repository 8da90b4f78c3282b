"""One settings file, for hosts that can pass a judge no arguments.

`RRM_CONFIG` names a YAML, JSON or TOML file whose keys are the arguments of `RRMJudge`:

    model: Reward-Reasoning/RRM-7B
    engine: http://localhost:8001/v1
    schedule: circulant:3
    ledger: runs/judge.db

A number may be written as 1e-3, which YAML of itself takes for a text. Under `gate` stand the settings of
`cohorts.Gate`, for hosts that hand out one response at a time; whoever makes a judge alone leaves them aside. `same_as`
is given as `module:function`. Secrets do not belong in the file: engines read keys from the environment.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

from rrm_plugin.errors import ConfigError

__all__ = ["CONFIG_VARIABLE", "import_object", "read_judge_settings", "read_settings"]

CONFIG_VARIABLE = "RRM_CONFIG"
"""The environment variable that names the settings file."""


def read_settings(path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """The settings in a file.

    Args:
        path: the file; None takes the one that `RRM_CONFIG` names.

    Raises:
        ConfigError: no file is named, or it cannot be read as a mapping of settings.
    """
    named = path if path is not None else os.environ.get(CONFIG_VARIABLE)
    if not named:
        raise ConfigError(f"no settings: set {CONFIG_VARIABLE} to the path of a YAML, JSON or TOML file")
    file = Path(named).expanduser()
    source = "" if path is not None else f" (from {CONFIG_VARIABLE})"
    try:
        settings = _parse(file)
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {file}{source}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"the settings file {file}{source} is not valid {file.suffix or 'YAML'}: {error}") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"the settings file {file}{source} must hold a mapping of names to values")
    if isinstance(settings.get("same_as"), str):
        settings["same_as"] = import_object(settings["same_as"], setting="same_as")
    return settings


def read_judge_settings(path: str | os.PathLike[str] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a judge in a file, and those of a gate that stand there under `gate`.

    Raises:
        ConfigError: as `read_settings`; or `gate` is no mapping.
    """
    settings = read_settings(path)
    gate = settings.pop("gate", None) or {}
    if not isinstance(gate, dict):
        raise ConfigError(f"gate must hold settings of a gate by name, not {gate!r}")
    return settings, gate


def import_object(name: str, setting: str) -> Any:
    """The object called `module:attribute`; modules in the working directory are found too.

    Raises:
        ConfigError: there is none; the message names the setting.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(f"{setting} must be written module:function, not {name!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{setting}: cannot import {name!r}: {error}") from error


def _parse(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        return json.loads(text)
    if file.suffix == ".toml":
        return tomllib.loads(text)
    return yaml.load(text, _Settings) or {}


class _Settings(yaml.SafeLoader):
    """YAML 1.1, to which 1e-3 is a text, with the numbers of 1.2, JSON and TOML."""


_Settings.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
