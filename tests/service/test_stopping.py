"""A service that is stopped, or killed: what is under way is finished or asked again, and nothing is paid twice."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import threading
import time
import urllib.request

import aiohttp
import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.cohorts import Member
from rrm_plugin.errors import ServiceError
from rrm_plugin.service import ServiceClient
from tests.service.services import Model, Served, asked, free_port, openrlhf_post, service

SIZE = 4


@pytest.fixture
def model():
    model = Model()
    yield model
    model.close()


def members():
    return [Member(prompt="Why?", response=f"answer {n}" + " so" * n, id=str(n), index=n) for n in range(SIZE)]


def scored_at_once():
    with RRMJudge(engine="scripted:random") as judge:
        return judge.score("Why?", [one.response for one in members()]).values


async def until(true, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def gated(model):
    """Lets the model answer only once it is told to."""
    gate = threading.Event()

    async def behave():
        while not gate.is_set():
            await asyncio.sleep(0.01)

    model.behaviour = behave
    return gate


def test_sigterm_finishes_what_is_under_way_and_turns_the_rest_away(model):
    go = gated(model)

    async def main(served, url):
        with ServiceClient(url, retry_for=0.0) as client:
            whole = [asyncio.ensure_future(client.ajoin("whole", one, size=SIZE)) for one in members()]
            alone = asyncio.ensure_future(client.ajoin("alone", members()[0], size=SIZE))
            compared = asyncio.ensure_future(client.acompare("Why?", "a", "a b"))
            await until(lambda: len(model.asked) >= 13)
            served.process.send_signal(signal.SIGTERM)
            await until(lambda: _refused(url))
            go.set()
            outcomes = await asyncio.gather(*whole)
            with pytest.raises(ServiceError) as stopped:
                await alone
            return outcomes, await compared, stopped.value

    with Served("--engine", model.url, "--model", "judge", "--port", "0", "--grace", "20") as served:
        outcomes, judgement, stopped = asyncio.run(main(served, served.url()))
        status, _, err = served.ended()
    assert [outcome.reward for outcome in outcomes] == scored_at_once()
    assert judgement.verdict is not None
    assert (stopped.status, stopped.type) == (503, "stopping")
    assert status == 0 and "1 requests that could not be finished" in err


def _refused(url):
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return response.status != 200
    except OSError:
        return True


def test_after_the_grace_the_rest_is_answered(model):
    gated(model)

    async def main():
        async with aiohttp.ClientSession() as session:
            body = {"prompt": "Why?", "first": "a", "second": "a b"}
            waiting = asyncio.ensure_future(session.post(f"{url}/v1/compare", json=body))
            await until(lambda: model.asked)
            stopping = asyncio.ensure_future(asyncio.to_thread(stack.__exit__, None, None, None))
            response = await waiting
            assert response.status == 503 and response.headers["Retry-After"]
            assert (await response.json())["error"]["type"] == "stopping"
            await stopping

    with RRMJudge(engine=model.url, model="judge") as judge:
        stack = service(judge, grace=0.2)
        url = stack.__enter__()
        began = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - began < 5


def test_openrlhfs_client_is_told_to_ask_again_and_not_given_a_0(model):
    gated(model)

    async def main():
        posts = [
            asyncio.ensure_future(openrlhf_post(f"{url}/get_reward", f"Why?{text}", "Why?", "")) for text in ("a", "b")
        ]
        await until(lambda: model.asked)
        stopping = asyncio.ensure_future(asyncio.to_thread(stack.__exit__, None, None, None))
        found = await asyncio.gather(*posts, return_exceptions=True)
        await stopping
        return found

    with RRMJudge(engine=model.url, model="judge") as judge:
        stack = service(judge, grace=0.1, group_size=2)
        url = stack.__enter__()
        found = asyncio.run(main())
    assert [error.status for error in found] == [503, 503]


def test_a_second_signal_ends_it_at_once(model):
    gated(model)
    with Served("--engine", model.url, "--model", "judge", "--port", "0", "--grace", "60") as served:
        url = served.url()
        waiting = threading.Thread(
            target=asked, args=(url, "/v1/compare", {"prompt": "?", "first": "a", "second": "b"}), daemon=True
        )
        waiting.start()
        asyncio.run(until(lambda: model.asked))
        served.process.send_signal(signal.SIGINT)
        asyncio.run(until(lambda: _refused(url)))
        began = time.monotonic()
        status, _, _ = served.stop()
        assert status == 0 and time.monotonic() - began < 10
        waiting.join(10)


def test_a_service_killed_in_the_middle_of_a_group_loses_and_doubles_nothing(model, tmp_path):
    """Some calls are answered, some are under way, one member has not come yet: SIGKILL, and the same command again."""
    ledger = tmp_path / "judge.db"
    answered = 0

    async def first_six():
        nonlocal answered
        answered += 1
        if answered > 6:
            await asyncio.sleep(60)

    model.behaviour = first_six
    with free_port() as port:
        pass
    command = ("--engine", model.url, "--model", "judge", "--port", str(port), "--ledger", str(ledger))

    async def main(first, url):
        with ServiceClient(url, retry_for=60.0) as client:
            there = [asyncio.ensure_future(client.ajoin("g", one, size=SIZE)) for one in members()[:3]]
            await until(lambda: len(model.answered) == 6 and recorded(ledger) == 6)
            first.kill()
            kept = set(keys(ledger))
            model.behaviour = None
            with Served(*command) as second:
                await asyncio.to_thread(second.url)
                last = await client.ajoin("g", members()[3], size=SIZE)
                outcomes = [*await asyncio.gather(*there), last]
                assert second.stop()[0] == 0
            return outcomes, kept

    with Served(*command) as first:
        outcomes, kept = asyncio.run(main(first, first.url()))
    assert [outcome.reward for outcome in outcomes] == scored_at_once()
    assert {outcome.members for outcome in outcomes} == {SIZE}
    # What was on disk when the service was killed was not asked for again, and nothing was answered twice.
    assert set(model.answered.values()) == {1} and len(model.answered) == 12
    assert kept <= set(keys(ledger)) and recorded(ledger) == 12


def keys(ledger):
    connection = sqlite3.connect(ledger)
    try:
        return [key for (key,) in connection.execute("SELECT key FROM judgements WHERE answered = 1")]
    finally:
        connection.close()


def recorded(ledger):
    return len(keys(ledger)) if ledger.exists() else 0


def test_openrlhfs_replies_survive_a_killed_service_too(model, tmp_path):
    with free_port() as port:
        pass
    command = ("--engine", model.url, "--model", "judge", "--port", str(port), "--group-size", "3")
    ledger = tmp_path / "judge.db"
    command += ("--ledger", str(ledger))

    async def persistent(url, text):
        """OpenRLHF's client: five attempts, a second apart; here more of them, faster."""
        for _ in range(200):
            try:
                return await openrlhf_post(f"{url}/get_reward", f"Why?{text}", "Why?", "")
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
        raise AssertionError("no reward")

    async def main(first, url):
        posts = [asyncio.ensure_future(persistent(url, text)) for text in ("a", "a b")]
        # An answer that is not on disk yet would be asked for again: it was never told to anybody.
        await until(lambda: len(model.answered) == recorded(ledger) == 2)
        first.kill()
        with Served(*command) as second:
            await asyncio.to_thread(second.url)
            return await asyncio.gather(*posts, persistent(url, "a b c"))

    with Served(*command) as first:
        replies = asyncio.run(main(first, first.url()))
    assert all(reply["extra_logs"]["rrm_unscored"] == 0.0 for reply in replies)
    assert len({reply["scores"] for reply in replies}) == 1 and replies[0]["extra_logs"]["rrm_missing"] == 0.0
    assert set(model.answered.values()) == {1}
