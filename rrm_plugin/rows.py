"""Rows of a trainer's batch -> whole groups, over all ranks -> a reward for each local row.

Trainers that pass lists (TRL) lay the responses to one prompt out consecutively and say nothing of the group size; a
rank's slice of the batch may begin and end inside a group. Groups are cut by position, never by text, since two groups
may have the same prompt. Groups that straddle ranks are gathered, judged once by one rank, and each rank gets its own
slice of the rewards.

Every rank passes the same collectives in the same order, whatever its rows look like and whatever fails: what went
wrong on one rank is part of what is gathered, and is raised on all.
"""

from __future__ import annotations

import itertools
import logging
import pickle
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rrm_plugin.errors import GroupError, RRMError
from rrm_plugin.metrics.openings import Signs
from rrm_plugin.notes import notes_of
from rrm_plugin.processes import Ranks
from rrm_plugin.reporting.match_tables import SampledMatch, sampled_matches
from rrm_plugin.types import Group, Judgement, Prompt, Response, Scores

__all__ = ["Rows", "ScoredRows", "TrainerView", "group_size", "reward_rows", "reward_rows_here", "trainer_view"]

logger = logging.getLogger(__name__)

BATCH_ADVICE = (
    "per_device_train_batch_size * steps_per_generation (per_device_eval_batch_size in evaluation), times the number "
    "of processes, must be a multiple of num_generations (num_generations_eval)"
)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What one rank holds of a batch, a row per response."""

    prompts: Sequence[Prompt]
    completions: Sequence[Response]
    lengths: Sequence[int]
    """Of each completion, in tokens where the trainer passes them."""
    references: Sequence[Response] | None = None
    step: int | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def __add__(self, other: Rows) -> Rows:
        return Rows(
            prompts=[*self.prompts, *other.prompts],
            completions=[*self.completions, *other.completions],
            lengths=[*self.lengths, *other.lengths],
            references=None if other.references is None else [*(self.references or ()), *other.references],
            step=other.step,
        )

    def groups(self, size: int) -> list[Group]:
        """Consecutive groups of `size` rows.

        Raises:
            GroupError: the rows do not divide, or a group would mix prompts.
        """
        if len(self) % size:
            raise GroupError(f"{len(self)} rows are no whole number of groups of {size}: {BATCH_ADVICE}")
        groups = []
        for start in range(0, len(self), size):
            end = start + size
            if any(prompt != self.prompts[start] for prompt in self.prompts[start + 1 : end]):
                raise GroupError(
                    f"rows {start} to {end - 1} of the batch hold different prompts, but were to be one group of "
                    f"{size}: is num_generations of the judge the same as the trainer's?"
                )
            references = None if self.references is None else self.references[start]
            completions = list(self.completions[start:end])
            groups.append(
                Group(prompt=self.prompts[start], responses=completions, reference=references, step=self.step)
            )
        return groups


NO_ROWS = Rows(prompts=(), completions=(), lengths=())


@dataclass(frozen=True, kw_only=True)
class TrainerView:
    """What is known of the trainer behind a reward call."""

    group_size: int | None = None
    training: bool = True


@dataclass(frozen=True, kw_only=True)
class ScoredRows:
    """Rewards of this rank's rows, and what was measured on the groups of all ranks."""

    rewards: list[float | None]
    notes: list[str]
    """Of each local row, for a person: how it fared in its matches, and what the judge said in one of them."""
    scores: list[Scores]
    """Of the groups of all ranks (of this rank's alone, where nothing was gathered), without the judge's texts."""
    lengths: list[list[int]]
    """Of the responses of those groups."""
    signs: list[Signs]
    """What was seen in the texts of those groups."""
    matches: list[SampledMatch]
    """Some matches that this process judged, with their texts."""


Scored = tuple[Scores, list[float | None]]
"""Scores of a group, and the rewards made of them."""

Score = Callable[[Sequence[Group], Sequence[Sequence[int]]], list[Scored]]
"""From groups and the lengths of their responses to what became of each."""

Look = Callable[[Group], Signs]
"""Sees the texts of a group, before they are left behind."""


def _blind(group: Group) -> Signs:
    return Signs(openings=("",) * len(group.responses), steering=("",) * len(group.responses))


AsyncScore = Callable[[Sequence[Group], Sequence[Sequence[int]]], Awaitable[list[Scored]]]


def trainer_view(log_callback: Any) -> TrainerView:
    """The group size and mode of the trainer whose bound method was passed to the reward.

    TRL hands its reward functions `log_extra` and `log_metric`, bound methods of the trainer, and no group size. That
    they are bound is no promise of TRL's, so everything here may come out unknown.
    """
    trainer = getattr(log_callback, "__self__", None)
    training = bool(getattr(getattr(trainer, "model", None), "training", True))
    size = getattr(trainer, "num_generations" if training else "num_generations_eval", None)
    return TrainerView(group_size=size if isinstance(size, int) else None, training=training)


def group_size(rows: Rows, configured: int | None, trainer: TrainerView) -> int:
    """How many consecutive rows are one group: as the trainer says, else as configured, else as the prompts repeat.

    Raises:
        GroupError: trainer and configuration disagree, or nothing tells the size.
    """
    if configured is not None and trainer.training and trainer.group_size not in (None, configured):
        raise GroupError(
            f"the judge was made with num_generations={configured}, the trainer has "
            f"num_generations={trainer.group_size}: leave it out of the judge"
        )
    size = trainer.group_size or configured
    if size is not None:
        return size
    runs = {len(list(run)) for _, run in itertools.groupby(rows.prompts, key=repr)}
    if len(runs) != 1 or (runs == {1} and len(rows) > 1):
        if len(set(map(repr, rows.prompts))) == len(rows):
            raise GroupError("each prompt has one completion, and a judge compares the completions of one prompt")
        raise GroupError(
            f"the size of a group is unknown, and prompts repeat {sorted(runs)} times in a row: "
            "give the judge num_generations"
        )
    return runs.pop()


def reward_rows(
    make_rows: Callable[[], Rows],
    configured: int | None,
    trainer: TrainerView,
    ranks: Ranks,
    score: Score,
    look: Look = _blind,
) -> ScoredRows:
    """Rewards of this rank's rows, judged in whole groups. Every rank must call it.

    Args:
        make_rows: gives the rows; its errors are raised on all ranks too.
        configured: the group size that the judge was made with.
        trainer: what is known of the trainer.
        ranks: the processes of this run.
        score: judges groups.
        look: sees the texts of a group.

    Raises:
        GroupError: the rows of all ranks together are no whole groups.
        RRMError: whatever else failed, on whichever rank.
    """

    def count() -> tuple[Rows, int]:
        rows = make_rows()
        return rows, group_size(rows, configured, trainer)

    seen, error = _attempt(count, ranks)
    rows, size = seen or (NO_ROWS, 0)
    told = ranks.gather((len(rows), size, error))
    _raise_first(error for _, _, error in told)
    sizes = {size for _, size, _ in told}
    if len(sizes) > 1:
        raise GroupError(f"the ranks see groups of different sizes {sorted(sizes)}: give the judge num_generations")
    # All ranks decide from what all ranks know, so that none waits in a collective that another never enters.
    shared = not all(count % size == 0 for count, _, _ in told)
    held = _joined(rows, ranks) if shared else rows
    begin = sum(count for count, _, _ in told[: ranks.rank]) if shared else 0

    matches: list[SampledMatch] = []

    def play() -> list[_Played]:
        groups, lengths = _cut(held, size)
        mine = [index for index in range(len(groups)) if not shared or index % ranks.size == ranks.rank]
        scored = score([groups[index] for index in mine], [lengths[index] for index in mine])
        matches.extend(sampled_matches([groups[index] for index in mine], scored))
        return _packed(mine, scored, [lengths[index] for index in mine], [look(groups[index]) for index in mine])

    played, error = _attempt(play, ranks)
    results = ranks.gather((played, error))
    _raise_first(error for _, error in results)
    everything = list(itertools.chain.from_iterable(items for items, _ in results))
    return _told(everything if shared else played, everything, slice(begin, begin + len(rows)), len(held), matches)


async def reward_rows_here(
    rows: Rows, configured: int | None, trainer: TrainerView, score: AsyncScore, look: Look = _blind
) -> ScoredRows:
    """Rewards of this rank's rows, awaited, without a word to the other ranks.

    Raises:
        GroupError: the rows of this rank are no whole groups.
    """
    size = group_size(rows, configured, trainer)
    if len(rows) % size:
        raise GroupError(
            f"this rank holds {len(rows)} rows, no whole number of groups of {size}, and an awaited reward cannot "
            "gather the rest from other ranks: use the judge itself as reward function, or see to it that "
            f"{BATCH_ADVICE}, on each process alone"
        )
    groups, lengths = _cut(rows, size)
    played = _packed(range(len(groups)), await score(groups, lengths), lengths, map(look, groups))
    return _told(played, played, slice(0, len(rows)), len(rows), [])


@dataclass(frozen=True, kw_only=True)
class _Played:
    """A scored group on its way between ranks: without the texts, which would be megabytes."""

    index: int
    scores: Scores
    rewards: list[float | None]
    notes: list[str]
    lengths: list[int]
    signs: Signs


def _cut(rows: Rows, size: int) -> tuple[list[Group], list[list[int]]]:
    groups = rows.groups(size)
    return groups, [list(rows.lengths[start : start + size]) for start in range(0, len(rows), size)]


def _packed(
    indices: Iterable[int], scored: Sequence[Scored], lengths: Sequence[list[int]], signs: Iterable[Signs]
) -> list[_Played]:
    return [
        _Played(index=index, scores=_light(scores), rewards=rewards, notes=notes_of(scores), lengths=sizes, signs=seen)
        for index, (scores, rewards), sizes, seen in zip(indices, scored, lengths, signs, strict=True)
    ]


def _told(
    own: Sequence[_Played], everything: Sequence[_Played], rows: slice, count: int, matches: list[SampledMatch]
) -> ScoredRows:
    """Lays the groups of `own` out over `count` rows, of which this rank's are `rows`."""
    rewards: list[float | None] = [None] * count
    notes = [""] * count
    for item in own:
        size = len(item.rewards)
        place = slice(item.index * size, (item.index + 1) * size)
        rewards[place], notes[place] = item.rewards, item.notes
    return ScoredRows(
        rewards=rewards[rows],
        notes=notes[rows],
        scores=[item.scores for item in everything],
        lengths=[item.lengths for item in everything],
        signs=[item.signs for item in everything],
        matches=matches,
    )


def _light(scores: Scores) -> Scores:
    return replace(scores, judgements=tuple(_without_text(judgement) for judgement in scores.judgements))


def _without_text(judgement: Judgement) -> Judgement:
    votes = tuple(_without_text(vote) for vote in judgement.votes)
    return replace(judgement, text="", detail=judgement.detail[:300], votes=votes)


def _joined(rows: Rows, ranks: Ranks) -> Rows:
    """The rows of all ranks. Pickled beforehand: rows that do not pickle would leave the other ranks waiting."""
    pickled, error = _attempt(lambda: pickle.dumps(rows), ranks)
    parts = ranks.gather((pickled, error))
    _raise_first(error for _, error in parts)
    whole = NO_ROWS
    for part, _ in parts:
        whole = whole + pickle.loads(part)
    return whole


def _attempt(work: Callable[[], Any], ranks: Ranks) -> tuple[Any, RRMError | None]:
    """The result of `work`, or what went wrong as an error that can travel to the other ranks."""
    if ranks.size == 1:
        return work(), None
    try:
        return work(), None
    except RRMError as error:
        return None, error
    except Exception as error:
        # Only our own errors are known to pickle, and one that does not would leave the other ranks waiting.
        logger.exception("the judge failed on rank %d", ranks.rank)
        return None, RRMError(f"the judge failed on rank {ranks.rank}: {type(error).__name__}: {error}")


def _raise_first(errors: Iterable[RRMError | None]) -> None:
    for error in errors:
        if error is not None:
            raise error
