"""TransformersEngine with a tiny model made from scratch: real generation, no skill."""

from __future__ import annotations

import asyncio
import math
import pickle
import random
from pathlib import Path

import pytest

from rrm_plugin.engines import Engine, Reply, Sampling, TransformersEngine, engine
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.types import Reason
from tests.tiny import save_tiny_model

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

GREEDY = Sampling(temperature=0.0, max_tokens=24)
WARM = Sampling(temperature=1.0, max_tokens=24, seed=3)
PROMPTS = [
    [{"role": "user", "content": content}]
    for content in ("why", "which of these two answers is better and why", "0123456789 " * 20, "blue")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with large, untied weights: as it is made, it repeats its last token for ever."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = save_tiny_model(tmp_path_factory.mktemp("tiny"))
    config = Qwen2Config.from_pretrained(folder, tie_word_embeddings=False, initializer_range=0.3)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def judge(folder: Path) -> TransformersEngine:
    return TransformersEngine(str(folder), device="cpu", batch_size=4)


def ask(judge: Engine, prompts=PROMPTS, sampling: Sampling = GREEDY) -> list[Reply]:
    async def run() -> list[Reply]:
        return await asyncio.gather(*(judge.generate(prompt, sampling) for prompt in prompts))

    return asyncio.run(run())


def variant(folder: Path, target: Path, **changes) -> Path:
    """A copy of the model with another tokenizer template or generation settings."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    if "template" in changes:
        tokenizer.chat_template = changes["template"]
    for name, value in changes.get("generation", {}).items():
        setattr(model.generation_config, name, value)
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)
    return target


def spied(judge: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that the model is given from now on, as text."""
    given: list[str] = []
    loaded = judge._load()
    generate = loaded.model.generate

    def recorded(**arguments):
        given.extend(loaded.tokenizer.decode(row) for row in arguments["input_ids"])
        return generate(**arguments)

    monkeypatch.setattr(loaded.model, "generate", recorded)
    return given


def test_greedy_text_is_what_the_model_itself_says(folder, judge):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    for prompt, reply in zip(PROMPTS, ask(judge), strict=True):
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        new = model.generate(**ids, do_sample=False, max_new_tokens=24)[0, ids["input_ids"].shape[1] :]
        assert reply.text == tokenizer.decode(new, skip_special_tokens=True)
        assert reply.prompt_tokens == ids["input_ids"].shape[1]
        assert reply.engine == judge.name
        assert len(set(reply.text)) > 5


@pytest.mark.parametrize("sampling", [GREEDY, WARM, Sampling(temperature=0.7, top_p=0.8, max_tokens=24, seed=1)])
def test_a_reply_does_not_depend_on_its_batch(folder, judge, sampling):
    alone = TransformersEngine(str(folder), device="cpu", batch_size=1)
    together = [reply.text for reply in ask(judge, sampling=sampling)]
    assert together == [reply.text for reply in ask(alone, sampling=sampling)]
    assert together == [reply.text for reply in ask(judge, PROMPTS[::-1], sampling)][::-1]


def test_calls_with_different_settings_share_a_batch(judge):
    samplings = [GREEDY, WARM, Sampling(temperature=0.0, max_tokens=3), Sampling(temperature=0.0, max_tokens=9)]

    async def run() -> list[Reply]:
        return await asyncio.gather(*(judge.generate(PROMPTS[1], sampling) for sampling in samplings))

    greedy, warm, three, nine = asyncio.run(run())
    assert (three.completion_tokens, nine.completion_tokens) == (3, 9)
    assert greedy.text.startswith(nine.text)
    assert nine.text.startswith(three.text)
    assert warm.text != greedy.text
    assert not three.finished


def test_calls_that_come_together_run_together(folder, monkeypatch):
    judge = TransformersEngine(str(folder), device="cpu", batch_size=4)
    sizes = []
    loaded = judge._load()
    generate = loaded.model.generate
    monkeypatch.setattr(loaded.model, "generate", lambda **kw: (sizes.append(len(kw["input_ids"])), generate(**kw))[1])
    ask(judge, PROMPTS * 2)
    assert sizes == [4, 4]


def test_a_seed_repeats_and_no_seed_does_not(judge):
    same = [ask(judge, PROMPTS[:1], WARM)[0].text for _ in range(2)]
    assert same[0] == same[1]
    free = Sampling(temperature=1.0, max_tokens=24)
    assert len({reply.text for reply in ask(judge, PROMPTS[:1] * 4, free)}) > 1


def test_draws_follow_the_models_distribution(judge):
    loaded = judge._load()
    ids = loaded.tokenizer.apply_chat_template(
        PROMPTS[0], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        scores = loaded.model(**ids).logits[0, -1]
    from rrm_plugin.engines.decoding import Row, RowDraws

    def counts(top_p: float) -> torch.Tensor:
        rows = [
            Row(ids=[], limit=1, temperature=0.25, top_p=top_p, stop=(), seed=n, prefix="", unwanted=lambda: False)
            for n in range(4000)
        ]
        noisy = RowDraws(rows)(torch.zeros(1), scores.expand(len(rows), -1))
        return torch.bincount(noisy.argmax(dim=-1), minlength=len(scores)) / len(rows)

    expected = (scores / 0.25).softmax(dim=-1)
    assert (counts(1.0) - expected).abs().max() < 0.03
    kept = counts(0.3) > 0
    likely = expected.sort(descending=True)
    size = int((likely.values.cumsum(0) < 0.3).sum()) + 1
    assert set(kept.nonzero().flatten().tolist()) <= set(likely.indices[:size].tolist())


def test_the_random_state_of_a_training_run_is_left_alone(folder):
    torch.manual_seed(11)
    random.seed(11)
    expected = (torch.rand(3).tolist(), random.random())
    torch.manual_seed(11)
    random.seed(11)
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    ask(TransformersEngine(str(folder), device="cpu"), sampling=Sampling(temperature=1.0, max_tokens=8))
    assert (torch.rand(3).tolist(), random.random()) == expected
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)


def test_the_models_own_sampling_settings_do_not_count(folder, judge, tmp_path):
    stubborn = variant(folder, tmp_path, generation={"repetition_penalty": 5.0, "do_sample": True, "top_k": 3})
    other = TransformersEngine(str(stubborn), device="cpu")
    assert [reply.text for reply in ask(other)] == [reply.text for reply in ask(judge)]


def test_a_reply_ends_at_its_stop_text(judge):
    whole = ask(judge, PROMPTS[:1])[0].text
    stop = whole[5:9]
    reply = ask(judge, PROMPTS[:1], Sampling(temperature=0.0, max_tokens=24, stop=(stop,)))[0]
    assert reply.text == whole[: whole.index(stop)]
    assert reply.finished
    assert reply.completion_tokens < 24


def test_the_models_end_token_finishes_a_reply(folder, tmp_path):
    from transformers import AutoModelForCausalLM

    target = variant(folder, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(target)
    judge = TransformersEngine(str(target), device="cpu")
    third = judge._get_tokenizer()(ask(judge, PROMPTS[:1])[0].text, add_special_tokens=False)["input_ids"][2]
    model.generation_config.eos_token_id = [third]
    model.save_pretrained(target)
    reply = ask(TransformersEngine(str(target), device="cpu"), PROMPTS[:2])[0]
    assert reply.finished
    assert 1 <= reply.completion_tokens <= 3


def test_a_template_that_opens_the_thinking_shows_it_in_the_text(folder, tmp_path, monkeypatch):
    from tests.tiny import CHAT_TEMPLATE

    opening = variant(folder, tmp_path, template=CHAT_TEMPLATE.replace("assistant\n{%", "assistant\n<think>\n{%"))
    judge = TransformersEngine(str(opening), device="cpu")
    reply = ask(judge, PROMPTS[:1], Sampling(temperature=0.0, max_tokens=8))[0]
    assert reply.text.startswith("<think>\n")
    given = spied(judge, monkeypatch)
    for text in ("<think>\nblue, so", "blue, so"):
        asyncio.run(judge.resume(PROMPTS[0], text, Sampling(temperature=0.0, max_tokens=4)))
    assert given == ["<|im_start|>user\nwhy<|im_end|>\n<|im_start|>assistant\n<think>\nblue, so"] * 2


def test_a_template_that_opens_nothing_keeps_the_texts_own_tag(folder, monkeypatch):
    judge = TransformersEngine(str(folder), device="cpu")
    judge._load()
    given = spied(judge, monkeypatch)
    asyncio.run(judge.resume(PROMPTS[0], "<think>\nblue", Sampling(temperature=0.0, max_tokens=4)))
    assert given == ["<|im_start|>user\nwhy<|im_end|>\n<|im_start|>assistant\n<think>\nblue"]


def test_resume_writes_on_from_the_text(judge):
    async def run() -> tuple[Reply, Reply, Reply]:
        begun = await judge.generate(PROMPTS[1], Sampling(temperature=0.0, max_tokens=6))
        more = await judge.resume(PROMPTS[1], begun.text, Sampling(temperature=0.0, max_tokens=5))
        return begun, more, await judge.generate(PROMPTS[1], Sampling(temperature=0.0, max_tokens=11))

    begun, more, whole = asyncio.run(run())
    assert more.completion_tokens == 5
    assert whole.text.startswith(begun.text)
    assert more.prompt_tokens > begun.prompt_tokens


def test_a_prompt_over_the_context_is_rejected_alone(folder):
    judge = TransformersEngine(str(folder), device="cpu", batch_size=4, context=64)

    async def run():
        prompts = [PROMPTS[0], PROMPTS[2], PROMPTS[3]]
        return await asyncio.gather(*(judge.generate(each, WARM) for each in prompts), return_exceptions=True)

    short, long, other = asyncio.run(run())
    assert isinstance(short, Reply)
    assert isinstance(other, Reply)
    assert isinstance(long, EngineError)
    assert long.reason is Reason.REJECTED
    assert "64" in str(long)


def test_a_reply_is_clipped_to_the_context(folder):
    judge = TransformersEngine(str(folder), device="cpu", context=40)
    reply = ask(judge, PROMPTS[:1], Sampling(temperature=0.0, max_tokens=8192))[0]
    assert reply.prompt_tokens + reply.completion_tokens == 40
    assert not reply.finished


def test_a_model_without_a_chat_template_says_so(folder, tmp_path):
    bare = variant(folder, tmp_path, template=None)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(ConfigError, match="chat_template="):
        ask(TransformersEngine(str(bare), device="cpu"))
    given = TransformersEngine(str(bare), device="cpu", chat_template="{{ messages[0]['content'] }}")
    assert ask(given)[0].prompt_tokens > 0


def test_a_template_that_refuses_is_a_rejection(folder):
    judge = TransformersEngine(str(folder), device="cpu", chat_template="{{ raise_exception('no system role') }}")
    with pytest.raises(EngineError, match="no system role") as caught:
        ask(judge)
    assert caught.value.reason is Reason.REJECTED


def test_what_cannot_be_loaded_is_a_setting_that_is_wrong(tmp_path):
    with pytest.raises(ConfigError, match="model="):
        ask(TransformersEngine(str(tmp_path / "nothing"), device="cpu"))
    with pytest.raises(ConfigError, match="not a file"):
        TransformersEngine(str(tmp_path / "nothing.gguf"))


@pytest.mark.parametrize(("setting", "value"), [("dtype", "float17"), ("batch_size", 0)])
def test_a_wrong_setting_is_named(folder, setting, value):
    with pytest.raises(ConfigError, match=setting):
        ask(TransformersEngine(str(folder), **{"device": "cpu", setting: value}))


def test_the_tokenizers_control_tokens_are_known(judge):
    assert set(judge.special_tokens) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}


def test_it_pickles_before_and_after_use(folder):
    judge = engine("transformers", model=str(folder), device="cpu", batch_size=2)
    before = pickle.loads(pickle.dumps(judge))
    texts = [reply.text for reply in ask(judge)]
    after = pickle.loads(pickle.dumps(judge))
    assert [reply.text for reply in ask(before)] == texts == [reply.text for reply in ask(after)]
    assert judge.name == after.name == "transformers:" + "/".join(folder.parts[-2:])


def test_it_works_again_after_close(folder):
    judge = TransformersEngine(str(folder), device="cpu")
    first = ask(judge)
    asyncio.run(judge.close())
    assert judge._loaded is None
    assert [reply.text for reply in ask(judge)] == [reply.text for reply in first]


def test_a_cancelled_call_stops_generating(folder, monkeypatch):
    judge = TransformersEngine(str(folder), device="cpu")
    steps = []
    started = asyncio.Event()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loaded = judge._load()
        forward = loaded.model.forward

        def counted(*args, **kwargs):
            steps.append(1)
            loop.call_soon_threadsafe(started.set)
            return forward(*args, **kwargs)

        monkeypatch.setattr(loaded.model, "forward", counted)
        call = asyncio.create_task(judge.generate(PROMPTS[0], Sampling(temperature=0.0, max_tokens=1900)))
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await judge.generate(PROMPTS[1], Sampling(temperature=0.0, max_tokens=2))).completion_tokens == 2

    asyncio.run(run())
    assert len(steps) < 1000


def test_the_fingerprint_follows_what_shapes_a_reply(tmp_path):
    for run in ("exp1", "exp2"):
        (tmp_path / run / "step-100" / "hf").mkdir(parents=True)
    (tmp_path / "latest").symlink_to(tmp_path / "exp1")
    first = str(tmp_path / "exp1/step-100/hf")
    plain = TransformersEngine(first)
    same = TransformersEngine(first, batch_size=2, device="cuda:1", model_kwargs={"token": "secret", "cache_dir": "/x"})
    assert same.fingerprint == plain.fingerprint == pickle.loads(pickle.dumps(plain)).fingerprint
    assert TransformersEngine(str(tmp_path / "latest/step-100/hf")).fingerprint == plain.fingerprint
    others = [
        TransformersEngine(str(tmp_path / "exp2/step-100/hf")),
        TransformersEngine(first, dtype="float16"),
        TransformersEngine(first, dtype="float32"),
        TransformersEngine(first, context=99),
        TransformersEngine(first, chat_template="x"),
        TransformersEngine(first, chat_template_kwargs={"enable_thinking": True}),
        TransformersEngine(first, chat_template_kwargs={"enable_thinking": False}),
        TransformersEngine(first, model_kwargs={"revision": "a"}),
        TransformersEngine(first, model_kwargs={"revision": "b"}),
    ]
    assert {each.name for each in (plain, *others)} == {plain.name}
    assert len({plain.fingerprint, *(each.fingerprint for each in others)}) == len(others) + 1
    assert TransformersEngine(first, device="cpu").fingerprint == others[2].fingerprint, "a CPU's default type"


@pytest.mark.parametrize(
    ("setting", "value"), [("batch_size", "8"), ("batch_size", 0), ("batch_size", True), ("context", "4096")]
)
def test_numbers_that_cannot_work_are_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        TransformersEngine("some/model", **{setting: value})


def test_log_probabilities_are_those_of_the_model(judge, folder):
    """Before temperature and top_p, for each row of a batch that asks for them, and none for one that does not."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    wanted = Sampling(temperature=0.7, top_p=0.9, max_tokens=6, seed=1, top_logprobs=5)

    async def run() -> list[Reply]:
        plain = Sampling(temperature=0.7, top_p=0.9, max_tokens=6, seed=1)
        return await asyncio.gather(*(judge.generate(PROMPTS[0], each) for each in (wanted, plain, wanted)))

    asked, plain, again = asyncio.run(run())
    assert asked.text == plain.text == again.text and plain.logprobs is None
    assert asked.logprobs is not None and len(asked.logprobs) == 6
    # The second may come in a batch of another size, where sums are rounded otherwise.
    assert [token.logprob for token in again.logprobs or ()] == pytest.approx(
        [token.logprob for token in asked.logprobs], abs=1e-4
    )
    prompt = tokenizer.apply_chat_template(PROMPTS[0], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    for token in asked.logprobs:
        with torch.inference_mode():
            expected = model(input_ids=ids).logits[0, -1].log_softmax(dim=-1)
        values, likeliest = expected.topk(5)
        assert [share for _, share in token.top] == pytest.approx(values.tolist(), abs=1e-4)
        assert [text for text, _ in token.top] == tokenizer.batch_decode(likeliest[:, None])
        drawn = next(one for one in range(len(tokenizer)) if abs(float(expected[one]) - token.logprob) < 1e-4)
        assert tokenizer.decode([drawn]) == token.text
        ids = torch.cat([ids, torch.tensor([[drawn]])], dim=1)


def test_the_chance_of_the_miniature_is_the_softmax_of_its_logits():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rrm_plugin import RRMJudge, miniature

    model = AutoModelForCausalLM.from_pretrained(miniature.FOLDER, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(miniature.FOLDER)
    verdicts = ("\\boxed{Assistant 1}", "\\boxed{Assistant 2}")
    for question, first, second in (("37+85=?", "122", "112"), ("48+27=?", "65", "75")):
        with RRMJudge(model="miniature", soft_verdicts=True, temperature=0.0) as judge:
            judgement = judge.compare(question, first, second)
            road = judge.tournament
            texts = road.prepare_query(question), road.prepare(first), road.prepare(second)
            messages = road.judge.prompt.render(*texts)
        shown = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        thought = judgement.text.removeprefix("<think>").partition("\\boxed")[0]
        ids = torch.tensor([tokenizer.encode(shown + thought, add_special_tokens=False)])
        one, other = (tokenizer.encode(verdict, add_special_tokens=False) for verdict in verdicts)
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, -1]
        assert judgement.chance is not None and 0.0 < judgement.chance < 1.0
        # In log-odds, since the miniature is so sure that any two of its chances are near each other.
        odds = math.log(judgement.chance / (1.0 - judgement.chance))
        assert odds == pytest.approx(float(logits[one[0]] - logits[other[0]]), abs=0.01)
