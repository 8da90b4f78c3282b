"""Matches of a group that are judged while its other members are still to come.

A rollout ends when its longest response does. What can be judged before that hides behind it: the matches that the
schedule asks for first, as soon as both their responses are there. They are the ones that the whole group would play,
so that its scores are the same; where fewer members come, or two are alike, some of them turn out not to be needed,
and are only paid for. Left out: later rounds of a schedule that adapts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable

from rrm_plugin.errors import RRMError
from rrm_plugin.prompts import Guarded
from rrm_plugin.tournament import Tournament
from rrm_plugin.types import Judgement, Match, Prompt, Response, Usage

__all__ = ["EarlyMatches"]


class EarlyMatches:
    """First matches of one group, begun as its members come; belongs to one event loop.

    Args:
        tournament: judges them, and will play the whole group.
        prompt: what was asked.
        size: how many members are expected.
        reference: the given answer, for schedules that compare with one.
    """

    def __init__(self, tournament: Tournament, prompt: Prompt, size: int, reference: Response | None = None) -> None:
        self._tournament = tournament
        self._query = tournament.prepare_query(prompt)
        self._seated: dict[int, Guarded] = {}
        self._known: set[Hashable] = set()
        self._begun: dict[tuple[Guarded, Guarded], asyncio.Task[Judgement]] = {}
        self._unused = Usage()
        with_reference = tournament.schedule.needs_reference
        self._waiting = self._first_matches(size, with_reference)
        if with_reference and reference is not None:
            self.seat(size, reference)

    def seat(self, index: int, response: Response) -> None:
        """A member is there, as number `index` of its group: matches with those before it begin."""
        text = self._tournament.prepare(response)
        key = self._tournament.key(response)
        known = ("text", text) if key is None else ("key", key)
        if known in self._known:
            # It will play as one with the other, so its own matches are nobody's.
            return
        self._known.add(known)
        self._seated[index] = text
        waiting, self._waiting = self._waiting, []
        for match in waiting:
            if match.first in self._seated and match.second in self._seated:
                self._begin(match)
            else:
                self._waiting.append(match)

    def take(self, first: Guarded, second: Guarded) -> Awaitable[Judgement] | None:
        """The judgement of these two texts in this order, once; None where it was not begun."""
        return self._begun.pop((first, second), None)

    def close(self) -> Usage:
        """Ends what was not taken, and says what it took; again as often as asked."""
        for task in self._begun.values():
            if not task.cancel() and not task.cancelled() and task.exception() is None:
                ballots = task.result().ballots
                self._unused += sum((ballot.usage for ballot in ballots), Usage())
        self._begun.clear()
        self._waiting = []
        return self._unused

    def _first_matches(self, size: int, with_reference: bool) -> list[Match]:
        players = size + with_reference
        if players < 2:
            return []
        try:
            return self._tournament.first_matches(self._query, range(size), players)
        except RRMError:
            # A schedule that does not fit such a group: its scores will say so.
            return []

    def _begin(self, match: Match) -> None:
        shown = self._seated[match.first], self._seated[match.second]
        if shown not in self._begun:
            self._begun[shown] = asyncio.ensure_future(self._tournament.looks.first_look(self._query, *shown, match))
