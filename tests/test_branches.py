"""A knockout goes on branch by branch, and is the tournament that it would be round by round."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_plugin.early import EarlyMatches
from rrm_plugin.engines import Reply, ScriptedEngine
from rrm_plugin.errors import ConfigError, GroupError
from rrm_plugin.judge import PairJudge
from rrm_plugin.looks import onward
from rrm_plugin.prompts import load_prompt
from rrm_plugin.reducers import reducer
from rrm_plugin.schedules import Orders, Schedule, Stepper, branching, schedule
from rrm_plugin.tournament import Tournament
from rrm_plugin.types import Group, Judgement, Match, Reason, Scores, Verdict
from tests.test_tournament import FIRST, SECOND, shown

ORDERS: tuple[Orders, ...] = ("both", "balanced", "random", "fixed")
SIDES = "knockout:0,1,2,3,4,5,6,7"
"""The upper half has 0, 7, 3 and 4, the lower one 1, 6, 2 and 5; if the larger number wins, 7 meets 4 there, and 6
meets 5 here.
"""
PATIENCE = 5000
"""Turns of the event loop that a slow call takes: not for ever, so that a test that waits for it fails and ends."""


def drawn(*of: object) -> random.Random:
    return random.Random(hashlib.sha256(repr(of).encode()).digest())


class Asked:
    """A stepper that can only be asked for rounds."""

    def __init__(self, stepper: Stepper) -> None:
        self.next_matches = stepper.next_matches


@dataclass(frozen=True)
class ByRounds:
    """A schedule that is played round by round, whatever it could do."""

    of: Schedule

    def __getattr__(self, name: str):
        return getattr(self.of, name)

    def among(self, player_of):
        return self

    def start(self, n, orders, rng) -> Stepper:
        return Asked(self.of.start(n, orders, rng))


class Late:
    """A judge whose verdicts hang on what it is shown and how often it was, and whose replies come when they like."""

    def __init__(self, judge: int, arrival: int | None) -> None:
        self._judge, self._arrival = judge, arrival
        self._asked: Counter[tuple[str, str]] = Counter()

    async def __call__(self, messages) -> Reply:
        pair = shown(messages)
        self._asked[pair] += 1
        call = (*pair, self._asked[pair])
        if self._arrival is not None:
            for _ in range(drawn(self._arrival, *call).choice((0, 1, 5, 25, 100))):
                await asyncio.sleep(0)
        text = drawn(self._judge, *call).choice((FIRST, SECOND, SECOND, "I wonder."))
        return Reply(text=text, finished=True, prompt_tokens=1, completion_tokens=1, seconds=0.125, engine="late")


def tournament(reply, plan: Schedule | str = "knockout", **others) -> Tournament:
    judge = PairJudge(engine=ScriptedEngine(reply), prompt=load_prompt("rrm"))
    others = {"reducer": reducer("win_rate")} | others
    return Tournament(judge=judge, schedule=schedule(plan), **others)


def played(play: Tournament, texts: list[str]) -> Scores:
    return asyncio.run(play.score_group(Group(prompt="q", responses=texts)))


# ---------------------------------------------------------------- the same tournament


@given(
    size=st.integers(2, 17),
    orders=st.sampled_from(ORDERS),
    seed=st.integers(0, 99),
    arrival=st.integers(0, 10**6),
    votes=st.sampled_from([1, 3]),
    first_tokens=st.sampled_from([None, 1000]),
    seeded=st.booleans(),
    alike=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_whatever_comes_first_the_scores_are_those_of_rounds(
    size: int, orders: Orders, seed: int, arrival: int, votes: int, first_tokens: int | None, seeded: bool, alike: int
) -> None:
    texts = [str(number) for number in range(size)] + ["0"] * alike
    plan = schedule("knockout" if not seeded or alike else "knockout:" + ",".join(map(str, reversed(range(size)))))
    others = {"orders": orders, "seed": seed, "votes": votes, "first_tokens": first_tokens}
    others["reducer"] = reducer("elo:32:sequential")
    rounds = played(tournament(Late(seed, None), ByRounds(plan), **others), texts)
    branches = played(tournament(Late(seed, arrival), plan, **others), texts)
    assert branches == rounds
    assert [one.match.round for one in rounds.judgements] == sorted(one.match.round for one in rounds.judgements)


def verdict(match: Match, seed: int) -> Judgement:
    options = (Verdict.FIRST, Verdict.SECOND, Verdict.TIE, None)
    said = drawn(seed, match.first, match.second).choice(options)
    return Judgement(verdict=said, match=match, reason=None if said else Reason.CUT_OFF)


def by_rounds(stepper: Stepper, seed: int) -> list[Match]:
    judgements: list[Judgement] = []
    while matches := stepper.next_matches(judgements):
        judgements += [verdict(match, seed) for match in matches]
    return [one.match for one in judgements if one.match]


def by_branches(stepper: Stepper, seed: int, arrival: int, single: bool = False) -> list[Match]:
    """In the order of play; `single` tells of each match by itself, in whichever order."""
    asked, chance = branching(stepper), random.Random(arrival)
    all_matches: dict[int, Match] = {}
    out: list[dict[int, Match]] = []
    fresh = dict(asked.matches_after({}))
    while fresh or out:
        assert not fresh.keys() & all_matches.keys(), "handed out twice"
        all_matches |= fresh
        pairs = {match.pair for match in fresh.values()}
        out += [{place: match for place, match in fresh.items() if match.pair == pair} for pair in pairs]
        if single:
            out = [{place: match} for own in out for place, match in own.items()]
        settled = out.pop(chance.randrange(len(out)))
        fresh = dict(asked.matches_after({place: verdict(match, seed) for place, match in settled.items()}))
    assert sorted(all_matches) == list(range(len(all_matches)))
    return [all_matches[place] for place in sorted(all_matches)]


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize("spec", ["knockout", "swiss:3", "adaptive", "random:2"])
def test_matches_and_their_order_of_play_do_not_hang_on_arrival(spec: str, orders: Orders, single: bool) -> None:
    for n in [*range(18), 33, 64][: 10 if spec == "adaptive" else None]:
        start = lambda n=n: schedule(spec).start(n, orders, np.random.default_rng(n))  # noqa: E731
        expected = by_rounds(start(), n)
        assert all(by_branches(start(), n, arrival, single) == expected for arrival in range(3))


@pytest.mark.parametrize(
    ("orders", "pairs"),
    [
        ("both", "45 54 04 40 86 68 13 31 27 72 08 80 32 23 83 38"),
        ("random", "45 40 86 13 27 80 23 03"),
        ("balanced", "45 04 86 13 27 80 32 02"),
        ("fixed", "45 04 68 13 27 06 23 03"),
    ],
)
def test_the_seed_keeps_giving_the_same_tournament(orders: Orders, pairs: str) -> None:
    matches = by_rounds(schedule("knockout").start(9, orders, np.random.default_rng(4)), 0)
    assert [f"{match.first}{match.second}" for match in matches] == pairs.split()


# ---------------------------------------------------------------- who waits for whom


class Sides:
    """Prefers the larger number, and takes its time with one pair."""

    def __init__(self, slow: set[str], after: Callable[[set[str]], None] = lambda pair: None):
        self.slow, self.after = slow, after
        self.log: list[tuple[str, frozenset[str]]] = []

    async def __call__(self, messages) -> str:
        first, second = shown(messages)
        pair = frozenset((first, second))
        self.log.append(("began", pair))
        try:
            for _ in range(PATIENCE if pair == self.slow else 1):
                await asyncio.sleep(0)
            self.after(set(pair))
        except asyncio.CancelledError:
            self.log.append(("cancelled", pair))
            raise
        self.log.append(("ended", pair))
        return FIRST if float(first) > float(second) else SECOND

    def when(self, what: str, *pair: str) -> int:
        return self.log.index((what, frozenset(pair)))


def test_a_semi_final_begins_before_a_slow_quarter_final_of_the_other_branch_ends() -> None:
    sides = Sides({"2", "5"})
    scores = played(tournament(sides, SIDES), list("01234567"))
    assert sides.when("ended", "4", "7") < sides.when("ended", "2", "5") < sides.when("began", "5", "6")
    assert scores.ranking[0] == 7 and scores.calls == 14
    waiting = Sides({"2", "5"})
    played(tournament(waiting, ByRounds(schedule(SIDES))), list("01234567"))
    assert waiting.when("ended", "2", "5") < waiting.when("began", "4", "7")


def test_swiss_waits_for_its_round() -> None:
    sides = Sides({"2", "5"})
    scores = played(tournament(sides, "swiss:7"), list("01234567"))
    rounds = {one.match.round: one.match for one in scores.judgements}
    assert len(rounds) == 7
    (slow,) = {one.match.round for one in scores.judgements if one.match.pair == (2, 5)}
    late = {frozenset(map(str, one.match.pair)) for one in scores.judgements if one.match.round > slow}
    assert all(sides.when("began", *pair) > sides.when("ended", "2", "5") for pair in late)


def test_two_that_have_no_rival_in_the_first_round_meet_at_once() -> None:
    play = tournament(Sides(set()), "knockout:0,1,2,3,4", orders="fixed")
    begun = play.first_matches(play.prepare_query("q"), range(5), 5)
    assert [(match.pair, match.round) for match in begun] == [((3, 4), 0), ((1, 2), 1)]


def test_what_was_begun_early_is_taken() -> None:
    async def main() -> tuple[Scores, int]:
        sides = Sides({"1", "2"})
        play = tournament(sides, "knockout:0,1,2,3,4")
        early = EarlyMatches(play, "q", 5)
        for index in range(5):
            early.seat(index, str(index))
        begun = len(early._begun)
        scores = await play.score_group(Group(prompt="q", responses=list("01234")), early)
        assert Counter(what for what, _ in sides.log) == {"began": 8, "ended": 8}
        return replace(scores, usage=replace(scores.usage, seconds=0.0)), begun

    scores, begun = asyncio.run(main())
    assert begun == 4 and scores.calls == 8 and scores.ranking[:2] == [4, 2]


# ---------------------------------------------------------------- what ends in the middle


async def at_rest() -> set[asyncio.Task]:
    """What still runs, but for the caller, when everybody had time to end."""
    for _ in range(20):
        await asyncio.sleep(0)
    return asyncio.all_tasks() - {asyncio.current_task()}


def test_an_error_in_one_branch_ends_the_other() -> None:
    def fail(pair: set[str]) -> None:
        if pair == {"7", "4"}:
            raise ConfigError("model= is not served")

    async def main() -> None:
        sides = Sides({"2", "5"}, after=fail)
        with pytest.raises(ConfigError, match="not served"):
            await tournament(sides, SIDES).score_group(Group(prompt="q", responses=list("01234567")))
        assert not await at_rest()
        assert sides.log.count(("cancelled", frozenset("25"))) == 2
        assert ("began", frozenset("65")) not in sides.log

    asyncio.run(main())


def test_a_cancelled_group_leaves_nothing_running() -> None:
    async def main() -> None:
        reached = asyncio.Event()

        def tell(pair: set[str]) -> None:
            if pair == {"7", "4"}:
                reached.set()

        sides = Sides({"2", "5"}, after=tell)
        group = asyncio.ensure_future(
            tournament(sides, SIDES).score_group(Group(prompt="q", responses=list("01234567")))
        )
        await reached.wait()
        group.cancel()
        with pytest.raises(asyncio.CancelledError):
            await group
        assert not await at_rest()
        assert sides.log.count(("cancelled", frozenset("25"))) == 2

    asyncio.run(main())


def test_a_call_that_is_cancelled_from_within_is_not_forgotten() -> None:
    def cancel(pair: set[str]) -> None:
        if pair == {"7", "4"}:
            raise asyncio.CancelledError

    async def main() -> None:
        group = tournament(Sides(set(), after=cancel), SIDES).score_group(Group(prompt="q", responses=list("01234567")))
        with pytest.raises(asyncio.CancelledError):
            await group

    asyncio.run(main())


@dataclass(frozen=True)
class Given:
    """A schedule of one's own whose stepper is given."""

    stepper: Stepper
    name: str = "given"
    needs_reference: bool = False

    def start(self, n, orders, rng) -> Stepper:
        return self.stepper

    def calls(self, n, orders) -> int:
        return 0


def test_a_schedule_that_fails_in_the_middle_is_its_groups_error() -> None:
    class Failing:
        def next_matches(self, judgements):
            raise AssertionError("asked for rounds")

        def matches_after(self, judgements):
            if judgements:
                raise GroupError("no idea how to go on")
            return {0: Match(first=0, second=1), 1: Match(first=2, second=3)}

    async def main() -> None:
        sides = Sides({"2", "3"})
        scores = await tournament(sides, Given(Failing())).score_group(Group(prompt="q", responses=list("0123")))
        assert scores.error == "no idea how to go on"
        assert not await at_rest()
        assert sides.log[-1] == ("cancelled", frozenset("23"))

    asyncio.run(main())


def test_a_schedule_of_ones_own_that_knows_rounds_alone_is_told_all_in_order() -> None:
    class Own:
        def __init__(self) -> None:
            self.told: list[list[Match | None]] = []

        def next_matches(self, judgements):
            self.told.append([one.match for one in judgements])
            return rounds[len(self.told) - 1] if len(self.told) <= len(rounds) else []

    rounds = [
        [Match(first=0, second=1), Match(first=2, second=3), Match(first=1, second=0), Match(first=0, second=1)],
        [Match(first=3, second=0, round=1)],
    ]
    for arrival in range(10):
        own = Own()
        scores = played(tournament(Late(0, arrival), Given(own)), list("0123"))
        assert own.told == [[], rounds[0], [*rounds[0], *rounds[1]]]
        assert [one.match for one in scores.judgements] == [*rounds[0], *rounds[1]]


# ---------------------------------------------------------------- calls that call for more


def test_each_result_calls_for_more() -> None:
    async def half(number: int) -> int:
        for _ in range(number % 7):
            await asyncio.sleep(0)
        return number // 2

    async def main() -> list[int]:
        seen: list[int] = []

        def after(number: int):
            seen.append(number)
            return [half(number), half(number)] if number > 1 else []

        await onward([half(16), half(3)], after)
        return sorted(seen)

    assert asyncio.run(main()) == sorted([8, *[4] * 2, *[2] * 4, *[1] * 8, 1])


def test_no_calls_are_no_wait() -> None:
    asyncio.run(onward([], lambda _: pytest.fail("there is no result")))


def test_of_errors_at_a_time_the_first_is_raised_and_the_others_are_no_surprise() -> None:
    async def fail(number: int) -> None:
        await asyncio.sleep(0)
        raise ValueError(number)

    async def main() -> list[dict]:
        surprises: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: surprises.append(context))
        with pytest.raises(ValueError, match="0"):
            await onward([fail(0), fail(1), fail(2)], lambda _: [])
        await at_rest()
        gc.collect()
        return surprises

    assert asyncio.run(main()) == []
