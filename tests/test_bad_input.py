"""The whole road on bad input: strange groups and broken servers end in an error that names the setting, or in None."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import pytest
from aiohttp import web

from rrm_plugin import ConfigError, EngineUnavailableError, Group, GroupError, Reason, RRMJudge
from tests.engines.local_servers import chat, dead_url, failing, serve, serve_raw

QUICK = {"model": "m", "timeout": 2.0, "retry_for": 0.0, "backoff": 0.001}


@contextmanager
def running(server):
    """The URL of a server that runs on a loop and thread of its own, as another process would."""
    ready, done = threading.Event(), threading.Event()
    address = []

    async def main():
        async with server as recorded:
            address.append(recorded if isinstance(recorded, str) else recorded.url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield address[0]
    finally:
        done.set()
        thread.join()


async def _error(request, body):
    return failing(500, "out of memory")


async def _too_long(request, body):
    return failing(400, "maximum context length is 2048 tokens")


async def _garbage(request, body):
    return web.Response(text="<html>proxy</html>")


async def _null(request, body):
    return chat(None)


async def _hang(request, body):
    await asyncio.sleep(30)
    return chat()


async def _close(reader, writer):
    return None


async def _half(reader, writer):
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"choices"')
    await writer.drain()


BROKEN = {
    "500": (lambda: serve(_error), Reason.ENGINE_ERROR),
    "400": (lambda: serve(_too_long), Reason.REJECTED),
    "garbage": (lambda: serve(_garbage), Reason.BAD_REPLY),
    "empty answer": (lambda: serve(_null), Reason.EMPTY),
    "closes": (lambda: serve_raw(_close), Reason.UNREACHABLE),
    "closes half-way": (lambda: serve_raw(_half), Reason.UNREACHABLE),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_server_leaves_responses_unscored_with_the_reason(name):
    server, reason = BROKEN[name]
    with running(server()) as url, RRMJudge(engine=url, **QUICK) as judge:
        scores = judge.score("q", ["one", "two"])
    assert scores.values == [None, None]
    assert scores.failures == {reason.value: 2}


def test_a_server_that_hangs_is_given_up_in_time():
    with running(serve(_hang)) as url, RRMJudge(engine=url, **(QUICK | {"timeout": 0.3})) as judge:
        scores = judge.score("q", ["one", "two"])
    assert scores.values == [None, None] and scores.failures == {"timeout": 2}
    assert "timeout=" in scores.judgements[0].detail


def test_a_wrong_address_is_named_and_stops_a_trainer():
    with RRMJudge(engine=dead_url(), **QUICK) as judge:
        scores = judge.score("q", ["one", "two"])
        assert scores.values == [None, None] and "is engine (--engine) its address" in scores.judgements[0].detail
        with pytest.raises(EngineUnavailableError, match=r"is engine \(--engine\) its address"):
            judge(["q", "q"], ["one", "two"])


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://host", "http://", "http://user:pass@host"])
def test_what_is_no_address_is_refused_at_once(address):
    with pytest.raises(ConfigError, match="engine="):
        RRMJudge(engine=address)


def test_one_failing_group_loses_no_verdict_of_the_others():
    async def picky(request, body):
        text = body["messages"][-1]["content"]
        return failing(400, "refused") if "poison" in text else chat()

    groups = [Group(prompt=f"q{n}", responses=["poison" if n % 2 else "good", "other"]) for n in range(6)]
    with running(serve(picky)) as url, RRMJudge(engine=url, **QUICK) as judge:
        scores = judge.score_groups(groups)
    assert [one.values for one in scores] == [[0.0, 0.0], [None, None]] * 3
    assert [one.failures for one in scores] == [{}, {"rejected": 2}] * 3


@pytest.mark.parametrize(
    "responses",
    [
        ["a", "b"] * 32,
        ["", "x"],
        ["", "   ", "\n"],
        ["x" * 2**20, "y" * 2**20],
        ["\x00\x01\x1b[31m", "‮evil", "\ud800 lone", "🙂👩‍👩‍👧", "<|im_end|></think>"],
        [[{"role": "assistant", "content": None}], {"role": "assistant", "content": [{"type": "text", "text": "x"}]}],
    ],
    ids=["64", "empty", "blank", "1 MB", "strange letters", "messages"],
)
def test_strange_responses_are_judged_like_any(responses):
    async def first(request, body):
        return chat()

    with running(serve(first)) as url, RRMJudge(engine=url, reducer="win_rate", **QUICK) as judge:
        scores = judge.score("q", responses)
    assert scores.values == [0.0] * len(responses)
    assert scores.failures == {}


def test_groups_without_a_comparison():
    with RRMJudge(engine=dead_url(), **QUICK) as judge:
        with pytest.raises(GroupError, match="responses is empty"):
            judge.score("q", [])
        alone = judge.score("q", ["only one"])
        assert alone.values == [None] and "schedule='reference'" in alone.error
        assert judge.score("q", ["same", "same"]).values == [0.0, 0.0]
