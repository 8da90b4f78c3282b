"""What goes wrong under the reward manager `rrm`: members that never come, and judges that do not judge.

The trainer gets a number each time, nothing hangs, and the numbers say what happened.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from rrm_plugin.engines.retries import _FRESH
from rrm_plugin.engines.scripted import NAMED_SCRIPTS
from tests.contract.with_verl.policy_runs import bring, numbers, offline, reward_loop, rewards, write_settings
from tests.engines.local_servers import serve

REASON = "needs verl: make test-verl"
pytest.importorskip("verl.experimental.reward_loop", reason=REASON, exc_type=ImportError)

DEADLINE = 6.0


@dataclass
class Judge:
    """A judge's server in a thread, whose behaviour a test chooses."""

    url: str = ""
    calls: int = 0
    dead: bool = False
    """Every connection breaks."""
    behave: Callable[[Judge, Any], Any] = field(default=lambda judge, body: answer(body))

    async def handle(self, request: web.Request, body: Any) -> web.StreamResponse:
        self.calls += 1
        if self.dead:
            assert request.transport is not None
            request.transport.abort()
        said = self.behave(self, body)
        return await said if asyncio.iscoroutine(said) else said


def answer(body: Any) -> web.Response:
    return said(NAMED_SCRIPTS["random"](body["messages"]))


def said(text: Any) -> web.Response:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})


@pytest.fixture(scope="module")
def server():
    judge, ready, ending = Judge(), threading.Event(), []

    async def run() -> None:
        stop = asyncio.Event()
        async with serve(judge.handle) as recorded:
            judge.url = recorded.url
            ending.append((asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield judge
    loop, stop = ending[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


@pytest.fixture(scope="module")
def run(settings, model, tokenizer, server):
    write_settings(
        settings,
        engine=server.url,
        model="judge",
        timeout=20.0,
        attempt_timeout=2.0,
        retry_for=10.0,
        connect_timeout=1.0,
        force_verdict=False,
        gate={"deadline": DEADLINE, "start_within": 0},
    )
    with reward_loop(model, tokenizer) as run:
        yield run


@pytest.fixture(autouse=True)
def _well_behaved(request):
    if "server" in request.fixturenames:
        judge = request.getfixturevalue("server")
        judge.calls, judge.dead, judge.behave = 0, False, lambda _, body: answer(body)
        # The judge of all tests remembers for this long that its server gave no good answer.
        time.sleep(_FRESH)


def test_a_served_judge_gives_the_same_rewards(run, server):
    answers = asyncio.run(bring(run, 0))
    assert rewards(answers) == pytest.approx(offline(0)) and server.calls == 48


def test_a_member_that_never_comes_holds_nobody_beyond_the_deadline(run):
    async def play():
        began = time.perf_counter()
        answers = await bring(run, 10, range(7))
        waited = time.perf_counter() - began
        return answers, waited, await bring(run, 10, [7])

    answers, waited, late = asyncio.run(play())
    assert DEADLINE <= waited < DEADLINE + 5
    assert numbers(answers, "missing") == [1 / 8] * 7 and numbers(answers, "unscored") == [0.0] * 7
    assert len(set(rewards(answers))) > 2
    # Who comes after all gets the mean, with which GRPO's advantage is 0.
    assert numbers(late, "unscored") == [1.0] and rewards(late)[0] == pytest.approx(sum(rewards(answers)) / 7)


def test_a_judge_that_is_down_for_a_moment_costs_no_verdict(run, server):
    server.behave = lambda judge, body: web.Response(status=503) if judge.calls <= 40 else answer(body)
    answers = asyncio.run(bring(run, 20))
    assert rewards(answers) == pytest.approx(offline(20))
    assert numbers(answers, "no_verdict") == [0.0] * 8


@pytest.mark.slow
def test_a_judge_that_is_down_for_5_seconds_costs_no_verdict(run, server):
    """Every connection breaks meanwhile; before and after it answers."""

    def back():
        server.dead = False

    server.behave = lambda judge, body: answer(body)
    server.dead = True
    alarm = threading.Timer(5.0, back)
    alarm.start()
    answers = asyncio.run(bring(run, 21))
    alarm.join()
    assert rewards(answers) == pytest.approx(offline(21))
    assert numbers(answers, "no_verdict") == [0.0] * 8


def test_garbage_is_no_verdict(run, server):
    replies = ["", "I cannot say.", r"\boxed{Assistant 3}", r"\boxed{Assistant 1} or \boxed{Assistant 2}", "\x00" * 50]
    server.behave = lambda judge, _: said(replies[judge.calls % len(replies)])
    answers = asyncio.run(bring(run, 30))
    assert rewards(answers) == [0.0] * 8 and numbers(answers, "no_verdict") == [1.0] * 8
    assert numbers(answers, "unscored") == numbers(answers, "failed") == [1.0] * 8


def test_bytes_that_are_no_completion_are_no_verdict(run, server):
    server.behave = lambda _, __: web.Response(body=b"\xff\xfe{", content_type="application/json")
    answers = asyncio.run(bring(run, 31))
    assert rewards(answers) == [0.0] * 8 and numbers(answers, "failed") == [1.0] * 8


def test_a_judge_slower_than_its_limit_ends_in_a_number(run, server):
    async def hang(_judge, _body):
        await asyncio.sleep(600)

    server.behave = hang
    began = time.perf_counter()
    answers = asyncio.run(bring(run, 40))
    assert time.perf_counter() - began < DEADLINE + 20 + 5
    assert rewards(answers) == [0.0] * 8 and numbers(answers, "unscored") == [1.0] * 8


def test_a_judge_that_is_down_for_good_ends_in_numbers(run, server):
    server.dead = True
    answers = asyncio.run(bring(run, 41))
    assert rewards(answers) == [0.0] * 8 and numbers(answers, "failed") == [1.0] * 8
    assert run.counts()["waiting"] == 0


def test_some_calls_that_fail_leave_the_others_their_scores(run, server):
    server.behave = lambda judge, body: said("?") if judge.calls % 3 == 0 else answer(body)
    answers = asyncio.run(bring(run, 50))
    assert numbers(answers, "unscored") == [0.0] * 8 and len(set(rewards(answers))) > 2
    assert numbers(answers, "no_verdict") == [pytest.approx(1 / 3)] * 8
