"""The agent file in OpenRLHF's own executor and its engine's own `generate_responses`: whole groups, and what may fail.

The engine is OpenRLHF's class without its Ray actor around it; what generates is the stand-in for vllm.
"""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.adapters.openrlhf import policy
from rrm_plugin.adapters.openrlhf.siblings import hands_out_siblings
from rrm_plugin.cohorts import Gate
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.errors import AlarmError, ConfigError, EngineUnavailableError
from tests.engines.local_servers import chat, dead_url, serve
from tests.tiny import save_tiny_model

REASON = "needs OpenRLHF: make test-openrlhf"
pytest.importorskip("openrlhf", reason=REASON, exc_type=ImportError)
vllm = pytest.importorskip("vllm", reason=REASON, exc_type=ImportError)

AGENT = Path(__file__).resolve().parents[3] / "integrations" / "openrlhf" / "agent.py"
LONGER = ScriptedEngine.named("longer")
SETTINGS = {"schedule": "circulant:3", "orders": "balanced"}
SIZE = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tokenizer(model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


@pytest.fixture
def executor():
    """`executor(engine, **gate)`: the class of agent.py, with a gate of its own."""
    spec = importlib.util.spec_from_file_location("agent_module", AGENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    judges = []

    def make(engine=LONGER, deadline=30.0, size=None, start_within=0.0, **settings):
        judges.append(RRMJudge(engine=engine, **(SETTINGS | settings)))
        return module.AgentExecutor(Gate(judges[-1], deadline=deadline, size=size, start_within=start_within))

    yield make
    for judge in judges:
        judge.close()


@pytest.fixture
def engine_with(model):
    """OpenRLHF's rollout engine around an executor, in this process."""
    from openrlhf.trainer.ray.vllm_engine import RolloutRayActor

    def make(executor):
        kind = RolloutRayActor.__ray_metadata__.modified_class
        engine = object.__new__(kind)
        engine.executor, engine._mm_pad_token_ids = executor, None
        engine.llm = vllm.AsyncLLMEngine.from_engine_args(vllm.AsyncEngineArgs(model=str(model), seed=1))
        return engine

    return make


@pytest.fixture
def ask(tokenizer):
    """The arguments with which OpenRLHF asks for a group."""

    def make(text, **changes):
        messages = [{"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        params = vllm.SamplingParams(max_tokens=400)
        given = {"prompt": prompt, "label": "", "sampling_params": params, "max_length": 1500}
        return given | {"hf_tokenizer": tokenizer} | changes

    return make


def reply_of(output, tokenizer):
    ((begin, end),) = output["action_ranges"]
    return tokenizer.decode(output["observation_tokens"][begin:end], skip_special_tokens=True)


def test_a_group_is_judged_whole_and_as_the_conversation_that_was_asked(executor, engine_with, ask, tokenizer):
    seen = []

    def reply(messages):
        seen.append(messages[-1]["content"])
        return LONGER._reply(messages)

    outputs = asyncio.run(
        engine_with(executor(ScriptedEngine(reply))).generate_responses(**ask("why red"), num_samples=SIZE)
    )
    with RRMJudge(engine=LONGER, **SETTINGS) as judge:
        offline = judge.score("why red", [reply_of(output, tokenizer) for output in outputs])
    assert [output["reward"] for output in outputs] == pytest.approx(offline.values)
    assert len(seen) == 24 and all("why red" in text and "<|im_" not in text for text in seen)
    assert {output["extra_logs"]["rrm_missing"] for output in outputs} == {0.0}
    assert len({tuple(output["extra_logs"]) for output in outputs}) == 1


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_group_is_as_large_as_openrlhf_made_it_whatever_was_configured(executor, engine_with, ask, size):
    made = engine_with(executor(size=8))
    outputs = asyncio.run(made.generate_responses(**ask("why red"), num_samples=size))
    assert [output["extra_logs"]["rrm_missing"] for output in outputs] == [0.0] * size
    assert [output["extra_logs"]["rrm_unscored"] for output in outputs] == [float(size == 1)] * size


def test_a_judge_behind_a_server_answers_over_http(executor, engine_with, ask, tokenizer):
    async def answer(request, body):
        return chat(LONGER._reply(body["messages"]))

    async def run():
        async with serve(answer) as server:
            made = executor(server.url, model="judge", max_tokens=100)
            outputs = await engine_with(made).generate_responses(**ask("why red"), num_samples=SIZE)
            await asyncio.to_thread(made.gate.judge.close)
            return outputs, len(server.calls)

    outputs, requests = asyncio.run(run())
    with RRMJudge(engine=LONGER, **SETTINGS) as judge:
        offline = judge.score("why red", [reply_of(output, tokenizer) for output in outputs])
    assert [output["reward"] for output in outputs] == pytest.approx(offline.values) and requests == 24


@pytest.mark.slow
def test_a_judges_server_that_is_down_for_5_seconds_costs_no_verdict(executor, engine_with, ask, tokenizer):
    """With the engine's own settings: it is closed in the middle of a group, and opened again on the same port."""
    answered = asyncio.Event()

    async def answer(request, body):
        answered.set()
        return chat(LONGER._reply(body["messages"]))

    async def run():
        async with serve(answer) as server:
            port = int(server.url.rpartition(":")[2].removesuffix("/v1"))
            made = executor(server.url, model="judge", concurrency=2)
            outputs = asyncio.ensure_future(engine_with(made).generate_responses(**ask("why red"), num_samples=SIZE))
            await answered.wait()
        await asyncio.sleep(5.0)
        async with serve(answer, port):
            outputs = await outputs
            await asyncio.to_thread(made.gate.judge.close)
        return outputs

    outputs = asyncio.run(run())
    with RRMJudge(engine=LONGER, **SETTINGS) as judge:
        offline = judge.score("why red", [reply_of(output, tokenizer) for output in outputs])
    assert [output["reward"] for output in outputs] == pytest.approx(offline.values)
    assert {output["extra_logs"]["rrm_no_verdict"] for output in outputs} == {0.0}


def test_an_alarm_that_is_to_stop_the_run_is_an_error_of_the_rollout(executor, engine_with, ask, caplog):
    alarms = {"action": "stop", "steps": 2, "groups": 3}
    engine = engine_with(executor(ScriptedEngine(lambda _messages: "I wonder."), alarms=alarms))

    async def run():
        for _ in range(2):
            outputs = await engine.generate_responses(**ask("why red"), num_samples=SIZE)
            assert [output["extra_logs"]["rrm_alarms"] for output in outputs] == [0.0] * SIZE
        with pytest.raises(AlarmError, match="verdict_rate is 0 "):
            await engine.generate_responses(**ask("why red"), num_samples=SIZE)

    asyncio.run(run())
    assert any(record.levelname == "ERROR" and "the run was stopped" in record.message for record in caplog.records)


async def siblings(made, engine, asked, count=SIZE):
    """Each sibling on its own, as `generate_responses` starts them, so that one may fail without the others."""
    return [asyncio.ensure_future(made.execute(**asked, llm_engine=engine)) for _ in range(count)]


def test_a_sibling_whose_generation_raises_releases_the_others(executor, engine_with, ask, tokenizer):
    made = executor(deadline=600.0)

    async def run():
        tasks = await siblings(made, engine_with(made), ask("(raise 3) why red"))
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)

    outputs = asyncio.run(run())
    failed = [one for one in outputs if isinstance(one, BaseException)]
    assert len(failed) == 1 and "told to fail" in str(failed[0])
    rest = [one for one in outputs if not isinstance(one, BaseException)]
    with RRMJudge(engine=LONGER, **SETTINGS) as judge:
        offline = judge.score("(raise 3) why red", [reply_of(output, tokenizer) for output in rest])
    assert [output["reward"] for output in rest] == pytest.approx(offline.values)
    assert {output["extra_logs"]["rrm_missing"] for output in rest} == {0.125}
    assert made.gate.counts["closed_released"] == 1 and not made._siblings.under_way


def test_a_sibling_that_never_ends_keeps_the_others_no_longer_than_the_deadline(executor, engine_with, ask, tokenizer):
    made = executor(deadline=1.5)

    async def run():
        tasks = await siblings(made, engine_with(made), ask("(never 3) why red"))
        ended = []
        for first in asyncio.as_completed(tasks, timeout=20):
            ended.append(await first)
            if len(ended) == SIZE - 1:
                break
        rest = [task for task in tasks if not task.done()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        return [task.result() for task in tasks if task not in rest]

    outputs = asyncio.run(run())
    with RRMJudge(engine=LONGER, **SETTINGS) as judge:
        offline = judge.score("(never 3) why red", [reply_of(output, tokenizer) for output in outputs])
    assert [output["reward"] for output in outputs] == pytest.approx(offline.values)
    assert made.gate.counts["closed_deadline"] == 1 and not made._siblings.under_way


def test_a_judge_that_never_answers_is_not_waited_for_for_ever(executor, engine_with, ask):
    async def silence(messages):
        await asyncio.Event().wait()

    made = executor(ScriptedEngine(silence), deadline=0.5)
    outputs = asyncio.run(engine_with(made).generate_responses(**ask("why red"), num_samples=SIZE))
    assert [output["reward"] for output in outputs] == [0.0] * SIZE
    assert all(output["extra_logs"]["rrm_failed"] == 1.0 for output in outputs)
    assert made.gate.counts["impatient"] == SIZE


@pytest.mark.parametrize("text", ["", "I like both.", r"\boxed{Assistant 3}", "\x00\ud800 {"])
def test_garbage_from_the_judge_is_no_verdict_and_no_reward(executor, engine_with, ask, text):
    outputs = asyncio.run(
        engine_with(executor(ScriptedEngine(lambda _: text))).generate_responses(**ask("why red"), num_samples=SIZE)
    )
    assert [output["reward"] for output in outputs] == [0.0] * SIZE
    assert all(output["scores"] == 0.0 and output["extra_logs"]["rrm_no_verdict"] == 1.0 for output in outputs)


def test_a_judge_that_goes_down_for_good_leaves_numbers(executor, engine_with, ask, caplog):
    made = executor(dead_url(), model="judge", retry_for=0.0, timeout=5.0)
    outputs = asyncio.run(engine_with(made).generate_responses(**ask("why red"), num_samples=SIZE))
    assert [output["reward"] for output in outputs] == [0.0] * SIZE
    assert all(output["extra_logs"]["rrm_failed"] == output["extra_logs"]["rrm_unscored"] == 1.0 for output in outputs)
    (loud,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "no reply has been scored since the start" in loud.message and "unreachable" in loud.message


def test_a_judge_that_never_answers_ends_the_run_at_its_start(executor, engine_with, ask):
    made = executor(dead_url(), model="judge", retry_for=0.0, timeout=5.0, start_within=0.1)
    with pytest.raises(EngineUnavailableError, match="no server of the judge answers"):
        asyncio.run(engine_with(made).generate_responses(**ask("why red"), num_samples=SIZE))


def test_a_reply_without_verdicts_gets_the_mean_of_its_group(executor, engine_with, ask, tokenizer):
    """Whoever meets the third reply gets no verdict, so it alone has no score."""

    def reply(messages):
        return "no idea" if " 3\n" in messages[-1]["content"] + "\n" else LONGER._reply(messages)

    made = executor(ScriptedEngine(reply))
    outputs = asyncio.run(engine_with(made).generate_responses(**ask("why red"), num_samples=SIZE))
    unscored = [output for output in outputs if output["extra_logs"]["rrm_unscored"]]
    (lonely,) = unscored
    assert reply_of(lonely, tokenizer).endswith(" 3")
    others = [output["reward"] for output in outputs if output is not lonely]
    assert lonely["reward"] == pytest.approx(sum(others) / len(others))


def test_the_engine_at_hand_hands_out_siblings(executor, engine_with):
    assert asyncio.run(hands_out_siblings(engine_with(executor())))


class CopyingEngine:
    """How a version that gives each sibling parameters of its own would look like."""

    def __init__(self, inner):
        self.executor, self.generate = inner.executor, inner.generate

    async def generate_responses(self, sampling_params, num_samples, **asked):
        import copy

        calls = [
            self.executor.execute(**asked, sampling_params=copy.copy(sampling_params), llm_engine=self)
            for _ in range(num_samples)
        ]
        return await asyncio.gather(*calls)


def test_where_siblings_cannot_be_told_prompt_and_label_are_the_group(executor, engine_with, ask, tokenizer, caplog):
    # Arrival decides the order of the members there; where everybody meets everybody the scores do not depend on it.
    everybody = {"schedule": "round_robin", "orders": "both"}
    made = executor(size=SIZE, **everybody)
    engine = CopyingEngine(engine_with(made))

    async def run():
        calls = [engine.generate_responses(**ask(f"why red {n}"), num_samples=SIZE) for n in range(4)]
        return await asyncio.gather(*calls)

    policy._warn_of_fallback.cache_clear()
    with RRMJudge(engine=LONGER, **everybody) as judge:
        for number, outputs in enumerate(asyncio.run(run())):
            offline = judge.score(f"why red {number}", [reply_of(output, tokenizer) for output in outputs])
            assert [output["reward"] for output in outputs] == pytest.approx(offline.values, abs=1e-6)
            assert {output["extra_logs"]["rrm_missing"] for output in outputs} == {0.0}
    assert made.gate.counts["closed_full"] == 4
    assert "does not show which replies belong together" in caplog.text


def test_where_siblings_cannot_be_told_their_number_has_to_be_given(executor, engine_with, ask):
    made = executor()
    with pytest.raises(ConfigError, match="num_generations"):
        asyncio.run(CopyingEngine(engine_with(made)).generate_responses(**ask("why red"), num_samples=2))


@pytest.mark.parametrize(
    "engine",
    [SimpleNamespace(), SimpleNamespace(generate_responses=lambda: None)],
)
def test_an_unknown_engine_hands_out_no_siblings(engine):
    assert not asyncio.run(hands_out_siblings(engine))
