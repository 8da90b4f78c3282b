"""HttpEngine against real servers on this machine: what it sends, what it makes of answers, how it fails."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pickle
import random
import time
import warnings
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from rrm_plugin.engines import HttpEngine, Reply, Sampling, engine
from rrm_plugin.errors import ConfigError, EngineError, EngineUnavailableError
from rrm_plugin.types import Reason
from tests.engines.local_servers import chat, dead_url, failing, serve, serve_raw

MESSAGES = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Which?"}]
SAMPLING = Sampling()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RRM_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def made(url: str | list[str], **settings: Any) -> HttpEngine:
    return HttpEngine(url, **{"model": "judge", "backoff": 0.001, "timeout": 5.0, **settings})


async def ask(url: str | list[str], sampling: Sampling = SAMPLING, **settings: Any) -> Reply:
    judge = made(url, **settings)
    try:
        return await judge.generate(MESSAGES, sampling)
    finally:
        await judge.close()


async def error_of(url: str | list[str], **settings: Any) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await ask(url, **settings)
    return caught.value


async def always(request: web.Request, body: Any) -> web.Response:
    return chat()


def in_turn(*answers: Any):
    """A handler that gives these answers one after the other, and the last one from then on."""
    left = list(answers)

    async def handler(request: web.Request, body: Any) -> web.StreamResponse:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer() if callable(answer) else answer

    return handler


# What is sent, and what comes back


def test_a_call_sends_the_messages_and_the_sampling():
    async def run() -> None:
        async with serve(always) as server:
            sampling = Sampling(temperature=0.25, top_p=0.5, max_tokens=99, seed=7, stop=("END",))
            reply = await ask(server.url, sampling, extra_body={"top_k": 20, "top_p": None}, headers={"X-Team": "rl"})
        assert (reply.text, reply.finished, reply.engine) == ("\\boxed{Assistant 1}", True, "http:judge")
        assert (reply.prompt_tokens, reply.completion_tokens) == (11, 7)
        assert reply.seconds > 0
        assert server.calls == [
            (
                "/v1/chat/completions",
                {
                    "model": "judge",
                    "messages": MESSAGES,
                    "temperature": 0.25,
                    "max_tokens": 99,
                    "seed": 7,
                    "stop": ["END"],
                    "top_k": 20,
                },
            )
        ]
        assert server.headers[0]["X-Team"] == "rl"
        assert server.headers[0]["Content-Type"] == "application/json"
        assert "Authorization" not in server.headers[0]

    asyncio.run(run())


def test_by_default_the_sampling_of_the_paper_is_sent():
    async def run() -> None:
        async with serve(always) as server:
            await ask(server.url)
        assert server.bodies[0] == {
            "model": "judge",
            "messages": MESSAGES,
            "temperature": 0.6,
            "top_p": 1.0,
            "max_tokens": 8192,
        }

    asyncio.run(run())


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/judge", "/judge/v1/chat/completions"),
        ("/api/paas/v4", "/api/paas/v4/chat/completions"),
        ("/v1beta/openai/", "/v1beta/openai/chat/completions"),
    ],
)
def test_base_addresses_with_and_without_a_version(given, asked):
    async def run() -> None:
        async with serve(always) as server:
            await ask(server.url.removesuffix("/v1") + given)
        assert server.paths == [asked]

    asyncio.run(run())


@pytest.mark.parametrize(
    "wrong",
    ["localhost:8000", "ftp://host/v1", "http://", "http://host:port/v1", "http://[::1/v1", "", [], "https://u:p@host"],
)
def test_an_address_that_cannot_be_one_names_the_setting(wrong):
    with pytest.raises(ConfigError, match="engine="):
        HttpEngine(wrong)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("concurrency", 0),
        ("concurrency", "64"),
        ("concurrency", 2.5),
        ("concurrency", True),
        ("timeout", "60"),
        ("timeout", float("nan")),
        ("timeout", None),
        ("attempt_timeout", "60"),
        ("connect_timeout", "10"),
        ("retry_for", "60"),
        ("backoff", "0.5"),
        ("timeout", 0),
        ("attempt_timeout", -1),
        ("connect_timeout", 0),
        ("connect_timeout", float("inf")),
        ("retry_for", -1),
        ("backoff", 0),
        ("headers", {"X": "a\nb"}),
        ("extra_body", {"stream": True}),
        ("extra_body", {"x": object()}),
        ("api_key", "key\n"),
    ],
)
def test_settings_that_cannot_work_are_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        HttpEngine("http://localhost:1", **{setting: value})


@pytest.mark.parametrize(
    ("answer", "text", "finished"),
    [
        (chat("plain"), "plain", True),
        (chat("cut", finish="length"), "cut", False),
        (chat("A", reasoning_content="why"), "<think>\nwhy\n</think>\n\nA", True),
        (chat("A", reasoning="why"), "<think>\nwhy\n</think>\n\nA", True),
        (chat("\n\nA", reasoning="\nwhy\n"), "<think>\nwhy\n</think>\n\nA", True),
        (chat("A", reasoning_content=None, reasoning=None), "A", True),
        (chat(None, reasoning="why so", finish="length"), "<think>\nwhy so", False),
        (chat("", reasoning_content="why so ", finish="length"), "<think>\nwhy so ", False),
        (chat(None, reasoning="why", finish="stop"), "<think>\nwhy\n</think>\n\n", True),
        (chat("\\box", reasoning="why", finish="length"), "<think>\nwhy\n</think>\n\n\\box", False),
        (chat("<think>\nwhy\n</think>\nA", reasoning="why"), "<think>\nwhy\n</think>\nA", True),
        (chat(None), "", True),
        (chat(None, refusal="I cannot judge."), "I cannot judge.", True),
        (chat([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]), "AB", True),
        (
            chat([{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}, {"type": "text", "text": "A"}]),
            "<think>\nwhy\n</think>\n\nA",
            True,
        ),
        (chat("no usage", finish=None), "no usage", True),
        (web.json_response({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "9"}}), "x", True),
    ],
)
def test_every_form_of_answer_becomes_one_text(answer, text, finished):
    async def run() -> None:
        async with serve(in_turn(answer)) as server:
            reply = await ask(server.url)
        assert (reply.text, reply.finished) == (text, finished)

    asyncio.run(run())


def test_unicode_control_characters_and_a_megabyte_arrive_as_they_are():
    odd = "naïve 评判 🙂 \x00\x1b[31m\u2028\ud800 </think> <|im_end|>\r\n"
    huge = odd.replace("\ud800", "") * 40_000

    async def run() -> None:
        async def echo(request: web.Request, body: Any) -> web.Response:
            return chat(body["messages"][-1]["content"])

        async with serve(echo) as server:
            judge = made(server.url)
            for content in (odd, huge):
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    reply = await judge.generate([{"role": "user", "content": content}], SAMPLING)
                assert reply.text == content
            await judge.close()

    asyncio.run(run())


def test_messages_that_are_no_json_are_rejected_not_raised_raw():
    async def run() -> None:
        async with serve(always) as server:
            judge = made(server.url)
            with pytest.raises(EngineError, match="cannot be sent as JSON") as caught:
                await judge.generate([{"role": "user", "content": b"bytes"}], SAMPLING)
            assert caught.value.reason is Reason.REJECTED
            await judge.close()

    asyncio.run(run())


# Which model


def test_the_only_served_model_is_taken_and_asked_for_once():
    async def handler(request: web.Request, body: Any) -> web.Response:
        return web.json_response({"data": [{"id": "RRM-7B"}]}) if request.path == "/v1/models" else chat()

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url, model=None)
            assert judge.name == "http:?"
            replies = await asyncio.gather(*(judge.generate(MESSAGES, SAMPLING) for _ in range(5)))
            assert await judge.identify() == "http:RRM-7B"
            await judge.close()
        assert {reply.engine for reply in replies} == {"http:RRM-7B"}
        assert server.paths.count("/v1/models") == 1
        assert {body["model"] for body in server.bodies if body} == {"RRM-7B"}

    asyncio.run(run())


def test_calls_that_wait_for_the_models_name_fail_together():
    async def handler(request: web.Request, body: Any) -> web.Response:
        return failing(503, "still loading")

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url, model=None, retry_for=0.0)
            calls = (judge.generate(MESSAGES, SAMPLING) for _ in range(20))
            errors = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(error, EngineError) and "still loading" in str(error) for error in errors)
            assert server.paths == ["/v1/models"]
            judge._here().servers.clock = lambda: time.monotonic() + 10
            with pytest.raises(EngineError, match="still loading"):
                await judge.identify()
            assert server.paths == ["/v1/models"] * 2, "a later call asks again"
            await judge.close()

    asyncio.run(run())


def test_a_known_name_is_told_without_a_slot():
    arrived, release = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request, body: Any) -> web.Response:
        arrived.set()
        await release.wait()
        return chat()

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url, concurrency=1)
            slow = asyncio.create_task(judge.generate(MESSAGES, SAMPLING))
            await arrived.wait()
            assert await asyncio.wait_for(judge.identify(), 2) == "http:judge"
            release.set()
            await slow
            await judge.close()

    asyncio.run(run())


def test_the_fingerprint_follows_the_model_and_the_fields_of_a_request():
    plain = made("http://a", model="m")
    assert plain.fingerprint == plain.name
    assert made("http://b:1", model="m", timeout=9, headers={"X": "y"}, api_key="k").fingerprint == plain.fingerprint
    thinking = {"chat_template_kwargs": {"enable_thinking": True, "depth": 1}}
    others = [
        made("http://a", model="n"),
        made("http://a", model="m", extra_body=thinking),
        made("http://a", model="m", extra_body={"chat_template_kwargs": {"enable_thinking": False, "depth": 1}}),
        made("http://a", model="m", extra_body={"top_p": None}),
    ]
    assert len({plain.fingerprint, *(each.fingerprint for each in others)}) == 5
    turned = {"chat_template_kwargs": {"depth": 1, "enable_thinking": True}}
    assert made("http://a", model="m", extra_body=turned).fingerprint == others[1].fingerprint
    assert pickle.loads(pickle.dumps(others[1])).fingerprint == others[1].fingerprint


def test_the_fingerprint_has_the_model_once_the_server_was_asked():
    async def run() -> None:
        async with serve(in_turn(web.json_response({"data": [{"id": "RRM-7B"}]}))) as server:
            judge = made(server.url, model=None, extra_body={"top_k": 5})
            await judge.identify()
            await judge.close()
        assert judge.fingerprint == made("http://a", model="RRM-7B", extra_body={"top_k": 5}).fingerprint

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "says"), [([{"id": "a"}, {"id": "b"}], "'a', 'b'"), ([], "names no model"), (3, "no model")]
)
def test_several_models_or_none_need_the_setting(data, says):
    async def run() -> None:
        async with serve(in_turn(web.json_response({"data": data}))) as server:
            with pytest.raises(ConfigError, match=f"{says}.*model="):
                await ask(server.url, model=None)

    asyncio.run(run())


# Failures that may pass


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(status):
    async def run() -> None:
        async with serve(in_turn(failing(status), failing(status), chat("fine"))) as server:
            assert (await ask(server.url)).text == "fine"
        assert len(server.calls) == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "reason"),
    [(500, Reason.ENGINE_ERROR), (503, Reason.ENGINE_ERROR), (504, Reason.TIMEOUT)],
)
def test_a_lasting_failure_says_what_the_server_said(status, reason):
    async def run() -> None:
        async with serve(in_turn(lambda: failing(status, "GPU on fire"))) as server:
            error = await error_of(server.url, retry_for=0.05)
        assert len(server.calls) > 2
        assert (error.reason, error.retryable) == (reason, True)
        assert not isinstance(error, EngineUnavailableError)
        for part in (server.url, str(status), "GPU on fire", f"{len(server.calls)} attempts"):
            assert part in str(error)

    asyncio.run(run())


def test_retry_after_in_seconds_is_honoured():
    async def run() -> None:
        async with serve(in_turn(failing(429, Retry_After="0.2"), chat("fine"))) as server:
            started = time.monotonic()
            assert (await ask(server.url)).text == "fine"
            assert time.monotonic() - started >= 0.2

    asyncio.run(run())


def test_a_wait_longer_than_the_time_left_ends_the_call_at_once():
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

    async def run() -> None:
        for value in ("3600", later):
            async with serve(in_turn(lambda value=value: failing(429, Retry_After=value))) as server:
                started = time.monotonic()
                error = await error_of(server.url, timeout=30)
                assert time.monotonic() - started < 5
            assert error.reason is Reason.RATE_LIMITED
            assert "asks to wait 3" in str(error)
            assert len(server.calls) == 1

    asyncio.run(run())


def test_a_server_that_hangs_is_a_timeout():
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with serve_raw(hang) as url:
            started = time.monotonic()
            error = await error_of(url, timeout=0.2)
            assert time.monotonic() - started < 2
        assert error.reason is Reason.TIMEOUT
        assert "timeout=" in str(error)

    asyncio.run(run())


def test_an_attempt_may_time_out_and_the_next_one_succeed():
    release = asyncio.Event()
    asked = 0

    async def handler(request: web.Request, body: Any) -> web.Response:
        nonlocal asked
        asked += 1
        if asked == 1:
            await release.wait()
        return chat("fine")

    async def run() -> None:
        async with serve(handler) as server:
            assert (await ask(server.url, attempt_timeout=0.1)).text == "fine"
            release.set()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", Reason.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{", Reason.UNREACHABLE),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"cho\r\n', Reason.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", None),
        (b"220 mail.example ESMTP\r\n", Reason.BAD_REPLY),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", Reason.BAD_REPLY),
    ],
)
def test_a_connection_that_breaks_or_talks_nonsense_is_no_raw_exception(sent, reason):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async def run() -> None:
        async with serve_raw(talk) as url:
            error = await error_of(url, retry_for=0.0)
        assert error.retryable
        assert error.reason is reason or (reason is None and error.reason in (Reason.UNREACHABLE, Reason.BAD_REPLY))
        assert url in str(error)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("<html>gateway</html>", "not JSON.*<html>gateway"),
        ("", "not JSON"),
        ("[1, 2]", "not an object"),
        ("{}", "without choices"),
        ('{"choices": []}', "without choices"),
        ('{"choices": [{"text": "x"}]}', "without a message"),
        ('{"choices": [{"message": {"content": 3}}]}', "not text"),
        ('{"choices": [{"message": {"content": ["x"]}}]}', "not text"),
        ('{"choices": [{"finish_reason": "abort", "message": {"content": ""}}]}', "gave up"),
        ('{"error": {"message": "model is loading"}}', "model is loading"),
        ("[" * 100_000, "not JSON"),
        (b"\xff\xfe{", "not JSON"),
    ],
)
def test_status_200_with_something_else_inside_is_a_bad_reply(body, says):
    data = body if isinstance(body, bytes) else body.encode()

    async def run() -> None:
        async with serve(in_turn(lambda: web.Response(body=data, content_type="application/json"))) as server:
            error = await error_of(server.url, retry_for=0.02)
        assert error.reason is Reason.BAD_REPLY
        assert len(server.calls) > 1
        assert len(str(error)) < 600
        assert server.url in str(error)
        with pytest.raises(EngineError, match=says):
            raise error

    asyncio.run(run())


def test_a_reply_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("rrm_plugin.engines.transport._LARGEST_REPLY", 2**20)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 2**16 + b"\r\n")
            await writer.drain()

    async def run() -> None:
        async with serve_raw(talk) as url:
            error = await error_of(url)
        assert error.reason is Reason.BAD_REPLY
        assert "more than 1 MiB" in str(error)

    asyncio.run(run())


# Failures that stay


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (400, "This model's maximum context length is 4096 tokens", "max_tokens=8192.*context"),
        (400, "temperature must be positive", "temperature must be positive$"),
        (401, "who are you", "api_key="),
        (403, "not for you", "RRM_API_KEY"),
        (404, "The model `judge` does not exist.", "/v1.*model='judge'"),
        (422, "odd", "odd"),
        (301, "", "redirects are not followed"),
    ],
)
def test_a_refusal_is_not_tried_again_and_says_what_to_do(status, message, says):
    async def run() -> None:
        async with serve(in_turn(failing(status, message))) as server:
            error = await error_of(server.url)
        assert len(server.calls) == 1
        assert (error.reason, error.retryable) == (Reason.REJECTED, False)
        with pytest.raises(EngineError, match=says):
            raise error

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"error": "plain words"}', "plain words"),
        ('{"object": "error", "message": "too many tokens"}', "too many tokens"),
        ('{"detail": [{"loc": ["body", "messages"], "msg": "field required"}]}', "field required"),
        ("nginx says no", "nginx says no"),
        ("[]", r"\[\]"),
    ],
)
def test_the_servers_words_are_found_in_each_known_form_of_error(body, says):
    async def run() -> None:
        async with serve(in_turn(web.Response(text=body, status=400))) as server:
            with pytest.raises(EngineError, match=says):
                await ask(server.url)

    asyncio.run(run())


def test_no_server_at_all_names_the_address_and_the_setting():
    async def run() -> None:
        url = dead_url()
        error = await error_of(url, retry_for=0.0)
        assert isinstance(error, EngineUnavailableError)
        assert error.reason is Reason.UNREACHABLE
        assert url in str(error)
        assert "engine (--engine)" in str(error) and "ssl" not in str(error)

    asyncio.run(run())


def test_a_server_that_answered_before_is_unreachable_not_unavailable():
    async def run() -> None:
        judge = made(dead_url(), retry_for=0.0)
        async with serve(always) as server:
            judge = made(server.url, retry_for=0.0)
            await judge.generate(MESSAGES, SAMPLING)
        with pytest.raises(EngineError) as caught:
            await judge.generate(MESSAGES, SAMPLING)
        assert caught.value.reason is Reason.UNREACHABLE
        assert not isinstance(caught.value, EngineUnavailableError)
        await judge.close()

    asyncio.run(run())


def test_a_wait_without_end_is_no_wait():
    async def run() -> None:
        for value in ("inf", "1e999", "nan", "soon"):
            async with serve(in_turn(failing(429, Retry_After=value), chat("fine"))) as server:
                assert (await ask(server.url)).text == "fine"

    asyncio.run(run())


# Several servers


class _Longest(random.Random):
    """Draws the longest pause each time."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "0"}])
def test_servers_that_are_all_too_busy_are_not_stormed(headers):
    times: list[float] = []

    async def handler(request: web.Request, body: Any) -> web.Response:
        times.append(time.monotonic())
        return failing(429, "slow down", **headers)

    async def run() -> None:
        async with serve(handler) as one, serve(handler) as two:
            judge = made([one.url, two.url], backoff=0.05, timeout=0.6)
            judge._here().random = _Longest()
            with pytest.raises(EngineError) as caught:
                await judge.generate(MESSAGES, SAMPLING)
            await judge.close()
            assert caught.value.reason is Reason.RATE_LIMITED
            assert min(len(one.calls), len(two.calls)) >= 1

    asyncio.run(run())
    # Six on a machine with time for each, fewer on a busy one.
    assert 3 <= len(times) <= 6
    # Both have refused after two attempts; the third one waits the second one's backoff.
    assert times[2] - times[1] >= 0.1


def test_a_busy_server_hands_its_call_to_the_other_at_once():
    async def run() -> None:
        async with serve(in_turn(lambda: failing(429))) as busy, serve(always) as idle:
            judge = made([busy.url, idle.url], backoff=600.0, timeout=60)
            replies = await asyncio.wait_for(
                asyncio.gather(*(judge.generate(MESSAGES, SAMPLING) for _ in range(8))), 30
            )
            later = await asyncio.wait_for(judge.generate(MESSAGES, SAMPLING), 30)
            await judge.close()
        assert len([*replies, later]) == 9
        assert len(busy.calls) == 4, "it is left alone once it has refused"

    asyncio.run(run())


def test_a_server_that_asks_for_a_day_does_not_keep_a_call_from_one_that_is_back_soon():
    async def run() -> None:
        async with (
            serve(in_turn(failing(500), chat("fine"))) as sick,
            serve(in_turn(lambda: failing(429, Retry_After="86400"))) as gone,
        ):
            judge = made([sick.url, gone.url], backoff=0.05)
            assert (await judge.generate(MESSAGES, SAMPLING)).text == "fine"
            await judge.close()
        assert len(gone.calls) == 1

    asyncio.run(run())


def test_a_server_that_hangs_is_left_for_another_without_any_setting():
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with serve_raw(hang) as stuck, serve(always) as well:
            judge = made([stuck, well.url], timeout=4.0)
            replies = await asyncio.gather(*(judge.generate(MESSAGES, SAMPLING) for _ in range(6)))
            await judge.close()
        assert len(replies) == len(well.calls) == 6

    asyncio.run(run())


def test_a_dead_server_costs_no_call_and_is_left_aside():
    async def run() -> None:
        async with serve(always) as server:
            judge = made([dead_url(), server.url], retry_for=0.0, backoff=30.0)
            replies = await asyncio.gather(*(judge.generate(MESSAGES, SAMPLING) for _ in range(20)))
            await judge.close()
        assert len(replies) == len(server.calls) == 20

    asyncio.run(run())


def test_two_servers_share_the_load():
    async def run() -> None:
        async with serve(always) as one, serve(always) as two:
            judge = engine(f"{one.url}, {two.url}", model="judge")
            await asyncio.gather(*(judge.generate(MESSAGES, SAMPLING) for _ in range(20)))
            await judge.close()
        assert len(one.calls) == len(two.calls) == 10

    asyncio.run(run())


def test_a_failing_server_gets_probed_and_comes_back():
    async def run() -> None:
        async with serve(in_turn(failing(500), chat)) as sick, serve(always) as well:
            judge = made([sick.url, well.url], backoff=0.01)
            for _ in range(200):
                await judge.generate(MESSAGES, SAMPLING)
                if len(sick.calls) > 3:
                    break
            await judge.close()
        assert len(sick.calls) > 3

    asyncio.run(run())


def test_all_servers_down_is_one_error_that_names_them_all():
    async def run() -> None:
        urls = [dead_url(), dead_url()]
        error = await error_of(urls, retry_for=0.0)
        assert isinstance(error, EngineUnavailableError)
        assert all(url in str(error) for url in urls)
        assert "2 attempts" in str(error)

    asyncio.run(run())


# Slots, cancellation, loops, processes


def test_no_more_requests_than_slots_are_under_way():
    now, most = 0, 0

    async def handler(request: web.Request, body: Any) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return chat()

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url, concurrency=3)
            await asyncio.gather(*(judge.generate(MESSAGES, SAMPLING) for _ in range(12)))
            await judge.close()

    asyncio.run(run())
    assert most == 3


def test_a_cancelled_call_frees_its_slot_and_its_connection():
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request, body: Any) -> web.Response:
        if body["messages"][0]["content"] != "wait":
            return chat("next")
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return chat()

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url, concurrency=1)
            stuck = asyncio.create_task(judge.generate([{"role": "user", "content": "wait"}], SAMPLING))
            await arrived.wait()
            stuck.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stuck
            reply = await asyncio.wait_for(judge.generate(MESSAGES, SAMPLING), 5)
            assert reply.text == "next"
            await judge.close()

    asyncio.run(run())


def test_closing_ends_the_calls_under_way():
    arrived = asyncio.Event()

    async def handler(request: web.Request, body: Any) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        return chat()

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url)
            call = asyncio.create_task(judge.generate(MESSAGES, SAMPLING))
            await arrived.wait()
            await judge.close()
            with pytest.raises(EngineError, match="closed"):
                await asyncio.wait_for(call, 5)

    asyncio.run(run())


def test_one_connection_serves_call_after_call():
    peers = set()

    async def handler(request: web.Request, body: Any) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return chat()

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url)
            for _ in range(5):
                await judge.generate(MESSAGES, SAMPLING)
            await judge.close()

    asyncio.run(run())
    assert len(peers) == 1


def test_it_works_from_one_event_loop_after_another_and_after_close():
    async def run(judge: HttpEngine) -> None:
        async with serve(always) as server:
            # The servers of the two loops have different addresses.
            judge._urls = made(server.url)._urls
            await judge.generate(MESSAGES, SAMPLING)
            await judge.close()
            await judge.generate(MESSAGES, SAMPLING)

    judge = made("http://localhost:1")
    asyncio.run(run(judge))
    asyncio.run(run(judge))


def test_judges_of_two_event_loops_share_it_at_the_same_time():
    async def slowly(request: web.Request, body: Any) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return chat()

    async def run() -> None:
        async with serve(slowly) as server:
            judge = made(server.url)

            async def ask() -> list[Reply]:
                return [
                    reply
                    for _ in range(5)
                    for reply in await asyncio.gather(*(judge.generate(MESSAGES, SAMPLING) for _ in range(4)))
                ]

            both = await asyncio.gather(*(asyncio.to_thread(asyncio.run, ask()) for _ in range(2)))
            assert [len(replies) for replies in both] == [20, 20]
            await judge.close()

    asyncio.run(run())


@pytest.mark.parametrize("inside", [True, False])
def test_an_engine_that_nobody_closed_leaves_no_complaint(inside, caplog):
    async def run() -> HttpEngine | None:
        async with serve(always) as server:
            judge = made(server.url)
            await judge.generate(MESSAGES, SAMPLING)
            if inside:
                del judge
                gc.collect()
                return None
            return judge

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        left = asyncio.run(run())
        del left
        gc.collect()
    assert not [each for each in caught if "Unclosed" in str(each.message)]
    assert "Unclosed" not in caplog.text


def test_a_copy_through_pickle_works_on_its_own():
    async def run() -> None:
        async with serve(always) as server:
            judge = made(server.url, headers={"X-Team": "rl"})
            await judge.generate(MESSAGES, SAMPLING)
            copy = pickle.loads(pickle.dumps(judge))
            assert (await copy.generate(MESSAGES, SAMPLING)).text == "\\boxed{Assistant 1}"
            assert copy.name == judge.name
            await asyncio.gather(judge.close(), copy.close())
        assert server.headers[1]["X-Team"] == "rl"

    asyncio.run(run())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_the_child_opens_its_own_connections():
    peers = []

    async def handler(request: web.Request, body: Any) -> web.Response:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return chat()

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url)
            await judge.generate(MESSAGES, SAMPLING)
            child = os.fork()
            if child == 0:
                # Another loop, as the parent's is running; os._exit keeps pytest out of the child.
                status = 1
                try:
                    asyncio.events._set_running_loop(None)
                    status = 0 if asyncio.run(judge.generate(MESSAGES, SAMPLING)).finished else 2
                finally:
                    os._exit(status)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            await judge.generate(MESSAGES, SAMPLING)
            await judge.close()

    asyncio.run(run())
    assert len(peers) == 3
    assert peers[0] == peers[2] != peers[1]


def test_retries_leave_the_random_numbers_of_a_training_run_alone():
    random.seed(5)
    expected = random.random()

    async def run() -> None:
        async with serve(in_turn(failing(500), failing(500), chat())) as server:
            await ask(server.url)

    random.seed(5)
    asyncio.run(run())
    assert random.random() == expected


# The key

KEY = "sk-very-secret"


def test_the_key_is_sent_and_shown_nowhere():
    async def run() -> None:
        async with serve(in_turn(lambda: failing(401, f"Incorrect API key provided: {KEY}"))) as server:
            judge = made(server.url, api_key=KEY)
            with pytest.raises(EngineError) as caught:
                await judge.generate(MESSAGES, SAMPLING)
            assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
            await judge.close()
        shown = [repr(judge), str(caught.value), repr(caught.value), repr(vars(judge)), judge.name]
        assert not any(KEY in text for text in shown)
        assert KEY.encode() not in pickle.dumps(judge)
        assert KEY.encode() not in pickle.dumps(caught.value)

    asyncio.run(run())


def test_a_key_in_the_query_of_an_address_is_shown_nowhere():
    async def run() -> None:
        async with serve(in_turn(lambda: failing(500))) as server:
            judge = made(f"{server.url}?key={KEY}", retry_for=0.0)
            with pytest.raises(EngineError) as caught:
                await judge.generate(MESSAGES, SAMPLING)
            await judge.close()
        assert KEY not in repr(judge) + str(caught.value)

    asyncio.run(run())


def test_the_environment_may_hold_the_key(monkeypatch):
    async def run() -> None:
        async with serve(always) as server:
            await ask(server.url)
        assert server.headers[0]["Authorization"] == "Bearer from-environment"

    monkeypatch.setenv("OPENAI_API_KEY", "other")
    monkeypatch.setenv("RRM_API_KEY", "from-environment")
    asyncio.run(run())


def test_a_pickle_in_a_fresh_process_takes_the_key_of_its_environment_or_says_so(monkeypatch):
    from rrm_plugin.engines import keys

    frozen = pickle.dumps(HttpEngine("http://localhost:1", model="judge", api_key=KEY))
    monkeypatch.setattr(keys, "_HELD", {})
    thawed = pickle.loads(frozen)
    with pytest.raises(ConfigError, match="RRM_API_KEY"):
        asyncio.run(thawed.generate(MESSAGES, SAMPLING))
    monkeypatch.setenv("RRM_API_KEY", "fresh")
    assert thawed._key.value() == "fresh"


def test_what_was_sent_is_plain_json():
    async def run() -> None:
        seen = []

        async def handler(request: web.Request, body: Any) -> web.Response:
            seen.append(await request.read())
            return chat()

        async with serve(handler) as server:
            await ask(server.url)
        assert json.loads(seen[0]) == server.bodies[0]
        seen[0].decode("ascii")

    asyncio.run(run())


def test_a_probe_tells_which_servers_answer():
    async def main():
        async def busy(request, body):
            return failing(429, "busy")

        async def broken(request, body):
            return failing(503, "loading")

        async with serve(busy) as first, serve(broken) as second:
            engine = HttpEngine([first.url, second.url, dead_url()], model="judge", api_key="a secret key")
            found = await engine.probe(2.0)
            await engine.close()
        assert [bool(error) for error in found.values()] == [False, True, True]
        assert "loading" in list(found.values())[1] and "a secret key" not in str(found)

    asyncio.run(main())


def test_auto_grows_while_the_server_answers_more():
    """Where it ends is the machine's matter here, and tested in simulated time with `Pace`; here that it is used."""
    places, now, most = asyncio.Semaphore(200), 0, 0

    async def handler(request: web.Request, body: Any) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        async with places:
            await asyncio.sleep(0.05)
        now -= 1
        return chat()

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url, concurrency="auto")
            assert judge._here().slots.limit == 64
            replies = await asyncio.gather(*(judge.generate(MESSAGES, SAMPLING) for _ in range(1_500)))
            assert len(replies) == 1_500
            assert judge._here().slots.taken == 0
            await judge.close()

    asyncio.run(run())
    assert most > 64


def test_auto_asks_for_less_where_there_is_too_much():
    asked = 0

    async def handler(request: web.Request, body: Any) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=429) if asked <= 5 else chat()

    async def run() -> None:
        async with serve(handler) as server:
            judge = made(server.url, concurrency="auto", backoff=0.001)
            await asyncio.gather(*(judge.generate(MESSAGES, SAMPLING) for _ in range(5)))
            assert judge._here().slots.limit == 32
            await judge.close()

    asyncio.run(run())
