"""The engine `vllm` on a real vLLM, on the CPU, with tiny models; skipped where vLLM is not installed."""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.engines import Reply, Sampling, VllmEngine
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.verdicts import split_thinking
from tests.contract.with_vllm.widened import save_widened
from tests.tiny import save_tiny_model

pytest.importorskip("vllm", reason="needs vLLM: make test-vllm")
pytestmark = [
    pytest.mark.timeout(400),
    # vLLM leaves its own sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WHY = [{"role": "user", "content": "why is the sky blue"}]
GREEDY = Sampling(temperature=0.0, max_tokens=12)
ON_CPU = {"llm": {"enforce_eager": True, "seed": 0}, "dtype": "float32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny"), heads=2)


@pytest.fixture(scope="module", autouse=True)
def _little_memory():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def engine(folder, _little_memory):
    made = VllmEngine(str(folder), max_model_len=512, **ON_CPU)
    yield made
    asyncio.run(made.close())


def generated(engine, *samplings, messages=WHY):
    async def main():
        return await asyncio.gather(*(engine.generate(messages, sampling) for sampling in samplings))

    return asyncio.run(main())


def test_many_calls_at_a_time_are_each_as_if_alone(engine):
    alone = generated(engine, GREEDY)[0]
    together = generated(engine, *[GREEDY] * 16)
    assert {reply.text for reply in together} == {alone.text}
    assert alone.completion_tokens <= 12 and alone.prompt_tokens > 10 and alone.seconds > 0


def test_the_reply_is_that_of_transformers(engine, folder):
    """Greedily and in the same precision, so that template and special tokens are seen to be the same."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(WHY, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        out = model.generate(**ids, max_new_tokens=12, do_sample=False)
    prompt = ids["input_ids"].shape[1]
    (reply,) = generated(engine, GREEDY)
    assert reply.prompt_tokens == prompt
    assert reply.text == tokenizer.decode(out[0, prompt:], skip_special_tokens=True)


def test_log_probabilities_are_those_of_transformers(engine, folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(WHY, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        values, likeliest = model(**ids).logits[0, -1].log_softmax(dim=-1).topk(5)
    warm = Sampling(temperature=0.7, top_p=0.5, seed=1, max_tokens=3, top_logprobs=5)
    asked, plain = generated(engine, warm, GREEDY)
    assert plain.logprobs is None and len(asked.logprobs) == 3
    told = sorted(asked.logprobs[0].top, key=lambda one: -one[1])[:5]
    assert [share for _, share in told] == pytest.approx(values.tolist(), abs=1e-3)
    # Of a part of a character vLLM tells the text as far as it is known, and transformers that there is none.
    expected = [tokenizer.decode([token]) for token in likeliest.tolist()]
    assert [text for text, _ in told if text] == [text for text in expected if text != "\ufffd"]


def test_a_seed_repeats_a_sample(engine):
    once, again, other = generated(engine, *(Sampling(temperature=1.0, max_tokens=12, seed=seed) for seed in (3, 3, 4)))
    assert once.text == again.text != other.text


def test_a_reply_at_its_limit_is_not_finished(engine):
    (short,) = generated(engine, Sampling(temperature=0.0, max_tokens=2))
    assert short.completion_tokens == 2 and not short.finished


def test_a_text_is_continued(engine):
    (whole,) = generated(engine, GREEDY)
    rest = asyncio.run(engine.resume(WHY, whole.text[:6], Sampling(temperature=0.0, max_tokens=4)))
    assert rest.text and rest.prompt_tokens > whole.prompt_tokens


def test_a_prompt_over_the_context_is_refused_and_harms_nobody(engine):
    async def main():
        too_long = [{"role": "user", "content": "sky " * 2000}]
        calls = engine.generate(too_long, GREEDY), engine.generate(WHY, GREEDY)
        return await asyncio.gather(*calls, return_exceptions=True)

    refused, fine = asyncio.run(main())
    assert isinstance(refused, EngineError) and not refused.retryable
    assert fine.text == generated(engine, GREEDY)[0].text


def test_a_cancelled_call_leaves_the_engine_free(engine):
    async def main():
        gone = asyncio.ensure_future(engine.generate(WHY, Sampling(max_tokens=400)))
        await asyncio.sleep(0.2)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        return await engine.generate(WHY, GREEDY)

    assert asyncio.run(main()).text == generated(engine, GREEDY)[0].text


def test_a_vllm_that_is_killed_fails_its_calls_and_can_be_made_anew(folder):
    """As the kernel does when memory runs out."""

    async def main():
        made = VllmEngine(str(folder), max_model_len=512, **ON_CPU)
        before = set(multiprocessing.active_children())
        await made.generate(WHY, GREEDY)
        calls = [asyncio.ensure_future(made.generate(WHY, Sampling(max_tokens=400))) for _ in range(64)]
        await asyncio.sleep(0.05)
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        ended = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        with pytest.raises(EngineError):
            await made.generate(WHY, GREEDY)
        await made.close()
        again = await made.generate(WHY, GREEDY)
        await made.close()
        return ended, again

    ended, again = asyncio.run(main())
    failed = [reply for reply in ended if isinstance(reply, EngineError)]
    # A reply may have ended before.
    assert failed and all(isinstance(reply, Reply) for reply in ended if reply not in failed)
    assert again.completion_tokens > 0


JUDGES = """
import asyncio, json, multiprocessing, sys
from rrm_plugin.engines import Sampling, VllmEngine
made = VllmEngine(sys.argv[1], max_model_len=512, **json.loads(sys.argv[2]))

async def main():
    await made.generate([{"role": "user", "content": "why"}], Sampling(max_tokens=4))
    print("own:", *(process.pid for process in multiprocessing.active_children()), flush=True)
    await made.generate([{"role": "user", "content": "why"}], Sampling(max_tokens=400))
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_process_that_is_killed_leaves_no_vllm_behind(folder):
    words = [sys.executable, "-c", JUDGES, str(folder), json.dumps(ON_CPU)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    own = next(line for line in process.stdout if line.startswith("own:"))
    left = [int(pid) for pid in own.split()[1:]]
    process.kill()
    process.wait()
    assert left
    ends = time.monotonic() + 60
    while any(_lives(pid) for pid in left):
        assert time.monotonic() < ends, f"of {left} some live on"
        time.sleep(0.2)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_model_that_is_not_there(tmp_path):
    made = VllmEngine(str(tmp_path / "nothing"), **ON_CPU)
    with pytest.raises((ConfigError, EngineError), match="nothing"):
        generated(made, GREEDY)
    asyncio.run(made.close())


def test_the_judge_of_the_package_judges_in_vllm(tmp_path):
    """A real judge: it works sums out and names the right answer, in a group, in both orders."""
    with RRMJudge(model=str(save_widened(tmp_path)), engine="vllm", prompt="miniature", **ON_CPU) as judge:
        judgement = judge.compare("37+85=?", "112", "122", both_orders=True)
        scores = judge.rank("48+27=?", ["65", "75", "76", "75"])
    assert split_thinking(judgement.votes[0].text).thinking.startswith("7+5=12")
    assert judgement.verdict is not None and judgement.verdict.value == "second"
    assert scores.ranking[:2] == [1, 3] and scores.failures == {}


def test_soft_verdicts_are_those_of_transformers(tmp_path):
    """Of the judge of the package, in log-odds; of a verdict after its thought, and of one that it is made to state."""
    folder = str(save_widened(tmp_path))
    found = {"vllm": [], "transformers": []}
    for name, options in (("vllm", ON_CPU), ("transformers", {"device": "cpu"})):
        for limit in (64, 8):
            with RRMJudge(
                model=folder,
                engine=name,
                prompt="miniature",
                temperature=0.0,
                max_tokens=limit,
                soft_verdicts=True,
                **options,
            ) as judge:
                judgements = [judge.compare("37+85=?", *pair) for pair in (("112", "122"), ("122", "112"))]
            assert all(one.forced is (limit == 8) and 0 < one.chance < 1 for one in judgements)
            found[name] += [math.log(one.chance / (1 - one.chance)) for one in judgements]
    assert found["vllm"] == pytest.approx(found["transformers"], abs=0.02)


def test_a_command_that_judged_with_vllm_ends(folder, tmp_path):
    """vLLM's engine is a process of its own, for which the interpreter waits when it ends."""
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "why", "chosen": "because", "rejected": "no"}\n')
    settings = {
        "engine": "vllm",
        "model": str(folder),
        "max_tokens": 4,
        "max_model_len": 512,
        "prompt": "miniature",
        **ON_CPU,
    }
    (tmp_path / "judge.json").write_text(json.dumps(settings))
    words = ["eval", "pairs", "--data", "pairs.jsonl", "--config", "judge.json", "--json", "out.json"]
    done = subprocess.run(
        [sys.executable, "-m", "rrm_plugin.cli", *words], cwd=tmp_path, capture_output=True, text=True, timeout=380
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["overall"]["cost"]["paid"] == 2
