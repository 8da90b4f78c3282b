"""A member of a group on its way in, and what became of it on its way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from rrm_plugin.types import Prompt, Response

__all__ = ["Closing", "Member", "Outcome", "late_outcome", "nothing"]


class Closing(StrEnum):
    """Why a group was judged when it was. The values are stable: metrics carry them."""

    FULL = "full"
    """All members were there."""
    RELEASED = "released"
    """All were there but those that were withdrawn, which can never come."""
    DEADLINE = "deadline"
    """The deadline passed; those who were there were judged."""
    LATE = "late"
    """This member came to a group that was closed: it is unscored."""
    IMPATIENT = "impatient"
    """This caller did not wait any longer; its group goes on."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A response that waits for the others of its group."""

    prompt: Prompt
    response: Response
    id: str | None = None
    """Which member it is: one that comes again under the same id is the same. None where the host does not say."""
    index: int | None = None
    """Its number in the group from 0, where the host knows; None draws one, since to come first is to be short."""
    length: int | None = None
    """Tokens of the response, for shaping and metrics; None counts characters."""
    reference: Response | None = None
    """A given answer, for schedules that compare with one, and for a group of one."""
    step: int | None = None
    """The training step, for the record."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one member."""

    reward: float | None
    """After shaping; None where it is unscored."""
    number: float
    """The reward. Where there is none: the mean of the group's rewards; where nobody in it has one, or it is not judged
    yet, the mean of all rewards that this gate has given; 0 before the first."""
    spread: float
    """Standard deviation (population) of the group's rewards; 0 teaches nothing."""
    index: int
    """Place of the member in the group that was judged; -1 where it was in none."""
    members: int
    """How many were judged together."""
    expected: int
    """How many there should have been."""
    closing: Closing
    repeated: bool = False
    """Whether the same member had been there before."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the group, by the names of `metrics/names.py`."""
    error: str | None = None
    """What went wrong with the group as a whole."""


def nothing(closing: Closing, expected: int, error: str, number: float) -> Outcome:
    """Unscored, and in no group; `number` is what to give a host that needs one."""
    return Outcome(
        reward=None, number=number, spread=0.0, index=-1, members=0, expected=expected, closing=closing, error=error
    )


def late_outcome(expected: int, judged: Sequence[Outcome], number: float) -> Outcome:
    """Unscored, with the mean of the group that was judged without it; `number` where nobody in it has a reward."""
    late = nothing(Closing.LATE, expected, "it came after its group was closed", number)
    rewards = [outcome.reward for outcome in judged if outcome.reward is not None]
    return replace(late, number=float(np.mean(rewards)), spread=judged[0].spread) if rewards else late
