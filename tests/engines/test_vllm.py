"""What VllmEngine hands to vLLM, checked against a stand-in with the signatures of vLLM 0.32: no vLLM runs here."""

from __future__ import annotations

import asyncio
import enum
import pickle
import queue
import random
import sys
import threading
import types
from pathlib import Path

import pytest

from rrm_plugin.engines import Sampling, VllmEngine, engine
from rrm_plugin.errors import ConfigError, EngineError, MissingExtraError
from rrm_plugin.types import Reason
from tests.tiny import save_tiny_model

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WHY = [{"role": "user", "content": "why"}]
SAMPLING = Sampling(temperature=0.25, top_p=0.5, max_tokens=3, seed=7, stop=("END",))


class StandInEngine:
    """vLLM's LLMEngine, as far as it is used: each step gives every running request a token, until its limit."""

    def __init__(self) -> None:
        self.model_config = types.SimpleNamespace(max_model_len=128)
        self.requests: dict[str, list] = {}
        self.added: list[tuple] = []
        self.aborted: list[str] = []
        self.most_together = 0
        self.refuse: Exception | None = None
        self.break_down: Exception | None = None
        self.gate: threading.Event | None = None
        self.ended = 0
        self.engine_core = types.SimpleNamespace(shutdown=self.end)

    def end(self) -> None:
        self.ended += 1
        if self.break_down:
            raise self.break_down

    def add_request(self, request_id, prompt, params) -> None:
        if self.refuse:
            raise self.refuse
        self.added.append((request_id, prompt, params))
        self.requests[request_id] = [prompt, params, 0]

    def step(self):
        if self.gate:
            assert self.gate.wait(5)
        if self.break_down:
            raise self.break_down
        assert self.requests
        self.most_together = max(self.most_together, len(self.requests))
        done = []
        for number, request in list(self.requests.items()):
            request[2] += 1
            if request[2] >= request[1].max_tokens:
                del self.requests[number]
                done.append(output(number, *request))
        return done

    def abort_request(self, request_ids) -> None:
        self.aborted += request_ids
        for number in request_ids:
            del self.requests[number]


def output(number, prompt, params, length):
    completion = types.SimpleNamespace(text=f"reply {length}", token_ids=[1] * length, finish_reason="length")
    if params.max_tokens == 1:
        completion.finish_reason = "stop"
    if params.max_tokens == 11:
        del completion.token_ids
    if params.max_tokens == 2:
        completion.finish_reason = "abort"
    return types.SimpleNamespace(
        request_id=number, finished=True, prompt_token_ids=prompt["prompt_token_ids"], outputs=[completion]
    )


class StandIn:
    """The module `vllm`, and what was done with it."""

    def __init__(self, folder: Path) -> None:
        self.engine = StandInEngine()
        self.made: list[dict] = []
        self.fail: Exception | None = None
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def llm(self, **arguments):
        self.made.append(arguments)
        random.seed(0)
        if self.fail:
            raise self.fail
        return types.SimpleNamespace(llm_engine=self.engine, get_tokenizer=lambda: self.tokenizer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def vllm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn(folder)
    module, params = types.ModuleType("vllm"), types.ModuleType("vllm.sampling_params")
    module.LLM = stand_in.llm  # type: ignore[attr-defined]
    params.SamplingParams = lambda **given: types.SimpleNamespace(**given)  # type: ignore[attr-defined]
    params.RequestOutputKind = enum.Enum("RequestOutputKind", "CUMULATIVE DELTA FINAL_ONLY")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", params)
    return stand_in


def run(judge: VllmEngine, *calls):
    """The replies or errors of `calls`, each (messages, sampling), made at once; the engine is closed afterwards."""

    async def scenario():
        replies = await asyncio.gather(*(judge.generate(*call) for call in calls), return_exceptions=True)
        await judge.close()
        return replies

    return asyncio.run(scenario())


def test_a_call_becomes_a_request_with_the_rendered_prompts_ids(vllm, folder):
    judge = engine(
        "vllm", model=str(folder), gpu_memory_utilization=0.3, max_model_len=128, llm={"enforce_eager": True}
    )
    (reply,) = run(judge, (WHY, SAMPLING))
    assert (reply.text, reply.finished, reply.completion_tokens) == ("reply 3", False, 3)
    assert reply.engine == judge.name == "vllm:" + "/".join(folder.parts[-2:])
    assert vllm.made == [
        {
            "model": str(folder),
            "gpu_memory_utilization": 0.3,
            "tensor_parallel_size": 1,
            "dtype": "auto",
            "max_model_len": 128,
            "enforce_eager": True,
        }
    ]
    ((_, prompt, params),) = vllm.engine.added
    rendered = vllm.tokenizer.decode(prompt["prompt_token_ids"])
    assert rendered == "<|im_start|>user\nwhy<|im_end|>\n<|im_start|>assistant\n"
    assert reply.prompt_tokens == len(prompt["prompt_token_ids"])
    sent = {name: getattr(params, name) for name in ("temperature", "top_p", "max_tokens", "seed", "stop")}
    assert sent == {"temperature": 0.25, "top_p": 0.5, "max_tokens": 3, "seed": 7, "stop": ["END"]}
    assert params.output_kind.name == "FINAL_ONLY"


def test_a_reply_that_the_model_ended_is_finished(vllm, folder):
    (reply,) = run(VllmEngine(str(folder)), (WHY, Sampling(max_tokens=1)))
    assert reply.finished


def test_calls_run_together_and_end_each_at_its_own_time(vllm, folder):
    vllm.engine.gate = threading.Event()

    async def scenario():
        judge = VllmEngine(str(folder))
        lengths = (9, 3, 5)
        calls = [asyncio.create_task(judge.generate(WHY, Sampling(max_tokens=length))) for length in lengths]
        while judge._worker is None or len(judge._worker._running) < 1:
            await asyncio.sleep(0)
        vllm.engine.gate.set()
        replies = await asyncio.gather(*calls)
        await judge.close()
        return [reply.completion_tokens for reply in replies]

    assert asyncio.run(scenario()) == [9, 3, 5]
    assert len(vllm.made) == 1
    assert vllm.engine.most_together > 1


def test_a_reply_never_goes_over_the_models_length(vllm, folder):
    run(VllmEngine(str(folder)), (WHY, Sampling(max_tokens=8192)))
    ((_, prompt, params),) = vllm.engine.added
    assert len(prompt["prompt_token_ids"]) + params.max_tokens == 128


def test_a_prompt_over_the_models_length_is_rejected_alone(vllm, folder):
    long = [{"role": "user", "content": "0 1 2 3 " * 100}]
    rejected, fine = run(VllmEngine(str(folder)), (long, SAMPLING), (WHY, SAMPLING))
    assert isinstance(rejected, EngineError)
    assert rejected.reason is Reason.REJECTED
    assert fine.text == "reply 3"


def test_resume_puts_the_text_behind_the_prompt(vllm, folder):
    async def scenario():
        judge = VllmEngine(str(folder))
        reply = await judge.resume(WHY, "<think>\nblue", SAMPLING)
        await judge.close()
        return reply

    assert asyncio.run(scenario()).text == "reply 3"
    ((_, prompt, _),) = vllm.engine.added
    assert vllm.tokenizer.decode(prompt["prompt_token_ids"]).endswith("<|im_start|>assistant\n<think>\nblue")


def test_an_opening_tag_of_the_template_stands_in_the_text(vllm, folder):
    judge = VllmEngine(str(folder), chat_template="{{ messages[0]['content'] }}<think>{{ '\\n' }}")
    (reply,) = run(judge, (WHY, SAMPLING))
    assert reply.text == "<think>\nreply 3"


def test_a_reply_that_vllm_gave_up_is_an_error(vllm, folder):
    (error,) = run(VllmEngine(str(folder)), (WHY, Sampling(max_tokens=2)))
    assert isinstance(error, EngineError)
    assert error.retryable


def test_a_reply_that_cannot_be_read_fails_alone(vllm, folder):
    error, reply = run(VllmEngine(str(folder)), (WHY, Sampling(max_tokens=11)), (WHY, Sampling(max_tokens=6)))
    assert isinstance(error, EngineError)
    assert error.reason is Reason.BAD_REPLY
    assert reply.text == "reply 6"


def test_a_refused_request_fails_alone(vllm, folder):
    vllm.engine.refuse = ValueError("odd parameters")
    (error,) = run(VllmEngine(str(folder)), (WHY, SAMPLING))
    assert isinstance(error, EngineError)
    assert "odd parameters" in str(error)


def test_a_broken_engine_fails_every_call_and_hangs_none(vllm, folder):
    vllm.engine.break_down = RuntimeError("engine core died")
    judge = VllmEngine(str(folder))

    async def scenario():
        errors = []
        for _ in range(2):
            with pytest.raises(EngineError, match="engine core died") as caught:
                await judge.generate(WHY, SAMPLING)
            errors.append(caught.value)
        await judge.close()
        vllm.engine.break_down = None
        vllm.engine.requests.clear()
        reply = await judge.generate(WHY, SAMPLING)
        await judge.close()
        return errors, reply

    errors, reply = asyncio.run(scenario())
    assert len(errors) == 2
    assert reply.text == "reply 3"
    assert len(vllm.made) == 2


def test_a_model_that_cannot_be_loaded_is_a_setting_that_is_wrong(vllm, folder):
    vllm.fail = ValueError("no such dtype")
    (error,) = run(VllmEngine(str(folder)), (WHY, SAMPLING))
    assert isinstance(error, ConfigError)
    assert "no such dtype" in str(error)


def test_a_cancelled_call_is_aborted(vllm, folder):
    vllm.engine.gate = threading.Event()

    async def scenario() -> None:
        judge = VllmEngine(str(folder))
        call = asyncio.create_task(judge.generate(WHY, Sampling(max_tokens=90)))
        while not vllm.engine.added:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        vllm.engine.gate.set()
        assert (await judge.generate(WHY, SAMPLING)).text == "reply 3"
        await judge.close()

    asyncio.run(scenario())
    assert vllm.engine.aborted == [vllm.engine.added[0][0]]


def test_closing_fails_the_calls_under_way(vllm, folder):
    vllm.engine.gate = threading.Event()

    async def scenario() -> None:
        judge = VllmEngine(str(folder))
        call = asyncio.create_task(judge.generate(WHY, Sampling(max_tokens=90)))
        while not vllm.engine.added:
            await asyncio.sleep(0)
        closing = asyncio.create_task(judge.close())
        await asyncio.sleep(0)
        vllm.engine.gate.set()
        with pytest.raises(EngineError, match="closed"):
            await call
        await closing

    # The stand-in finishes 90 tokens in 90 steps; that close() comes first is not left to chance.
    vllm.engine.step = stepping_once(vllm.engine)
    asyncio.run(scenario())


@pytest.mark.parametrize("broken", [None, RuntimeError("dead")])
def test_closing_ends_vllms_own_processes_once(vllm, folder, broken):
    async def scenario() -> None:
        judge = VllmEngine(str(folder))
        await judge.generate(WHY, Sampling(max_tokens=4))
        vllm.engine.break_down = broken
        await judge.close()
        await judge.close()

    asyncio.run(scenario())
    assert vllm.engine.ended == 1


def test_a_vllm_whose_process_was_killed_wakes_who_waits_for_it(vllm, folder, monkeypatch):
    """The stand-in waits as vLLM does: for an output that no process will ever give."""
    monkeypatch.setattr("rrm_plugin.engines.vllm._WATCHED_EVERY", 0.01)
    outputs: queue.Queue = queue.Queue()
    core = vllm.engine.engine_core
    core.resources, core.outputs_queue = types.SimpleNamespace(engine_dead=False), outputs

    def step():
        core.resources.engine_dead = True
        raise outputs.get(timeout=20)

    vllm.engine.step = step
    replies = run(VllmEngine(str(folder)), (WHY, SAMPLING), (WHY, SAMPLING))
    assert all(isinstance(reply, EngineError) and "its process ended" in str(reply) for reply in replies)


def stepping_once(stand_in: StandInEngine):
    first = threading.Event()

    def step():
        assert stand_in.gate is not None
        assert stand_in.gate.wait(5)
        if first.is_set():
            threading.Event().wait(0.001)
        first.set()
        return []

    return step


def test_loading_leaves_the_random_state_of_a_training_run_alone(vllm, folder):
    random.seed(5)
    expected = random.random()
    random.seed(5)
    run(VllmEngine(str(folder)), (WHY, SAMPLING))
    assert random.random() == expected


def test_it_pickles_and_knows_its_special_tokens(vllm, folder):
    judge = pickle.loads(pickle.dumps(VllmEngine(str(folder))))
    assert set(judge.special_tokens) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert run(judge, (WHY, SAMPLING))[0].text == "reply 3"
    assert pickle.loads(pickle.dumps(judge)).name == judge.name


def test_the_fingerprint_follows_what_shapes_a_reply(vllm, tmp_path):
    for run in ("exp1", "exp2"):
        (tmp_path / run / "step-100" / "hf").mkdir(parents=True)
    first = str(tmp_path / "exp1/step-100/hf")
    plain = VllmEngine(first)
    same = VllmEngine(first, gpu_memory_utilization=0.3, tensor_parallel_size=2, llm={"hf_token": "secret"})
    assert same.fingerprint == plain.fingerprint == pickle.loads(pickle.dumps(plain)).fingerprint
    others = [
        VllmEngine(str(tmp_path / "exp2/step-100/hf")),
        VllmEngine(first, dtype="float16"),
        VllmEngine(first, max_model_len=99),
        VllmEngine(first, chat_template="x"),
        VllmEngine(first, chat_template_kwargs={"enable_thinking": True}),
        VllmEngine(first, chat_template_kwargs={"enable_thinking": False}),
        VllmEngine(first, llm={"revision": "a"}),
        VllmEngine(first, llm={"tokenizer": "org/other"}),
    ]
    assert {each.name for each in (plain, *others)} == {plain.name}
    assert len({plain.fingerprint, *(each.fingerprint for each in others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("gpu_memory_utilization", "0.9"),
        ("gpu_memory_utilization", 1.1),
        ("tensor_parallel_size", "2"),
        ("tensor_parallel_size", 0),
        ("max_model_len", "4096"),
        ("max_model_len", 0),
    ],
)
def test_numbers_that_cannot_work_are_named(vllm, setting, value):
    with pytest.raises(ConfigError, match=setting):
        VllmEngine("some/model", **{setting: value})


def test_without_vllm_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("rrm_plugin.engines.vllm._installed", lambda name: False)
    with pytest.raises(MissingExtraError, match=r"rrm-plugin\[vllm\]"):
        VllmEngine("some/model")
