"""Does a trainer's own configuration fit a judge that compares? TRL's YAML, OpenRLHF's flags, verl's YAML.

Only what decides about groups and rewards is looked at; the trainers check the rest themselves. A value that the file
does not hold is the trainer's default, as far as it is known here, and otherwise not looked at.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rrm_plugin.doctor.findings import Finding, failed, fine, warned
from rrm_plugin.errors import ConfigError

__all__ = ["check_flags"]

PLACES, SPARE = 1000, 1.3
"""Calls that Ray runs at a time in a worker, and how unevenly verl deals samples out to workers."""


def check_flags(host: str, path: str) -> list[Finding]:
    """Findings on the trainer's configuration in a file.

    Args:
        host: trl, openrlhf or verl.
        path: TRL's or verl's YAML, or the script that starts OpenRLHF.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if host == "openrlhf":
        return _openrlhf(_flags_of(text))
    try:
        settings = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} must hold a mapping of names to values")
    try:
        return {"trl": _trl, "verl": _verl}[host](settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path} holds a value of the wrong kind: {error}") from error


def _trl(settings: Mapping[str, Any]) -> list[Finding]:
    size = int(settings.get("num_generations", 8))
    rows = int(settings.get("per_device_train_batch_size", 8)) * int(
        settings.get("steps_per_generation") or settings.get("gradient_accumulation_steps", 1)
    )
    findings = [_of_size(size, "num_generations")]
    if rows % size == 0:
        findings.append(fine("groups on ranks", f"a rank holds {rows} rows: {rows // size} whole groups of {size}"))
    else:
        findings.append(
            warned(
                "groups on ranks",
                f"a rank holds {rows} rows, no multiple of {size}: the judge gathers the groups that straddle ranks",
                "make per_device_train_batch_size * steps_per_generation a multiple of num_generations",
            )
        )
    if settings.get("scale_rewards") in (False, "none") and not settings.get("reward_weights"):
        findings.append(
            warned(
                "scale_rewards",
                "rewards are used as they are, and those of a judge have a scale of their own",
                "set shaping: z_score in the judge's settings, or leave scale_rewards at group",
            )
        )
    return findings


def _openrlhf(flags: Mapping[str, list[str]]) -> list[Finding]:
    size = _number(flags, "--rollout.n_samples_per_prompt", 1)
    findings = [_of_size(size, "--rollout.n_samples_per_prompt")]
    addresses = [one for one in _first(flags, "--reward.remote_url", "").split(",") if one]
    if "--train.agent_func_path" in flags:
        findings.append(fine("the reward", "an executor: it sees all replies to a prompt"))
    elif len(addresses) > 1:
        findings.append(
            failed(
                "the reward",
                f"{len(addresses)} addresses take turns, so that no group is whole at any of them",
                "name one address in --reward.remote_url; rrm serve can stand before several judges",
            )
        )
    elif addresses and addresses[0].endswith(".py"):
        findings.append(fine("the reward", "a file that is called with one reply: right for training a judge"))
    elif addresses:
        findings += [fine("the reward", f"the service at {addresses[0]}"), _of_evaluation(flags, size)]
    return findings + _of_filtering(flags)


def _of_evaluation(flags: Mapping[str, list[str]], size: int) -> Finding:
    subject, evaluated = "replies in evaluation", _number(flags, "--eval.n_samples_per_prompt", 4)
    if evaluated == size:
        return fine(subject, f"{evaluated}, as in training")
    advice = f"set --eval.n_samples_per_prompt {size}: the service forms groups of one size"
    return failed(subject, f"{evaluated}, and {size} in training", advice)


def _of_filtering(flags: Mapping[str, list[str]]) -> list[Finding]:
    ours = "--train.agent_func_path" in flags or "get_reward" in _first(flags, "--reward.remote_url", "")
    if "--algo.dynamic_filtering_enable" not in flags or not ours:
        return []
    low, high = (float(value) for value in (flags.get("--algo.dynamic_filtering_range") or ["0", "1"])[:2])
    if low >= 0 and high >= 10:
        return [fine("dynamic filtering", f"keeps groups whose rewards spread by {low:g} to {high:g}")]
    return [
        warned(
            "dynamic filtering",
            f"keeps groups whose rewards spread by {low:g} to {high:g}: strengths may spread by more",
            "set --algo.dynamic_filtering_range 0.001 10",
        )
    ]


def _verl(settings: Mapping[str, Any]) -> list[Finding]:
    value = _lookup(settings)
    manager = value("reward.reward_manager.name", "naive")
    custom = str(value("reward.custom_reward_function.path", ""))
    if manager == "naive" and "rrm_plugin.adapters.verl" in custom:
        return [fine("the reward", "compute_score of rrm-plugin: right for training a judge")]
    size = int(value("actor_rollout_ref.rollout.n", 1))
    findings = [_of_size(size, "actor_rollout_ref.rollout.n")]
    if manager in ("rrm", "RRMRewardManager"):
        findings.append(fine("the reward manager", str(manager)))
    else:
        findings.append(
            failed("the reward manager", f"{manager}, not rrm", "set reward.reward_manager.name=rrm, see docs/verl.md")
        )
    prompts, workers = value("data.train_batch_size", None), int(value("reward.num_workers", 8))
    if prompts is not None:
        findings.append(_of_workers(int(prompts) * size, workers))
    return findings


def _of_workers(in_flight: int, workers: int) -> Finding:
    needed = math.ceil(SPARE * in_flight / PLACES)
    told = f"{workers} for {in_flight} samples in flight"
    if workers >= needed:
        return fine("reward workers", told)
    advice = f"set reward.num_workers={needed}, or members wait for siblings that get no place"
    return failed("reward workers", told, advice)


def _of_size(size: int, flag: str) -> Finding:
    if size >= 2:
        return fine("the size of a group", f"{size} responses to a prompt")
    return failed("the size of a group", f"{flag} is {size}", f"raise {flag}: there is nothing to compare")


def _lookup(settings: Mapping[str, Any]) -> Callable[[str, Any], Any]:
    def value(key: str, default: Any) -> Any:
        found: Any = settings
        for part in key.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return default
            found = found[part]
        return found

    return value


def _flags_of(text: str) -> dict[str, list[str]]:
    """Flags of a shell script, each with the words up to the next one."""
    flags: dict[str, list[str]] = {}
    current: list[str] = []
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise ConfigError(f"the script cannot be read: {error}") from error
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            current = flags[name] = [value] if equals else []
        else:
            current.append(word)
    return flags


def _first(flags: Mapping[str, list[str]], name: str, default: str) -> str:
    return (flags.get(name) or [default])[0]


def _number(flags: Mapping[str, list[str]], name: str, default: int) -> int:
    try:
        return int(_first(flags, name, str(default)))
    except ValueError as error:
        raise ConfigError(f"{name} must be a number, not {_first(flags, name, '')!r}") from error
