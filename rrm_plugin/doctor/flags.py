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

from rrm_plugin.adapters.verl.settings import batches_ahead, workers_needed
from rrm_plugin.doctor.findings import Finding, failed, fine, warned
from rrm_plugin.errors import ConfigError

__all__ = ["check_flags", "environment_of", "group_size_of"]


_KEYS = {
    "trl": {"num_generations", "per_device_train_batch_size", "generation_batch_size", "reward_funcs", "output_dir"},
    "openrlhf": {
        "--rollout.n_samples_per_prompt",
        "--reward.remote_url",
        "--train.agent_func_path",
        "--eval.n_samples_per_prompt",
    },
    "verl": {"actor_rollout_ref", "reward", "data", "trainer", "defaults"},
}
"""Settings of which a file of each host holds at least one."""


def check_flags(host: str, path: str, processes: int | None = None) -> list[Finding]:
    """Findings on the trainer's configuration in a file.

    Args:
        host: trl, openrlhf or verl.
        path: TRL's or verl's YAML, or the script that starts OpenRLHF.
        processes: of TRL's trainer, which no file says; None where it is not known.

    Raises:
        ConfigError: there is no such file.
    """
    text = _text_of(path)
    try:
        found = _read(host, text)
        if not _KEYS[host] & found.keys():
            return [
                failed("the flags", f"{path} holds no setting of {host} that is known here", "is it the right file?")
            ]
        if host == "trl":
            return _trl(found, processes)
        return _openrlhf(found) if host == "openrlhf" else _verl(found)
    except (TypeError, ValueError, yaml.YAMLError) as error:
        return [failed("the flags", f"{path} cannot be read: {error}", "correct it, or check the values by hand")]


def group_size_of(host: str, path: str) -> int | None:
    """Responses to a prompt, as the trainer's configuration has it; None where it cannot be read.

    Raises:
        ConfigError: there is no such file.
    """
    text = _text_of(path)
    try:
        found = _read(host, text)
        return _size_of(host, found) if _KEYS[host] & found.keys() else None
    except (TypeError, ValueError, yaml.YAMLError):
        return None


def environment_of(path: str) -> dict[str, str]:
    """What the `env` of a file of TRL sets, and TRL before it starts; nothing where that cannot be read.

    Raises:
        ConfigError: there is no such file.
    """
    text = _text_of(path)
    try:
        found = _settings_of(text).get("env")
    except (ValueError, yaml.YAMLError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _text_of(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _read(host: str, text: str) -> Mapping[str, Any]:
    return _flags_of(text) if host == "openrlhf" else _settings_of(text)


def _size_of(host: str, found: Mapping[str, Any]) -> int:
    if host == "openrlhf":
        return _number(found, "--rollout.n_samples_per_prompt", 1)
    if host == "trl":
        return _whole(found.get("num_generations", 8), "num_generations")
    return _whole(_lookup(found)("actor_rollout_ref.rollout.n", 1), "actor_rollout_ref.rollout.n")


def _trl(settings: Mapping[str, Any], processes: int | None) -> list[Finding]:
    size = _size_of("trl", settings)
    findings = [_of_size(size, "num_generations")]
    return findings if size < 2 else [*findings, *_of_batch(settings, size, processes), *_of_scale(settings)]


def _of_batch(settings: Mapping[str, Any], size: int, processes: int | None) -> list[Finding]:
    """TRL generates a batch at a time, which has to hold whole groups; a rank's part of it better does too."""
    passed = _whole(settings.get("per_device_train_batch_size", 8), "per_device_train_batch_size")
    whole = settings.get("generation_batch_size")
    if whole:
        return _of_whole_batch(_whole(whole, "generation_batch_size"), passed, size, processes)
    steps = settings.get("steps_per_generation") or settings.get("gradient_accumulation_steps", 1)
    rows = passed * _whole(steps, "steps_per_generation")
    if processes is not None and rows * processes % size:
        return [_refused(f"{rows} rows on each of {processes} processes", rows * processes, size)]
    return [_of_rank(rows, size, processes)]


def _of_whole_batch(batch: int, passed: int, size: int, processes: int | None) -> list[Finding]:
    if batch % size:
        return [_refused("generation_batch_size", batch, size)]
    if processes is None:
        return [fine("the batch", f"{batch} rows: {batch // size} whole groups of {size}")]
    if batch % (passed * processes):
        told = f"generation_batch_size {batch} is no multiple of {passed} rows on each of {processes} processes"
        return [failed("the batch", f"{told}, so that TRL refuses it", "change it, or per_device_train_batch_size")]
    return [_of_rank(batch // processes, size, processes)]


def _refused(of: str, batch: int, size: int) -> Finding:
    told = f"{of}: {batch} rows, no multiple of {size}, so that TRL refuses the batch"
    return failed("the batch", told, "make it a multiple of num_generations")


def _of_rank(rows: int, size: int, processes: int | None) -> Finding:
    if rows % size == 0:
        return fine("groups on ranks", f"a rank holds {rows} rows: {rows // size} whole groups of {size}")
    told = f"a rank holds {rows} rows, no multiple of {size}: the judge gathers the groups that straddle ranks"
    if processes is None:
        needed = size // math.gcd(rows, size)
        told += f"; TRL refuses this unless the number of processes, which --processes tells, is a multiple of {needed}"
    return warned(
        "groups on ranks", told, "make per_device_train_batch_size * steps_per_generation a multiple of num_generations"
    )


def _of_scale(settings: Mapping[str, Any]) -> list[Finding]:
    if settings.get("scale_rewards") not in (False, "none"):
        return []
    return [
        warned(
            "scale_rewards",
            "rewards are used as they are, and those of a judge have a scale of their own",
            "set shaping: z_score in the judge's settings, or leave scale_rewards at group",
        )
    ]


def _openrlhf(flags: Mapping[str, list[str]]) -> list[Finding]:
    size = _size_of("openrlhf", flags)
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
    given = flags.get("--algo.dynamic_filtering_range") or ["0", "1"]
    if len(given) < 2:
        raise ValueError("--algo.dynamic_filtering_range takes two numbers")
    low, high = (float(value) for value in given[:2])
    if low > 0 and high >= 10:
        return [fine("dynamic filtering", f"keeps groups whose rewards spread by {low:g} to {high:g}")]
    return [
        warned(
            "dynamic filtering",
            f"keeps groups whose rewards spread by {low:g} to {high:g}: strengths may spread by more",
            "set --algo.dynamic_filtering_range 0.001 10",
        )
    ]


def _verl(settings: Mapping[str, Any]) -> list[Finding]:
    others = [one for one in settings.get("defaults", ()) if one not in ("_self_", "ppo_trainer")]
    if others:
        return [
            warned(
                "the flags",
                f"the file is laid over {', '.join(map(str, others))}, which is not followed here",
                "compose it first: python -m verl.trainer.main_ppo ... --cfg job > composed.yaml",
            )
        ]
    value = _lookup(settings)
    manager = value("reward.reward_manager.name", "naive")
    custom = str(value("reward.custom_reward_function.path", ""))
    if manager == "naive" and "rrm_plugin.adapters.verl" in custom:
        return [fine("the reward", "compute_score of rrm-plugin: right for training a judge")]
    size = _size_of("verl", settings)
    findings = [_of_size(size, "actor_rollout_ref.rollout.n")]
    if manager in ("rrm", "RRMRewardManager"):
        findings.append(fine("the reward manager", str(manager)))
    else:
        findings.append(
            failed("the reward manager", f"{manager}, not rrm", "set reward.reward_manager.name=rrm, see docs/verl.md")
        )
    prompts = value("data.train_batch_size", None)
    if prompts is not None:
        in_flight = _whole(prompts, "data.train_batch_size") * size * batches_ahead(value("trainer", {}))
        findings.append(_of_workers(in_flight, _whole(value("reward.num_workers", 8), "reward.num_workers")))
    return findings


def _of_workers(in_flight: int, workers: int) -> Finding:
    needed = workers_needed(in_flight)
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
    # Brackets are those of bash's arrays, in which scripts keep their flags.
    for word in shlex.split(text.replace("\\\n", " ").replace("(", " ").replace(")", " "), comments=True):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            current = flags[name] = [value] if equals else []
        else:
            current.append(word)
    return flags


def _first(flags: Mapping[str, list[str]], name: str, default: str) -> str:
    return (flags.get(name) or [default])[0]


def _number(flags: Mapping[str, list[str]], name: str, default: int) -> int:
    return _whole(_first(flags, name, str(default)), name)


def _whole(value: Any, name: str) -> int:
    if "$" in str(value):
        raise ValueError(f"{name} is {value}, which only the shell or hydra knows")
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a whole number, not {value!r}") from error


def _settings_of(text: str) -> dict[str, Any]:
    settings = yaml.safe_load(text) or {}
    if not isinstance(settings, dict):
        raise ValueError("it holds no mapping of names to values")
    return settings
