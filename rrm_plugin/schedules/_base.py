"""What a schedule is, and the stepper of those that do not adapt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from rrm_plugin.errors import ConfigError
from rrm_plugin.schedules._orders import Orders
from rrm_plugin.types import Judgement, Match

__all__ = ["NamesMembers", "OneRound", "Schedule", "Stepper", "at_least"]


class Stepper(Protocol):
    """One tournament of one group under way."""

    def next_matches(self, judgements: Sequence[Judgement]) -> list[Match]:
        """The matches to judge next, all of which may be judged at once; empty when done.

        Args:
            judgements: all of this group so far; every match handed out before is in it, with a verdict or without.
        """
        ...


@runtime_checkable
class Schedule(Protocol):
    """Which candidates of a group meet. Immutable, comparable and picklable; `start` makes what has state."""

    @property
    def name(self) -> str:
        """Text from which `schedule(name)` makes the same schedule."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether the last candidate must be a given reference answer, appended by the caller."""
        ...

    def start(self, n: int, orders: Orders, rng: np.random.Generator) -> Stepper:
        """Begin with `n` candidates, a reference included; the same `rng` state gives the same tournament."""
        ...

    def calls(self, n: int, orders: Orders) -> int:
        """Matches that `n` candidates will play, at most: `swiss` and `random_rivals` may play fewer."""
        ...


@runtime_checkable
class NamesMembers(Protocol):
    """What a schedule is besides when its settings name members of the group.

    Responses that are alike play as one, so there may be fewer players than members.
    """

    def among(self, player_of: Sequence[int]) -> Schedule:
        """The same schedule with its members told as players.

        Args:
            player_of: for each member of the group, the player that stands for it.

        Raises:
            GroupError: the settings do not fit a group of this size.
        """
        ...


class OneRound:
    """Hands out all matches at once."""

    def __init__(self, matches: list[Match]) -> None:
        self._matches = matches

    def next_matches(self, judgements: Sequence[Judgement]) -> list[Match]:
        matches, self._matches = self._matches, []
        return matches


def at_least(least: int, setting: str, value: object) -> None:
    """Raise ConfigError unless `value` is a whole number of `least` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{setting}={value!r} must be a whole number of at least {least}")
