"""When calls are tried again and given up: outages of seconds and minutes, in a time that passes as fast as it can.

The engine and its event loop are real; a played server stands in for the socket, so that 10,000 calls can wait through
five minutes. The last tests have real sockets.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

from rrm_plugin.engines import HttpEngine, Sampling, ServiceEngine
from rrm_plugin.engines.wire import Failure, refusal
from rrm_plugin.errors import EngineError, EngineUnavailableError
from rrm_plugin.types import Reason
from tests.engines.local_servers import chat, dead_url, failing, serve

GOOD = b'{"choices": [{"message": {"content": "A"}, "finish_reason": "stop"}]}'
MANY = 10_000
QUESTION = [{"role": "user", "content": "Which?"}]


class _Hasty(selectors.DefaultSelector):
    """Waits for nothing, and says how long it would have waited."""

    slept = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.slept += timeout or 0.0
        return super().select(0)


class _HastyLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._hasty = _Hasty()
        super().__init__(self._hasty)

    def time(self) -> float:
        return self._hasty.slept


def hastily(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs it in a loop whose time jumps from one timer to the next."""
    with asyncio.Runner(loop_factory=_HastyLoop) as runner:
        runner.run(play())


def now() -> float:
    return asyncio.get_running_loop().time()


class Played:
    """A server that takes `seconds` for an answer, but for the times that it is in trouble.

    Args:
        seconds: of an answer.
        trouble: from when to when, and the failure to give meanwhile.
    """

    def __init__(self, *trouble: tuple[float, float, Callable[[], Failure]], seconds: float = 1.0) -> None:
        self.trouble = trouble
        self.seconds = seconds
        self.asked = 0

    async def send(self, url: Any, body: bytes | None, *, seconds: float, asked: Any) -> bytes:
        self.asked += 1
        began = now()
        if failure := self._failure(began):
            raise failure
        await asyncio.sleep(min(self.seconds, seconds))
        # What was under way when the trouble came is lost.
        if failure := self._failure(now()):
            raise failure
        if self.seconds > seconds:
            raise lost(Reason.TIMEOUT)()
        return GOOD

    def _failure(self, at: float) -> Failure | None:
        return next((made() for begin, end, made in self.trouble if begin <= at < end), None)


def lost(reason: Reason = Reason.UNREACHABLE) -> Callable[[], Failure]:
    return lambda: Failure(EngineError("nobody there", reason, retryable=True))


def answered(status: int, wait: float | None = None) -> Callable[[], Failure]:
    return lambda: refusal(status, b'{"error": "not now"}', "http://a", asked={}, wait=wait)


def playing(*servers: Played, **settings: Any) -> HttpEngine:
    """An engine on the running loop that asks these in place of sockets."""
    settings = {"concurrency": 256, **settings}
    judge = HttpEngine([f"http://server-{i}" for i in range(len(servers))], model="judge", **settings)
    client = judge._here()
    client.servers.clock = now
    played = {server.base.host: each for server, each in zip(client.servers.all, servers, strict=True)}

    async def send(url: Any, body: bytes | None, **more: Any) -> bytes:
        return await played[url.host].send(url, body, **more)

    client.transport.send = send  # type: ignore[method-assign]
    return judge


async def called(judge: HttpEngine, calls: int) -> Counter[str]:
    """How so many calls end: "A", or the class of the error."""

    async def one() -> str:
        try:
            return (await judge.generate(QUESTION, Sampling())).text
        except EngineError as error:
            return type(error).__name__

    return Counter(await asyncio.gather(*(one() for _ in range(calls))))


# Outages that pass


@pytest.mark.parametrize("seconds", [5.0, 60.0, 240.0])
@pytest.mark.parametrize("failure", [lost(), answered(502), answered(503), answered(500), answered(503, wait=5.0)])
def test_a_server_that_is_started_anew_costs_no_call(seconds, failure):
    async def play() -> None:
        judge = playing(Played((3.0, 3.0 + seconds, failure)))
        assert await called(judge, 2_000) == {"A": 2_000}
        # 8 batches of 256 slots take a second each; after the outage comes at most one pause.
        assert now() < 3.0 + seconds + 10.0 + 9.0
        await judge.close()

    hastily(play)


def test_the_pauses_do_not_storm_a_server_that_comes_back():
    async def play() -> None:
        server = Played((3.0, 63.0, lost()))
        judge = playing(server)
        assert await called(judge, 256 * 5) == {"A": 256 * 5}
        # Each of the 256 in their slots tries about every 5 s.
        assert server.asked < 256 * (5 + 25)
        await judge.close()

    hastily(play)


def test_an_outage_behind_which_other_outages_come_costs_no_call():
    async def play() -> None:
        judge = playing(Played(*((10.0 * i, 10.0 * i + 7.0, lost()) for i in range(1, 30)), seconds=2.0))
        assert await called(judge, MANY) == {"A": MANY}
        await judge.close()

    hastily(play)


def test_a_limit_of_calls_a_minute_is_waited_through():
    """Of a provider, say: it answers, but only in the first part of each minute."""

    async def play() -> None:
        judge = playing(Played(*((60.0 * i + 20.0, 60.0 * i + 60.0, answered(429)) for i in range(60))))
        assert await called(judge, 5_000) == {"A": 5_000}
        await judge.close()

    hastily(play)


def test_one_of_two_servers_is_down_for_good():
    async def play() -> None:
        down, well = Played((0.0, 1e9, lost())), Played()
        judge = playing(down, well)
        assert await called(judge, 2_000) == {"A": 2_000}
        assert down.asked < 300
        await judge.close()

    hastily(play)


def test_two_servers_that_are_gone_in_turn_and_together_cost_no_call():
    async def play() -> None:
        first = Played((2.0, 40.0, lost()), (60.0, 120.0, lost()), seconds=5.0)
        second = Played((20.0, 80.0, answered(503)), seconds=5.0)
        judge = playing(first, second)
        assert await called(judge, MANY) == {"A": MANY}
        await judge.close()

    hastily(play)


# Outages that do not


def test_a_server_that_goes_down_for_good_ends_all_calls_together():
    async def play() -> None:
        server = Played((3.0, 1e9, lost()))
        judge = playing(server)
        ends = await called(judge, MANY)
        assert ends == {"A": 2 * 256, "EngineError": MANY - 2 * 256}
        assert 303.0 <= now() < 303.0 + 10.0 + 1.0
        assert server.asked < 256 * 80, "the others did not ask"
        asked = server.asked
        assert await called(judge, MANY) == {"EngineError": MANY}
        assert now() < 303.0 + 10.0 + 2.0 and server.asked - asked <= 256, "a later batch does not wait either"
        await judge.close()

    hastily(play)


def test_calls_after_those_that_were_given_up_find_a_server_that_is_back():
    async def play() -> None:
        judge = playing(Played((3.0, 400.0, lost())))
        assert set(await called(judge, 1_000)) == {"A", "EngineError"}
        await asyncio.sleep(500.0 - now())
        assert await called(judge, 1_000) == {"A": 1_000}
        await judge.close()

    hastily(play)


def test_retry_for_says_how_long():
    async def play() -> None:
        judge = playing(Played((3.0, 1e9, answered(503))), retry_for=30.0)
        assert await called(judge, 300) == {"A": 300}
        await asyncio.sleep(5.0)
        began = now()
        with pytest.raises(EngineError, match=r"not now.*\(after \d+ attempts in 3\d s\)"):
            await judge.generate(QUESTION, Sampling())
        assert 30.0 <= now() - began < 41.0
        with pytest.raises(EngineError, match=r"not now \(not asked again, after 3\d s without a good answer to any"):
            await judge.generate(QUESTION, Sampling())
        await judge.close()

    hastily(play)


@pytest.mark.parametrize(("failure", "error"), [(lost(), "EngineUnavailableError"), (answered(500), "EngineError")])
def test_a_server_that_never_answered_is_known_within_seconds(failure, error):
    async def play() -> None:
        judge = playing(Played((0.0, 1e9, failure)))
        assert await called(judge, MANY) == {error: MANY}
        assert now() < 10.0 + 10.0
        await judge.close()

    hastily(play)


def test_a_server_that_says_that_it_is_loading_is_waited_for():
    async def play() -> None:
        judge = playing(Played((0.0, 200.0, answered(503))))
        assert await called(judge, 300) == {"A": 300}
        await judge.close()

    hastily(play)


def test_a_quota_that_is_spent_ends_all_calls_together_after_the_time_of_one():
    async def play() -> None:
        judge = playing(Played((0.0, 1e9, answered(429))), timeout=100.0)
        assert await called(judge, MANY) == {"EngineError": MANY}
        assert now() < 100.0 + 10.0
        await judge.close()

    hastily(play)


def test_a_server_that_hangs_holds_two_rounds_of_calls_and_not_forty():
    async def play() -> None:
        judge = playing(Played(seconds=1e9), timeout=60.0)
        assert await called(judge, MANY) == {"EngineError": MANY}
        assert now() < 2 * 60.0 + 15.0
        await judge.close()

    hastily(play)


# Calls whose trouble is their own


def test_a_request_that_fails_while_others_are_answered_has_a_few_attempts():
    async def play() -> None:
        server = Played()
        judge = playing(server)
        well, poison = server.send, Counter[str]()

        async def send(url: Any, body: bytes | None, **more: Any) -> bytes:
            if b"poison" not in (body or b""):
                return await well(url, body, **more)
            poison["asked"] += 1
            raise answered(500)()

        judge._here().transport.send = send  # type: ignore[method-assign]
        others = asyncio.ensure_future(called(judge, 5_000))
        with pytest.raises(EngineError, match="5 attempts"):
            await judge.generate([{"role": "user", "content": "poison"}], Sampling())
        assert poison == {"asked": 5}
        assert await others == {"A": 5_000}
        await judge.close()

    hastily(play)


def test_a_request_that_failed_alone_takes_no_other_calls_with_it():
    async def play() -> None:
        server = Played()
        judge = playing(server)
        await called(judge, 1)
        server.trouble = ((began := now(), 1e9, answered(500)),)
        assert await called(judge, 1) == {"EngineError": 1}
        # It held its caller for a minute, not for all of retry_for.
        assert now() - began < 75.0
        server.trouble = ()
        # At once, while its failure is fresh.
        assert await called(judge, 100) == {"A": 100}
        await judge.close()

    hastily(play)


def test_a_call_ends_with_its_own_timeout():
    async def play() -> None:
        judge = playing(Played((3.0, 1e9, lost())), timeout=20.0)
        await called(judge, 1)
        await asyncio.sleep(5.0)
        began = now()
        with pytest.raises(EngineError):
            await judge.generate(QUESTION, Sampling())
        assert now() - began <= 20.0
        await judge.close()

    hastily(play)


def test_a_silence_whose_end_nobody_saw_is_not_held_against_later_calls():
    """A call that is cancelled in an outage is the last one for an hour."""

    async def play() -> None:
        judge = playing(Played((3.0, 7.0, lost()), (3600.0, 3660.0, lost())))
        await called(judge, 1)
        await asyncio.sleep(2.5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(judge.generate(QUESTION, Sampling()), 3.0)
        await asyncio.sleep(3600.0 - now())
        assert await called(judge, 300) == {"A": 300}
        await judge.close()

    hastily(play)


@pytest.mark.parametrize("failure", [lost(), answered(503)])
def test_moments_of_trouble_between_long_calls_are_not_one_silence(failure):
    """Thinking takes longer than `retry_for`, so that no answer comes between them, and the server is well."""
    moments = (0.0, 60.0, 330.0)

    async def play() -> None:
        server = Played(*((at, at + 0.5, failure) for at in moments), seconds=350.3)
        judge = playing(server, timeout=3600.0)

        async def later(at: float) -> Counter[str]:
            await asyncio.sleep(at)
            return await called(judge, 50)

        ends = await asyncio.gather(*(later(at + 0.1) for at in moments))
        assert ends == [{"A": 50}] * 3 and server.asked > 300
        await judge.close()

    hastily(play)


def test_the_log_has_two_lines_for_an_outage(caplog):
    async def play() -> None:
        judge = playing(Played((3.0, 33.0, lost())))
        await called(judge, 2_000)
        await judge.close()

    with caplog.at_level(logging.WARNING, "rrm_plugin"):
        hastily(play)
    began, ended = [record.message for record in caplog.records]
    assert "no judge has answered at http://server-0/v1 for" in began and "for up to 300 s: nobody there" in began
    assert ended.startswith("the judge answers again, after 3")


def test_failures_that_come_together_put_a_server_aside_once():
    async def play() -> None:
        down, well = Played((0.5, 2.0, lost())), Played()
        judge = playing(down, well)
        await called(judge, 200)
        # Not for a minute, as it would be were each of the 100 that failed a failure more.
        await asyncio.sleep(2.0)
        await called(judge, 1)
        before = down.asked
        await called(judge, 200)
        assert down.asked - before == 100
        await judge.close()

    hastily(play)


# Real sockets


@pytest.mark.parametrize("made", [HttpEngine, ServiceEngine])
def test_a_real_server_that_is_closed_and_opened_again_costs_no_call(made):
    async def handler(request: web.Request, body: Any) -> web.Response:
        await asyncio.sleep(0.05)
        return chat("A")

    async def play() -> None:
        async with serve(handler) as server:
            port = int(server.url.split(":")[2].removesuffix("/v1"))
            judge = made(f"http://127.0.0.1:{port}", model="judge", concurrency=16)
            calls = asyncio.ensure_future(called(judge, 100))
            await asyncio.sleep(0.12)
        await asyncio.sleep(0.5)
        async with serve(handler, port):
            assert await calls == {"A": 100}
        await judge.close()

    asyncio.run(play())


def test_a_wrong_address_stays_an_error_that_says_so():
    async def play() -> None:
        judge = HttpEngine(dead_url(), model="judge", retry_for=0.2)
        for _ in range(2):
            with pytest.raises(EngineUnavailableError, match=r"is engine \(--engine\) its address"):
                await judge.generate(QUESTION, Sampling())
        await judge.close()

    asyncio.run(play())


def test_a_server_asks_for_a_time_longer_than_is_waited():
    async def play() -> None:
        async def handler(request: web.Request, body: Any) -> web.Response:
            return failing(503, "later", Retry_After="90")

        async with serve(handler) as server:
            judge = HttpEngine(server.url, model="judge", retry_for=60.0)
            with pytest.raises(EngineError, match="it asks to wait 90 s"):
                await judge.generate(QUESTION, Sampling())
            await judge.close()
            assert len(server.calls) == 1

    asyncio.run(play())
