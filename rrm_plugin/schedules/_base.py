"""What a schedule is, and the stepper of those that do not adapt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from rrm_plugin.errors import ConfigError
from rrm_plugin.schedules._orders import Orders
from rrm_plugin.types import Judgement, Match

__all__ = ["Branching", "NamesMembers", "OneRound", "Schedule", "Stepper", "at_least", "branching"]


class Stepper(Protocol):
    """One tournament of one group under way."""

    def next_matches(self, judgements: Sequence[Judgement]) -> list[Match]:
        """The matches to judge next, all of which may be judged at once; empty when done.

        Args:
            judgements: all of this group so far; every match handed out before is in it, with a verdict or without.
        """
        ...


@runtime_checkable
class Branching(Protocol):
    """What a stepper is besides when a match need not wait for all that are under way, only for some.

    It is then asked in this way alone, again and again while matches are out. They have to be those of `next_matches`,
    whatever the order in which judgements come: what is drawn for a match may depend on its place, but not on when it
    is asked for.
    """

    def matches_after(self, judgements: Mapping[int, Judgement]) -> Mapping[int, Match]:
        """The matches that can be judged now and were not handed out yet, each by its place in the order of play.

        The tournament is over when there are none, and none is out.

        Args:
            judgements: what came since it was last asked, by the same places, with a verdict or without; nothing at the
                start. Matches of one pair that were handed out together come together.
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


def branching(stepper: Stepper) -> Branching:
    """The stepper itself where it can be asked while matches are out; else one around it, which waits until none is."""
    return stepper if isinstance(stepper, Branching) else _InRounds(stepper)


class _InRounds:
    """Asks for the next round when all of the last one is in."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._judged: dict[int, Judgement] = {}
        self._handed_out = 0

    def matches_after(self, judgements: Mapping[int, Judgement]) -> dict[int, Match]:
        self._judged.update(judgements)
        if len(self._judged) < self._handed_out:
            return {}
        # In the order of play, whatever the order in which they came.
        matches = self._stepper.next_matches([self._judged[place] for place in range(self._handed_out)])
        places = range(self._handed_out, self._handed_out + len(matches))
        self._handed_out = places.stop
        return dict(zip(places, matches, strict=True))


def at_least(least: int, setting: str, value: object) -> None:
    """Raise ConfigError unless `value` is a whole number of `least` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{setting}={value!r} must be a whole number of at least {least}")
