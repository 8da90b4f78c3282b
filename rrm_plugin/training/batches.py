"""The reward of the judge's training for a whole batch, as TRL's GRPOTrainer and RLOOTrainer call it.

    GRPOTrainer(..., reward_funcs=[JudgeTrainingReward()], train_dataset=rows that `rrm train-data` wrote)

Its metrics in the trainer's log:

    judge/accuracy              share of the replies whose verdict is right; a coin gets 0.5
    judge/malformed             share of the replies without a verdict
    judge/no_verdict/<reason>   the same by reason
    judge/first_rate            share of the verdicts that name the response shown first; 0.5 is unbiased
    judge/thinking_characters   mean length of the thinking
    judge/over_budget           share of the replies over the length budget, where there is one
    judge/both_right            under consistency: share of the replies that are right in both orders
    judge/unpaired              under consistency: share of the replies whose other order is not in the batch

Nothing here imports trl. Left out: the rule itself (`reward.py`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rrm_plugin.engines.thinking import join_thinking, opening
from rrm_plugin.errors import ConfigError, GroupError, RRMError
from rrm_plugin.processes import Alone, Ranks, ranks
from rrm_plugin.rows import trainer_view
from rrm_plugin.training.reward import Outcome, RewardRule, partners, verdict_reward
from rrm_plugin.types import Prompt, Response, Verdict

__all__ = ["JudgeTrainingReward", "consistent", "outcome_metrics"]


class JudgeTrainingReward:
    """+1 where the judge's verdict is right, -1 elsewhere, for each reply of a batch.

    Args:
        rule: what is paid; None for the default rule, or for one made of `settings`.
        consistency: pay `right` only where the reply to the other order of the same pair is right as well. Needs rows
            in both orders (`rrm train-data --orders both`), and a trainer that keeps them together:
            `shuffle_dataset=False` and an even number of prompts in a generation batch.
        label_column, pair_column: the dataset's columns with the label and the id of the pair.
        gather: under consistency, look for the other order on all ranks.
        name: under which the trainer logs the reward.
        settings: arguments of `RewardRule`.

    Raises:
        ConfigError: a setting is wrong.
    """

    def __init__(
        self,
        rule: RewardRule | None = None,
        *,
        consistency: bool = False,
        label_column: str = "label",
        pair_column: str = "pair",
        gather: bool = True,
        name: str = "judge_training_reward",
        **settings: Any,
    ) -> None:
        if rule is not None and settings:
            raise ConfigError(f"give a rule or its settings, not both: {', '.join(map(repr, settings))}")
        self.rule = rule or RewardRule.from_settings(settings)
        self.consistency = consistency
        self.label_column = label_column
        self.pair_column = pair_column
        self.gather = gather
        self.__name__ = name
        self._prefix: str | None = None

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Response],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float]:
        """A reward per reply.

        Args:
            prompts: N prompts of the judge; read only to see whether they end inside the thinking.
            completions: N replies of the judge, texts or messages.
            completion_ids: their tokens; with them it is known which replies are finished, and how long they are.
            columns: the dataset's columns and the trainer's callbacks.

        Raises:
            GroupError: a column is missing, or no reply of the batch has a partner in the other order.
            ConfigError: a label is neither 1 nor 2.
        """
        outcomes = self.outcomes(prompts, completions, completion_ids, **columns)
        _report(outcomes, self.rule, columns)
        return [outcome.reward for outcome in outcomes]

    def outcomes(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Response],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[Outcome]:
        """What each reply came to. Arguments and errors as for a call."""
        if not self.consistency:
            return self._single(prompts, completions, completion_ids, columns)
        group = ranks() if self.gather else Alone()
        try:
            single = self._single(prompts, completions, completion_ids, columns)
            pairs = self._column(columns, self.pair_column, len(completions))
        except RRMError as error:
            # The other ranks wait for this one: they have to learn of it too.
            group.gather(error)
            raise
        labels = columns[self.label_column]
        # An evaluation may hold one prompt at a time, and trains nothing.
        training = trainer_view(columns.get("log_metric")).training
        return consistent(single, pairs, labels, self.rule, group, needed=training)

    def _single(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Response],
        completion_ids: Sequence[Sequence[int]] | None,
        columns: Mapping[str, Any],
    ) -> list[Outcome]:
        """What each reply came to by itself."""
        trainer = getattr(columns.get("log_metric"), "__self__", None)
        rule = self._rule_of(trainer, prompts)
        labels = self._column(columns, self.label_column, len(completions))
        ids = completion_ids if completion_ids is not None else [None] * len(completions)
        outcomes = []
        for completion, label, own in zip(completions, labels, ids, strict=True):
            finished = _finished(own, trainer)
            text = _text(completion, cut=not finished)
            tokens = None if own is None else len(own)
            outcomes.append(verdict_reward(text, label, finished=finished, tokens=tokens, rule=rule))
        return outcomes

    def _column(self, columns: Mapping[str, Any], name: str, rows: int) -> Sequence[Any]:
        values = columns.get(name)
        if values is None or len(values) != rows:
            raise GroupError(
                f"the dataset needs a column {name!r} with a value for each row; `rrm train-data` writes it"
            )
        return values

    def _rule_of(self, trainer: Any, prompts: Sequence[Prompt]) -> RewardRule:
        """The rule, with the opening tag of thinking that this trainer's chat template puts into the prompt."""
        if self.rule.prefix or not prompts:
            return self.rule
        if self._prefix is None:
            self._prefix = _template_prefix(trainer, prompts[0])
        return dataclasses.replace(self.rule, prefix=self._prefix)


def consistent(
    outcomes: Sequence[Outcome],
    pairs: Sequence[str],
    labels: Sequence[int | str],
    rule: RewardRule,
    group: Ranks,
    *,
    needed: bool = True,
) -> list[Outcome]:
    """The outcomes where `right` is paid only for being right in both orders of a pair.

    A reply without a partner is paid by its own verdict.

    Args:
        group: the ranks whose replies may be partners; each of them has to call this.
        needed: whether a batch in which no reply has a partner is an error.

    Raises:
        GroupError: no reply on any rank has a partner.
        RRMError: another rank has raised it.
    """
    own = [
        (str(pair), int(label), outcome.correct) for pair, label, outcome in zip(pairs, labels, outcomes, strict=True)
    ]
    parts = group.gather(own)
    for part in parts:
        if isinstance(part, RRMError):
            raise part
    everyone = [member for part in parts for member in part]
    found = partners([pair for pair, _, _ in everyone], [label for _, label, _ in everyone])
    if needed and everyone and not any(index is not None for index in found):
        raise GroupError(
            "consistency needs both orders of a pair in one batch, and this batch has no such pair: make the data with "
            "--orders both, set shuffle_dataset=False, and let a generation batch hold an even number of prompts"
        )
    start = sum(map(len, parts[: group.rank]))
    mine = found[start : start + len(own)]
    return [_agreed(outcome, everyone, other, rule) for outcome, other in zip(outcomes, mine, strict=True)]


def _agreed(
    outcome: Outcome, everyone: Sequence[tuple[str, int, bool]], other: int | None, rule: RewardRule
) -> Outcome:
    if other is None:
        return outcome
    both = outcome.correct and everyone[other][2]
    return dataclasses.replace(outcome, both_right=both, reward=rule.pay(both, outcome.malformed, outcome.tokens))


def outcome_metrics(outcomes: Sequence[Outcome], rule: RewardRule) -> dict[str, float]:
    """The metrics of a batch by name, without those there is no data for."""
    if not outcomes:
        return {}
    count = len(outcomes)
    verdicts = [outcome.verdict for outcome in outcomes if outcome.verdict in (Verdict.FIRST, Verdict.SECOND)]
    metrics = {
        "judge/accuracy": sum(outcome.correct for outcome in outcomes) / count,
        "judge/malformed": sum(outcome.malformed for outcome in outcomes) / count,
        "judge/thinking_characters": sum(len(outcome.thinking) for outcome in outcomes) / count,
    }
    if verdicts:
        metrics["judge/first_rate"] = verdicts.count(Verdict.FIRST) / len(verdicts)
    for reason, times in Counter(outcome.reason for outcome in outcomes if outcome.reason).items():
        metrics[f"judge/no_verdict/{reason}"] = times / count
    if rule.length_budget is not None:
        over = sum(outcome.tokens is not None and outcome.tokens > rule.length_budget for outcome in outcomes)
        metrics["judge/over_budget"] = over / count
    paired = [outcome.both_right for outcome in outcomes if outcome.both_right is not None]
    if paired:
        metrics["judge/both_right"] = sum(paired) / len(paired)
        metrics["judge/unpaired"] = 1 - len(paired) / count
    return metrics


def _report(outcomes: Sequence[Outcome], rule: RewardRule, columns: Mapping[str, Any]) -> None:
    log_metric, log_extra = columns.get("log_metric"), columns.get("log_extra")
    if log_metric is not None:
        for name, value in outcome_metrics(outcomes, rule).items():
            log_metric(name, value)
    if log_extra is not None:
        log_extra("judge_verdict", [_told(outcome) for outcome in outcomes])


def _told(outcome: Outcome) -> str:
    if outcome.verdict is None:
        return f"no verdict ({outcome.reason})"
    told = f"{outcome.verdict.value}, {'right' if outcome.correct else 'wrong'}"
    return told if outcome.both_right is None else f"{told}, {'both' if outcome.both_right else 'not both'} right"


def _finished(ids: Sequence[int] | None, trainer: Any) -> bool:
    """Whether the judge ended a reply itself; where the trainer does not let that be seen, it counts as finished."""
    if not ids:
        return True
    ends = getattr(trainer, "eos_token_ids", None)
    limit = getattr(trainer, "max_completion_length", None)
    if ends:
        return ids[-1] in ends
    return not isinstance(limit, int) or len(ids) < limit


def _template_prefix(trainer: Any, prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return opening(prompt)
    tokenizer = getattr(trainer, "processing_class", None)
    render = getattr(tokenizer, "apply_chat_template", None)
    if render is None:
        return ""
    options = getattr(trainer, "chat_template_kwargs", None) or {}
    return opening(str(render(list(prompt), tokenize=False, add_generation_prompt=True, **options)))


def _text(completion: Response, *, cut: bool) -> str:
    """A reply as one text, also where the trainer has taken the thinking apart from the answer."""
    if isinstance(completion, str):
        return completion
    messages = [completion] if isinstance(completion, Mapping) else completion
    parts = []
    for message in messages:
        thinking = message.get("reasoning_content") or message.get("thinking") or ""
        parts.append(join_thinking(str(thinking), str(message.get("content") or ""), cut))
    return "\n\n".join(parts)
