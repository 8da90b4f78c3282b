"""The reward of the judge's training, as the `reward_func` of a file named by `--reward.remote_url`.

OpenRLHF calls it with one reply at a time, from several threads, and loads the file on its own, so the file itself
(`integrations/openrlhf/judge_reward.py`) only imports this. Settings come from the file that RRM_REWARD_CONFIG names.
Left out: consistency, since the two orders of a pair are never seen together there.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import Any

from rrm_plugin.adapters.openrlhf.texts import ended_turn, reply_of
from rrm_plugin.engines.thinking import opening
from rrm_plugin.errors import ConfigError
from rrm_plugin.training.reward import Outcome, RewardRule, verdict_reward
from rrm_plugin.types import Verdict

__all__ = ["reward_func"]

logger = logging.getLogger(__name__)


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[int | str], **_: Any
) -> dict[str, Any]:
    """Rewards of replies, in the shape of OpenRLHF 0.11.

    Args:
        queries: prompt and reply, decoded with their special tokens.
        prompts: the prompts as the chat template made them.
        labels: 1 or 2, the column that `--data.label_key label` names.

    Returns:
        `rewards`; `scores`, 1 where the verdict is right and 0 elsewhere, so that dynamic filtering with its default
        range drops prompts on which all replies agree; `extra_logs`, the same keys in every call. Numbers for a single
        reply, which is what OpenRLHF asks for, lists for several.

    Raises:
        ConfigError: a label is neither 1 nor 2, or a reply cannot be told from its prompt.
    """
    try:
        outcomes = [_outcome(*row) for row in zip(queries, prompts, labels, strict=True)]
    except ConfigError as error:
        # OpenRLHF notes an exception at INFO and fails later, without the reason.
        logger.error("the reward cannot be computed: %s", error)
        raise
    columns = {
        "rewards": [outcome.reward for outcome in outcomes],
        "scores": [float(outcome.correct) for outcome in outcomes],
    }
    logs = {
        "judge_accuracy": [float(outcome.correct) for outcome in outcomes],
        "judge_malformed": [float(outcome.malformed) for outcome in outcomes],
        "judge_first": [float(outcome.verdict is Verdict.FIRST) for outcome in outcomes],
        "judge_thinking_characters": [float(len(outcome.thinking)) for outcome in outcomes],
    }
    return {**_single(columns), "extra_logs": _single(logs)}


def _single(columns: dict[str, list[float]]) -> dict[str, Any]:
    return {name: values[0] if len(values) == 1 else values for name, values in columns.items()}


@functools.cache
def _rule(prefix: str) -> RewardRule:
    rule = RewardRule.from_environment()
    return rule if rule.prefix or not prefix else dataclasses.replace(rule, prefix=prefix)


def _outcome(query: str, prompt: str, label: int | str) -> Outcome:
    text, ended = ended_turn(reply_of(query, prompt))
    return verdict_reward(text, label, finished=ended, rule=_rule(opening(prompt)))
