"""A group that is being collected: who is there, who never will be, and which matches have begun."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from rrm_plugin.cohorts._members import Member, Outcome
from rrm_plugin.early import EarlyMatches
from rrm_plugin.errors import GroupError
from rrm_plugin.tournament import Tournament
from rrm_plugin.types import Usage

__all__ = ["Cohort"]

logger = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class Cohort:
    """Belongs to one event loop; only its owner task closes it."""

    key: str
    size: int
    deadline: float
    places: list[int]
    """Free numbers of the group, in the order in which they are given out."""
    tournament: Tournament | None
    """Judges matches as soon as both members are there; None waits for all."""
    members: dict[int, Member] = field(default_factory=dict)
    index_of: dict[str, int] = field(default_factory=dict)
    withdrawn: int = 0
    withdrawn_ids: set[str] = field(default_factory=set)
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Future[dict[int, Outcome]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    owner: asyncio.Task[dict[int, Outcome]] | None = None
    collecting: bool = True
    early: EarlyMatches | None = None
    settled: float | None = None
    """What a caller without an id was told before the group was judged, and all others without one are told too."""
    _prompt: object = None

    def seat(self, member: Member) -> int:
        """Takes a member in, and says at which place.

        Raises:
            GroupError: it was asked something else than the others.
        """
        if self._prompt is None:
            self._prompt = member.prompt
        elif member.prompt != self._prompt:
            raise GroupError(f"group {self.key!r} has members with different prompts: its key has to name one group")
        asked = member.index
        place = asked if asked in self.places else self.places[0]
        self.places.remove(place)
        self.members[place] = member
        if member.id is not None:
            self.index_of[member.id] = place
            if member.id in self.withdrawn_ids:
                # Given up too soon: here it is.
                self.withdrawn_ids.discard(member.id)
                self.withdrawn -= 1
        self._note()
        self._begin_matches(place, member)
        return place

    def unseat(self, place: int) -> None:
        """A caller without an id is gone, and will come again as another: its place is free."""
        del self.members[place]
        self.places.insert(0, place)

    def withdraw(self, id: str | None) -> bool:
        """A member will never come; False where it is there, or was withdrawn before."""
        if id is not None:
            if id in self.index_of or id in self.withdrawn_ids:
                return False
            self.withdrawn_ids.add(id)
        self.withdrawn += 1
        self._note()
        return True

    def stop_matches(self) -> Usage:
        """Ends matches that nobody needs, and says what they took."""
        return self.early.close() if self.early is not None else Usage()

    def _note(self) -> None:
        if len(self.members) + self.withdrawn >= self.size:
            self.complete.set()

    def _begin_matches(self, place: int, member: Member) -> None:
        """Never the reason why a member is not seated: what is wrong with a response, its group's scores will say."""
        if self.tournament is None or self.size < 2:
            return
        try:
            if self.early is None:
                self.early = EarlyMatches(self.tournament, member.prompt, self.size, member.reference)
            self.early.seat(place, member.response)
        except Exception:
            logger.exception("no match of group %r is begun before it is whole", self.key)
            self.stop_matches()
            self.tournament = None
