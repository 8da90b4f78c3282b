"""Plays the matches of groups and reduces their judgements to scores.

All matches that a schedule allows at a time are judged at once, in all groups together, and more are asked for as they
end; how many calls run at a time is the engine's own limit. A group that cannot be scored says why in its scores and
disturbs no other.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from rrm_plugin import consistency
from rrm_plugin.errors import ConfigError, RRMError
from rrm_plugin.judge import PairJudge
from rrm_plugin.looks import Early, Looks, Shown, majority_of, onward, together
from rrm_plugin.metrics.openings import Signs, signs_of
from rrm_plugin.prompts import Guarded, response_text
from rrm_plugin.reducers import Outcomes, Reducer
from rrm_plugin.schedules import NamesMembers, Orders, Schedule, Stepper, branching
from rrm_plugin.types import Group, Judgement, Match, Prompt, Response, Scores, Usage

__all__ = ["SameAs", "Tournament"]

logger = logging.getLogger(__name__)

GROUPS_IN_PLAY = 512
"""Groups whose matches are held in memory at a time: enough to keep any engine full, and no more."""

ALIKE = Outcomes(sizes=[2], group=[0], first=[0], second=[1], round=[0], points=[0.5])  # pyright: ignore
"""Responses that are all the same are as good as each other; no judge has to be asked."""

Result = TypeVar("Result")

SameAs = Callable[[str], Hashable | None]
"""From a response's text (without its thinking) to a key; responses with equal keys are judged once, None is like no
other.
"""


@dataclass(frozen=True, kw_only=True)
class Tournament:
    """A judge, who meets whom, and how verdicts become scores.

    Args:
        judge: makes the calls.
        schedule: which responses meet.
        reducer: turns the verdicts of a group into one number per response.
        orders: in which orders a pair is shown, see `schedules`.
        votes: most calls per match; it ends as soon as the rest cannot change its majority.
        seed: of all that is drawn at random; together with a group's texts it decides every draw.
        same_as: widens what counts as the same response.
        keep_thinking: show the judge what responses hold between thinking tags, too.
        first_tokens: most tokens of a first look at each match; the judge's own limit is then that of the second look,
            which a pair gets where its orders disagree or one has no verdict. None looks once.
    """

    judge: PairJudge
    schedule: Schedule
    reducer: Reducer
    orders: Orders = "both"
    votes: int = 1
    seed: int = 0
    same_as: SameAs | None = None
    keep_thinking: bool = False
    first_tokens: int | None = None

    async def score(self, groups: Iterable[Group]) -> list[Scores]:
        """Scores of each group, in the order given; the groups are played side by side.

        Raises:
            ConfigError: a setting cannot work; no group can be scored.
        """
        places = asyncio.Semaphore(GROUPS_IN_PLAY)

        async def score_in_turn(group: Group) -> Scores:
            async with places:
                return await self.score_group(group)

        return await together(score_in_turn(group) for group in groups)

    async def score_group(self, group: Group, early: Early | None = None) -> Scores:
        """Scores of one group. What goes wrong with it stands in `Scores.error`.

        Args:
            early: matches of this group that are under way already.

        Raises:
            ConfigError: a setting cannot work.
        """
        try:
            entry = self._enter(group)
            if isinstance(entry, str):
                return self._unscored(group, entry)
            judgements = await self._play(entry, early)
            return self._reduce(group, entry, judgements, early.close() if early else Usage())
        except ConfigError:
            raise
        except RRMError as error:
            return self._unscored(group, str(error))
        except Exception as error:
            logger.exception("a group could not be scored")
            return self._unscored(group, f"{type(error).__name__}: {error}")
        finally:
            if early is not None:
                early.close()

    async def compare(self, prompt: Prompt, first: Response, second: Response, *, both_orders: bool) -> Judgement:
        """The judgement of one pair outside a group; by position given, the swapped order's turned round.

        Raises:
            ConfigError: a setting cannot work.
        """
        query, one, other = self.prepare_query(prompt), self.prepare(first), self.prepare(second)
        if not both_orders:
            (judgement,) = await self.looks.settled(query, [Shown(one, other)])
            return judgement
        straight, swapped = await self.looks.settled(query, [Shown(one, other), Shown(other, one)])
        both = majority_of([straight, _turned(swapped)])
        missing = next((one for one in (straight, swapped) if one.verdict is None), None)
        # One order alone could be the judge's liking for a position, which is what showing both is to rule out.
        if missing is not None:
            return replace(both, verdict=None, reason=missing.reason, detail=missing.detail, chance=None)
        agree = straight.verdict is _turned(swapped).verdict
        return both if agree else replace(both, detail="the two orders disagree")

    async def record(
        self,
        groups: Sequence[Group],
        scored: Sequence[tuple[Scores, Sequence[float | None] | None]],
        lengths: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Writes scored groups into the judge's ledger, where there is one.

        Args:
            groups: in any number.
            scored: of each, its scores and what a trainer gets.
            lengths: of each, the lengths of its responses in tokens, where they are known.
        """
        ledger = self.judge.ledger
        if ledger is None:
            return
        sizes = [None] * len(groups) if lengths is None else lengths
        writes = (
            ledger.record_group(group, *result, own) for group, result, own in zip(groups, scored, sizes, strict=True)
        )
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(outcome, Exception):
                logger.error("a scored group was not recorded: %s", outcome)

    def length(self, response: Response) -> int:
        """Characters of a response as the judge would be shown it."""
        return len(response_text(response, keep_thinking=self.keep_thinking))

    def look(self, group: Group) -> Signs:
        """How the responses of a group begin, and which of them speak to the judge."""
        try:
            texts = [response_text(response, keep_thinking=self.keep_thinking) for response in group.responses]
        except Exception:
            # What cannot be read is unscored, with the reason in its scores; there is nothing to see in it.
            texts = [""] * len(group.responses)
        return signs_of(texts, self.judge.prompt.grammar)

    def prepare_query(self, prompt: Prompt) -> Guarded:
        """What was asked, as the judge is shown it."""
        return self.judge.prompt.prepare_query(prompt, special_tokens=self.judge.engine.special_tokens)

    def prepare(self, response: Response) -> Guarded:
        """A response, as the judge is shown it."""
        return self.judge.prompt.prepare(
            response, special_tokens=self.judge.engine.special_tokens, keep_thinking=self.keep_thinking
        )

    def key(self, response: Response) -> Hashable | None:
        """What `same_as` makes of a response; None where it is like no other for all that is known."""
        return None if self.same_as is None else self.same_as(response_text(response))

    def start(self, query: Guarded, player_of: Sequence[int], players: int) -> Stepper:
        """The tournament of a group.

        Draws depend on what was asked and on how many play, so that it matters neither which process plays it nor
        when, and first matches are known before the last response is.

        Args:
            player_of: for each response, which of the distinct ones it is.
            players: how many distinct ones there are, a reference included.
        """
        schedule = self.schedule
        if isinstance(schedule, NamesMembers):
            schedule = schedule.among(player_of)
        return schedule.start(players, self.orders, _generator(self.seed, query, players))

    def first_matches(self, query: Guarded, player_of: Sequence[int], players: int) -> list[Match]:
        """The matches of a group that can be judged before any verdict; `start` says of whom."""
        return list(branching(self.start(query, player_of, players)).matches_after({}).values())

    @property
    def looks(self) -> Looks:
        """How a single match is judged."""
        return Looks(judge=self.judge, votes=self.votes, first_tokens=self.first_tokens)

    def _enter(self, group: Group) -> _Entry | str:
        """Who plays: the distinct responses, and a given reference last. A text where nobody can."""
        if not group.responses:
            return "the group is empty"
        schedule = self.schedule
        entry = _Entry(query=self.prepare_query(group.prompt))
        if schedule.needs_reference:
            if group.reference is None:
                return (
                    f"schedule={schedule.name!r} compares with a given answer, and this group has none as 'reference'"
                )
            entry.admit(self.prepare(group.reference), self.key(group.reference))
        for response in group.responses:
            entry.admit(self.prepare(response), self.key(response))
        if schedule.needs_reference:
            entry.move_first_to_end()
        elif len(group.responses) == 1:
            return (
                "a group of one response has nothing to be compared with: make it larger (num_generations, "
                "num_generations_eval), or compare with a given answer (schedule='reference')"
            )
        return entry

    async def _play(self, entry: _Entry, early: Early | None) -> list[Judgement]:
        """The judgements of all matches, in the order of play."""
        stepper = branching(self.start(entry.query, entry.player_of, len(entry.players)))
        judged: dict[int, Judgement] = {}

        def go_on(settled: Mapping[int, Judgement]) -> list[Awaitable[dict[int, Judgement]]]:
            judged.update(settled)
            return [self._settle(entry, own, early) for own in _by_pair(stepper.matches_after(settled))]

        await onward(go_on({}), go_on)
        return [judged[place] for place in sorted(judged)]

    async def _settle(self, entry: _Entry, matches: Mapping[int, Match], early: Early | None) -> dict[int, Judgement]:
        """The matches of one pair, which wait for each other and for nobody else."""
        shown = [Shown(entry.players[match.first], entry.players[match.second], match) for match in matches.values()]
        return dict(zip(matches, await self.looks.settled(entry.query, shown, early), strict=True))

    def _reduce(self, group: Group, entry: _Entry, judgements: Sequence[Judgement], unused: Usage) -> Scores:
        players = len(entry.players)
        ratings = self.reducer(Outcomes.from_judgements([(players, judgements)]) if players > 1 else ALIKE)
        # Rounded, so that what is 0 but for the last bits of a float reads as 0.
        values = [None if np.isnan(value) else round(float(value), 12) + 0.0 for value in ratings.values[0, :players]]
        ballots = [ballot for judgement in judgements for ballot in judgement.ballots]
        return Scores(
            values=[values[player] for player in entry.player_of],
            judgements=tuple(_spread(judgements, entry)),
            usage=sum((ballot.usage for ballot in ballots), unused),
            converged=bool(ratings.converged[0]),
            position_bias=ratings.position_bias_of(0),
            agreement=consistency.agreement(judgements),
            first_rate=consistency.first_rate(judgements),
            cycles=consistency.cycles(players, judgements),
            duplicates=len(group.responses) - len(set(entry.player_of)),
            failures=Counter(ballot.reason.value for ballot in ballots if ballot.reason is not None),
            error=_silence(ballots),
            settings=self.settings,
        )

    def _unscored(self, group: Group, error: str) -> Scores:
        return Scores(values=[None] * len(group.responses), error=error, settings=self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """What made the scores, as plain values."""
        return {
            "schedule": self.schedule.name,
            "orders": self.orders,
            "votes": self.votes,
            "reducer": self.reducer.name,
            "prompt": self.judge.prompt.name,
            "engine": self.judge.engine.name,
            "temperature": self.judge.sampling.temperature,
            "max_tokens": self.judge.sampling.max_tokens,
            "first_tokens": self.first_tokens,
            "seed": self.seed,
            # Said where it is so, as the settings in older ledgers say nothing of it.
            **({"soft_verdicts": True} if self.judge.sampling.top_logprobs else {}),
        }


@dataclass(kw_only=True)
class _Entry:
    """The distinct responses of a group, and which of them each response is."""

    query: Guarded
    players: list[Guarded] = field(default_factory=list)
    player_of: list[int] = field(default_factory=list)
    _known: dict[Hashable, int] = field(default_factory=dict)

    def admit(self, text: Guarded, key: Hashable | None) -> None:
        # A key of the user's own must not be taken for a text that happens to equal it.
        known = ("text", text) if key is None else ("key", key)
        if known not in self._known:
            self._known[known] = len(self.players)
            self.players.append(text)
        self.player_of.append(self._known[known])

    def move_first_to_end(self) -> None:
        """Takes the first admitted for the reference: last of the players, and no response."""
        self.players.append(self.players.pop(0))
        self.player_of = [(player - 1) % len(self.players) for player in self.player_of[1:]]


def _by_pair(matches: Mapping[int, Match]) -> list[dict[int, Match]]:
    pairs: dict[tuple[int, int], dict[int, Match]] = defaultdict(dict)
    for place, match in matches.items():
        pairs[match.pair][place] = match
    return list(pairs.values())


def _silence(ballots: Sequence[Judgement]) -> str | None:
    """What to say of a group none of whose calls came to a verdict."""
    if not ballots or any(ballot.verdict is not None for ballot in ballots):
        return None
    first = ballots[0]
    return (
        f"none of {len(ballots)} judge calls came to a verdict; the first: {first.reason}, {first.detail or 'no text'}"
    )


def _turned(judgement: Judgement) -> Judgement:
    """A judgement of the swapped order, its verdicts as of the order given; its texts stay as they were said."""
    votes = tuple(_turned(vote) for vote in judgement.votes)
    verdict = judgement.verdict and judgement.verdict.swapped
    detail = "said of the two in the other order" if verdict else judgement.detail
    chance = None if judgement.chance is None else 1.0 - judgement.chance
    return replace(judgement, verdict=verdict, votes=votes, detail=detail, chance=chance)


def _generator(seed: int, query: Guarded, players: int) -> np.random.Generator:
    text = f"{seed}\0{players}\0{query}".encode("utf-8", "surrogatepass")
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:16], "big"))


def _spread(judgements: Sequence[Judgement], entry: _Entry) -> Iterable[Judgement]:
    """The same judgements with the matches of players told as matches of responses; a given reference comes after the
    last response.
    """
    responses = {player: index for index, player in reversed(list(enumerate(entry.player_of)))}
    reference = len(entry.player_of)
    for judgement in judgements:
        match = judgement.match
        assert match is not None
        named = replace(
            match, first=responses.get(match.first, reference), second=responses.get(match.second, reference)
        )
        votes = tuple(replace(vote, match=named) for vote in judgement.votes)
        yield replace(judgement, match=named, votes=votes)
