"""verl: the reward of the judge's training, as a custom reward function.

    reward.custom_reward_function.path=pkg://rrm_plugin.adapters.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.require_thinking=True     and any other argument of `RewardRule`

verl rewards one reply at a time and does not say whether it was finished: where the chat template opens the thinking in
the prompt (DeepSeek-R1-Distill does), set `prefix="<think>"`, or thinking that never ends is read as an answer. Nothing
here imports verl. Left out: consistency, since the two orders of a pair are never seen together there.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from rrm_plugin.training.reward import RewardRule, reward_settings, verdict_reward
from rrm_plugin.types import Verdict

__all__ = ["compute_score"]

_PASSED_BY_VERL = ("reward_router_address", "reward_model_tokenizer")


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | int,
    extra_info: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, float]:
    """The reward of one reply, in the shape of verl 0.9.

    Args:
        data_source: the row's source; the rule is the same for all.
        solution_str: the reply, without special tokens.
        ground_truth: "1" or "2", the place of the better response.
        extra_info: what else the row holds; not read.
        settings: arguments of `RewardRule`. They come on top of the file that RRM_REWARD_CONFIG names, key by key.

    Returns:
        `score`, which verl trains on, and what it logs: `acc`, `malformed`, `first`, `thinking_characters`; the same
        keys for every reply, as verl needs it.

    Raises:
        ConfigError: a setting or the ground truth is wrong.
    """
    own = {name: value for name, value in settings.items() if name not in _PASSED_BY_VERL}
    outcome = verdict_reward(solution_str, ground_truth, rule=_rule(tuple(sorted(own.items()))))
    return {
        "score": outcome.reward,
        "acc": float(outcome.correct),
        "malformed": float(outcome.malformed),
        "first": float(outcome.verdict is Verdict.FIRST),
        "thinking_characters": float(len(outcome.thinking)),
    }


@functools.cache
def _rule(settings: tuple[tuple[str, Any], ...]) -> RewardRule:
    return RewardRule.from_settings(reward_settings() | dict(settings))
