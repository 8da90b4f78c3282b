"""An engine's budget and pace: never exceeded, given back by calls that fail, and told."""

from __future__ import annotations

import asyncio
import copy
import itertools
import pickle
import time

import pytest

from rrm_plugin import ConfigError, Reason, RRMJudge
from rrm_plugin.engines import Engine, LimitedEngine, ReplayEngine, Reply, Sampling, ScriptedEngine
from rrm_plugin.engines.budgets import Budget
from rrm_plugin.errors import EngineError

MESSAGES = [{"role": "user", "content": "Which?"}]


def answering(text="yes", tokens=(10, 5)):
    def reply(messages):
        return Reply(text=text, finished=True, prompt_tokens=tokens[0], completion_tokens=tokens[1], seconds=0.5)

    return ScriptedEngine(reply, resume=lambda messages, text: "more")


async def ask(engine, times=1):
    return await asyncio.gather(*(engine.generate(MESSAGES, Sampling()) for _ in range(times)), return_exceptions=True)


def test_the_budget_of_calls_is_never_exceeded():
    limited = LimitedEngine(answering(), budget=Budget(calls=3))
    found = asyncio.run(ask(limited, 10))
    refused = [error for error in found if isinstance(error, EngineError)]
    assert len(refused) == 7 and all(error.reason is Reason.OVER_BUDGET for error in refused)
    assert limited.tally.calls == 3 and limited.spent == "the budget of 3 judge calls is spent"


def test_a_call_that_fails_is_given_back():
    failing = iter([True, True, False, False, False])

    def reply(messages):
        if next(failing):
            raise EngineError("down", Reason.UNREACHABLE)
        return "yes"

    limited = LimitedEngine(ScriptedEngine(reply), budget=Budget(calls=2))

    async def main():
        return [(await ask(limited))[0] for _ in range(5)]

    found = asyncio.run(main())
    assert [isinstance(one, Reply) for one in found] == [False, False, True, True, False]
    assert found[-1].reason is Reason.OVER_BUDGET
    assert limited.tally.failures == {"unreachable": 2, "over_budget": 1} and limited.tally.under_way == 0


def test_tokens_end_it_too_and_what_is_under_way_is_finished():
    limited = LimitedEngine(answering(), budget=Budget(tokens=40))

    async def main():
        return [(await ask(limited))[0] for _ in range(4)]

    found = asyncio.run(main())
    assert [isinstance(one, Reply) for one in found] == [True, True, True, False]
    assert limited.tally.tokens == 45 and "40 tokens" in limited.spent


def test_a_cancelled_call_gives_its_place_back():
    async def main():
        never = asyncio.Event()

        async def reply(messages):
            await never.wait()

        limited = LimitedEngine(ScriptedEngine(reply), budget=Budget(calls=1))
        task = asyncio.ensure_future(limited.generate(MESSAGES, Sampling()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert limited.tally.under_way == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return limited

    limited = asyncio.run(main())
    assert limited.tally.under_way == 0 and limited.spent is None


def test_calls_begin_no_faster_than_they_may():
    begun = []

    def reply(messages):
        begun.append(time.monotonic())
        return "yes"

    asyncio.run(ask(LimitedEngine(ScriptedEngine(reply), calls_per_minute=60 / 0.02), 4))
    assert all(later - earlier >= 0.015 for earlier, later in itertools.pairwise(begun))


def test_whoever_is_cancelled_in_the_queue_takes_nobodys_turn():
    limited = LimitedEngine(answering(), calls_per_minute=60 / 0.03)

    async def main():
        queue = [asyncio.ensure_future(limited.generate(MESSAGES, Sampling())) for _ in range(50)]
        await queue[0]
        assert limited.tally.waiting == 49
        for task in queue[1:]:
            task.cancel()
        await asyncio.gather(*queue, return_exceptions=True)
        began = time.monotonic()
        await limited.generate(MESSAGES, Sampling())
        return time.monotonic() - began

    assert asyncio.run(main()) < 0.5


@pytest.mark.parametrize("limit", [{"calls_per_minute": 600_000}, {"lease": None}])
def test_a_closed_judge_and_several_judges_share_one(limit):
    async def lease(most):
        await asyncio.sleep(0.001)
        return 1

    limited = LimitedEngine(answering(r"\boxed{Assistant 1}"), **({"lease": lease} if "lease" in limit else limit))
    group = ["one", "one two", "one two three"]
    with RRMJudge(engine=limited) as judge, RRMJudge(engine=limited) as other:
        for each in (judge, other):
            assert not each.score("First?", group).failures
        judge.close()
        assert not judge.score("Second?", group).failures
    assert limited.tally.calls == 18


def test_calls_under_way_are_not_those_of_a_copy():
    limited = LimitedEngine(answering(), budget=Budget(calls=3))
    limited.tally.under_way, limited.tally.calls = 2, 1
    another = copy.copy(limited)
    assert (another.tally.calls, another.tally.under_way, limited.tally.under_way) == (1, 0, 2)


def test_it_is_the_engine_that_it_limits(tmp_path):
    inner = answering()
    limited = LimitedEngine(inner, budget=Budget(calls=9))
    assert isinstance(limited, Engine)
    assert (limited.name, limited.fingerprint, limited.special_tokens) == (inner.name, inner.fingerprint, ())
    assert asyncio.run(limited.resume(MESSAGES, "so", Sampling())).text == "more" and limited.tally.calls == 1
    assert asyncio.run(limited.identify()) == inner.name
    (tmp_path / "texts.jsonl").write_text('{"key": "k", "text": "yes"}\n')
    unlimited = LimitedEngine(ReplayEngine(tmp_path / "texts.jsonl"))
    assert asyncio.run(unlimited.resume(MESSAGES, "so", Sampling())) is None and unlimited.tally.calls == 0


def test_it_pickles():
    limited = LimitedEngine(ScriptedEngine(str), budget=Budget(calls=1), calls_per_minute=1e6)
    asyncio.run(ask(limited, 2))
    assert pickle.loads(pickle.dumps(limited)).spent


def test_a_pace_that_cannot_be():
    with pytest.raises(ConfigError, match="calls_per_minute"):
        LimitedEngine(answering(), calls_per_minute=0)


def test_a_judge_over_its_budget_leaves_responses_unscored_and_says_why():
    engine = LimitedEngine(ScriptedEngine.named("longer"), budget=Budget(calls=1))
    with RRMJudge(engine=engine, schedule="round_robin", orders="both", over_budget="unscored") as judge:
        scores = judge.score("Count.", ["one", "one two"])
        assert scores.failures == {"over_budget": 1}
        silent = judge.score("Count.", ["three", "three four"])
    assert silent.values == [None, None] and "budget of 1 judge calls is spent" in silent.error


def test_votes_are_different_draws_and_the_ledger_key_is_the_same_as_ever(tmp_path):
    seen = []

    class Noting(ScriptedEngine):
        async def generate(self, messages, sampling):
            seen.append(sampling.draw)
            return await super().generate(messages, sampling)

    engine = Noting(lambda messages: r"\boxed{Assistant 1}", name="noting")
    with RRMJudge(engine=engine, votes=3, ledger=tmp_path / "judge.db") as judge:
        judge.compare("Count.", "one", "two")
        judge.compare("Count.", "one", "two")
    assert sorted(seen) == [0, 1]


def test_engines_that_share_a_lease_spend_it_to_the_last_call_and_no_further():
    left = [100]

    async def lease(most: int) -> int:
        taken = min(most, left[0], 7)
        left[0] -= taken
        await asyncio.sleep(0)
        return taken

    async def ask() -> tuple[int, int]:
        engines = [LimitedEngine(ScriptedEngine(lambda _: "yes"), lease=lease) for _ in range(3)]
        calls = [engine.generate([], Sampling()) for engine in engines for _ in range(60)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, EngineError)]
        assert {error.reason for error in refused} == {Reason.OVER_BUDGET}
        return sum(engine.tally.calls for engine in engines), len(refused)

    assert asyncio.run(ask()) == (100, 80)


def test_a_leased_call_that_fails_is_given_back():
    failing = iter([True, False])

    def reply(_):
        if next(failing):
            raise EngineError("not now", Reason.UNREACHABLE)
        return "yes"

    leases = [1, 0]

    async def lease(_: int) -> int:
        return leases.pop(0)

    async def ask() -> list[object]:
        limited = LimitedEngine(ScriptedEngine(reply), lease=lease)
        return [await asyncio.gather(limited.generate([], Sampling()), return_exceptions=True) for _ in range(3)]

    first, second, third = (answer for (answer,) in asyncio.run(ask()))
    assert (first.reason, second.text, third.reason) == (Reason.UNREACHABLE, "yes", Reason.OVER_BUDGET)


def test_who_leaves_while_a_shared_budget_is_asked_takes_nothing_of_it_along():
    taken = []

    async def lease(most):
        taken.append(most)
        given = 2 if len(taken) == 1 else 0
        # As the answer of another process comes: what was taken there is taken, whoever listens.
        await asyncio.sleep(0)
        return given

    async def main():
        limited = LimitedEngine(answering(), lease=lease)
        leaver = asyncio.ensure_future(limited.generate(MESSAGES, Sampling()))
        while not taken:
            await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        return await ask(limited, 3)

    found = asyncio.run(main())
    assert [isinstance(one, Reply) for one in found] == [True, True, False], "two calls were there, and two were made"
    assert found[2].reason is Reason.OVER_BUDGET
