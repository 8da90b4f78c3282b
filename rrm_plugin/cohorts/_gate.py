"""Collects members, has each group judged once, and tells every caller."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from rrm_plugin.cohorts._cohort import Cohort
from rrm_plugin.cohorts._members import Closing, Member, Outcome, late_outcome, nothing
from rrm_plugin.cohorts._past import Past
from rrm_plugin.cohorts._starting import answering
from rrm_plugin.engines.checks import number, whole
from rrm_plugin.errors import GateError, GateFullError, GroupError
from rrm_plugin.reporting.trainer_log import warn_of_unscored
from rrm_plugin.reward import RRMJudge
from rrm_plugin.schedules import schedule
from rrm_plugin.types import Group, Scores

__all__ = ["Gate"]

logger = logging.getLogger(__name__)


class Gate:
    """Collects members into groups and has each group judged once.

    Args:
        judge: scores the groups; its event loop is where they are kept.
        size: members of a group, where `join` is not told.
        deadline: seconds from the first member of a group until those who are there are judged.
        just_in_time: begin to judge with the second member, rather than with the last.
        capacity: most members in groups that are not judged yet; more are refused.
        start_within: seconds that `ready` waits for the judge's server; 0 does not look.
        remember: closed groups that are kept to answer repeats and late members; only numbers are kept of them.
        on_judged: told the metrics of each group that was judged, by the names of `metrics/names.py`.

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
        self.judge = judge
        self.size = None if size is None else whole("size", size, least=1)
        self.deadline = number("deadline", deadline, above=0)
        self.just_in_time = just_in_time
        self.capacity = whole("capacity", capacity, least=2)
        self.remember = whole("remember", remember, least=1)
        self.start_within = number("start_within", start_within, least=0)
        self.on_judged = on_judged
        self.counts: Counter[str] = Counter()
        """Since the start: `members`, `groups`, `repeated`, `late`, `withdrawn`, `cancelled`, `impatient`, `refused`,
        `unscored`, `closed_full`, `closed_released` and `closed_deadline`."""
        self._begin_anew()

    def _begin_anew_after_fork(self) -> None:
        if self._pid != os.getpid():
            # A fork copies the groups, and not the tasks that own them.
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._open: dict[str, Cohort] = {}
        self._judging: dict[str, list[Cohort]] = {}
        self._past = Past(self.remember)
        self._held = 0
        self._given = (0, 0.0)
        """How many rewards were given so far, and their sum."""

    @property
    def waiting(self) -> int:
        """Members of groups that are not judged yet."""
        return self._held

    @property
    def neutral(self) -> float:
        """For a host that needs a number where nothing was measured: the mean of all rewards given; 0 before the
        first.
        """
        count, total = self._given
        # Rounded as scores are, so that what is 0 but for the last bits of a float reads as 0.
        return round(total / count, 12) + 0.0 if count else 0.0

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
            patience: seconds after which this caller gets an unscored outcome. Its member stays in the group, and one
                with an id may ask again.

        Raises:
            GroupError: the size of the group is not known, or size or prompt differ from those of its first member.
            GateFullError: too many members wait.
            GateError: the gate was closed meanwhile.
            ConfigError: a setting of the judge cannot work.
            AlarmError: an alarm stands, and the judge was made with `alarms="stop"`.
        """
        self._begin_anew_after_fork()
        return await self.judge.on_loop(self._join(key, member, size or self.size, patience))

    async def withdraw(self, key: str, id: str | None = None, *, size: int | None = None) -> None:
        """A member will never come, its generation failed say: its group no longer waits for it.

        Args:
            id: of the member, if it has one; one that has come already stays. Without an id, a withdrawal that comes
                after its group was judged counts for the next group of that key.
            size: of the group, needed where this may be the first that is heard of it.
        """
        self._begin_anew_after_fork()
        await self.judge.on_loop(self._withdraw(key, id, size or self.size))

    async def close(self) -> None:
        """Ends all groups: their callers get a GateError. The judge stays open."""
        await self.judge.on_loop(self._end_all())

    def metrics(self) -> dict[str, float]:
        """Counts since the start and members waiting, under the judge's name."""
        counted = {f"{self.judge.__name__}/gate/{name}": float(count) for name, count in sorted(self.counts.items())}
        return counted | {f"{self.judge.__name__}/gate/waiting": float(self.waiting)}

    async def _join(self, key: str, member: Member, size: int | None, patience: float | None) -> Outcome:
        known = self._of_past(key, member)
        if known is not None:
            return known
        cohort, place, repeated = self._admit(key, member, size)
        try:
            # Not wait_for, which takes its time to pass a cancellation on: its caller may have come again by then.
            async with asyncio.timeout(patience) as limit:
                outcomes = await asyncio.shield(cohort.done)
        except TimeoutError:
            if not limit.expired():
                raise
            self.counts["impatient"] += 1
            return self._too_slow(cohort, member)
        except asyncio.CancelledError:
            if cohort.done.cancelled():
                raise GateError("the gate was closed before the group was judged") from None
            self._leave(cohort, place, member)
            raise
        if member.id is None and cohort.settled is not None:
            return self._too_slow(cohort, member)
        if place is None:
            return late_outcome(cohort.size, list(outcomes.values()), self.neutral)
        return replace(outcomes[place], repeated=repeated)

    def _too_slow(self, cohort: Cohort, member: Member) -> Outcome:
        """For one whose caller did not wait, and for those without an id whose sibling's caller did not.

        Who has an id may ask again. The others have heard their last: with a reward for some and the mean for the rest,
        a host would take those who came first, the short ones, for the middling ones.
        """
        if member.id is not None:
            told = self.neutral
        else:
            told = cohort.settled = self.neutral if cohort.settled is None else cohort.settled
        return nothing(Closing.IMPATIENT, cohort.size, "its caller, or that of a sibling, did not wait", told)

    def _admit(self, key: str, member: Member, size: int | None) -> tuple[Cohort, int | None, bool]:
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
        if self._held >= self.capacity:
            self.counts["refused"] += 1
            raise GateFullError(f"{self._held} members wait at the gate, which is its capacity")
        cohort = self._cohort(key, size)
        place = cohort.seat(member)
        self._held += 1
        self.counts["members"] += 1
        if not cohort.places:
            # Full: the next without an id belongs to the next group, even before the owner has had its turn.
            self._stop_collecting(cohort)
        return cohort, place, False

    def _of_key(self, key: str) -> list[Cohort]:
        return [*self._judging.get(key, ()), *filter(None, [self._open.get(key)])]

    def _cohort(self, key: str, size: int | None) -> Cohort:
        cohort = self._open.get(key)
        if size is None and cohort is None:
            raise GroupError(f"the size of group {key!r} is not known: give the gate a size, or each member")
        if cohort is None:
            cohort = self._open[key] = self._begin(key, size or 1)
        elif size is not None and size != cohort.size:
            raise GroupError(f"group {key!r} began with size {cohort.size}, and another member says {size}")
        return cohort

    def _begin(self, key: str, size: int) -> Cohort:
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        drawn = np.random.default_rng(int.from_bytes(digest[:16], "big")).permutation(size)
        cohort = Cohort(
            key=key,
            size=size,
            deadline=self.deadline,
            places=[int(place) for place in drawn],
            tournament=self.judge.tournament if self.just_in_time else None,
        )
        cohort.owner = asyncio.ensure_future(self._own(cohort))
        # A callback, since a task that is cancelled before its first step runs nothing of its own.
        cohort.owner.add_done_callback(functools.partial(self._end, cohort))
        return cohort

    async def _own(self, cohort: Cohort) -> dict[int, Outcome]:
        """Waits for the group, closes it and has it judged; nobody else does."""
        closing = await self._closing(cohort)
        self._stop_collecting(cohort)
        return await self._judged(cohort, closing) if cohort.members else {}

    def _end(self, cohort: Cohort, owner: asyncio.Task[dict[int, Outcome]]) -> None:
        """Tells the callers of a group what became of it, and clears it away."""
        cohort.stop_matches()
        self._stop_collecting(cohort)
        others = self._judging[cohort.key]
        others.remove(cohort)
        if not others:
            del self._judging[cohort.key]
        self._held -= len(cohort.members)
        if owner.cancelled():
            cohort.done.cancel()
            return
        error = owner.exception()
        self._past.keep(cohort, {} if error else owner.result(), error)
        if error is None:
            cohort.done.set_result(owner.result())
        else:
            cohort.done.set_exception(error)
            # Retrieved here, since every caller may have gone.
            cohort.done.exception()

    async def _closing(self, cohort: Cohort) -> Closing:
        try:
            # Not wait_for, which may pass over a cancellation that comes with the last member.
            async with asyncio.timeout(cohort.deadline):
                await cohort.complete.wait()
        except TimeoutError:
            # The last one may come in the same moment.
            if not cohort.complete.is_set():
                return Closing.DEADLINE
        return Closing.RELEASED if cohort.withdrawn else Closing.FULL

    def _stop_collecting(self, cohort: Cohort) -> None:
        if cohort.collecting:
            cohort.collecting = False
            del self._open[cohort.key]
            self._judging.setdefault(cohort.key, []).append(cohort)

    async def _judged(self, cohort: Cohort, closing: Closing) -> dict[int, Outcome]:
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
        # A group of one is an evaluation's, and says nothing of a training.
        watched = cohort.size > 1
        signs = [judge.tournament.look(group)]
        found = judge.lookout.metrics([scores], [lengths], signs, watched=watched)
        outcomes = self._outcomes(cohort, closing, scores, rewards, found)
        self._tell(found)
        if watched:
            judge.lookout.stop_if_alarmed()
        return dict(zip(places, outcomes, strict=True))

    def _tell(self, found: Mapping[str, float]) -> None:
        if self.on_judged is None:
            return
        try:
            self.on_judged(found)
        except Exception:
            logger.exception("on_judged failed; the rewards are not touched by that")

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
        cohort: Cohort,
        closing: Closing,
        scores: Scores,
        rewards: list[float | None],
        found: Mapping[str, float],
    ) -> list[Outcome]:
        valid = [reward for reward in rewards if reward is not None]
        self._given = (self._given[0] + len(valid), self._given[1] + sum(valid))
        common = Outcome(
            reward=None,
            number=float(np.mean(valid)) if valid else self.neutral,
            spread=float(np.std(valid)) if valid else 0.0,
            index=-1,
            members=len(rewards),
            expected=cohort.size,
            closing=closing,
            metrics=found,
            error=scores.error,
        )
        return [
            replace(common, index=index, reward=reward, number=common.number if reward is None else reward)
            for index, reward in enumerate(rewards)
        ]

    def _of_past(self, key: str, member: Member) -> Outcome | None:
        """What a member of a group that was judged is told: its outcome again, or that it came too late."""
        judged = self._past.get(key)
        if member.id is None or judged is None:
            return None
        known = judged.outcome_of(member.id)
        if known is not None:
            self.counts["repeated"] += 1
            return known
        self._note_late(key)
        return late_outcome(judged.expected, list(judged.outcomes.values()), self.neutral)

    def _note_late(self, key: str) -> None:
        self.counts["late"] += 1
        logger.warning("a member of group %r came after the group was closed, and is unscored", key)

    async def _withdraw(self, key: str, id: str | None, size: int | None) -> None:
        gone = key in self._past or key in self._judging
        if gone and key not in self._open:
            return
        if self._cohort(key, size).withdraw(id):
            self.counts["withdrawn"] += 1

    def _leave(self, cohort: Cohort, place: int | None, member: Member) -> None:
        self.counts["cancelled"] += 1
        if member.id is None and place is not None and cohort.collecting:
            cohort.unseat(place)
            self._held -= 1

    async def _end_all(self) -> None:
        cohorts = [*self._open.values(), *(one for many in self._judging.values() for one in many)]
        owners = [cohort.owner for cohort in cohorts if cohort.owner is not None]
        for owner in owners:
            owner.cancel()
        await asyncio.gather(*owners, return_exceptions=True)
