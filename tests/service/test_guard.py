"""What every request has to pass: the token, the room that is left, its size; and a client that is still there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from urllib.parse import quote

import aiohttp
import pytest

from rrm_plugin import ConfigError, RRMJudge
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.service.settings import ServiceSettings, read_token
from tests.service.services import TOKEN, asked, service

PAIR = {"prompt": "Why?", "first": "a", "second": "so be it"}
REWARD = {"query": ["ab"], "prompts": ["a"], "labels": [""]}


@pytest.fixture(scope="module")
def judge():
    with RRMJudge(engine="scripted:longer") as judge:
        yield judge


def waiting(url):
    return asked(url, "/health")[1]["gates"]["cohort"]["waiting"]


def until(true, seconds=10.0):
    """Waits for what another thread or process does."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.01)


def test_a_token_is_demanded_of_every_page_but_the_bare_health(judge):
    with service(judge, token=TOKEN, group_size=1) as url:
        for path in ("/v1/compare", "/v1/score", "/v1/cohort", "/v1/chat/completions", "/get_reward"):
            status, body, _ = asked(url, path, {})
            assert status == 401 and body["error"]["type"] == "unauthorized" and "RRM_SERVICE_TOKEN" in str(body)
        for path in ("/metrics", "/v1/models", "/docs", "/openapi.json", "/nowhere"):
            assert asked(url, path)[0] == 401
        assert asked(url, "/health")[:2] == (200, {"status": "ok"})
        assert "engine" in asked(url, "/health", Authorization=f"Bearer {TOKEN}")[1]


@pytest.mark.parametrize("given", ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN])
def test_another_token_is_none(judge, given):
    with service(judge, token=TOKEN) as url:
        assert asked(url, "/v1/compare", PAIR, Authorization=given)[0] == 401


def test_the_token_opens_every_page(judge):
    with service(judge, token=TOKEN) as url:
        assert asked(url, "/v1/compare", PAIR, Authorization=f"Bearer {TOKEN}")[0] == 200
        assert asked(url, "/v1/compare", PAIR, Authorization=f"bearer {TOKEN}")[0] == 200


def test_openrlhf_may_bring_it_in_the_query_and_nobody_else(judge, caplog):
    caplog.set_level(logging.DEBUG)
    with service(judge, token=TOKEN, group_size=1) as url:
        assert asked(url, f"/get_reward?token={TOKEN.replace(' ', '%20')}", REWARD)[0] == 200
        assert asked(url, "/get_reward?token=wrong", REWARD)[0] == 401
        assert asked(url, f"/v1/compare?token={TOKEN.replace(' ', '%20')}", PAIR)[0] == 401
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("aiohttp")]
    assert not any("secret" in message for message in ours)


@pytest.mark.parametrize(
    "token", ["a+secret+with+pluses", "ends in equals, 12==", "ampersand&token=secret", "50%41secret?/;# and more"]
)
def test_a_token_in_the_query_may_have_any_character(judge, token):
    with service(judge, token=token, group_size=1) as url:
        assert asked(url, f"/get_reward?token={quote(token, safe='')}", REWARD)[0] == 200
        if not set(token) & set("#%"):
            assert asked(url, f"/get_reward?token={token}", REWARD)[0] == 200
        status, body, _ = asked(url, "/get_reward?token=wrong", REWARD)
        assert status == 401 and "%23" in body["error"]["message"]
        for part in ("", token[:-1], token + "x"):
            assert asked(url, f"/get_reward?token={quote(part, safe='')}", REWARD)[0] == 401
        assert asked(url, "/get_reward", REWARD)[0] == 401


def test_a_large_body_is_refused_and_its_client_is_told(judge):
    with service(judge, max_body=4096) as url:
        fits = {**PAIR, "prompt": "x" * 3000}
        assert asked(url, "/v1/compare", fits)[0] == 200
        for size in (5_000, 30_000, 10_000_000):
            with contextlib.suppress(aiohttp.ClientError):
                # Far too much is not read to its end, and a client that goes on writing may see that first.
                status, body, _ = asked(url, "/v1/compare", {**PAIR, "prompt": "x" * size})
                assert status == 413 and body["error"]["type"] == "too_large" and "4096" in body["error"]["message"]
            assert asked(url, "/v1/compare", fits)[0] == 200


def test_a_body_of_some_megabytes_is_taken_by_default(judge):
    with service(judge) as url:
        assert asked(url, "/v1/compare", {**PAIR, "prompt": "x" * 12 * 2**20})[0] == 200


def test_a_large_body_without_a_length_is_refused_too(judge):
    async def pieces():
        for _ in range(8):
            yield b"x" * 1024

    async def main(url):
        async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/compare", data=pieces()) as response:
            return response.status

    with service(judge, max_body=4096) as url:
        assert asyncio.run(main(url)) == 413


def test_more_than_the_capacity_is_told_to_come_again(judge):
    with service(judge, capacity=2, group_size=8) as url:
        member = {"key": "g", "prompt": "?", "response": "a", "patience": 20}
        threads = [
            threading.Thread(target=asked, args=(url, "/v1/cohort", {**member, "id": str(n)}), daemon=True)
            for n in range(2)
        ]
        for thread in threads:
            thread.start()
        until(lambda: waiting(url) == 2)
        status, body, headers = asked(url, "/v1/cohort", {**member, "id": "2"})
        assert status == 429 and body["error"]["type"] == "full" and headers["Retry-After"] == "1"
        assert asked(url, "/health")[0] == 200
    for thread in threads:
        thread.join(10)


async def leave(url, path, body, seconds=0.2):
    """A client that gives up after a while."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session:
        with pytest.raises(TimeoutError):
            async with session.post(url + path, json=body):
                pass


def test_a_client_that_leaves_frees_its_place(judge):
    with service(judge, group_size=2) as url:
        asyncio.run(leave(url, "/get_reward", REWARD))
        until(lambda: asked(url, "/health")[1]["gates"]["reward"]["waiting"] == 0)
        # The place is free: two more are a group, and neither of them waits for a third.
        found = []
        threads = [threading.Thread(target=lambda: found.append(asked(url, "/get_reward", REWARD))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [status for status, _, _ in found] == [200, 200]
        counts = asked(url, "/health")[1]["gates"]["reward"]
        assert counts["groups"] == 1 and counts["cancelled"] == 1
        assert 'path="/get_reward",status="499"' in asked(url, "/metrics")[1]


def test_a_client_that_leaves_ends_the_calls_that_were_made_for_it():
    begun, ended = threading.Event(), threading.Event()

    async def reply(messages):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with RRMJudge(engine=ScriptedEngine(reply)) as judge, service(judge) as url:
        asyncio.run(leave(url, "/v1/compare", PAIR))
        assert begun.is_set() and ended.wait(10)
        until(lambda: asked(url, "/health")[1]["engine"]["under_way"] == 0)


def test_a_client_that_leaves_with_an_id_may_come_again(judge):
    with service(judge, group_size=2) as url:
        member = {"key": "g", "prompt": "?", "response": "a", "id": "0"}
        asyncio.run(leave(url, "/v1/cohort", member))
        found = []
        others = [member, {**member, "id": "1", "response": "so it is"}]
        threads = [
            threading.Thread(target=lambda body=body: found.append(asked(url, "/v1/cohort", body))) for body in others
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [row["members"] for _, row, _ in found] == [2, 2]
        assert sorted(row["repeated"] for _, row, _ in found) == [False, True]


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "judge.example"])
def test_an_address_that_others_reach_demands_a_token(host):
    with pytest.raises(ConfigError, match="RRM_SERVICE_TOKEN"):
        ServiceSettings(host=host)
    assert TOKEN not in repr(ServiceSettings(host=host, token=TOKEN))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_this_machines_own_do_not(host):
    assert ServiceSettings(host=host).token is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"group_size": 0}, "group_size"),
        ({"group_size": 257}, "at most 256"),
        ({"port": 70_000}, "port"),
        ({"deadline": 0}, "deadline"),
        ({"reward_deadline": 170}, "reward_patience"),
        ({"capacity": 1}, "capacity"),
        ({"max_body": 10}, "max_body"),
        ({"grace": -1}, "grace"),
        ({"token": "short"}, "16 or more"),
        ({"token": "a secret\nof two lines"}, "printable"),
    ],
)
def test_settings_that_cannot_be(wrong, words):
    with pytest.raises(ConfigError, match=words):
        ServiceSettings(**wrong)


def test_a_token_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("RRM_SERVICE_TOKEN", TOKEN)
    assert read_token() == TOKEN
    (tmp_path / "token").write_text("another secret, longer\n")
    assert read_token(tmp_path / "token") == "another secret, longer"
    (tmp_path / "empty").write_text("\n")
    for file in ("empty", "absent"):
        with pytest.raises(ConfigError, match=file):
            read_token(tmp_path / file)
    monkeypatch.delenv("RRM_SERVICE_TOKEN")
    assert read_token() is None


def test_a_port_that_is_taken(judge):
    with (
        service(judge) as url,
        pytest.raises(ConfigError, match="cannot listen on"),
        service(judge, port=int(url.rpartition(":")[2])),
    ):
        pass
