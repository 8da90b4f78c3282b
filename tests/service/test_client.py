"""The client: what it tries again, what it does not, and where it may be used."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import pickle
import threading

import pytest
from aiohttp import web

from rrm_plugin import ConfigError, EngineError, GroupError, Reason, RRMJudge, Verdict
from rrm_plugin.cohorts import Closing, Member
from rrm_plugin.errors import ServiceError
from rrm_plugin.service import ServiceClient
from tests.engines.local_servers import dead_url, serve, serve_raw
from tests.service.services import TOKEN, service

PROMPT, SHORT, LONG = "Why is the sky blue?", "It reflects the sea.", "Air scatters blue light more than red."


@pytest.fixture(scope="module")
def url():
    with RRMJudge(engine="scripted:longer") as judge, service(judge, token=TOKEN, group_size=2) as url:
        yield url


@pytest.fixture
def client(url):
    with ServiceClient(url, token=TOKEN) as client:
        yield client


def answering(*answers):
    """A server that gives these answers in turn: a status, or a status with an error's type."""
    left = list(answers)

    async def handler(request, body):
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer == 200:
            return web.json_response({"status": "ok"})
        status, kind = answer
        return web.json_response({"error": {"type": kind, "message": f"it is {kind}"}}, status=status)

    return serve(handler)


def asking(answers, **options):
    """How often a withdrawal was asked for, and what it ended in."""

    async def main():
        async with answering(*answers) as server:
            client = ServiceClient(server.url.removesuffix("/v1"), **{"retry_for": 5.0, **options})
            try:
                await client.awithdraw("g")
                return len(server.calls), None
            except Exception as error:
                return len(server.calls), error
            finally:
                await asyncio.to_thread(client.close)

    return asyncio.run(main())


def test_it_returns_what_the_judge_returns(client):
    assert client.compare(PROMPT, SHORT, LONG).verdict is Verdict.SECOND
    both = client.compare(PROMPT, SHORT, LONG, both_orders=True)
    assert len(both.votes) == 2 and both.votes[0].text
    with RRMJudge(engine="scripted:longer") as judge:
        expected = judge.score(PROMPT, [SHORT, LONG, ""])
    assert client.score(PROMPT, [SHORT, LONG, ""]).values == expected.values
    assert client.rank(PROMPT, [SHORT, LONG, ""]).ranking == expected.ranking
    texts = [judgement.text for judgement in client.score(PROMPT, [SHORT, LONG, ""], judgements=True).judgements]
    assert texts == [judgement.text for judgement in expected.judgements]


def test_it_is_awaited_from_any_loop_and_thread(client):
    async def main():
        members = [Member(prompt=PROMPT, response=text, id=text) for text in (SHORT, LONG)]
        outcomes = await asyncio.gather(*(client.ajoin("awaited", one) for one in members))
        assert client.compare(PROMPT, SHORT, LONG).verdict is Verdict.SECOND
        return outcomes, await client.acompare(PROMPT, SHORT, LONG), await client.arank(PROMPT, [SHORT, LONG])

    for _ in range(2):
        outcomes, judgement, scores = asyncio.run(main())
        assert [outcome.members for outcome in outcomes] == [2, 2] and judgement.verdict is Verdict.SECOND
        assert scores.ranking == [1, 0] and outcomes[0].closing is Closing.FULL


def test_members_in_threads_of_their_own(client):
    found = []
    threads = [
        threading.Thread(
            target=lambda text=text: found.append(client.join("t", Member(prompt=PROMPT, response=text, id=text)))
        )
        for text in (SHORT, LONG)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcome.reward for outcome in found)[1] > 0


def test_to_cancel_a_wait_is_to_leave(client):
    async def main():
        waiting = asyncio.ensure_future(client.ajoin("left", Member(prompt=PROMPT, response=SHORT)))
        while (await client.ahealth())["gates"]["cohort"]["waiting"] == 0:
            await asyncio.sleep(0.01)
        waiting.cancel()
        while (await client.ahealth())["gates"]["cohort"]["waiting"]:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_copy_in_another_process_works_and_carries_no_token(url, client, monkeypatch):
    assert TOKEN not in repr(client) and TOKEN.encode() not in pickle.dumps(client)
    monkeypatch.setenv("RRM_SERVICE_TOKEN", TOKEN)
    members = [Member(prompt=PROMPT, response=text, id=text) for text in (SHORT, LONG)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = [pool.apply_async(_joined, (ServiceClient(url), member)) for member in members]
        (short, one), (long, other) = [each.get(60) for each in found]
    assert one != other and os.getpid() not in (one, other)
    assert short.reward < 0 < long.reward and short.members == 2


def _joined(client, member):
    import time

    # Both processes have to be there: each answers only for itself.
    began = time.monotonic()
    outcome = client.join("processes", member, size=2, patience=50)
    assert time.monotonic() - began < 50
    time.sleep(0.2)
    return outcome, os.getpid()


def test_a_wrong_token_is_said_and_not_tried_again(url):
    with ServiceClient(url, token="quite another secret") as client:
        with pytest.raises(ServiceError, match="RRM_SERVICE_TOKEN") as refused:
            client.compare(PROMPT, SHORT, LONG)
        assert (refused.value.status, refused.value.type) == (401, "unauthorized")
        assert client.health() == {"status": "ok"}


@pytest.mark.parametrize("passing", [(429, "full"), (503, "stopping"), (429, "engine_busy")])
def test_what_passes_is_tried_again(passing):
    assert asking([passing, passing, 200]) == (3, None)


@pytest.mark.parametrize(
    ("final", "kind", "reason"),
    [
        ((422, "group_error"), GroupError, None),
        ((500, "config_error"), ConfigError, None),
        ((422, "invalid"), ServiceError, None),
        ((413, "too_large"), ServiceError, None),
        ((503, "budget_spent"), EngineError, Reason.OVER_BUDGET),
        ((502, "engine_failed"), EngineError, Reason.ENGINE_ERROR),
        ((504, "engine_timeout"), EngineError, Reason.TIMEOUT),
    ],
)
def test_what_does_not_pass_is_not_and_has_its_own_error(final, kind, reason):
    calls, error = asking([final, 200])
    assert calls == 1 and type(error) is kind and f"it is {final[1]}" in str(error)
    assert reason is None or error.reason is reason
    assert type(pickle.loads(pickle.dumps(error))) is kind


def test_a_wrong_address_is_not_waited_for_in_silence(monkeypatch, caplog):
    monkeypatch.setattr("rrm_plugin.service.client._NEWS", 0.05)
    client = ServiceClient(dead_url(), retry_for=0.4)

    async def play():
        with contextlib.suppress(ServiceError):
            await asyncio.gather(*(client.acompare("Why?", "a", "b") for _ in range(20)))

    with caplog.at_level(logging.WARNING):
        asyncio.run(play())
    assert caplog.text.count("no answer from the judge service at http://127.0.0.1") == 1
    assert "for up to 0.4 s" in caplog.text


def test_it_gives_up_in_the_end():
    calls, error = asking([(503, "stopping")], retry_for=0.5)
    assert calls > 1 and error.type == "stopping"
    with ServiceClient(dead_url().removesuffix("/v1"), retry_for=0.2) as client:
        with pytest.raises(ServiceError, match="no answer from the judge service") as lost:
            client.compare(PROMPT, SHORT, LONG)
        assert lost.value.status is None and lost.value.type == "unreachable"


def test_a_connection_that_is_lost_is_tried_again(url):
    async def main():
        answered = 0

        async def talk(reader, writer):
            nonlocal answered
            answered += 1
            if answered > 2:
                body = json.dumps({"status": "ok"}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
                await writer.drain()

        async with serve_raw(talk) as raw:
            client = ServiceClient(raw.removesuffix("/v1"), retry_for=5.0)
            await client.awithdraw("g")
            await asyncio.to_thread(client.close)
        return answered

    assert asyncio.run(main()) == 3


def test_something_else_at_that_address_is_no_service():
    async def main():
        async def handler(request, body):
            return web.Response(text="<html>", status=404)

        async with serve(handler) as server:
            client = ServiceClient(server.url.removesuffix("/v1"), retry_for=0.0)
            with pytest.raises(ServiceError, match="is no judge service"):
                await client.awithdraw("g")
            await asyncio.to_thread(client.close)

    asyncio.run(main())


@pytest.mark.parametrize("wrong", ["localhost:8100", "ftp://host", "", "rrm://"])
def test_an_address_that_is_none(wrong):
    with pytest.raises(ConfigError, match="rrm://localhost:8100"):
        ServiceClient(wrong)


def test_no_responses_are_refused_here(client):
    for wrong in ([], "one text"):
        with pytest.raises(GroupError):
            client.score(PROMPT, wrong)


def test_it_can_be_used_after_it_was_closed(client):
    client.close()
    assert client.compare(PROMPT, SHORT, LONG).verdict is Verdict.SECOND


@pytest.mark.parametrize("setting", ["timeout", "connect_timeout"])
def test_seconds_that_no_clock_knows_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=f"{setting} must be above 0 and finite"):
        ServiceClient("rrm://localhost:1", **{setting: float("inf")})
