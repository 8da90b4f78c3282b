"""What the reward manager has to know, from verl's configuration and from the file of settings.

The file that RRM_CONFIG names holds the arguments of `RRMJudge`, and under `gate` those of `Gate`. The size of a group
and where the judge is served, if by verl itself, come from verl's own configuration.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rrm_plugin.config import CONFIG_VARIABLE, read_judge_settings

__all__ = ["PolicySettings", "batches_ahead", "policy_settings", "workers_needed"]

PLACES = 1000
"""Calls that Ray runs at a time in one reward-loop worker; verl leaves Ray's default as it is."""

SPARE = 1.3
"""A worker is drawn for each sample, so that some get more than others: measured with groups that then fell apart."""


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Settings of one run."""

    judge: Mapping[str, Any]
    """Arguments of `RRMJudge`."""
    gate: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `Gate`."""
    size: int
    """Responses to a prompt in training: `actor_rollout_ref.rollout.n`."""
    validation_size: int
    """The same in validation: `actor_rollout_ref.rollout.val_kwargs.n`."""
    workers: int
    """`reward.num_workers`."""
    in_flight: int
    """Samples that may wait for their reward at a time."""

    @property
    def workers_needed(self) -> int:
        """Reward-loop workers with which no group waits for a member that waits for a place."""
        return workers_needed(self.in_flight)

    @property
    def starving(self) -> str | None:
        """What to change where there are too few workers; None where there are enough."""
        if self.workers >= self.workers_needed:
            return None
        return (
            f"reward.num_workers={self.workers} is too few for {self.in_flight} samples in flight: a worker holds "
            f"{PLACES} of them, members would wait for siblings that get no place, and groups would be judged in part "
            f"at the deadline; set reward.num_workers={self.workers_needed}"
        )


def policy_settings(config: Any, router_address: str | None = None) -> PolicySettings:
    """The settings of a run.

    Args:
        config: verl's, as its reward managers get it.
        router_address: where verl serves the model of `reward.reward_model`, if it does: that is the judge then,
            whatever the file says of engine and model.

    Raises:
        ConfigError: there is no file of settings and verl serves no judge, or the file cannot be read.
    """
    served = {} if router_address is None else _served(config, router_address)
    needs_no_file = served and not os.environ.get(CONFIG_VARIABLE)
    judge, gate = ({}, {}) if needs_no_file else read_judge_settings()
    rollout = config.actor_rollout_ref.rollout
    size = int(rollout.n)
    return PolicySettings(
        judge=_without_extras(judge | served),
        gate=gate,
        size=size,
        validation_size=int(rollout.val_kwargs.n),
        workers=int(config.reward.num_workers),
        in_flight=int(config.data.train_batch_size) * batches_ahead(config.trainer) * size,
    )


def _served(config: Any, router_address: str) -> dict[str, Any]:
    return {"engine": f"http://{router_address}/v1", "model": str(config.reward.reward_model.model_path)}


def _without_extras(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what only TRL could use: the groups of this host are known otherwise."""
    return {name: value for name, value in settings.items() if name not in ("num_generations", "gather")}


def workers_needed(in_flight: int) -> int:
    """Reward-loop workers with which no group waits for a member that waits for a place."""
    return math.ceil(SPARE * in_flight / PLACES)


def batches_ahead(trainer: Any) -> int:
    """Batches that are generated at a time: the trainers that do not wait for a step keep some more under way.

    Args:
        trainer: the section of that name.
    """
    current = trainer.get("v1") or {}
    mode = current.get("trainer_mode", "sync")
    return 1 if mode == "sync" else 1 + int((current.get(mode) or {}).get("num_warmup_batches", 1))
