"""The HTTP engine against a real vLLM server, on the CPU; skipped where vLLM is not installed."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.engines import HttpEngine, Sampling
from rrm_plugin.errors import EngineError
from rrm_plugin.types import Reason
from tests.contract.with_vllm.widened import save_widened

pytest.importorskip("vllm", reason="needs vLLM: make test-vllm")
pytestmark = pytest.mark.timeout(400)

ASKED = [{"role": "user", "content": "Question: 37+85=?\n112 (Assistant 1)\n122 (Assistant 2)"}]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server of the judge in the package."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(save_widened(tmp_path_factory.mktemp("judge"))),
    ]
    command += ["--served-model-name", "miniature", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--enforce-eager", "--max-num-seqs", "32"]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            _wait_until_it_answers(server, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(60)


def _wait_until_it_answers(server, port, log):
    limit = time.monotonic() + 300
    while time.monotonic() < limit:
        if server.poll() is not None:
            raise AssertionError(f"the server ended:\n{log.read_text()[-4000:]}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"the server does not answer:\n{log.read_text()[-4000:]}")


@pytest.fixture
def engine(address):
    made = HttpEngine(address)
    yield made
    asyncio.run(made.close())


def asked(engine, *calls):
    async def main():
        try:
            return await asyncio.gather(*(call() for call in calls), return_exceptions=True)
        finally:
            await engine.close()

    return asyncio.run(main())


def test_the_model_is_found_and_answers(engine):
    sampling = Sampling(temperature=0.0, max_tokens=40)
    (reply,) = asked(engine, lambda: engine.generate(ASKED, sampling))
    assert "7+5=12" in reply.text and reply.text.endswith(r"\boxed{Assistant 2}")
    assert reply.finished and reply.completion_tokens > 10 and reply.prompt_tokens > 10
    assert "miniature" in reply.engine


def test_a_thought_is_continued_where_it_stopped(engine):
    sampling = Sampling(temperature=0.0, max_tokens=40)
    begun = "<think>7+5=12 3+8+1="
    (rest,) = asked(engine, lambda: engine.resume(ASKED, begun, sampling))
    assert rest is not None and rest.text.startswith("12 so 122 (Assistant 2)")


def test_thinking_that_is_cut_off_is_made_to_state_a_verdict(address):
    with RRMJudge(engine=address, prompt="miniature", max_tokens=8, temperature=0.0) as judge:
        judgement = judge.compare("37+85=?", "112", "122")
    assert judgement.forced and judgement.verdict is not None
    assert judgement.usage.calls == 2


def test_soft_verdicts_are_those_of_transformers(address):
    """Log-probabilities of a chat, and of the plain completion that ends a thinking which was cut off."""
    for limit in (64, 8):
        odds = []
        for engine, more in ((address, {"prompt": "miniature"}), ("transformers", {"model": "miniature"})):
            with RRMJudge(engine=engine, max_tokens=limit, temperature=0.0, soft_verdicts=True, **more) as judge:
                judgement = judge.compare("37+85=?", "112", "122")
            assert judgement.forced is (limit == 8) and 0 < judgement.chance < 1
            odds.append(math.log(judgement.chance / (1 - judgement.chance)))
        assert odds[0] == pytest.approx(odds[1], abs=0.02)


def test_groups_are_judged(address):
    with RRMJudge(engine=address, prompt="miniature", schedule="round_robin", temperature=0.0, max_tokens=64) as judge:
        scores = judge.rank("48+27=?", ["65", "75", "76", "75"])
    assert scores.ranking[:2] == [1, 3] and scores.failures == {} and scores.agreement == 1.0


def test_a_prompt_over_the_context_is_rejected_with_the_servers_words(engine):
    long = [{"role": "user", "content": "1+" * 3000}]
    (error,) = asked(engine, lambda: engine.generate(long, Sampling(max_tokens=10)))
    assert isinstance(error, EngineError) and error.reason is Reason.REJECTED and not error.retryable
    assert "context" in str(error) or "maximum" in str(error)


def test_a_model_that_the_server_does_not_know(address):
    engine = HttpEngine(address, model="someone/else")
    (error,) = asked(engine, lambda: engine.generate(ASKED, Sampling(max_tokens=10)))
    assert "someone/else" in str(error)


def test_more_tokens_than_the_context_holds_are_rejected_with_a_reason(address):
    with RRMJudge(engine=address, prompt="miniature", max_tokens=8192) as judge:
        judgement = judge.compare("37+85=?", "112", "122")
    assert judgement.reason is Reason.REJECTED and "8192" in judgement.detail
