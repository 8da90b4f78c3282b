"""Asking a policy: what is sent, what is counted, what is not asked twice, and what ends a run."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from contextlib import contextmanager

import pytest
from aiohttp import web

from rrm_plugin import ConfigError
from rrm_plugin.engines import HttpEngine, Reply, Sampling, ScriptedEngine
from rrm_plugin.errors import EngineError, EngineUnavailableError
from rrm_plugin.evaluation.choices import SUFFIX, Question
from rrm_plugin.evaluation.policy import PolicyEvaluation, evaluate_policy
from rrm_plugin.evaluation.replies import Replies
from rrm_plugin.types import Reason
from tests.engines.local_servers import chat, completion, serve


def question(n):
    choices = ("x", "y")
    return Question(
        id=f"q{n}", benchmark="b", text=f"What is {n}?", choices=choices, answer=n % 2, category=f"c{n % 3}"
    )


def questions(count):
    return [question(n) for n in range(count)]


def run(tmp_path, script, asked=4, **settings):
    engine = script if not callable(script) else ScriptedEngine(script)
    with Replies(tmp_path / "replies.jsonl") as replies:
        return evaluate_policy(questions(asked), PolicyEvaluation(engine=engine, **settings), replies)


def always_a(messages):
    return "Hence \\boxed{A}"


def test_what_is_sent_and_what_comes_of_it(tmp_path):
    seen = []

    def script(messages):
        seen.append(messages)
        return "Hence \\boxed{A}"

    samples = run(tmp_path, script, samples=2)
    assert sorted(messages[0]["content"] for messages in seen) == sorted(
        2 * [f"What is {n}?\n\nA. x\nB. y\n\nWhich choice is right? Give its letter.{SUFFIX}" for n in range(4)]
    )
    assert all(len(messages) == 1 and messages[0]["role"] == "user" for messages in seen)
    assert [(one.question, one.right) for one in samples] == [(f"q{n}", n % 2 == 0) for n in range(4) for _ in range(2)]
    assert {(one.letter, one.reason, one.found, one.failed, one.kept) for one in samples} == {
        ("A", None, "boxed", False, False)
    }
    assert samples[0].completion_tokens == 2 and samples[0].category == "c0"


def test_no_call_is_made_twice(tmp_path):
    calls = []

    def script(messages):
        calls.append(messages)
        return "\\boxed{B}"

    engine = ScriptedEngine(script)
    first, again = run(tmp_path, engine, samples=3), run(tmp_path, engine, samples=3)
    assert len(calls) == 12 and all(one.kept for one in again) and not any(one.kept for one in first)
    assert [one.right for one in again] == [one.right for one in first]


def test_questions_that_read_the_same_are_asked_each_for_itself(tmp_path):
    calls = []

    def script(messages):
        calls.append(messages)
        return "\\boxed{A}"

    twins = [dataclasses.replace(question(0), id=name, benchmark=where) for name in "ab" for where in ("b", "c")]
    settings = PolicyEvaluation(engine=ScriptedEngine(script), samples=2)
    for _ in range(2):
        with Replies(tmp_path / "replies.jsonl") as replies:
            assert len(evaluate_policy(twins, settings, replies)) == 8
    assert len(calls) == 8


def test_another_setting_is_another_call(tmp_path):
    calls = []

    def script(messages):
        calls.append(messages)
        return "\\boxed{B}"

    engine = ScriptedEngine(script)
    run(tmp_path, engine)
    run(tmp_path, engine, sampling=Sampling(temperature=0.1))
    run(tmp_path, engine, suffix=" Go.")
    run(tmp_path, engine, samples=2, suffix=" Go.")
    assert len(calls) == 4 + 4 + 4 + 4


def test_failures_are_wrong_apart_and_repeated(tmp_path):
    down = {"q1"}
    calls = []

    def script(messages):
        calls.append(messages)
        if "What is 1?" in messages[0]["content"] and down:
            raise EngineError("too slow", Reason.TIMEOUT, retryable=True)
        return "\\boxed{B}"

    engine = ScriptedEngine(script)
    samples = run(tmp_path, engine)
    assert [(one.right, one.failed, one.reason) for one in samples] == [
        (False, False, None),
        (False, True, "timeout"),
        (False, False, None),
        (True, False, None),
    ]
    down.clear()
    assert [one.right for one in run(tmp_path, engine)] == [False, True, False, True]
    assert len(calls) == 5


def test_a_policy_that_answers_nothing_ends_the_run(tmp_path):
    calls = []

    def script(messages):
        calls.append(messages)
        raise EngineError("nobody is there", Reason.UNREACHABLE)

    with pytest.raises(EngineUnavailableError, match="none of 20 calls"):
        run(tmp_path, script, asked=3000)
    assert len(calls) < 3000


def test_replies_cut_off_and_thinking_that_never_ends(tmp_path):
    def script(messages):
        return "\\boxed{A} in passing, in thought"

    cut = run(tmp_path, script, asked=1, sampling=Sampling(max_tokens=1), prefix="<think>")
    assert (cut[0].finished, cut[0].reason, cut[0].right) == (False, "cut_off", False)
    assert run(tmp_path, script, asked=1)[0].right
    assert run(tmp_path, script, asked=1, prefix="<think>")[0].reason == "no_answer"


def test_many_calls_are_under_way_at_a_time(tmp_path):
    together = asyncio.Barrier(64)

    async def script(messages):
        await asyncio.wait_for(together.wait(), 20)
        return "\\boxed{A}"

    assert sum(one.right for one in run(tmp_path, script, asked=64)) == 32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "from 1"),
        ({"samples": 2, "sampling": Sampling(temperature=0)}, "same reply every time"),
        ({"style": "other"}, "chat or plain"),
        ({"style": "plain"}, "needs a server"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=message):
        PolicyEvaluation(engine=ScriptedEngine(always_a), **settings)


@contextmanager
def served(handler):
    """A server in a loop of its own, since the evaluation has one too."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = serve(handler)
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(20)
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_plain_prompt_goes_to_the_server_without_a_chat(tmp_path):
    async def answer(request, body):
        return completion("I think so. The answer is \\boxed{B}")

    with served(answer) as server:
        engine = HttpEngine(server.url, model="base", extra_body={"stop_token_ids": [7], "chat_template": "x"})
        samples = run(tmp_path, engine, asked=2, style="plain", sampling=Sampling(max_tokens=50))
    assert set(server.paths) == {"/v1/completions"} and [one.right for one in samples] == [False, True]
    (first, _) = sorted(server.bodies, key=lambda body: body["prompt"])
    assert first["prompt"].startswith("Question: What is 0?\n\nA. x\n") and first["prompt"].endswith("\n\nAnswer:")
    assert first["stop"] == ["\nQuestion:"] and first["stop_token_ids"] == [7] and first["max_tokens"] == 50
    assert "messages" not in first and "chat_template" not in first


def test_a_server_is_asked_for_its_model_before_replies_are_filed(tmp_path):
    async def answer(request, body):
        if request.path.endswith("models"):
            return web.json_response({"data": [{"id": "policy-7b"}]})
        return chat("\\boxed{A}")

    for expected in (2, 0):
        with served(answer) as server:
            samples = run(tmp_path, HttpEngine(server.url), asked=2)
        assert sum(path.endswith("completions") for path in server.paths) == expected
    assert all(one.kept for one in samples)


@pytest.mark.filterwarnings("ignore")
def test_a_real_model_in_this_process_is_asked(tmp_path):
    pytest.importorskip("transformers", reason="loads a model")
    from rrm_plugin.engines import TransformersEngine
    from tests.tiny import save_tiny_model

    engine = TransformersEngine(str(save_tiny_model(tmp_path / "model")), device="cpu")
    samples = run(tmp_path, engine, asked=2, samples=2, sampling=Sampling(max_tokens=6))
    assert len(samples) == 4 and not any(one.failed for one in samples)
    assert {one.reason for one in samples} <= {"no_answer", "cut_off"}, "random weights name no choice"
    assert all(0 < one.completion_tokens <= 6 and one.prompt_tokens > 20 for one in samples)


def test_an_engine_may_say_that_a_reply_was_cut_off(tmp_path):
    reply = Reply(text="Well, \\boxed{A", finished=False, prompt_tokens=5, completion_tokens=9, seconds=0)
    (sample,) = run(tmp_path, lambda _: reply, asked=1)
    assert (sample.reason, sample.completion_tokens, sample.prompt_tokens) == ("cut_off", 9, 5)
