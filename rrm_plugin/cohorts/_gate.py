"""Collects members, has each group judged once, and tells every caller."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rrm_plugin import metrics
from rrm_plugin.cohorts._members import Closing, Member, Outcome, late_outcome, nothing
from rrm_plugin.cohorts._starting import answering
from rrm_plugin.early import EarlyMatches
from rrm_plugin.errors import ConfigError, GateError, GateFullError, GroupError
from rrm_plugin.reward import RRMJudge
from rrm_plugin.schedules import schedule
from rrm_plugin.trainer_log import warn_of_unscored
from rrm_plugin.types import Group, Scores

__all__ = ["Gate"]

logger = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class _Cohort:
    """A group that is being collected; only its owner task closes it."""

    key: str
    size: int
    deadline: float
    places: list[int]
    """Free numbers of the group, in the order in which they are given out."""
    early: EarlyMatches | None = None
    members: dict[int, Member] = field(default_factory=dict)
    index_of: dict[str, int] = field(default_factory=dict)
    withdrawn: int = 0
    withdrawn_ids: set[str] = field(default_factory=set)
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Future[dict[int, Outcome]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    owner: asyncio.Task[None] | None = None
    collecting: bool = True

    def seat(self, member: Member) -> int:
        asked = member.index
        place = asked if asked in self.places else self.places[0]
        self.places.remove(place)
        self.members[place] = member
        if member.id is not None:
            self.index_of[member.id] = place
        if self.early is not None:
            self.early.seat(place, member.response)
        self.note()
        return place

    def unseat(self, place: int) -> None:
        """A caller without an id is gone, and will come again as another: its place is free."""
        del self.members[place]
        self.places.insert(0, place)

    def note(self) -> None:
        if len(self.members) + self.withdrawn >= self.size:
            self.complete.set()


class Gate:
    """Collects members into groups and has each group judged once.

    Args:
        judge: scores the groups; its event loop is where they are kept.
        size: members of a group, where `join` is not told.
        deadline: seconds from the first member of a group until those who are there are judged.
        just_in_time: begin to judge with the second member, rather than with the last.
        capacity: most members that may wait or be judged at a time; more are refused.
        start_within: seconds that `ready` waits for the judge's server; 0 does not look.
        remember: closed groups that are kept to answer repeats and late members; only numbers are kept of them.
        on_judged: told the metrics of each group that was judged, by the names of `metrics.py`.

    Raises:
        ConfigError: a setting cannot work.
    """

    def __init__(
        self,
        judge: RRMJudge,
        *,
        size: int | None = None,
        deadline: float = 600.0,
        just_in_time: bool = True,
        capacity: int = 65_536,
        remember: int = 4096,
        start_within: float = 600.0,
        on_judged: Callable[[Mapping[str, float]], None] | None = None,
    ) -> None:
        for name, value, least in (("capacity", capacity, 2), ("remember", remember, 0), ("size", size or 1, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if not deadline > 0:
            raise ConfigError(f"deadline must be a number of seconds above 0, not {deadline!r}")
        if not start_within >= 0:
            raise ConfigError(f"start_within must be a number of seconds from 0, not {start_within!r}")
        self.judge = judge
        self.size = size
        self.deadline = deadline
        self.just_in_time = just_in_time
        self.capacity = capacity
        self.remember = remember
        self.start_within = start_within
        self.on_judged = on_judged
        self.waiting = 0
        """Members that wait or are being judged."""
        self.counts: Counter[str] = Counter()
        """Since the start: `members`, `groups`, `repeated`, `late`, `withdrawn`, `cancelled`, `impatient`, `refused`,
        `unscored`, `closed_full`, `closed_released` and `closed_deadline`."""
        self._open: dict[str, _Cohort] = {}
        self._judging: dict[str, list[_Cohort]] = {}
        self._closed: OrderedDict[str, dict[str, Outcome]] = OrderedDict()

    async def ready(self) -> None:
        """Waits until a server of the judge answers: a host that always gets a number would train on nothing else.

        An engine in process is taken to be there.

        Raises:
            EngineUnavailableError: none answers within `start_within` seconds.
        """
        probe = getattr(self.judge.tournament.judge.engine, "probe", None)
        if probe is not None and self.start_within:
            await self.judge.on_loop(answering(probe, self.start_within))

    async def join(
        self, key: str, member: Member, *, size: int | None = None, patience: float | None = None
    ) -> Outcome:
        """Waits until the member's group is judged.

        A caller that is cancelled leaves its member behind where it has an id, since it may come again; one without is
        taken out, unless its group is closed already.

        Args:
            key: names the group; a key is used for one group only, unless its members have no ids.
            size: how many members the group has.
            patience: seconds after which this caller gets an unscored outcome; its group goes on without it.

        Raises:
            GroupError: the size of the group is not known, or differs from what its first member said.
            GateFullError: too many members wait.
            ConfigError: a setting of the judge cannot work.
        """
        return await self.judge.on_loop(self._join(key, member, size or self.size, patience))

    async def withdraw(self, key: str, id: str | None = None, *, size: int | None = None) -> None:
        """A member will never come, its generation failed say: its group no longer waits for it.

        Args:
            id: of the member, if it has one; one that has come already stays.
            size: of the group, needed where this may be the first that is heard of it.
        """
        await self.judge.on_loop(self._withdraw(key, id, size or self.size))

    async def close(self) -> None:
        """Ends all groups: their callers are cancelled. The judge stays open."""
        await self.judge.on_loop(self._end())

    def metrics(self) -> dict[str, float]:
        """Counts since the start and members waiting, under the judge's name."""
        counted = {f"{self.judge.__name__}/gate/{name}": float(count) for name, count in sorted(self.counts.items())}
        return counted | {f"{self.judge.__name__}/gate/waiting": float(self.waiting)}

    async def _join(self, key: str, member: Member, size: int | None, patience: float | None) -> Outcome:
        known = self._of_closed(key, member)
        if known is not None:
            return known
        cohort, place, repeated = self._admit(key, member, size)
        self.waiting += 1
        try:
            outcomes = await asyncio.wait_for(asyncio.shield(cohort.done), patience)
        except TimeoutError:
            self.counts["impatient"] += 1
            return nothing(Closing.IMPATIENT, cohort.size, f"no outcome within {patience:g} s")
        except asyncio.CancelledError:
            if cohort.done.cancelled():
                raise GateError("the gate was closed before the group was judged") from None
            self._leave(cohort, place, member)
            raise
        finally:
            self.waiting -= 1
        if place is None:
            return late_outcome(cohort.size, list(outcomes.values()))
        return replace(outcomes[place], repeated=repeated)

    def _admit(self, key: str, member: Member, size: int | None) -> tuple[_Cohort, int | None, bool]:
        """The group of a member, its place there (None for too late) and whether it had been there before.

        Without a moment in which another caller could come between.
        """
        for cohort in self._of_key(key):
            if member.id is not None and member.id in cohort.index_of:
                self.counts["repeated"] += 1
                return cohort, cohort.index_of[member.id], True
        if member.id is not None and key in self._judging:
            self._note_late(key)
            return self._judging[key][-1], None, False
        if self.waiting >= self.capacity:
            self.counts["refused"] += 1
            raise GateFullError(f"{self.waiting} members wait at the gate, which is its capacity")
        cohort = self._cohort(key, size)
        self.counts["members"] += 1
        if not cohort.members and self.just_in_time and cohort.size > 1:
            cohort.early = EarlyMatches(self.judge.tournament, member.prompt, cohort.size, member.reference)
        place = cohort.seat(member)
        if not cohort.places:
            # Full: the next without an id belongs to the next group, even before the owner has had its turn.
            self._stop_collecting(cohort)
        return cohort, place, False

    def _of_key(self, key: str) -> list[_Cohort]:
        return [*self._judging.get(key, ()), *filter(None, [self._open.get(key)])]

    def _cohort(self, key: str, size: int | None) -> _Cohort:
        cohort = self._open.get(key)
        if size is None and cohort is None:
            raise GroupError(f"the size of group {key!r} is not known: give the gate a size, or each member")
        if cohort is None:
            cohort = self._open[key] = self._begin(key, size or 1)
        elif size is not None and size != cohort.size:
            raise GroupError(f"group {key!r} began with size {cohort.size}, and another member says {size}")
        return cohort

    def _begin(self, key: str, size: int) -> _Cohort:
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        drawn = np.random.default_rng(int.from_bytes(digest[:16], "big")).permutation(size)
        cohort = _Cohort(key=key, size=size, deadline=self.deadline, places=[int(place) for place in drawn])
        cohort.owner = asyncio.ensure_future(self._own(cohort))
        return cohort

    async def _own(self, cohort: _Cohort) -> None:
        """Waits for the group, closes it, has it judged and tells its callers; nobody else does."""
        try:
            closing = await self._closing(cohort)
            self._stop_collecting(cohort)
            outcomes = await self._judged(cohort, closing) if cohort.members else {}
            self._remember(cohort, outcomes)
            cohort.done.set_result(outcomes)
        except asyncio.CancelledError:
            cohort.done.cancel()
            raise
        except Exception as error:
            cohort.done.set_exception(error)
            # Retrieved here, since every caller may have gone.
            cohort.done.exception()
        finally:
            if cohort.early is not None:
                cohort.early.close()
            self._stop_collecting(cohort)
            self._forget(cohort)

    async def _closing(self, cohort: _Cohort) -> Closing:
        try:
            await asyncio.wait_for(cohort.complete.wait(), cohort.deadline)
        except TimeoutError:
            return Closing.DEADLINE
        return Closing.RELEASED if cohort.withdrawn else Closing.FULL

    def _stop_collecting(self, cohort: _Cohort) -> None:
        if cohort.collecting:
            cohort.collecting = False
            self._open.pop(cohort.key, None)
            self._judging.setdefault(cohort.key, []).append(cohort)

    def _forget(self, cohort: _Cohort) -> None:
        others = self._judging.get(cohort.key, [])
        if cohort in others:
            others.remove(cohort)
        if not others:
            self._judging.pop(cohort.key, None)

    async def _judged(self, cohort: _Cohort, closing: Closing) -> dict[int, Outcome]:
        places = sorted(cohort.members)
        members = [cohort.members[place] for place in places]
        group = Group(
            prompt=members[0].prompt,
            responses=[member.response for member in members],
            reference=next((member.reference for member in members if member.reference is not None), None),
            id=cohort.key,
            step=members[0].step,
        )
        judge = self._judge_for(group)
        length = judge.tournament.length
        lengths = [length(member.response) if member.length is None else member.length for member in members]
        scores, rewards = await judge.score_whole(group, lengths, cohort.early)
        warn_of_unscored(judge.__name__, [scores])
        self.counts.update({"groups": 1, f"closed_{closing}": 1, "unscored": sum(one is None for one in rewards)})
        outcomes = self._outcomes(cohort, closing, scores, rewards, lengths)
        if self.on_judged is not None:
            self.on_judged(outcomes[0].metrics)
        return dict(zip(places, outcomes, strict=True))

    def _judge_for(self, group: Group) -> RRMJudge:
        """A response that is alone can still be compared with a given answer."""
        alone = len(group.responses) == 1 and group.reference is not None
        if alone and not self.judge.tournament.schedule.needs_reference:
            return self._against_reference
        return self.judge

    @functools.cached_property
    def _against_reference(self) -> RRMJudge:
        return self.judge.variant(schedule=schedule("reference"))

    def _outcomes(
        self,
        cohort: _Cohort,
        closing: Closing,
        scores: Scores,
        rewards: list[float | None],
        lengths: list[int],
    ) -> list[Outcome]:
        valid = [reward for reward in rewards if reward is not None]
        common = Outcome(
            reward=None,
            number=float(np.mean(valid)) if valid else 0.0,
            spread=float(np.std(valid)) if valid else 0.0,
            index=-1,
            members=len(rewards),
            expected=cohort.size,
            closing=closing,
            metrics=metrics.summary([scores], [lengths], self.judge.__name__),
            error=scores.error,
        )
        return [
            replace(common, index=index, reward=reward, number=common.number if reward is None else reward)
            for index, reward in enumerate(rewards)
        ]

    def _remember(self, cohort: _Cohort, outcomes: dict[int, Outcome]) -> None:
        if not cohort.index_of and not cohort.withdrawn:
            # Without ids the key is used again, and nobody could be recognised.
            return
        known = {id: outcomes[place] for id, place in cohort.index_of.items()}
        self._closed[cohort.key] = known
        while len(self._closed) > self.remember:
            self._closed.popitem(last=False)

    def _of_closed(self, key: str, member: Member) -> Outcome | None:
        """What a member of a group that was judged is told: its outcome again, or that it came too late."""
        known = self._closed.get(key)
        if member.id is None or known is None:
            return None
        if member.id in known:
            self.counts["repeated"] += 1
            return replace(known[member.id], repeated=True)
        self._note_late(key)
        outcomes = list(known.values())
        return late_outcome(outcomes[0].expected if outcomes else 0, outcomes)

    def _note_late(self, key: str) -> None:
        self.counts["late"] += 1
        logger.warning("a member of group %r came after the group was closed, and is unscored", key)

    async def _withdraw(self, key: str, id: str | None, size: int | None) -> None:
        gone = key in self._closed or (key in self._judging and id is not None)
        if gone and key not in self._open:
            return
        cohort = self._cohort(key, size)
        if id is not None and (id in cohort.index_of or id in cohort.withdrawn_ids):
            return
        if id is not None:
            cohort.withdrawn_ids.add(id)
        cohort.withdrawn += 1
        self.counts["withdrawn"] += 1
        cohort.note()

    def _leave(self, cohort: _Cohort, place: int | None, member: Member) -> None:
        self.counts["cancelled"] += 1
        if member.id is None and place is not None and cohort.collecting:
            cohort.unseat(place)

    async def _end(self) -> None:
        cohorts = [*self._open.values(), *(one for many in self._judging.values() for one in many)]
        owners = [cohort.owner for cohort in cohorts if cohort.owner is not None]
        for owner in owners:
            owner.cancel()
        await asyncio.gather(*owners, return_exceptions=True)
