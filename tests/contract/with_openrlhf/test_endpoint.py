"""OpenRLHF's own HTTP client against the judge service: `--reward.remote_url http://.../get_reward`.

A request does not say which member of a group it is, so the members' order is the service's own: the judge here lets
everybody meet everybody in both orders, which makes the scores independent of it.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.service import ServiceSettings
from rrm_plugin.service.server import serving

REASON = "needs OpenRLHF and the extra 'service': make test-openrlhf"
agent = pytest.importorskip("openrlhf.utils.agent", reason=REASON, exc_type=ImportError)
pytest.importorskip("fastapi", reason=REASON)

ROOT = Path(__file__).resolve().parents[3]
SIZE = 8
JUDGE = {"schedule": "round_robin", "orders": "both"}
PROMPT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
LONGER = ScriptedEngine.named("longer")


def reply(number, question):
    return f"{question} {'so ' * (1 + (number * 7 + len(question)) % 11)}{number}"


async def rewarded(url, question, number, label, wait=0.0):
    """What OpenRLHF's executor is told for one reply, by the method that it calls itself."""
    await asyncio.sleep(wait)
    prompt = PROMPT.format(question)
    executor = agent.SingleTurnAgentExecutor(url)
    query = f"{prompt}{reply(number, question)}<|im_end|>"
    (told,) = await executor._fetch_rewards_via_http([query], [prompt], [label])
    return told


def test_64_groups_of_8_in_random_order_are_whole_and_rewarded_as_offline():
    chance = random.Random(5)
    questions = [f"question {index}" for index in range(64)]

    async def run(url):
        calls = {
            (question, number): rewarded(
                url, question, number, [{"role": "user", "content": question}], chance.random()
            )
            for question in questions
            for number in range(SIZE)
        }
        return dict(zip(calls, await asyncio.gather(*calls.values()), strict=True))

    with RRMJudge(engine=LONGER, **JUDGE) as judge:
        with serving(judge, ServiceSettings(group_size=SIZE, port=0)) as address:
            told = asyncio.run(run(f"{address}/get_reward"))
        for question in questions:
            offline = judge.score(question, [reply(number, question) for number in range(SIZE)])
            own = [told[question, number] for number in range(SIZE)]
            assert [one["rewards"] for one in own] == pytest.approx(offline.values, abs=1e-6)
            assert len({one["scores"] for one in own}) == 1 and own[0]["scores"] > 0.001
            assert {one["extra_logs"]["rrm_missing"] for one in own} == {0.0}
    assert len({tuple(one["extra_logs"]) for one in told.values()}) == 1
    assert all(isinstance(value, float) for one in told.values() for value in one["extra_logs"].values())


def test_its_executor_takes_the_reply():
    """The whole way: a prompt is answered, posted, and what comes back is what the trainer is handed."""
    from types import SimpleNamespace

    class Tokenizer:
        def __call__(self, text, **_):
            import torch

            return {"input_ids": torch.tensor([[ord(letter) for letter in text]])}

        def decode(self, tokens, **_):
            return "".join(map(chr, tokens))

    class Llm:
        def __init__(self):
            self.number = 0

        async def generate(self, tokens, params, multi_modal_data=None):
            self.number += 1
            text = f"{'so ' * self.number}<|im_end|>"
            one = SimpleNamespace(token_ids=[ord(letter) for letter in text], finish_reason="stop", logprobs=None)
            return SimpleNamespace(outputs=[one])

    async def run(url):
        executor, llm = agent.SingleTurnAgentExecutor(url), Llm()
        params = SimpleNamespace(max_tokens=100, logprobs=None)
        asked = (PROMPT.format("why"), "", params, 4000, Tokenizer(), llm)
        return await asyncio.gather(*(executor.execute(*asked) for _ in range(4)))

    with RRMJudge(engine=LONGER, **JUDGE) as judge, serving(judge, ServiceSettings(group_size=4, port=0)) as address:
        outputs = asyncio.run(run(f"{address}/get_reward"))
    rewards = [output["reward"] for output in outputs]
    assert rewards == sorted(rewards) and rewards[0] < 0 < rewards[-1]
    assert all(output["scores"] == outputs[0]["scores"] > 0 for output in outputs)
    assert all(output["extra_logs"]["rrm_unscored"] == 0.0 for output in outputs)


def test_a_sibling_that_never_comes_costs_the_deadline_and_no_number():
    settings = ServiceSettings(group_size=SIZE, port=0, reward_deadline=1.5, reward_patience=20.0)

    async def run(url):
        return await asyncio.gather(*(rewarded(url, "why", number, "") for number in range(SIZE - 1)))

    with RRMJudge(engine=LONGER, **JUDGE) as judge:
        with serving(judge, settings) as address:
            told = asyncio.run(run(f"{address}/get_reward"))
        offline = judge.score("why", [reply(number, "why") for number in range(SIZE - 1)])
    assert [one["rewards"] for one in told] == pytest.approx(offline.values, abs=1e-6)
    assert {one["extra_logs"]["rrm_missing"] for one in told} == {0.125}


def test_a_judge_that_is_too_slow_is_answered_for_before_the_client_gives_up():

    async def silence(messages):
        await asyncio.Event().wait()

    async def run(url):
        return await asyncio.gather(*(rewarded(url, "why", number, "") for number in range(SIZE)))

    settings = ServiceSettings(group_size=SIZE, port=0, reward_deadline=0.2, reward_patience=0.5, grace=0.1)
    with RRMJudge(engine=ScriptedEngine(silence), **JUDGE) as judge, serving(judge, settings) as address:
        told = asyncio.run(run(f"{address}/get_reward"))
    assert [one["rewards"] for one in told] == [0.0] * SIZE
    assert all(one["extra_logs"]["rrm_failed"] == 1.0 for one in told)


def test_the_defaults_answer_before_its_client_gives_up():
    """180 s stand in its source; nothing here waits for them."""
    import inspect

    assert "ClientTimeout(total=180)" in inspect.getsource(agent.SingleTurnAgentExecutor._fetch_rewards_via_http)
    assert ServiceSettings().reward_deadline < ServiceSettings().reward_patience < 175


PREPARED = "import sys, rrm_plugin.cli, rrm_plugin.service.app; sys.stdin.readline(); rrm_plugin.cli.main()"


class Served:
    """`rrm serve` as a process of its own, to be killed. Its libraries are loaded before it is told to begin:
    OpenRLHF's client gives it four seconds, and on a busy machine they take longer.
    """

    def __init__(self, port):
        command = [sys.executable, "-c", PREPARED, "serve", "--engine", "scripted:longer", "--port", str(port)]
        options = ["--group-size", str(SIZE), "--schedule", JUDGE["schedule"], "--orders", JUDGE["orders"]]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([*command, *options], cwd=ROOT, **pipes)

    def begin(self):
        self.process.stdin.write("\n")
        self.process.stdin.close()
        self.address = re.search(r"http://[\w.:]+", self.process.stdout.readline()).group()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_a_service_that_is_killed_and_started_again_in_the_middle_of_a_group_loses_nobody():
    """Its client asks again by itself, five times a second apart."""

    async def run(first, second, url):
        early = [asyncio.ensure_future(rewarded(url, "why", number, "")) for number in range(SIZE // 2)]
        while (await waiting(first.address)) < SIZE // 2:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(first.kill)
        try:
            await asyncio.to_thread(second.begin)
            late = [rewarded(url, "why", number, "") for number in range(SIZE // 2, SIZE)]
            return await asyncio.gather(*early, *late)
        finally:
            for task in early:
                task.cancel()

    port = free_port()
    first, second = Served(port), Served(port)
    try:
        first.begin()
        told = asyncio.run(run(first, second, f"{first.address}/get_reward"))
    finally:
        first.kill()
        second.kill()
    with RRMJudge(engine=LONGER, **JUDGE) as judge:
        offline = judge.score("why", [reply(number, "why") for number in range(SIZE)])
    assert [one["rewards"] for one in told] == pytest.approx(offline.values, abs=1e-6)
    assert {one["extra_logs"]["rrm_missing"] for one in told} == {0.0}


async def waiting(address):
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(f"{address}/health") as answer:
        return (await answer.json())["gates"]["reward"]["waiting"]
