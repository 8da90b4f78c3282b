"""Continuing a text over HTTP: each kind of server is played with the fields that the real one reads and returns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from rrm_plugin.engines import HttpEngine, Reply, Sampling
from rrm_plugin.engines.thinking import continuation, join_thinking
from rrm_plugin.errors import EngineError
from rrm_plugin.types import Reason
from tests.engines.local_servers import Recorded, chat, completion, failing, serve

MESSAGES = [{"role": "user", "content": "Which?"}]
TEXT = "<think>\nLong and\n</think>\n\n\\boxed{"
SAMPLING = Sampling(max_tokens=16, temperature=0.0)


def ids(text: str) -> list[int]:
    return [ord(mark) for mark in text]


def words(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def resumed(handler: Any, text: str = TEXT, times: int = 1, **settings: Any) -> tuple[list[Reply | None], Recorded]:
    async def run() -> tuple[list[Reply | None], Recorded]:
        async with serve(handler) as server:
            engine = HttpEngine(server.url, model="judge", backoff=0.001, timeout=5.0, **settings)
            replies = [await engine.resume(MESSAGES, text, SAMPLING) for _ in range(times)]
            await engine.close()
        return replies, server

    return asyncio.run(run())


def vllm(prompt: str):
    """vLLM: /tokenize takes messages or a prompt, /detokenize takes ids, /v1/completions takes ids as its prompt."""

    async def handler(request: web.Request, body: Any) -> web.Response:
        if request.path == "/tokenize":
            text = prompt if "messages" in body else body["prompt"]
            return web.json_response({"tokens": ids(text), "count": len(text), "max_model_len": 4096})
        if request.path == "/detokenize":
            return web.json_response({"prompt": words(body["tokens"])})
        if request.path == "/v1/completions":
            return completion("Assistant 1}")
        return failing(404)

    return handler


def llama_cpp(prompt: str):
    """llama.cpp: /apply-template takes messages; its /tokenize knows `content` only and else returns no tokens."""

    async def handler(request: web.Request, body: Any) -> web.Response:
        if request.path == "/tokenize":
            return web.json_response({"tokens": ids(body.get("content", ""))})
        if request.path == "/apply-template":
            return web.json_response({"prompt": prompt})
        if request.path == "/v1/completions":
            return completion("Assistant 1}", "length")
        return failing(404)

    return handler


def sglang(opens_thinking: bool):
    """SGLang: /tokenize takes a prompt only; chat puts a last assistant message raw behind the rendered prompt."""

    async def handler(request: web.Request, body: Any) -> web.Response:
        if request.path == "/tokenize":
            return failing(400, "prompt: field required")
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "judge", "owned_by": "sglang"}]})
        if request.path != "/v1/chat/completions":
            return failing(404)
        assert body["separate_reasoning"] is False
        if body.get("continue_final_message"):
            return chat("Assistant 1}")
        return chat("Okay, so" if opens_thinking else "<think>\nOkay", finish="length")

    return handler


@pytest.mark.parametrize(
    ("prompt", "joined"),
    [
        ("<User>Which?<Assistant>", f"<User>Which?<Assistant>{TEXT}"),
        ("<User>Which?<Assistant><think>\n", f"<User>Which?<Assistant>{TEXT}"),
        ("<User>Which?<Assistant><think>", f"<User>Which?<Assistant>{TEXT}"),
    ],
)
def test_vllm_is_given_the_ids_of_prompt_and_text_with_one_opening_tag(prompt, joined):
    (reply,), server = resumed(vllm(prompt), extra_body={"top_k": 5, "chat_template_kwargs": {"enable_thinking": True}})
    assert reply is not None
    assert (reply.text, reply.finished) == ("Assistant 1}", True)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.engine) == (21, 3, "http:judge")
    assert server.calls[0] == (
        "/tokenize",
        {
            "model": "judge",
            "messages": MESSAGES,
            "add_generation_prompt": True,
            "chat_template_kwargs": {"enable_thinking": True},
        },
    )
    path, body = server.calls[-1]
    assert path == "/v1/completions"
    assert words(body.pop("prompt")) == joined
    assert body == {"model": "judge", "temperature": 0.0, "top_p": 1.0, "max_tokens": 16, "top_k": 5}
    plain = [body for path, body in server.calls if path == "/tokenize" and "prompt" in body]
    assert [body["add_special_tokens"] for body in plain] == [False]


def test_a_text_without_tags_is_continued_as_it_is():
    _, server = resumed(vllm("<Assistant><think>\n"), text="Okay")
    assert words(server.bodies[-1]["prompt"]) == "<Assistant><think>\nOkay"
    assert "/detokenize" not in server.paths


@pytest.mark.parametrize("prompt", ["<User>Which?<Assistant>", "<User>Which?<Assistant><think>\n"])
def test_llama_cpp_is_given_its_own_rendered_prompt(prompt):
    (reply,), server = resumed(llama_cpp(prompt))
    assert reply is not None
    assert (reply.text, reply.finished) == ("Assistant 1}", False)
    assert server.paths == ["/tokenize", "/apply-template", "/v1/completions"]
    assert server.bodies[1] == {"messages": MESSAGES}
    assert server.bodies[2]["prompt"] == f"<User>Which?<Assistant>{TEXT}"


@pytest.mark.parametrize("opens", [True, False])
def test_sglang_is_given_the_text_as_a_last_message(opens):
    (reply, again), server = resumed(sglang(opens), times=2)
    assert reply is not None
    assert again is not None
    assert reply.text == again.text == "Assistant 1}"
    last = server.bodies[-1]
    text = TEXT.removeprefix("<think>\n") if opens else TEXT
    assert last["messages"] == [*MESSAGES, {"role": "assistant", "content": text}]
    assert last["max_tokens"] == 16
    # Models, probe and the way are asked for once, the second time only the text is sent.
    assert server.paths == ["/tokenize", "/apply-template", "/v1/models"] + ["/v1/chat/completions"] * 3


def test_a_server_that_would_start_a_new_turn_is_not_asked_to():
    async def provider(request: web.Request, body: Any) -> web.Response:
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "judge", "owned_by": "openai"}]})
        return failing(404) if "chat" not in request.path else chat("a new turn")

    replies, server = resumed(provider, times=2)
    assert replies == [None, None]
    assert server.paths == ["/tokenize", "/apply-template", "/v1/models"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422, 501])
def test_a_refused_way_is_not_taken_for_a_failure(status, caplog):
    async def handler(request: web.Request, body: Any) -> web.Response:
        return failing(status)

    replies, server = resumed(handler, times=3)
    assert replies == [None] * 3
    assert len(server.calls) == 3
    assert [record.message.count("cannot continue a text") for record in caplog.records] == [1], "told once a server"


def test_a_passing_failure_does_not_close_a_way():
    left = [500, 429]
    answer = vllm("<Assistant>")

    async def handler(request: web.Request, body: Any) -> web.Response:
        return failing(left.pop()) if left else await answer(request, body)

    (reply,), server = resumed(handler)
    assert reply is not None
    assert reply.text == "Assistant 1}"
    assert "/apply-template" not in server.paths


def test_a_text_too_long_for_the_model_is_rejected_and_not_taken_for_a_missing_way():
    answer = vllm("<Assistant>")

    async def handler(request: web.Request, body: Any) -> web.Response:
        if request.path == "/v1/completions":
            return failing(400, "longer than the maximum model length")
        return await answer(request, body)

    with pytest.raises(EngineError, match="max_tokens=16") as caught:
        resumed(handler)
    assert caught.value.reason is Reason.REJECTED


def test_thinking_and_answer_join_into_one_text():
    assert join_thinking("", "A", cut=True) == "A"
    assert join_thinking("why", "", cut=True) == "<think>\nwhy"
    assert join_thinking("why", "", cut=False) == "<think>\nwhy\n</think>\n\n"
    assert join_thinking("why", "A", cut=True) == "<think>\nwhy\n</think>\n\nA"


def test_a_continuation_repeats_no_opening_tag():
    assert continuation("<think>\nwhy", "<A><think>\n") == "why"
    assert continuation("<think>\nwhy", "<A><think>") == "\nwhy"
    assert continuation("<think>\nwhy", "<A>") == "<think>\nwhy"
    assert continuation("why", "<A><think>\n") == "why"
