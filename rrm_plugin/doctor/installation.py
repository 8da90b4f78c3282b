"""Which trainers are installed, whether their versions are tested ones, and whether verl will find the plugin."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Sequence

from rrm_plugin.doctor.findings import Finding, failed, fine, warned

__all__ = ["HOSTS", "check_installation"]

HOSTS = {"trl": ("1.14", "1.16"), "openrlhf": ("0.11", "0.11"), "verl": ("0.9", "0.9")}
"""Per trainer the oldest version that works, and the newest that was tested."""

VERL_GROUP, VERL_PLUGIN = "verl.plugins", "rrm"


def check_installation(hosts: Sequence[str]) -> list[Finding]:
    """Findings on the trainers named, or on those that are installed where none is named."""
    asked = hosts or [host for host in HOSTS if _version(host)]
    if not asked:
        return [warned("trainers", f"none of {', '.join(HOSTS)} is installed here", "install the one you train with")]
    findings = [_of_version(host) for host in asked]
    if "verl" in asked and _version("verl"):
        findings.append(_of_verl_plugin())
    return findings


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _of_version(host: str) -> Finding:
    oldest, newest = HOSTS[host]
    found = _version(host)
    if found is None:
        advice = f"in the trainer's environment: pip install 'rrm-plugin[{host}]' (in a checkout: '.[{host}]')"
        return failed(host, "not installed", advice)
    if _numbers(found) < _numbers(oldest):
        return failed(host, f"version {found}", f"install {host} {oldest} or later: older ones call rewards otherwise")
    if _numbers(found)[:2] > _numbers(newest):
        return warned(host, f"version {found}", f"the newest that was tested is {newest}: try a few steps first")
    return fine(host, f"version {found}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _of_verl_plugin() -> Finding:
    """verl loads plugins when it is imported and keeps quiet about those that fail."""
    subject = "verl's entry point"
    chosen = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto")
    if chosen != "auto" and VERL_PLUGIN not in chosen.split(","):
        return failed(
            subject,
            f"VERL_USE_EXTERNAL_PLUGINS={chosen} leaves it out",
            f"unset it, or add {VERL_PLUGIN} to it",
        )
    points = importlib.metadata.entry_points(group=VERL_GROUP, name=VERL_PLUGIN)
    if not points:
        return failed(
            subject,
            f"no {VERL_PLUGIN!r} in the group {VERL_GROUP!r}",
            "install rrm-plugin into verl's environment again (pip install -e . in a checkout), or name the manager by "
            "reward.reward_manager.source=importlib",
        )
    try:
        next(iter(points)).load()
    except Exception as error:
        return failed(subject, f"cannot be loaded: {type(error).__name__}: {error}", "install what it needs")
    return fine(subject, "found and loaded; reward.reward_manager.name=rrm works")
