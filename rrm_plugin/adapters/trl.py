"""TRL: what its users need beside `RRMJudge`, which is itself a reward function of GRPOTrainer and RLOOTrainer.

    rrm_judge                 for `trl grpo --reward_funcs rrm_plugin.adapters.trl.rrm_judge`: a judge made of the
                              settings in RRM_CONFIG
    OnlineDPOReward           for OnlineDPOTrainer, whose batches hold the first responses of all prompts, then the
                              second ones
    PairwiseJudge, RankJudge  the `judge(prompts, completions)` that TRL had until 1.1.0, for code written against it

Nothing here imports trl.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from rrm_plugin.errors import GroupError
from rrm_plugin.reducers import majority
from rrm_plugin.reporting.trainer_log import warn_of_unscored
from rrm_plugin.reward import RRMJudge
from rrm_plugin.schedules import round_robin
from rrm_plugin.types import Group, Prompt, Response, Scores

__all__ = ["OnlineDPOReward", "PairwiseJudge", "RankJudge"]


@functools.cache
def _configured_judge() -> RRMJudge:
    return RRMJudge.from_config()


def __getattr__(name: str) -> Any:
    # Made at first use: TRL's command line imports the module by a dotted path and can pass no arguments.
    if name == "rrm_judge":
        return _configured_judge()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class OnlineDPOReward:
    """A judge for OnlineDPOTrainer, which lays the two responses to prompt i out as rows i and i + N.

    The two are judged in the judge's own orders; the trainer prefers the one with the higher reward. It knows no
    unscored rows: of a pair without a verdict, and of a tie, it takes the first response for the better one. Both
    were drawn alike, so that is noise and no bias; how many there were is warned of.
    """

    def __init__(self, judge: RRMJudge) -> None:
        self.judge = judge
        self.__name__ = judge.__name__

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Response], **columns: Any
    ) -> list[float | None]:
        """A reward per row.

        Raises:
            GroupError: the rows are not laid out in two halves.
        """
        half = len(prompts) // 2
        if len(prompts) % 2 or list(prompts[:half]) != list(prompts[half:]):
            raise GroupError(
                "OnlineDPOReward expects the rows of OnlineDPOTrainer: all prompts, then all of them again"
            )
        groups = [
            Group(prompt=prompts[index], responses=[completions[index], completions[index + half]])
            for index in range(half)
        ]
        scored = _scored(self.judge, groups, True)
        return [scores.values[0] for scores in scored] + [scores.values[1] for scores in scored]


class PairwiseJudge:
    """Which of two completions is better, with the signature of TRL's former `BasePairwiseJudge`.

    Args:
        judge: makes the calls; of its tournament only `votes` and `orders` matter for a pair.
    """

    def __init__(self, judge: RRMJudge) -> None:
        self._judge = judge

    def judge(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[Response]], shuffle_order: bool = True
    ) -> list[int]:
        """For each prompt the index of the better completion, 0 or 1, or -1 where neither is.

        Args:
            prompts: N prompts.
            completions: N pairs.
            shuffle_order: False shows each pair once, in the order given; True leaves the orders to the judge, which
                shows both unless it was told otherwise.
        """
        _same_length(prompts, completions)
        if any(len(pair) != 2 for pair in completions):
            raise GroupError("a pairwise judge takes two completions per prompt; RankJudge takes more")
        return [_winner(scores) for scores in _scored(self._judge, _groups(prompts, completions), shuffle_order)]


class RankJudge:
    """Order of the completions of each prompt, with the signature of TRL's former `BaseRankJudge`."""

    def __init__(self, judge: RRMJudge) -> None:
        self._judge = judge

    def judge(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[Response]], shuffle_order: bool = True
    ) -> list[list[int]]:
        """For each prompt the indices of its completions, best first; the unscored last, in the order given.

        Args:
            prompts: N prompts.
            completions: N lists of completions.
            shuffle_order: as in `PairwiseJudge.judge`.

        Raises:
            EngineUnavailableError: no call of the judge has ever been answered.
        """
        _same_length(prompts, completions)
        scored = _checked(self._judge, self._judge.variant(**_orders(shuffle_order)), _groups(prompts, completions))
        return [scores.ranking + scores.unscored for scores in scored]


def _scored(judge: RRMJudge, pairs: Sequence[Group], shuffle_order: bool) -> list[Scores]:
    """Scores of pairs, whatever schedule and reducer the judge has for groups."""
    variant = judge.variant(schedule=round_robin(), reducer=majority(), **_orders(shuffle_order))
    return _checked(judge, variant, pairs)


def _orders(shuffle_order: bool) -> dict[str, Any]:
    return {} if shuffle_order else {"orders": "fixed"}


def _checked(judge: RRMJudge, variant: RRMJudge, groups: Sequence[Group]) -> list[Scores]:
    scored = variant.score_groups(groups)
    judge.refuse_silence(scored)
    warn_of_unscored(judge.__name__, scored)
    return scored


def _winner(scores: Scores) -> int:
    first, second = scores.values
    if first is None or second is None or first == second:
        return -1
    return 0 if first > second else 1


def _groups(prompts: Sequence[Prompt], completions: Sequence[Sequence[Response]]) -> list[Group]:
    return [Group(prompt=prompt, responses=list(own)) for prompt, own in zip(prompts, completions, strict=True)]


def _same_length(prompts: Sequence[Prompt], completions: Sequence[Sequence[Response]]) -> None:
    if len(prompts) != len(completions):
        raise GroupError(
            f"{len(prompts)} prompts and {len(completions)} lists of completions: one list per prompt is needed"
        )
