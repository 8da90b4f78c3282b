"""How often a match is put to the judge: votes, and a second look where the first leaves a pair in doubt.

Left out: which matches there are, and what one call is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar

from rrm_plugin.judge import PairJudge
from rrm_plugin.prompts import Guarded
from rrm_plugin.types import Judgement, Match, Reason, Usage, Verdict

__all__ = ["Early", "Looks", "Shown", "majority_of", "onward", "together"]

Result = TypeVar("Result")


class Early(Protocol):
    """Matches of a group that are being judged before the group is whole; `early.py` makes them."""

    def take(self, first: Guarded, second: Guarded) -> Awaitable[Judgement] | None:
        """The judgement of these two texts in this order, once; None where it was not begun."""
        ...

    def close(self) -> Usage:
        """Ends what was not taken, and says what it took; again as often as asked."""
        ...


class Shown(NamedTuple):
    """Two texts in the order in which a judge sees them."""

    first: Guarded
    second: Guarded
    match: Match | None = None


@dataclass(frozen=True, kw_only=True)
class Looks:
    """A judge, and how often it is asked about one match.

    Args:
        judge: makes the calls.
        votes: most calls per match; it ends as soon as the rest cannot change its majority.
        first_tokens: most tokens of a first look; the judge's own limit is then that of the second, which a pair gets
            where its orders disagree or one has no verdict. None looks once.
    """

    judge: PairJudge
    votes: int = 1
    first_tokens: int | None = None

    async def first_look(self, query: Guarded, first: Guarded, second: Guarded, match: Match | None) -> Judgement:
        """The judgement of one match, within the tokens of a first look; the only look where there is no other."""
        judge = self.judge
        if self.first_tokens is not None:
            judge = replace(judge, sampling=replace(judge.sampling, max_tokens=self.first_tokens))
        return await self._voted(judge, query, first, second, match)

    async def _voted(
        self, judge: PairJudge, query: Guarded, first: Guarded, second: Guarded, match: Match | None
    ) -> Judgement:
        """By majority where several votes are cast, in waves, each just large enough that it could settle it."""
        if self.votes == 1:
            return await judge.judge(query, first, second, match)
        ballots: list[Judgement] = []
        while wave := _votes_needed(ballots, self.votes):
            numbers = range(len(ballots), len(ballots) + wave)
            ballots += await together(judge.judge(query, first, second, match, vote) for vote in numbers)
        return majority_of(ballots)

    async def settled(self, query: Guarded, shown: Sequence[Shown], early: Early | None = None) -> list[Judgement]:
        """The judgements of one pair in the orders shown, after a second look where the first leaves it in doubt."""
        looks = await together(self._looked(query, one, early) for one in shown)
        if self.first_tokens is None or not _in_doubt(shown, looks):
            return looks
        return await together(self._looked_again(query, *both) for both in zip(shown, looks, strict=True))

    async def _looked(self, query: Guarded, shown: Shown, early: Early | None) -> Judgement:
        begun = early.take(shown.first, shown.second) if early else None
        if begun is None:
            return await self.first_look(query, *shown)
        judgement = await begun
        votes = tuple(replace(vote, match=shown.match) for vote in judgement.votes)
        return replace(judgement, match=shown.match, votes=votes)

    async def _looked_again(self, query: Guarded, shown: Shown, look: Judgement) -> Judgement:
        judgement = await self._voted(self.judge, query, *shown)
        reason = judgement.reason
        if reason is not None and reason.of_engine and reason is not Reason.OVER_BUDGET:
            # The engine failed this time; what the short look found still stands. A second look that the budget
            # refused does not fail: scores of first looks alone would be those of another judge.
            return look
        first, *others = judgement.ballots
        # The first look was paid for too, and its cost has to stand somewhere.
        paid = replace(first, usage=first.usage + sum((one.usage for one in look.ballots), Usage()), escalated=True)
        if not judgement.votes:
            return paid
        ballots = (paid, *(replace(one, escalated=True) for one in others))
        return replace(judgement, votes=ballots, usage=sum((one.usage for one in ballots), Usage()), escalated=True)


def majority_of(ballots: Sequence[Judgement]) -> Judgement:
    """One judgement of several votes on the same match.

    The verdict with most votes; an even split is a tie, since it was measured; votes without a verdict do not count,
    and where there is no other, the commonest reason stands. Text and engine are those of the first vote that says what
    the majority says; where chances are known, the chance is the mean over all votes with a verdict.
    """
    counted = Counter(ballot.verdict for ballot in ballots if ballot.verdict is not None)
    usage = sum((ballot.usage for ballot in ballots), Usage())
    if not counted:
        reason = Counter(ballot.reason for ballot in ballots).most_common(1)[0][0]
        speaker = next(ballot for ballot in ballots if ballot.reason is reason)
        return replace(speaker, key="", usage=usage, votes=tuple(ballots), chance=None)
    most = max(counted.values())
    leaders = [verdict for verdict, count in counted.items() if count == most]
    verdict = leaders[0] if len(leaders) == 1 else Verdict.TIE
    speaker = next((ballot for ballot in ballots if ballot.verdict is verdict), ballots[0])
    chance = _mean_chance(ballots)
    return replace(speaker, verdict=verdict, reason=None, key="", usage=usage, votes=tuple(ballots), chance=chance)


def _mean_chance(ballots: Sequence[Judgement]) -> float | None:
    if all(ballot.chance is None for ballot in ballots):
        return None
    points = [ballot.points for ballot in ballots if ballot.points is not None]
    return sum(points) / len(points)


def _in_doubt(shown: Sequence[Shown], looks: Sequence[Judgement]) -> bool:
    """Whether the judge left a pair without a verdict, or contradicts itself about it.

    An engine that failed says nothing about the pair, and would fail again.
    """
    told = {
        look.verdict and (look.verdict if one.first == shown[0].first else look.verdict.swapped)
        for one, look in zip(shown, looks, strict=True)
        if look.reason is None or not look.reason.of_engine
    }
    return len(told) > 1 or None in told


def _votes_needed(ballots: Sequence[Judgement], votes: int) -> int:
    """How many more votes to cast at once: the fewest that can settle the majority, none when it is settled."""
    rest = votes - len(ballots)
    counts = Counter(ballot.verdict for ballot in ballots if ballot.verdict is not None)
    ordered = [*sorted(counts.values(), reverse=True), 0, 0]
    lead = ordered[0] - ordered[1]
    return 0 if lead > rest else min(rest, (rest - lead) // 2 + 1)


async def together(calls: Iterable[Awaitable[Result]]) -> list[Result]:
    """All results in order; the first error ends the calls that still run, rather than leaving them to run on
    unseen.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


async def onward(calls: Iterable[Awaitable[Result]], after: Callable[[Result], Iterable[Awaitable[Result]]]) -> None:
    """Waits for calls and for those that each result calls for, until there are none; the first error ends all others.

    Args:
        after: the calls to begin once this result is there.
    """
    under_way: set[asyncio.Future[Result]] = set()
    settled: asyncio.Queue[asyncio.Future[Result]] = asyncio.Queue()

    def begin(calls: Iterable[Awaitable[Result]]) -> None:
        for task in map(asyncio.ensure_future, calls):
            under_way.add(task)
            task.add_done_callback(settled.put_nowait)

    try:
        begin(calls)
        while under_way:
            task = await settled.get()
            under_way.remove(task)
            begin(after(task.result()))
    except BaseException:
        for task in under_way:
            task.cancel()
            task.add_done_callback(_noticed)
        raise


def _noticed(task: asyncio.Future[Result]) -> None:
    """An error after the first is not told, but it is no surprise either: asyncio would log it as never seen."""
    if not task.cancelled():
        task.exception()
