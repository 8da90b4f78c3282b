"""Whole groups through the service: every reward is that of the same group judged at once, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3

import aiohttp
import pytest
from aiohttp import web

from rrm_plugin import RRMJudge
from rrm_plugin.cohorts import Closing, Member
from rrm_plugin.service import ServiceClient
from tests.engines.local_servers import dead_url
from tests.service.services import Model, asked, broken, openrlhf_post, service

GROUPS, SIZE = 64, 8


def text(group, index):
    return f"answer {index} of {group} " + "so " * (index * 7 % 5)


@pytest.fixture
def model():
    model = Model()
    yield model
    model.close()


def prompts():
    return {f"g{number}": f"Question {number}?" for number in range(GROUPS)}


async def shuffled(work, seed=0):
    """Every member of every group in a random order, each at a random turn of the loop."""
    rng = random.Random(seed)
    places = [(group, index) for group in prompts() for index in range(SIZE)]
    rng.shuffle(places)

    async def one(place):
        for _ in range(rng.randrange(50)):
            await asyncio.sleep(0)
        return await work(*place)

    return dict(zip(places, await asyncio.gather(*map(one, places)), strict=True))


@pytest.mark.parametrize("schedule", ["circulant:3", "swiss:2"])
def test_64_groups_of_8_in_any_order_are_those_judged_at_once(schedule):
    with RRMJudge(engine="scripted:random", schedule=schedule) as judge:
        with service(judge) as url, ServiceClient(url) as client:

            async def join(group, index):
                member = Member(prompt=prompts()[group], response=text(group, index), id=str(index), index=index)
                return await client.ajoin(group, member, size=SIZE)

            outcomes = asyncio.run(shuffled(join))
        for group, prompt in prompts().items():
            offline = judge.score(prompt, [text(group, index) for index in range(SIZE)])
            assert [outcomes[group, index].reward for index in range(SIZE)] == offline.values
            assert {outcomes[group, index].closing for index in range(SIZE)} == {Closing.FULL}
            assert outcomes[group, 0].metrics["rrm/calls"] == offline.calls


def test_64_groups_of_8_as_openrlhf_asks(tmp_path):
    ledger = tmp_path / "judge.db"
    with RRMJudge(engine="scripted:random", ledger=ledger) as judge, service(judge, group_size=SIZE) as url:

        async def post(group, index):
            prompt = prompts()[group]
            return await openrlhf_post(f"{url}/get_reward", f"{prompt}{text(group, index)}</s>", prompt, group)

        replies = asyncio.run(shuffled(post))
        connection = sqlite3.connect(ledger)
        judged = connection.execute("SELECT responses, rewards FROM groups").fetchall()
        connection.close()
    # Anonymous members have no numbers of their own; the ledger says in which order they were judged.
    groups = [dict(zip(json.loads(responses), json.loads(rewards), strict=True)) for responses, rewards in judged]
    assert len(groups) == GROUPS and all(len(rewards) == SIZE for rewards in groups)
    rewards = {response: reward for group in groups for response, reward in group.items()}
    with RRMJudge(engine="scripted:random") as offline:
        for responses, found in judged:
            group = json.loads(responses)[0].split()[3]
            assert {one.split()[3] for one in json.loads(responses)} == {group}
            assert offline.score(prompts()[group], json.loads(responses)).values == json.loads(found)
    for (group, index), reply in replies.items():
        assert reply["rewards"] == rewards[text(group, index)]
        spreads = [replies[group, other]["scores"] for other in range(SIZE)]
        assert spreads == [reply["scores"]] * SIZE and reply["extra_logs"]["rrm_unscored"] == 0.0
    assert len({tuple(sorted(reply["extra_logs"])) for reply in replies.values()}) == 1


def one_group(url, size=4, **more):
    """The outcomes of one group, as members of a trainer would get them."""

    async def main():
        members = [Member(prompt="Why?", response=f"answer {n}" + " so" * n, id=str(n), index=n) for n in range(size)]
        async with asyncio.timeout(30):
            return await asyncio.gather(*(client.ajoin("g", one, size=size, **more) for one in members))

    with ServiceClient(url) as client:
        return asyncio.run(main())


def scored_at_once(size=4):
    with RRMJudge(engine="scripted:random") as judge:
        return judge.score("Why?", [f"answer {n}" + " so" * n for n in range(size)]).values


def test_an_engine_with_two_servers_one_of_them_dead(model):
    urls = [dead_url(), model.url]
    with RRMJudge(engine=urls, model="judge", backoff=0.01) as judge, service(judge) as url:
        assert [outcome.reward for outcome in one_group(url)] == scored_at_once()
        health = asked(url, "/health")[1]
        assert health["status"] == "ok" and sorted(bool(error) for error in health["engine"]["servers"].values()) == [
            False,
            True,
        ]


def test_a_server_that_dies_between_two_groups_is_left_for_the_other(model):
    other = Model()
    with RRMJudge(engine=[model.url, other.url], model="judge", backoff=0.01) as judge, service(judge) as url:
        first = one_group(url)
        model.down()
        with ServiceClient(url) as client:
            scores = client.score("Why?", ["another answer", "and one more"])
        assert [outcome.reward for outcome in first] == scored_at_once()
        assert not scores.failures and None not in scores.values
    other.close()


def test_an_engine_that_is_down_for_a_while_costs_no_reward(model):
    model.down()
    judge = RRMJudge(engine=model.url, model="judge", backoff=0.02, timeout=20.0)
    with judge, service(judge) as url:

        async def main():
            waiting = asyncio.ensure_future(asyncio.to_thread(one_group, url))
            while asked_under_way(judge, url) == 0:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            model.up()
            return await waiting

        outcomes = asyncio.run(main())
    assert [outcome.reward for outcome in outcomes] == scored_at_once()


def asked_under_way(judge, url):
    with ServiceClient(url) as client:
        return client.health()["engine"]["under_way"]


def test_an_engine_that_is_down_for_good_leaves_numbers_and_says_why():
    judge = RRMJudge(engine=dead_url(), model="judge", retry_for=0.2, backoff=0.01)
    with judge, service(judge, group_size=2) as url:
        outcomes = one_group(url)
        assert [(outcome.reward, outcome.number, outcome.spread) for outcome in outcomes] == [(None, 0.0, 0.0)] * 4
        assert "unreachable" in outcomes[0].error and outcomes[0].metrics["rrm/no_verdict/unreachable"] == 1.0

        async def openrlhf():
            posts = (openrlhf_post(f"{url}/get_reward", f"Why?{text}", "Why?", "") for text in ("a", "b"))
            return await asyncio.gather(*posts)

        for reply in asyncio.run(openrlhf()):
            assert reply["rewards"] == reply["scores"] == 0.0
            assert reply["extra_logs"]["rrm_failed"] == 1.0 and reply["extra_logs"]["rrm_unscored"] == 1.0
        status, health, _ = asked(url, "/health")
        assert status == 503 and health["engine"]["reachable"] is False
        page = asked(url, "/metrics")[1]
        assert 'rrm_gate_unscored_total{gate="cohort"} 4.0' in page
        assert 'rrm_engine_failures_total{reason="unreachable"}' in page


def test_an_engine_slower_than_openrlhf_waits_is_answered_for_in_time(model):
    async def never():
        await asyncio.sleep(60)

    model.behaviour = never
    limits = {"group_size": 2, "reward_deadline": 0.1, "reward_patience": 0.3, "grace": 0.1}
    with RRMJudge(engine=model.url, model="judge") as judge, service(judge, **limits) as url:

        async def main():
            posts = (openrlhf_post(f"{url}/get_reward", f"Why?{text}", "Why?", "", 10.0) for text in ("a", "b"))
            return await asyncio.gather(*posts)

        assert [reply["rewards"] for reply in asyncio.run(main())] == [0.0, 0.0]
        assert asked(url, "/health")[1]["gates"]["reward"]["impatient"] == 2


def test_a_sibling_that_never_comes_is_waited_for_until_the_deadline():
    limits = {"group_size": 3, "reward_deadline": 0.2, "reward_patience": 5.0}
    with RRMJudge(engine="scripted:longer") as judge, service(judge, **limits) as url:

        async def main():
            posts = (openrlhf_post(f"{url}/get_reward", f"Why?{text}", "Why?", "") for text in ("a", "a b"))
            return await asyncio.gather(*posts)

        short, long = asyncio.run(main())
    assert short["rewards"] < long["rewards"]
    assert short["extra_logs"]["rrm_missing"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "garbage",
    [
        lambda: web.Response(text="<html>", content_type="text/html"),
        lambda: web.json_response({"choices": []}),
        lambda: web.json_response([1]),
    ],
)
def test_garbage_from_the_engine_is_no_verdict(model, garbage):
    async def behave():
        return garbage()

    model.behaviour = behave
    with RRMJudge(engine=model.url, model="judge", retry_for=0.0) as judge, service(judge) as url:
        outcomes = one_group(url, size=2)
        assert [outcome.reward for outcome in outcomes] == [None, None]
        assert outcomes[0].metrics["rrm/no_verdict/bad_reply"] == 1.0


def test_a_part_of_the_calls_that_fails_costs_only_their_verdicts(model):
    failures = iter([broken(), None, None, None])

    async def sometimes():
        failure = next(failures, None)
        return None if failure is None else await failure()

    model.behaviour = sometimes
    judge = RRMJudge(engine=model.url, model="judge", retry_for=0.0, schedule="round_robin", concurrency=1)
    with judge, service(judge) as url, ServiceClient(url) as client:
        scores = client.score("Why?", ["one", "one two"])
        assert scores.failures == {"engine_error": 1} and None not in scores.values


def test_connections_that_are_thrown_away_half_way_leave_nothing_behind():
    """Half of a request, and then nothing more."""

    async def main(url):
        host, _, port = url.removeprefix("http://").partition(":")
        for _ in range(20):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /v1/compare HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{url}/metrics") as response:
                    page = await response.text()
                if "rrm_requests_under_way 1.0" in page:
                    return page
                await asyncio.sleep(0.01)

    with RRMJudge(engine="scripted:longer") as judge, service(judge) as url:
        assert 'path="/v1/compare",status="499"' in asyncio.run(asyncio.wait_for(main(url), 10))
