"""Log-probabilities over HTTP: what is asked for, and each form in which servers give them."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from aiohttp import web

from rrm_plugin import RRMJudge, Verdict
from rrm_plugin.engines import HttpEngine, Reply, Sampling
from rrm_plugin.engines.logprobs import logprobs_from, logprobs_row
from rrm_plugin.types import TokenLogprob
from tests.engines.local_servers import Recorded, failing, serve

MESSAGES = [{"role": "user", "content": "Which?"}]
SAMPLING = Sampling(max_tokens=16, temperature=0.0, top_logprobs=20)
CHANCE = 0.75


def chat_row(text: str, logprob: float, *others: tuple[str, float]) -> dict[str, Any]:
    """A token as chats of OpenAI's interface have it; vLLM, SGLang and llama.cpp give the same fields."""
    told = {"token": text, "bytes": list(text.encode()), "logprob": logprob}
    top = [{"token": other, "bytes": list(other.encode()), "logprob": share} for other, share in others]
    return {**told, "top_logprobs": top}


DECIDING = chat_row("1", math.log(CHANCE), ("1", math.log(CHANCE)), ("2", math.log(1 - CHANCE)))
ANSWER = [chat_row("\\boxed", -0.1), chat_row("{Assistant ", -0.1), DECIDING, chat_row("}", -0.01)]
IN_CHAT = {"content": ANSWER}
PLAIN = {
    "tokens": ["Assistant ", "1", "}"],
    "token_logprobs": [None, math.log(CHANCE), -0.01],
    "top_logprobs": [None, {"1": math.log(CHANCE), "2": math.log(1 - CHANCE)}, {"}": -0.01}],
    "text_offset": [0, 10, 11],
}


def answering(choice: dict[str, Any]):
    """A server that completes chats and plain texts with this choice, and renders prompts as llama.cpp and vLLM do."""

    async def handler(request: web.Request, body: Any) -> web.Response:
        if request.path.endswith("completions"):
            counts = {"prompt_tokens": 11, "completion_tokens": 7}
            return web.json_response({"choices": [{"index": 0, "finish_reason": "stop", **choice}], "usage": counts})
        if request.path == "/tokenize" and choice.get("of") == "vllm":
            return web.json_response({"tokens": [1, 2, 3]})
        if request.path == "/apply-template" and choice.get("of") == "llama.cpp":
            return web.json_response({"prompt": "Which?"})
        return failing(404)

    return handler


def asked(choice: dict[str, Any], way: str = "generate", **settings: Any) -> tuple[Reply, Recorded]:
    async def run() -> tuple[Reply, Recorded]:
        async with serve(answering(choice)) as server:
            engine = HttpEngine(server.url, model="judge", backoff=0.001, timeout=5.0, **settings)
            ways = {
                "generate": lambda: engine.generate(MESSAGES, SAMPLING),
                "complete": lambda: engine.complete("Which?", SAMPLING),
                "resume": lambda: engine.resume(MESSAGES, "\\boxed{", SAMPLING),
            }
            reply = await ways[way]()
            await engine.close()
        assert reply is not None
        return reply, server

    return asyncio.run(run())


def said(text: str = "\\boxed{Assistant 1}", **message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text, **message}, "logprobs": IN_CHAT}


def test_a_chat_asks_for_them_and_reads_them():
    reply, server = asked(said())
    assert server.bodies[0]["logprobs"] is True and server.bodies[0]["top_logprobs"] == 20
    assert reply.logprobs is not None and "".join(token.text for token in reply.logprobs) == reply.text
    assert reply.logprobs[2] == TokenLogprob(
        text="1", logprob=math.log(CHANCE), top=(("1", math.log(CHANCE)), ("2", math.log(1 - CHANCE)))
    )


def test_a_provider_that_gives_fewer_can_be_asked_for_fewer():
    _, server = asked(said(), extra_body={"top_logprobs": 5})
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 5)
    _, server = asked({"text": "Assistant 1}", "logprobs": PLAIN}, "complete", extra_body={"top_logprobs": 5})
    assert server.bodies[0]["logprobs"] == 5 and "top_logprobs" not in server.bodies[0]


@pytest.mark.parametrize(
    ("server", "logprobs"),
    [("vllm", PLAIN), ("llama.cpp", {"content": ANSWER[1:]})],
    ids=["vLLM: lists", "llama.cpp: as in chats"],
)
def test_a_continuation_asks_and_reads_in_the_form_of_plain_completions(server, logprobs):
    reply, asking = asked({"of": server, "text": "Assistant 1}", "logprobs": logprobs}, "resume")
    assert asking.bodies[-1]["logprobs"] == 20 and "top_logprobs" not in asking.bodies[-1]
    assert reply.logprobs is not None
    deciding = next(token for token in reply.logprobs if token.text == "1")
    assert dict(deciding.top)["2"] == pytest.approx(math.log(1 - CHANCE))


def test_a_forced_verdict_over_http_has_its_chance():
    """The chat is cut off without a verdict; the plain completion that ends it has the other form."""

    async def handler(request: web.Request, body: Any) -> web.Response:
        if request.path == "/tokenize":
            return web.json_response({"tokens": [1, 2, 3]})
        if request.path.endswith("/chat/completions"):
            cut = {"message": {"content": "I wonder"}, "logprobs": {"content": [chat_row("I wonder", -0.5)]}}
            return web.json_response({"choices": [{"finish_reason": "length", **cut}]})
        if request.path.endswith("/completions"):
            plain = {**PLAIN, "tokens": ["1", "}", "!"], "token_logprobs": [math.log(CHANCE), -0.01, -1.0]}
            plain["top_logprobs"] = [*PLAIN["top_logprobs"][1:], {"!": -1.0}]
            return web.json_response({"choices": [{"finish_reason": "stop", "text": "1}!", "logprobs": plain}]})
        return failing(404)

    async def run():
        async with serve(handler) as server:
            with RRMJudge(engine=server.url, model="judge", soft_verdicts=True) as judge:
                return await judge.acompare("Why?", "one", "two")

    judgement = asyncio.run(run())
    assert judgement.forced and judgement.verdict is Verdict.FIRST
    assert judgement.chance == pytest.approx(CHANCE)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_tokens_of_thinking_that_came_apart_are_passed_over(field):
    """A server with a reasoning parser gives the tokens of the thinking among the others, or leaves them out."""
    thought = [chat_row("<think>", -0.1), chat_row("\\boxed{Assistant 1}?", -0.1), chat_row("</think>", -0.1)]
    for tokens in (ANSWER, [*thought, *ANSWER, chat_row("<|im_end|>", -0.1)]):
        choice = {**said(**{field: "\\boxed{Assistant 1}?"}), "logprobs": {"content": tokens}}

        async def run(choice: dict[str, Any] = choice):
            async with serve(answering(choice)) as server:
                with RRMJudge(engine=server.url, model="judge", soft_verdicts=True) as judge:
                    return await judge.acompare("Why?", "one", "two")

        judgement = asyncio.run(run())
        assert judgement.text.startswith("<think>") and judgement.chance == pytest.approx(CHANCE)


NO_LOGPROBS = [
    *(None, {}, "no", [1]),
    *(
        {"content": None},
        {"content": [3]},
        {"content": [{"token": "1"}]},
        {"content": [{"token": "1", "logprob": "NaN"}]},
    ),
    *({"tokens": ["1"]}, {"tokens": ["1"], "token_logprobs": []}),
]


@pytest.mark.parametrize("given", NO_LOGPROBS)
def test_what_is_no_log_probabilities_costs_no_reply(given):
    reply, _ = asked({**said(), "logprobs": given})
    assert reply.text == "\\boxed{Assistant 1}" and reply.logprobs is None


def test_a_part_of_a_character_is_read_from_its_bytes():
    row = {"token": "\\xe2\\x9c", "bytes": [0xE2, 0x9C], "logprob": -0.5, "top_logprobs": []}
    found = logprobs_from({"content": [row]})
    assert found is not None and [token.text for token in found] == ["\ufffd"]


def test_there_and_back():
    tokens = (TokenLogprob(text="1", logprob=-0.3, top=(("1", -0.3), ("é", -2.0))), TokenLogprob(text="}", logprob=0.0))
    assert logprobs_from(logprobs_row(tokens)) == tokens
