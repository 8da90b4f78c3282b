"""Hours and memory in the docs are computed rightly: golden cases, laws, and a second count of the weights."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.house.source import ROOT

sys.path.append(str(ROOT / "docs" / "scripts"))
import estimates
import recipe_files
from estimates import GB, GPUS, SHAPES, Assumed, Gpu, Recipe, Shape, kv_tokens, memory, times

H100 = GPUS["H100"]
SEVEN = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
WEIGHTS = 7_615_616_512
ALL = [recipe for host in recipe_files.HOSTS for recipe in recipe_files.recipes(host)]


def a_recipe(**changes: Any) -> Recipe:
    """One prompt, one reply of 100 tokens at most, all of the 7B model on one GPU."""
    settings: dict[str, Any] = {
        "host": "none",
        "name": "by hand",
        "model": SEVEN,
        "gpus": 1,
        "prompts": 1,
        "replies": 1,
        "updates": 1,
        "prompt_limit": 50,
        "reply_limit": 100,
        "steps": 36,
        "engine_share": 0.5,
        "engine_sleeps": True,
        "shards": 1,
        "pass_tokens": 1000,
        "padded": False,
        "checkpointing": False,
        "fused_head": True,
        "learning_rate": 1e-6,
        "temperature": 1.0,
        "kl": 0.0,
        "clip": 0.2,
    }
    return Recipe(**settings | changes)


@pytest.mark.parametrize(
    ("name", "published", "kv"),
    [("1.5B", 1_777_088_000, 28_672), ("7B", WEIGHTS, 57_344), ("32B", 32_763_876_352, 262_144)],
)
def test_parameters_are_those_published(name: str, published: int, kv: int) -> None:
    shape = SHAPES[f"deepseek-ai/DeepSeek-R1-Distill-Qwen-{name}"]
    assert (shape.parameters, shape.kv_bytes) == (published, kv)


def qwen(shape: Shape) -> Any:
    """The model itself, without memory for its weights."""
    torch = pytest.importorskip("torch", reason="needs torch")
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.inner,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
    )
    with torch.device("meta"):
        return Qwen2ForCausalLM(config)


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_those_of_the_model_in_transformers(tied: bool) -> None:
    shape = Shape(hidden=64, layers=3, heads=4, kv_heads=2, inner=160, vocabulary=320, tied=tied)
    assert sum(each.numel() for each in qwen(shape).parameters()) == shape.parameters


def test_adapters_are_those_of_peft() -> None:
    peft = pytest.importorskip("peft", reason="needs peft: pip install peft")
    shape = Shape(hidden=64, layers=3, heads=4, kv_heads=2, inner=160, vocabulary=320)
    made = peft.get_peft_model(qwen(shape), peft.LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert made.get_nb_trainable_parameters()[0] == shape.adapters(8)


def test_memory_by_hand() -> None:
    """ZeRO-3 over 8 GPUs: 16 bytes a parameter and 2 for the reference, an eighth of each."""
    recipe = a_recipe(gpus=8, shards=8, kl=0.001, checkpointing=True)
    held = memory(recipe, H100)
    assert held.weights == held.gradients == held.reference == 2 * WEIGHTS / 8
    assert held.optimizer == 12 * WEIGHTS / 8
    assert held.gathered == 2 * (1e9 + 152064 * 3584)
    # Inputs of 28 layers in bf16; of one layer 8 values of 3584 and 4 of 18944 a token, and their gradients.
    assert held.activations == 2 * 1000 * 28 * 3584 + 2 * 2 * 1000 * (8 * 3584 + 4 * 18944)
    assert held.engine == 40 * GB and held.kv_cache == 40 * GB - 2 * WEIGHTS - 3 * GB
    assert held.training == pytest.approx(
        18 * WEIGHTS / 8 + held.gathered + held.activations + held.logits + held.reserve
    )
    assert held.generating == pytest.approx(18 * WEIGHTS / 8 + 40 * GB + held.reserve)


def test_what_stays_while_the_engine_generates() -> None:
    """Nothing, or 2 bytes a parameter for the weights and 2 for the reference, or all."""
    away = a_recipe(gpus=8, shards=8, kl=0.001, states_stay=False)
    weights, all_of_it = (dataclasses.replace(away, **{name: True}) for name in ("weights_stay", "states_stay"))
    engine = 40 * GB + Assumed().reserve
    assert memory(away, H100).generating == engine
    assert memory(weights, H100).generating == pytest.approx(engine + 4 * WEIGHTS / 8)
    assert memory(all_of_it, H100).generating == pytest.approx(engine + 18 * WEIGHTS / 8)


def test_openrlhf_leaves_weights_and_reference_on_the_gpu() -> None:
    for recipe in recipe_files.recipes("openrlhf"):
        held = memory(recipe, H100)
        assert not recipe.states_stay and held.reference == held.weights
        assert held.generating == pytest.approx(held.engine + held.reserve + 2 * held.weights)


def test_logits_by_hand() -> None:
    assert memory(a_recipe(fused_head=False), H100).logits == 1000 * 152064 * 10
    assert memory(a_recipe(fused_head=True), H100).logits < 3 * GB


def test_a_model_that_does_not_fit_is_known() -> None:
    held = memory(a_recipe(), H100)
    assert held.training > 16 * WEIGHTS and not held.fits(H100)
    with pytest.raises(ValueError, match="no room for a reply"):
        times(a_recipe(engine_share=0.2), H100)


def test_times_by_hand() -> None:
    """One reply of 50 tokens, which is half of its limit, to a prompt of 50."""
    recipe, assumed = a_recipe(kl=0.001), Assumed(prompt=50, reply=50, utilisation=0.5, bandwidth=0.5)
    lasts = times(recipe, Gpu(name="round", memory=80e9, flops=1e15, bandwidth=2e12, link=1e11), assumed)
    assert lasts.update == pytest.approx(6 * WEIGHTS * 100 / 5e14)
    assert lasts.log_probabilities == pytest.approx(2 * 2 * WEIGHTS * 100 / 5e14)
    # The weights are read for each of 100 tokens, the KV cache 50 times at 100 tokens, from 1 TB/s; then the prompt.
    read = 100 * 2 * WEIGHTS + 50 * 100 * 57_344
    assert lasts.generation == pytest.approx(read / 1e12 + 50 * 2 * WEIGHTS / 5e14)
    assert lasts.step == pytest.approx(lasts.update + lasts.log_probabilities + lasts.generation)
    assert lasts.hours == pytest.approx(lasts.step * 36 / 3600)


def test_a_full_cache_makes_waves() -> None:
    """With room for half of the replies the weights are read for two waves of the mean length, and for a tail."""
    assumed = Assumed(prompt=50, reply=50, bandwidth=1.0)
    room = 2 * (50 + 25) * 57_344
    share = (2 * WEIGHTS + 3 * GB + room) / H100.memory
    one, four = (times(a_recipe(replies=n, engine_share=share), H100, assumed) for n in (1, 4))
    weights = 2 * WEIGHTS / H100.bandwidth
    prefill = 50 * 2 * WEIGHTS / (H100.flops * assumed.utilisation)
    cache = 50 * 100 * 57_344 / H100.bandwidth
    assert one.generation == pytest.approx(100 * weights + cache + prefill)
    assert four.generation == pytest.approx((2 * 50 + 50) * weights + 4 * (cache + prefill))


@given(st.sampled_from(ALL), st.sampled_from(list(GPUS)))
def test_twice_the_gpus_halve_what_is_computed(recipe: Recipe, gpu: str) -> None:
    fast = dataclasses.replace(GPUS[gpu], link=1e30)
    once = times(dataclasses.replace(recipe, machines=1), fast)
    twice = times(dataclasses.replace(recipe, machines=1, gpus=2 * recipe.gpus), fast)
    assert twice.update == pytest.approx(once.update / 2)
    assert twice.log_probabilities == pytest.approx(once.log_probabilities / 2)
    # Generation has a tail, the longest reply, that more GPUs do not shorten.
    assert once.generation / 2 <= twice.generation <= once.generation


@given(st.sampled_from(ALL), st.floats(0.1, 1.0))
def test_hours_go_with_what_is_reached(recipe: Recipe, reached: float) -> None:
    fast = dataclasses.replace(H100, link=1e30)
    recipe = dataclasses.replace(recipe, machines=1)
    full, less = (times(recipe, fast, Assumed(utilisation=share)) for share in (1.0, reached))
    assert less.update == pytest.approx(full.update / reached)
    assert less.hours >= full.hours
    slow, quick = (times(recipe, fast, Assumed(bandwidth=share)) for share in (reached, 1.0))
    assert slow.generation >= quick.generation and slow.update == quick.update


@given(st.sampled_from(ALL), st.integers(1, 4))
def test_laws_of_recipes(recipe: Recipe, factor: int) -> None:
    base = times(recipe, H100)
    assert times(dataclasses.replace(recipe, steps=factor * recipe.steps), H100).hours == pytest.approx(
        factor * base.hours
    )
    more = times(dataclasses.replace(recipe, prompts=factor * recipe.prompts), H100)
    assert more.update == pytest.approx(factor * base.update) and more.generation <= factor * base.generation * 1.001
    padded = times(dataclasses.replace(recipe, padded=True), H100)
    packed = times(dataclasses.replace(recipe, padded=False), H100)
    assert packed.update <= padded.update and packed.generation == padded.generation
    awake = memory(dataclasses.replace(recipe, engine_sleeps=False), H100)
    asleep = memory(dataclasses.replace(recipe, engine_sleeps=True), H100)
    assert awake.training == pytest.approx(asleep.training + asleep.engine)
    assert memory(dataclasses.replace(recipe, shards=factor * recipe.shards), H100).optimizer == pytest.approx(
        memory(recipe, H100).optimizer / factor
    )


def test_slow_links_show_where_computing_does_not_hide_them() -> None:
    assumed = Assumed(prompt=50, reply=50)
    # A pass of 10 tokens computes for less time than its weights travel.
    recipe = a_recipe(gpus=8, shards=8, pass_tokens=10)
    lasts = times(recipe, H100, assumed)
    passes = 100 / 8 / 10
    assert lasts.log_probabilities == pytest.approx(passes * 2 * WEIGHTS / (H100.link * assumed.bandwidth))
    assert lasts.update == pytest.approx(passes * 6 * WEIGHTS / (H100.link * assumed.bandwidth))


def test_adapters_cost_less() -> None:
    full, adapter = (a_recipe(adapter_rank=rank, checkpointing=True) for rank in (None, 32))
    share = SHAPES[SEVEN].adapters(32) / WEIGHTS
    assert times(adapter, H100).update / times(full, H100).update == pytest.approx((6 + 2 * share) / 8)
    assert memory(adapter, H100).optimizer == 12 * SHAPES[SEVEN].adapters(32)
    assert memory(dataclasses.replace(adapter, kl=0.1), H100).reference == 0


def test_verl_keeps_frozen_weights_in_fp32(tmp_path: Path) -> None:
    (recipe,) = [each for each in recipe_files.recipes("verl") if each.adapter_rank]
    assert memory(recipe, H100).weights == 4 * recipe.shape.parameters
    written = yaml.safe_load((ROOT / "integrations/verl/judge_1_5b_lora.yaml").read_text(encoding="utf-8"))
    written["actor_rollout_ref"]["actor"]["fsdp_config"] = {"model_dtype": "bf16"}
    edited = tmp_path / "judge_1_5b_lora.yaml"
    edited.write_text(yaml.safe_dump(written))
    assert memory(recipe_files.verl_recipe(edited), H100).weights == 2 * recipe.shape.parameters


@pytest.mark.parametrize("name", SHAPES)
def test_attention_left_out_is_about_the_embedding_counted(name: str) -> None:
    """As `estimates` says of a token at the assumed lengths: within a twentieth of what is counted."""
    shape, length = SHAPES[name], Assumed().prompt + Assumed().reply
    attention = 2 * shape.layers * shape.hidden * length
    embedding = 2 * shape.vocabulary * shape.hidden
    assert abs(attention - embedding) < 0.05 * 2 * shape.parameters


def test_there_are_recipes() -> None:
    assert [recipe.name for recipe in recipe_files.recipes("trl")] == list(recipe_files.NAMES)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: f"{recipe.host}-{recipe.name}")
def test_a_recipe_fits(recipe: Recipe, gpu: str) -> None:
    assert memory(recipe, GPUS[gpu]).fits(GPUS[gpu])
    # More replies than that at work would be swapped or wait; fewer than 32 would leave the GPU idle.
    assert kv_tokens(recipe, GPUS[gpu]) / (recipe.prompt_limit + recipe.reply_limit) >= 32
    assert recipe.pass_tokens >= recipe.prompt_limit + recipe.reply_limit, "the longest row is one pass"


def test_an_edited_file_changes_the_figures(tmp_path: Path) -> None:
    written = yaml.safe_load((ROOT / "integrations/trl/judge_7b.yaml").read_text(encoding="utf-8"))
    edited = tmp_path / "judge_7b.yaml"
    edited.write_text(yaml.safe_dump(written | {"max_completion_length": 4096, "vllm_max_model_length": 8192}))
    before, after = recipe_files.recipes("trl")[0], recipe_files.trl_recipe(edited)
    assert (after.reply_limit, after.prompt_limit, after.pass_tokens) == (4096, 4096, 8192)
    assert times(after, H100).update == pytest.approx(times(before, H100).update * 8192 / 12288)
    assert memory(after, H100).activations < memory(before, H100).activations
    edited.write_text(yaml.safe_dump(written | {"gradient_accumulation_steps": 100}))
    with pytest.raises(ValueError, match="whole number of updates"):
        recipe_files.trl_recipe(edited)


def test_all_public_names_are_explained() -> None:
    assert all(getattr(estimates, name).__doc__ for name in estimates.__all__ if callable(getattr(estimates, name)))
