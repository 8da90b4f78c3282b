"""Tables of sampled matches for Weights & Biases and trackio: prompt, both responses, the verdict, the thinking.

They go where TRL's own table of completions goes, and when the user asked for that one: `log_completions=True` and a
tracker in `report_to`. Texts of a run leave the machine on nobody else's word. A tracker that fails costs a warning and
never a reward. Left out: hosts that pass a reward no trainer; their ledger has every match.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rrm_plugin.prompts import prompt_text, response_text
from rrm_plugin.types import Group, Judgement, Scores

__all__ = ["MATCHES", "MatchTables", "SampledMatch", "sampled_matches"]

logger = logging.getLogger(__name__)

MATCHES = 8
"""Most matches of a table, each of another group."""


@dataclass(frozen=True, kw_only=True)
class SampledMatch:
    """One match as a person reads it; its fields are the columns of the table."""

    step: int | None
    prompt: str
    first: str
    second: str
    verdict: str
    """first, second or tie; where there is none, the reason."""
    thinking: str
    """All that the judge wrote."""
    reward_first: float | None
    reward_second: float | None


def sampled_matches(
    groups: Sequence[Group], scored: Sequence[tuple[Scores, Sequence[float | None]]], count: int = MATCHES
) -> list[SampledMatch]:
    """One match each of so many groups; a match without a verdict first, since it says most of a judge gone wrong.

    Args:
        groups: with their responses.
        scored: of each, the scores and the rewards.
    """
    found = []
    for number, (group, (scores, rewards)) in enumerate(zip(groups, scored, strict=True)):
        played = [one for one in scores.judgements if one.match is not None]
        if not played or len(found) == count:
            continue
        # Another place of the schedule in each group and step, so that not always the same two meet.
        turn = (number + (group.step or 0)) % len(played)
        chosen = next((one for one in played if one.verdict is None), played[turn])
        found.append(_read(group, chosen, rewards))
    return found


def _read(group: Group, judgement: Judgement, rewards: Sequence[float | None]) -> SampledMatch:
    assert judgement.match is not None
    first, second = judgement.match.first, judgement.match.second
    told = judgement.verdict.value if judgement.verdict else str(judgement.reason)
    # A given answer plays behind the responses and has no reward of its own.
    players = [*group.responses, group.reference] if group.reference is not None else list(group.responses)
    rewarded = [*rewards, None]
    return SampledMatch(
        step=group.step,
        prompt=prompt_text(group.prompt),
        first=response_text(players[first]),
        second=response_text(players[second]),
        verdict=told,
        thinking=judgement.text or judgement.detail,
        reward_first=rewarded[first],
        reward_second=rewarded[second],
    )


class MatchTables:
    """Sends tables, one for each logged step; belongs to one judge.

    Args:
        name: of the judge, before the table's own: `NAME_matches`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._sent: int | None = None
        self._warned = False

    def send(self, matches: Sequence[SampledMatch], log_extra: Any) -> None:
        """Sends a table to the trackers of the trainer whose bound method this is, where it takes tables of texts."""
        trainer = getattr(log_extra, "__self__", None)
        try:
            # Anything may be missing in a trainer that is not TRL's, or in a library that is half imported.
            trackers = list(_trackers(trainer)) if matches and self._due(trainer) else []
        except Exception as error:
            self._warn(error)
            return
        columns = [field.name for field in fields(SampledMatch)]
        rows = [[getattr(match, column) for column in columns] for match in matches]
        for tracker, options in trackers:
            try:
                tracker.log({f"{self._name}_matches": tracker.Table(columns=columns, data=rows)}, **options)
            except Exception as error:
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            logger.warning("%s: a table of matches could not be sent: %s", self._name, error)
        self._warned = True

    def _due(self, trainer: Any) -> bool:
        if not getattr(trainer, "log_completions", False):
            return False
        if not getattr(getattr(trainer, "accelerator", None), "is_main_process", False):
            return False
        step, every = trainer.state.global_step, max(1, int(trainer.state.logging_steps or 1))
        if self._sent is not None and self._sent <= step < self._sent + every:
            return False
        self._sent = step
        return True


def _trackers(trainer: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The libraries that the trainer reports to, which have been imported then, and how to log beside it."""
    wanted = trainer.args.report_to or ()
    wandb, trackio = sys.modules.get("wandb"), sys.modules.get("trackio")
    if "wandb" in wanted and wandb is not None and wandb.run is not None:
        # It goes along with the numbers of the step, and makes none of its own.
        yield wandb, {"commit": False}
    if "trackio" in wanted and trackio is not None:
        yield trackio, {}
