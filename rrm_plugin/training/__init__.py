"""Training a judge: data, the reward of its reinforcement learning, and a cold start for models that miss the format.

    rrm train-data               preference data or graded answers -> rows that TRL, OpenRLHF and verl read as they are
    JudgeTrainingReward          what TRL pays the judge in training; `rrm_plugin.adapters` has it for the other hosts
    rrm cold-start               the judge's own right replies -> rows for supervised fine-tuning

`rrm_plugin.training.judge_training_reward` is a reward made of the settings file that RRM_REWARD_CONFIG names, for
`trl grpo --reward_funcs`. Left out: training loops and launch settings, which are the hosts' and `integrations/`.
"""

from __future__ import annotations

import functools
from typing import Any

from rrm_plugin.training.batches import JudgeTrainingReward, outcome_metrics
from rrm_plugin.training.reward import Outcome, RewardRule, reward_settings, verdict_reward

__all__ = ["JudgeTrainingReward", "Outcome", "RewardRule", "outcome_metrics", "verdict_reward"]


@functools.cache
def _configured_reward() -> JudgeTrainingReward:
    return JudgeTrainingReward(**reward_settings())


def __getattr__(name: str) -> Any:
    # Made at first use: TRL's command line imports a module by a dotted path and can pass no arguments.
    if name == "judge_training_reward":
        return _configured_reward()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
