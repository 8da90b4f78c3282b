"""What a judge in training is paid for a reply: +1 where its verdict names the better response, -1 otherwise.

The rule of the RRM paper (arXiv 2505.14674): no traces, no partial credit, the verdict alone. A reply without a verdict
is malformed; it gets -1 too, and is known as such. Options: a part for the form alone, a budget of tokens, and
consistency, for which a judge has to be right in both orders of a pair (as in J1, arXiv 2505.10320).

Left out: what a host passes and wants back (`batches.py` for TRL, `rrm_plugin.adapters` for OpenRLHF and verl).
"""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm_plugin.config import read_settings
from rrm_plugin.errors import ConfigError
from rrm_plugin.types import Verdict
from rrm_plugin.verdicts import Grammar, grammar, parse, split_thinking

__all__ = [
    "NO_THINKING",
    "REWARD_VARIABLE",
    "Outcome",
    "RewardRule",
    "partners",
    "reward_settings",
    "verdict_reward",
]

NO_THINKING = "no_thinking"
"""The reason of a reply whose verdict does not stand behind closed thinking, where the rule asks for that."""

REWARD_VARIABLE = "RRM_REWARD_CONFIG"
"""The environment variable that names a settings file (YAML, JSON, TOML) for hosts that can pass no arguments."""


@dataclass(frozen=True, kw_only=True)
class RewardRule:
    """What a reply is paid.

    Args:
        right: for a verdict that names the better response.
        wrong: for any other verdict, a tie included.
        malformed: for a reply without a verdict.
        grammar: the markup of the verdict: the name of a prompt preset, or a `Grammar`.
        prefix: what the prompt ends with and the reply therefore does not begin with: `<think>`, where a chat template
            writes it. Without it, thinking that never ends would be read as an answer.
        require_thinking: a verdict counts only behind closed thinking.
        format_weight: added to the reward of every reply that holds a verdict, right or wrong.
        length_budget: tokens of a reply that cost nothing; None for no limit.
        length_penalty: taken off a reply of twice the budget or more; between the two it grows in a line.

    Raises:
        ConfigError: the values cannot teach anything, or there is no such grammar.
    """

    right: float = 1.0
    wrong: float = -1.0
    malformed: float = -1.0
    grammar: str | Grammar = "rrm"
    prefix: str = ""
    require_thinking: bool = False
    format_weight: float = 0.0
    length_budget: int | None = None
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not self.right > max(self.wrong, self.malformed):
            raise ConfigError(
                f"right={self.right} must be above wrong={self.wrong} and malformed={self.malformed}: "
                "otherwise being right does not pay"
            )
        if self.length_budget is not None and self.length_budget < 1:
            raise ConfigError(f"length_budget must be a number of tokens from 1, not {self.length_budget!r}")
        if self.format_weight < 0 or self.length_penalty < 0:
            raise ConfigError("format_weight and length_penalty are amounts: 0 or more")
        grammar(self.grammar)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> RewardRule:
        """The rule that a mapping of its arguments describes.

        Raises:
            ConfigError: a name or a value is wrong.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ConfigError(f"the reward has no setting {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
        try:
            return cls(**settings)
        except TypeError as error:
            raise ConfigError(f"the reward's settings have a value of the wrong type: {error}") from error

    @classmethod
    def from_environment(cls) -> RewardRule:
        """The rule in the file that `RRM_REWARD_CONFIG` names; the default one where it names none.

        Raises:
            ConfigError: the file cannot be read, or a setting in it is wrong.
        """
        return cls.from_settings(reward_settings())

    def pay(self, correct: bool, malformed: bool, tokens: int | None) -> float:
        """The reward of a reply.

        Raises:
            ConfigError: there is a length budget, and the number of tokens is unknown.
        """
        base = self.malformed if malformed else self.right if correct else self.wrong
        return base + (0.0 if malformed else self.format_weight) - self.length_penalty * self._excess(tokens)

    def _excess(self, tokens: int | None) -> float:
        """How far a reply is over the budget, as a share of the budget; at most 1."""
        if self.length_budget is None:
            return 0.0
        if tokens is None:
            raise ConfigError(
                "length_budget counts tokens, and this host passes none: leave it out and use the host's own penalty "
                "(OpenRLHF: --reward.overlong_buffer_len; verl: its dapo reward manager)"
            )
        return min(1.0, max(0, tokens - self.length_budget) / self.length_budget)


DEFAULT_RULE = RewardRule()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a reply of a judge in training came to."""

    reward: float
    verdict: Verdict | None
    correct: bool
    """Whether the verdict names the better response."""
    reason: str | None = None
    """Where there is no verdict: a `Reason`, or `NO_THINKING`."""
    thinking: str = ""
    """What the judge thought, without its tags."""
    tokens: int | None = None
    """Of the whole reply, where the host says."""
    both_right: bool | None = None
    """Under consistency: whether this reply and its partner in the other order are right; None without a partner."""

    @property
    def malformed(self) -> bool:
        """Whether the reply holds no verdict."""
        return self.verdict is None


def verdict_reward(
    text: str, label: int | str, *, finished: bool = True, tokens: int | None = None, rule: RewardRule = DEFAULT_RULE
) -> Outcome:
    r"""The outcome of one reply.

    Args:
        text: all that the judge wrote, thinking included.
        label: 1 where the response shown first is the better one, 2 where the second is.
        finished: False where the reply was stopped at its token limit.
        tokens: of the reply, for a length budget.
        rule: what is paid.

    Raises:
        ConfigError: the label is neither 1 nor 2, or the rule needs tokens and has none.
    """
    wanted = _wanted(label)
    whole = text if text.lstrip().startswith(rule.prefix.strip()) else rule.prefix + text
    parsed = parse(whole, rule.grammar, finished=finished)
    split = split_thinking(whole)
    verdict, reason = parsed.verdict, parsed.reason
    if verdict is not None and rule.require_thinking and not split.closed:
        verdict, reason = None, NO_THINKING
    correct = verdict is wanted
    return Outcome(
        reward=rule.pay(correct, verdict is None, tokens),
        verdict=verdict,
        correct=correct,
        reason=reason,
        thinking=split.thinking.strip(),
        tokens=tokens,
    )


def partners(pairs: Sequence[str], labels: Sequence[int | str]) -> list[int | None]:
    """For each reply the index of its partner, a reply to the same pair in the other order; None where there is none.

    The two orders of a pair have the two labels. The n-th reply to one order belongs to the n-th reply to the other.

    Args:
        pairs: for each reply, the id of its pair; replies without one ("") have no partner.
        labels: for each reply, its label.
    """
    replies: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, (pair, label) in enumerate(zip(pairs, labels, strict=True)):
        if pair:
            replies[pair, int(label)].append(index)
    found: list[int | None] = [None] * len(pairs)
    for (pair, label), own in replies.items():
        for index, other in zip(own, replies.get((pair, 3 - label), ()), strict=False):
            found[index] = other
    return found


def reward_settings() -> dict[str, Any]:
    """The settings in the file that `RRM_REWARD_CONFIG` names; none where it names none.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = os.environ.get(REWARD_VARIABLE)
    return read_settings(path) if path else {}


def _wanted(label: int | str) -> Verdict:
    verdict = _LABELS.get(str(label).strip())
    if verdict is None:
        raise ConfigError(f"a label must be 1 or 2, the place of the better response, not {label!r}")
    return verdict


_LABELS = {"1": Verdict.FIRST, "2": Verdict.SECOND}
