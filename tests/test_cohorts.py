"""The gate: whole groups from single calls, in any order of arrival and whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import sqlite3
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_plugin import ConfigError, EngineUnavailableError, GroupError, RRMJudge
from rrm_plugin.cohorts import Closing, Gate, Member, _starting
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.errors import EngineError, GateError, GateFullError
from rrm_plugin.types import Reason

PROMPT = "Why is the sky blue?"


@pytest.fixture
def judge():
    with RRMJudge(engine="scripted:random") as judge:
        yield judge


def member(index, *, prompt=PROMPT, known=True, **more):
    # The lengths differ, so that a judge by length could tell them apart.
    identity = {"id": f"s{index}", "index": index} if known else {}
    return Member(prompt=prompt, response=f"answer {index} " + "so " * index, **{**identity, **more})


async def shuffled_arrival(gate, groups, size, seed=0):
    """All members of all groups in a random order, each at a random turn of the loop."""
    rng = random.Random(seed)
    waits = {}

    async def one(group, index):
        for _ in range(rng.randrange(20)):
            await asyncio.sleep(0)
        return await gate.join(group, member(index, prompt=f"{PROMPT} {group}"), size=size)

    places = [(group, index) for group in groups for index in range(size)]
    rng.shuffle(places)
    for place in places:
        waits[place] = asyncio.ensure_future(one(*place))
    await asyncio.gather(*waits.values())
    return {place: wait.result() for place, wait in waits.items()}


@pytest.mark.parametrize("just_in_time", [True, False])
@pytest.mark.parametrize("schedule", ["circulant:3", "round_robin", "knockout", "swiss:2", "random:2"])
@pytest.mark.parametrize("orders", ["both", "balanced"])
def test_rewards_are_those_of_the_same_groups_judged_at_once(schedule, orders, just_in_time):
    with RRMJudge(engine="scripted:random", schedule=schedule, orders=orders) as judge:
        gate = Gate(judge, just_in_time=just_in_time)
        groups = [f"uid {number}" for number in range(8)]
        outcomes = asyncio.run(shuffled_arrival(gate, groups, 6))
        for group in groups:
            offline = judge.score(f"{PROMPT} {group}", [member(index).response for index in range(6)])
            assert [outcomes[group, index].reward for index in range(6)] == offline.values
            assert {outcomes[group, index].closing for index in range(6)} == {Closing.FULL}
            # What was begun early is what the schedule asks for: nothing is paid twice, and nothing for nothing.
            assert outcomes[group, 0].metrics["rrm/calls"] == offline.calls
        assert gate.waiting == 0 and gate.counts["closed_full"] == 8 and gate.counts["members"] == 48


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(2, 5))
def test_nobody_is_lost_or_counted_twice_whatever_the_order_of_arrival(seed, size):
    with RRMJudge(engine="scripted:longer") as judge:
        outcomes = asyncio.run(shuffled_arrival(Gate(judge), ["a", "b", "c"], size, seed))
        for group in "abc":
            rewards = [outcomes[group, index].reward for index in range(size)]
            assert rewards == sorted(rewards) and len(set(rewards)) == size
            assert [outcomes[group, index].index for index in range(size)] == list(range(size))


def test_judging_begins_with_the_second_member():
    calls, begun = [], asyncio.Event()

    def reply(messages):
        calls.append(messages)
        begun_loop.call_soon_threadsafe(begun.set)
        return r"\boxed{Assistant 1}"

    async def main():
        nonlocal begun_loop
        begun_loop = asyncio.get_running_loop()
        gate = Gate(judge)
        first = [asyncio.ensure_future(gate.join("g", member(index), size=3)) for index in range(2)]
        await asyncio.wait_for(begun.wait(), 10)
        assert not any(task.done() for task in first)
        return await asyncio.gather(gate.join("g", member(2), size=3), *first)

    begun_loop = None
    with RRMJudge(engine=ScriptedEngine(reply), schedule="round_robin") as judge:
        assert all(outcome.members == 3 for outcome in asyncio.run(main()))
    assert len(calls) == 6


def test_callers_may_be_in_different_loops_and_threads(judge):
    gate, outcomes = Gate(judge, size=4), []

    def caller(index):
        outcomes.append(asyncio.run(gate.join("g", member(index))))

    threads = [threading.Thread(target=caller, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2, 3]


def test_at_the_deadline_those_who_are_there_are_judged(judge):
    gate = Gate(judge, deadline=0.05)

    async def main():
        return await asyncio.gather(*(gate.join("g", member(index), size=4) for index in range(3)))

    outcomes = asyncio.run(main())
    assert {outcome.closing for outcome in outcomes} == {Closing.DEADLINE}
    assert [outcome.members for outcome in outcomes] == [3, 3, 3] and outcomes[0].expected == 4
    assert [outcome.reward for outcome in outcomes] == judge.score(
        PROMPT, [member(index).response for index in range(3)]
    ).values


def test_a_late_member_is_unscored_and_gets_the_mean(judge):
    gate = Gate(judge, deadline=0.05)

    async def main():
        judged = await asyncio.gather(*(gate.join("g", member(index), size=3) for index in range(2)))
        return judged, await gate.join("g", member(2), size=3)

    judged, late = asyncio.run(main())
    assert late.reward is None and late.closing is Closing.LATE and late.error
    assert late.number == pytest.approx(sum(outcome.reward for outcome in judged) / 2)
    assert gate.counts["late"] == 1


def test_a_member_that_comes_while_its_group_is_judged_is_late_too():
    async def main():
        loop, asked, answer = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        async def reply(messages):
            loop.call_soon_threadsafe(asked.set)
            await asyncio.to_thread(answer.wait, 10)
            return r"\boxed{Assistant 1}"

        with RRMJudge(engine=ScriptedEngine(reply)) as judge:
            gate = Gate(judge, deadline=0.05, just_in_time=False)
            there = [asyncio.ensure_future(gate.join("g", member(index), size=3)) for index in range(2)]
            await asyncio.wait_for(asked.wait(), 10)
            late = asyncio.ensure_future(gate.join("g", member(2), size=3))
            twin = asyncio.ensure_future(gate.join("g", member(1), size=3))
            await asyncio.sleep(0.02)
            answer.set()
            return await asyncio.gather(*there, late, twin)

    *there, late, twin = asyncio.run(main())
    assert all(outcome.reward is not None for outcome in there)
    assert late.reward is None and late.closing is Closing.LATE
    assert twin.reward == there[1].reward and twin.repeated


def test_a_member_that_comes_twice_counts_once(judge):
    gate = Gate(judge)

    async def main():
        early = [gate.join("g", member(index), size=3) for index in (0, 0, 1, 1, 2)]
        outcomes = await asyncio.gather(*early)
        return outcomes, await gate.join("g", member(1), size=3)

    outcomes, again = asyncio.run(main())
    assert [outcome.members for outcome in outcomes] == [3] * 5
    assert outcomes[0].reward == outcomes[1].reward and outcomes[2].reward == outcomes[3].reward == again.reward
    assert [outcome.repeated for outcome in (*outcomes, again)] == [False, True, False, True, False, True]
    assert gate.counts["members"] == 3 and gate.counts["repeated"] == 3


def test_without_ids_a_full_group_begins_the_next(judge):
    gate = Gate(judge, size=2)

    async def main():
        twins = (gate.join(PROMPT, Member(prompt=PROMPT, response=f"answer {n}")) for n in range(6))
        return await asyncio.gather(*twins)

    outcomes = asyncio.run(main())
    assert [outcome.members for outcome in outcomes] == [2] * 6 and gate.counts["groups"] == 3
    # First come, first served: neighbours are a group, and a group's places are all taken.
    assert [sorted((outcomes[n].index, outcomes[n + 1].index)) for n in (0, 2, 4)] == [[0, 1]] * 3


def test_groups_with_the_same_prompt_do_not_mix(judge):
    gate = Gate(judge)

    async def main():
        calls = [gate.join(key, member(index), size=2) for index in range(2) for key in ("a", "b")]
        return await asyncio.gather(*calls)

    assert [outcome.members for outcome in asyncio.run(main())] == [2] * 4
    assert gate.counts["groups"] == 2


def test_a_withdrawn_member_releases_the_others(judge):
    gate = Gate(judge, deadline=60)

    async def main():
        waiting = [asyncio.ensure_future(gate.join("g", member(index), size=4)) for index in range(2)]
        await gate.withdraw("g", "s2", size=4)
        await gate.withdraw("g", "s2", size=4)
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        await gate.withdraw("g", "s3", size=4)
        return await asyncio.gather(*waiting)

    outcomes = asyncio.run(main())
    assert {outcome.closing for outcome in outcomes} == {Closing.RELEASED}
    assert all(outcome.reward is not None for outcome in outcomes) and gate.counts["withdrawn"] == 2


def test_a_group_that_is_withdrawn_as_a_whole_leaves_nothing_behind(judge):
    gate = Gate(judge)

    async def main():
        for index in range(3):
            await gate.withdraw("g", f"s{index}", size=3)
        await asyncio.sleep(0.02)

    asyncio.run(main())
    assert not gate._open and not gate._judging and gate.counts["groups"] == 0


def test_a_cancelled_caller_harms_nobody_and_its_member_stays(judge):
    gate = Gate(judge)

    async def main():
        gone = asyncio.ensure_future(gate.join("g", member(0), size=3))
        others = [asyncio.ensure_future(gate.join("g", member(index), size=3)) for index in (1,)]
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        last = await gate.join("g", member(2), size=3)
        # It comes again, as a client does that lost its connection.
        return [await gate.join("g", member(0), size=3), *await asyncio.gather(*others), last]

    outcomes = asyncio.run(main())
    assert [outcome.members for outcome in outcomes] == [3, 3, 3] and outcomes[0].repeated
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]


def test_a_cancelled_caller_without_an_id_frees_its_place():
    async def main():
        gone = asyncio.ensure_future(gate.join("g", member(0, known=False)))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        return await asyncio.gather(*(gate.join("g", member(index, known=False)) for index in (0, 1)))

    with RRMJudge(engine="scripted:longer") as judge:
        gate = Gate(judge, size=2)
        outcomes = asyncio.run(main())
    assert [outcome.members for outcome in outcomes] == [2, 2] and gate.counts["groups"] == 1
    assert outcomes[0].reward < outcomes[1].reward


def test_an_impatient_caller_is_answered_and_its_group_goes_on(judge):
    gate = Gate(judge)

    async def main():
        first = await gate.join("g", member(0), size=2, patience=0.02)
        second = await gate.join("g", member(1), size=2)
        return first, second, await gate.join("g", member(0), size=2)

    first, second, again = asyncio.run(main())
    assert first.reward is None and first.closing is Closing.IMPATIENT
    assert second.members == 2 and again.reward is not None and again.repeated


def test_without_ids_an_impatient_caller_settles_the_matter_for_its_group():
    """Otherwise the first, a short one, would stand beside the others with a number that is no reward."""
    with RRMJudge(engine="scripted:longer", reducer="win_rate") as judge:
        gate = Gate(judge, size=3)

        async def main():
            first = await gate.join("g", member(0, known=False), patience=0.02)
            others = await asyncio.gather(*(gate.join("g", member(n, known=False), patience=30) for n in (1, 2)))
            after = await asyncio.gather(*(gate.join("g", member(n, known=False)) for n in range(3)))
            return [first, *others], after

        settled, after = asyncio.run(main())
    assert [outcome.number for outcome in settled] == [0.0] * 3 and [outcome.spread for outcome in settled] == [0.0] * 3
    assert {outcome.closing for outcome in settled} == {Closing.IMPATIENT}
    assert [outcome.reward for outcome in after] == [-1.0, 0.0, 1.0]


def test_a_group_of_one_is_unscored_unless_there_is_a_reference():
    with RRMJudge(engine="scripted:longer") as judge:
        gate = Gate(judge, size=1)
        alone = asyncio.run(gate.join("a", member(1)))
        compared = asyncio.run(gate.join("b", member(1, reference="No.")))
        worse = asyncio.run(gate.join("c", member(1, reference="A much longer answer than that, and then some.")))
    assert alone.reward is None and alone.number == 0.0 and "group of one" in alone.error
    assert compared.reward > 0 > worse.reward


def test_a_dead_judge_leaves_numbers_and_says_so():
    def reply(messages):
        raise EngineError("nobody there", Reason.UNREACHABLE)

    with RRMJudge(engine=ScriptedEngine(reply)) as judge:
        gate = Gate(judge, size=3)

        async def main():
            return await asyncio.gather(*(gate.join("g", member(index)) for index in range(3)))

        outcomes = asyncio.run(main())
    assert [outcome.reward for outcome in outcomes] == [None] * 3
    assert all(outcome.number == 0.0 and "unreachable" in outcome.error for outcome in outcomes)
    assert outcomes[0].metrics["rrm/no_verdict/unreachable"] == 1.0 and gate.counts["unscored"] == 3


def test_a_setting_that_cannot_work_reaches_every_caller():
    def reply(messages):
        raise ConfigError("no such model")

    with RRMJudge(engine=ScriptedEngine(reply)) as judge:
        gate = Gate(judge, size=2)

        async def main():
            return await asyncio.gather(*(gate.join("g", member(n)) for n in range(2)), return_exceptions=True)

        outcomes = asyncio.run(main())
    assert all(isinstance(outcome, ConfigError) for outcome in outcomes)


def test_identical_members_are_begun_once_and_tie():
    calls = []

    def reply(messages):
        calls.append(messages)
        return r"\boxed{Assistant 2}"

    with RRMJudge(engine=ScriptedEngine(reply), schedule="round_robin") as judge:
        gate = Gate(judge, size=4)

        async def main():
            texts = ["same", "same", "same", "other"]
            members = [Member(prompt=PROMPT, response=text, id=str(n), index=n) for n, text in enumerate(texts)]
            return await asyncio.gather(*(gate.join("g", one) for one in members))

        outcomes = asyncio.run(main())
        assert [outcome.reward for outcome in outcomes] == judge.score(PROMPT, ["same", "same", "same", "other"]).values
    assert outcomes[0].metrics["rrm/calls"] == 2.0 and outcomes[0].metrics["rrm/identical"] == 0.5


def first_matches(judge, size):
    tournament = judge.tournament
    return tournament.start(tournament.prepare_query(PROMPT), range(size), size).next_matches([])


def test_what_was_begun_for_a_member_that_never_came_is_paid_for_and_told():
    with RRMJudge(engine="scripted:random", schedule="random:2") as judge:
        gate = Gate(judge, size=8, deadline=0.1)

        async def main():
            return await asyncio.gather(*(gate.join("g", member(index)) for index in range(5)))

        outcomes = asyncio.run(main())
        whole = judge.score(PROMPT, [member(index).response for index in range(5)])
    assert [outcome.reward for outcome in outcomes] == whole.values
    begun = {(match.first, match.second) for match in first_matches(judge, 8) if max(match.pair) < 5}
    needed = {(match.first, match.second) for match in first_matches(judge, 5)}
    assert begun - needed, "matches that are drawn among eight, and not among five"
    assert outcomes[0].metrics["rrm/calls"] == whole.calls + len(begun - needed)


def test_more_members_than_the_gate_holds_are_refused(judge):
    gate = Gate(judge, size=5, capacity=3)

    async def main():
        waiting = [asyncio.ensure_future(gate.join("g", member(index))) for index in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(GateFullError, match="capacity"):
            await gate.join("h", member(0))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await gate.close()

    asyncio.run(main())
    assert gate.waiting == 0 and gate.counts["refused"] == 1


def test_closing_the_gate_ends_who_waits(judge):
    gate = Gate(judge, size=3)

    async def main():
        waiting = [asyncio.ensure_future(gate.join("g", member(index))) for index in range(2)]
        await asyncio.sleep(0.05)
        await gate.close()
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(error, GateError) for error in asyncio.run(main()))
    assert gate.waiting == 0 and not gate._open


def test_little_is_remembered_of_closed_groups(judge):
    gate = Gate(judge, size=1, remember=3)

    async def main():
        for number in range(10):
            await gate.join(f"g{number}", member(0))

    asyncio.run(main())
    assert [number for number in range(10) if f"g{number}" in gate._past] == [7, 8, 9]
    assert not gate._open and not gate._judging


def test_sizes_have_to_be_known_and_to_agree(judge):
    async def main():
        with pytest.raises(GroupError, match="size"):
            await Gate(judge).join("g", member(0))
        gate = Gate(judge)
        waiting = asyncio.ensure_future(gate.join("g", member(0), size=3))
        await asyncio.sleep(0.05)
        with pytest.raises(GroupError, match="size 3"):
            await gate.join("g", member(1), size=4)
        waiting.cancel()
        await gate.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline": 0},
        {"deadline": "600"},
        {"capacity": 1},
        {"size": 0.5},
        {"remember": 0},
        {"size": 0},
        {"start_within": -1},
    ],
)
def test_settings_that_cannot_work(judge, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Gate(judge, **wrong)


def test_its_counts_are_metrics(judge):
    gate = Gate(judge, size=1)
    asyncio.run(gate.join("g", member(0)))
    assert gate.metrics()["rrm/gate/members"] == 1.0 and gate.metrics()["rrm/gate/waiting"] == 0.0


def test_outcomes_and_errors_pickle(judge):
    outcome = asyncio.run(Gate(judge, size=1).join("g", member(0)))
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    assert str(pickle.loads(pickle.dumps(GateFullError("full")))) == "full"


class Starting(ScriptedEngine):
    """An engine whose server answers from the third look on, or never."""

    def __init__(self, looks=3):
        super().__init__(lambda _: r"\boxed{Assistant 1}")
        self.looks = looks

    async def probe(self, seconds):
        self.looks -= 1
        return {"http://judge": "" if self.looks <= 0 else "connection refused"}


def test_a_run_begins_when_the_judge_answers(monkeypatch, caplog):
    monkeypatch.setattr(_starting, "PAUSE_SECONDS", 0.01)
    engine = Starting()
    with RRMJudge(engine=engine) as judge:
        asyncio.run(Gate(judge).ready())
    assert engine.looks == 0 and caplog.text.count("http://judge: connection refused") == 1


def test_a_judge_that_never_answers_ends_the_run_before_it_begins():
    with RRMJudge(engine=Starting(looks=10**9)) as judge:
        with pytest.raises(EngineUnavailableError, match="http://judge: connection refused"):
            asyncio.run(Gate(judge, start_within=0.05).ready())
        asyncio.run(Gate(judge, start_within=0).ready())


def test_one_of_several_servers_is_enough(judge):
    async def probe(seconds):
        return {"http://a": "connection refused", "http://b": ""}

    engine = ScriptedEngine(lambda _: "")
    engine.probe = probe
    with RRMJudge(engine=engine) as judge:
        asyncio.run(Gate(judge, start_within=0.05).ready())


# ---------------------------------------------------------------- what a host cannot be trusted with


def test_a_gate_closed_in_the_very_moment_of_a_join_leaves_nobody_waiting(judge):
    async def main():
        for _ in range(20):
            gate = Gate(judge, size=2)
            joined = asyncio.ensure_future(gate.join("g", member(0)))
            await asyncio.gather(gate.close(), asyncio.sleep(0))
            await gate.close()
            done, _ = await asyncio.wait([joined], timeout=10)
            assert done and isinstance(joined.exception(), GateError)
            assert not gate._open and not gate._judging and gate.waiting == 0

    asyncio.run(main())


def test_a_member_that_was_given_up_and_comes_after_all_counts_once(judge):
    gate = Gate(judge, deadline=60)

    async def main():
        await gate.withdraw("g", "s1", size=4)
        return await asyncio.gather(*(gate.join("g", member(index), size=4) for index in range(4)))

    outcomes = asyncio.run(main())
    assert [outcome.members for outcome in outcomes] == [4] * 4
    assert {outcome.closing for outcome in outcomes} == {Closing.FULL}


def test_a_response_that_breaks_same_as_holds_nobody_up():
    def same_as(text):
        if text.startswith("answer 2"):
            raise RuntimeError("no key for this")
        return text

    with RRMJudge(engine="scripted:longer", same_as=same_as) as judge:
        gate = Gate(judge, size=3, deadline=60)

        async def main():
            return await asyncio.gather(*(gate.join("g", member(index)) for index in range(3)))

        outcomes = asyncio.run(asyncio.wait_for(main(), 20))
    assert [outcome.reward for outcome in outcomes] == [None] * 3
    assert all("no key for this" in outcome.error for outcome in outcomes)


def test_a_caller_without_an_id_that_comes_again_at_once_is_counted_once(judge):
    """Its place is free the moment it is cancelled, also where it had patience."""
    gate = Gate(judge, size=2)

    async def main():
        first = asyncio.ensure_future(gate._join("g", member(0, known=False), 2, 60.0))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert gate.waiting == 0
        again = asyncio.ensure_future(gate._join("g", member(0, known=False), 2, 60.0))
        other = asyncio.ensure_future(gate._join("g", member(1, known=False), 2, 60.0))
        return await asyncio.gather(again, other)

    outcomes = judge.run_on_loop(main())
    assert [outcome.members for outcome in outcomes] == [2, 2] and gate.counts["groups"] == 1


def test_withdrawals_without_ids_leave_the_next_groups_of_the_key_alone(judge):
    gate = Gate(judge, size=2, deadline=60)

    async def main():
        for _ in range(2):
            await gate.withdraw("g")
            outcome = await asyncio.wait_for(gate.join("g", member(0, known=False)), 10)
            assert outcome.closing is Closing.RELEASED and outcome.members == 1

    asyncio.run(main())


def test_what_is_told_of_groups_cannot_cost_a_reward(caplog):
    def on_judged(_):
        raise TimeoutError("the log is full")

    with RRMJudge(engine="scripted:longer") as judge:
        gate = Gate(judge, size=2, on_judged=on_judged)

        async def main():
            return await asyncio.gather(*(gate.join("g", member(index), patience=30) for index in range(2)))

        outcomes = asyncio.run(main())
    assert outcomes[0].reward < outcomes[1].reward and gate.counts["impatient"] == 0
    assert "the log is full" in caplog.text


def test_capacity_counts_members_and_not_callers(judge):
    gate = Gate(judge, size=4, capacity=3)

    async def main():
        repeated = [asyncio.ensure_future(gate.join("g", member(0))) for _ in range(6)]
        await gate.join("g", member(1), patience=0.02)
        await gate.join("g", member(2), patience=0.02)
        assert gate.waiting == 3
        with pytest.raises(GateFullError):
            await gate.join("g", member(3))
        await gate.close()
        await asyncio.gather(*repeated, return_exceptions=True)

    asyncio.run(main())
    assert gate.waiting == 0


def test_matches_begun_for_members_that_left_are_ended():
    begun, ended = [], []

    async def reply(messages):
        begun.append(1)
        try:
            await asyncio.sleep(0.05)
        finally:
            ended.append(1)
        return r"\boxed{Assistant 1}"

    with RRMJudge(engine=ScriptedEngine(reply), schedule="round_robin") as judge:
        gate = Gate(judge, size=3)

        async def main():
            gone = [asyncio.ensure_future(gate.join("g", member(index, known=False))) for index in range(2)]
            while not begun:
                await asyncio.sleep(0.001)
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
            others = [member(index, known=False) for index in (3, 4, 5)]
            return await asyncio.gather(*(gate.join("g", one) for one in others))

        outcomes = asyncio.run(main())
    assert outcomes[0].members == 3 and len(begun) == len(ended)
    assert gate.counts["groups"] == 1


def test_one_key_for_two_prompts_is_refused(judge):
    gate = Gate(judge, size=2)

    async def main():
        first = asyncio.ensure_future(gate.join("g", member(0)))
        await asyncio.sleep(0.02)
        with pytest.raises(GroupError, match="different prompts"):
            await gate.join("g", member(1, prompt="Why is grass green?"))
        return await asyncio.gather(first, gate.join("g", member(1)))

    assert [outcome.members for outcome in asyncio.run(main())] == [2, 2]


def test_a_judge_that_is_closed_under_its_callers_is_an_error_and_no_cancellation():
    judge = RRMJudge(engine="scripted:longer")
    gate = Gate(judge, size=3)

    async def main():
        waiting = [asyncio.ensure_future(gate.join("g", member(index))) for index in range(2)]
        await asyncio.sleep(0.05)
        await asyncio.to_thread(judge.close)
        return await asyncio.gather(*waiting, return_exceptions=True)

    errors = asyncio.run(main())
    assert all(isinstance(error, RuntimeError) and "closed" in str(error) for error in errors)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_begins_with_an_empty_gate(judge):
    gate = Gate(judge, size=2)

    async def main():
        waiting = asyncio.ensure_future(gate.join("g", member(0)))
        await asyncio.sleep(0.05)
        child = os.fork()
        if child == 0:
            os._exit(_judged_in_the_child(gate))
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        return status, await asyncio.gather(waiting, gate.join("g", member(1)))

    status, outcomes = asyncio.run(main())
    assert os.waitstatus_to_exitcode(status) == 0
    assert [outcome.members for outcome in outcomes] == [2, 2]


def _judged_in_the_child(gate):
    found = []

    def run():
        both = [gate.join("g", member(index)) for index in range(2)]

        async def main():
            return await asyncio.wait_for(asyncio.gather(*both), 20)

        found.extend(asyncio.run(main()))

    # A thread of its own: the loop of the parent's main thread counts as running here.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return 0 if [outcome.members for outcome in found] == [2, 2] else 2


def test_an_unscored_member_is_given_the_mean_of_its_group_or_of_all():
    def reply(messages):
        text = messages[-1]["content"]
        return r"\boxed{Assistant 1}" if "mute" not in text else "I cannot say."

    settings = {"schedule": "round_robin", "reducer": "win_rate", "shaping": "unit_interval"}
    with RRMJudge(engine=ScriptedEngine(reply), **settings) as judge:
        gate = Gate(judge, deadline=60)

        async def group(key, *texts):
            members = [Member(prompt=PROMPT, response=text, id=text, index=n) for n, text in enumerate(texts)]
            return await asyncio.gather(*(gate.join(key, one, size=len(texts)) for one in members))

        async def main():
            assert (await gate.join("none", member(0), size=2, patience=0.01)).number == 0.0
            some = await group("a", "one", "two", "mute")
            return some, await group("b", "mute", "mute too")

        some, silent = asyncio.run(main())
    mean = (some[0].reward + some[1].reward) / 2
    assert mean > 0 and some[2].reward is None and some[2].number == pytest.approx(mean)
    assert [outcome.number for outcome in silent] == pytest.approx([mean, mean]) and silent[0].reward is None


def test_lengths_are_those_that_members_bring():
    with RRMJudge(engine="scripted:longer") as judge:
        gate = Gate(judge, size=3)
        members = [member(index, length=length) for index, length in enumerate((90, 50, 10))]

        async def main():
            return await asyncio.gather(*(gate.join("g", one) for one in members))

        outcomes = asyncio.run(main())
    assert outcomes[0].metrics["rrm/length_correlation"] == pytest.approx(-1.0, abs=0.01)


def test_who_is_there_cannot_be_withdrawn(judge):
    gate = Gate(judge, deadline=60)

    async def main():
        there = asyncio.ensure_future(gate.join("g", member(0), size=2))
        await asyncio.sleep(0.02)
        await gate.withdraw("g", "s0", size=2)
        await asyncio.sleep(0.02)
        assert not there.done() and gate.counts["withdrawn"] == 0
        both = await asyncio.gather(there, gate.join("g", member(1), size=2))
        await gate.withdraw("g", "s1", size=2)
        return both

    assert [outcome.members for outcome in asyncio.run(main())] == [2, 2]
    assert gate.counts["withdrawn"] == 0 and not gate._open


def test_an_error_of_a_group_is_told_to_those_who_ask_again():
    def reply(messages):
        raise ConfigError("no such model")

    with RRMJudge(engine=ScriptedEngine(reply)) as judge:
        gate = Gate(judge, size=2, deadline=60)

        async def main():
            await asyncio.gather(*(gate.join("g", member(n)) for n in range(2)), return_exceptions=True)
            depths = []
            for _ in range(3):
                with pytest.raises(ConfigError, match="no such model") as raised:
                    await asyncio.wait_for(gate.join("g", member(0)), 10)
                depths.append(len(raised.traceback))
            assert len(set(depths)) == 1, "each who asks would keep the frames of all who asked before"

        asyncio.run(main())


def test_groups_are_recorded_with_their_key_and_step(tmp_path):
    with RRMJudge(engine="scripted:longer", ledger=tmp_path / "judge.db") as judge:
        gate = Gate(judge, size=2)

        async def main():
            await asyncio.gather(*(gate.join("uid 7", member(index, step=3)) for index in range(2)))

        asyncio.run(main())
    with sqlite3.connect(tmp_path / "judge.db") as ledger:
        assert ledger.execute("SELECT name, step FROM groups").fetchall() == [("uid 7", 3)]
