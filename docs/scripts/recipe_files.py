"""The recipes for training a judge, each read from the file that its host is started with.

So an edited file changes what `estimates.py` computes. One reader for each host; `RECIPES` is what there is. Left out:
checking the files, which the hosts' own parsers do in tests/contract/.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from estimates import Recipe

__all__ = ["HOSTS", "NAMES", "openrlhf_recipe", "recipes", "trl_recipe", "verl_recipe"]

INTEGRATIONS = Path(__file__).resolve().parent.parent.parent / "integrations"
NAMES = ("judge_7b", "judge_32b", "judge_1_5b_lora")
"""One name for a recipe in every host. A host that cannot train adapters says so by a file of another name."""
MACHINE = 8
"""GPUs of one machine."""
BUILT_IN = {"zero3": (8, 1, True), "single_gpu": (1, 1, False)}
"""Of the accelerate configurations that come with TRL: processes, machines, and whether parameters are sharded."""


def trl_recipe(path: Path) -> Recipe:
    """A recipe of TRL: the YAML of `trl grpo --config`, and the accelerate configuration that it names.

    TRL pads each row to the longest of its rank's batch, computes log-probabilities in tiles, and takes part of them
    anew before the update because of the importance sampling correction.
    """
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    gpus, machines, sharded = _accelerate(config["accelerate_config"])
    batch, per_step = config["per_device_train_batch_size"], config["steps_per_generation"]
    rows = gpus * batch * per_step
    updates, rest = divmod(per_step, config["gradient_accumulation_steps"])
    if rest or config["max_steps"] % updates:
        raise ValueError(f"{path.name}: a step has to be a whole number of updates")
    prompt_limit = config["vllm_max_model_length"] - config["max_completion_length"]
    return Recipe(
        host="trl",
        name=path.stem,
        model=config["model_name_or_path"],
        gpus=gpus,
        machines=machines,
        prompts=rows // config["num_generations"],
        replies=config["num_generations"],
        updates=updates,
        prompt_limit=prompt_limit,
        reply_limit=config["max_completion_length"],
        steps=config["max_steps"] // updates,
        tensor_parallel=config["vllm_tensor_parallel_size"],
        engine_share=config["vllm_gpu_memory_utilization"],
        engine_sleeps=config["vllm_enable_sleep_mode"],
        rows_at_once=batch * per_step * config["vllm_tensor_parallel_size"],
        shards=gpus if sharded else 1,
        pass_tokens=batch * config["vllm_max_model_length"],
        padded=True,
        checkpointing=config["gradient_checkpointing"],
        fused_head=True,
        adapter_rank=config["lora_r"] if config.get("use_peft") else None,
        learning_rate=config["learning_rate"],
        temperature=config["temperature"],
        kl=config["beta"],
        clip=config["epsilon"],
    )


def _accelerate(named: str) -> tuple[int, int, bool]:
    """Processes, machines, and whether parameters are sharded."""
    if named in BUILT_IN:
        return BUILT_IN[named]
    config = yaml.safe_load((INTEGRATIONS.parent / named).read_text(encoding="utf-8"))
    return config["num_processes"], config["num_machines"], config["deepspeed_config"]["zero_stage"] == 3


def openrlhf_recipe(path: Path) -> Recipe:
    """A recipe of OpenRLHF: the flags in the list `flags=(...)` of a shell script.

    Rows are packed without padding (`--ds.packing_samples`) into passes of `--train.max_tokens_per_gpu`. Under
    `--ds.enable_sleep` gradients and optimizer go to the host (`offload_deepspeed_states`), while the bf16 weights and
    the reference stay.
    """
    flags = _flags(path)
    gpus = int(flags["actor.num_nodes"]) * int(flags["actor.num_gpus_per_node"])
    prompts, replies = int(flags["rollout.batch_size"]), int(flags["rollout.n_samples_per_prompt"])
    limit, reply_limit = int(flags["data.max_len"]), int(flags["rollout.max_new_tokens"])
    return Recipe(
        host="openrlhf",
        name=path.stem,
        model=flags["actor.model_name_or_path"],
        gpus=gpus,
        machines=int(flags["actor.num_nodes"]),
        prompts=prompts,
        replies=replies,
        updates=prompts * replies // int(flags["train.batch_size"]),
        prompt_limit=limit - reply_limit,
        reply_limit=reply_limit,
        steps=int(flags["data.max_samples"]) // prompts,
        tensor_parallel=int(flags["vllm.tensor_parallel_size"]),
        engine_share=float(flags["vllm.gpu_memory_utilization"]),
        engine_sleeps="vllm.enable_sleep" in flags,
        states_stay="ds.enable_sleep" not in flags,
        weights_stay=True,
        shards=gpus if flags["ds.zero_stage"] == "3" else 1,
        pass_tokens=int(flags["train.max_tokens_per_gpu"]),
        padded="ds.packing_samples" not in flags,
        checkpointing="actor.gradient_checkpointing_enable" in flags,
        fused_head=False,
        adapter_rank=int(flags["ds.lora.rank"]) if int(flags.get("ds.lora.rank", "0")) else None,
        learning_rate=float(flags["actor.adam.lr"]),
        temperature=float(flags["rollout.temperature"]),
        kl=float(flags["algo.kl.init_coef"]) if "algo.kl.use_loss" in flags else 0.0,
        clip=float(flags["actor.eps_clip"]),
    )


def _flags(path: Path) -> dict[str, str]:
    """The flags of a shell script; an empty text for one without a value."""
    text = path.read_text(encoding="utf-8").partition("flags=(")[2].partition("\n)")[0]
    words = shlex.split(text, comments=True)
    found: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            found[word.removeprefix("--")] = "" if after.startswith("--") else after
    return found


def verl_recipe(path: Path) -> Recipe:
    """A recipe of verl: the YAML that is laid over verl's own `ppo_trainer`.

    Rows are packed without padding (`use_remove_padding`) into passes of `ppo_max_token_len_per_gpu`. A model is loaded
    in fp32 unless `fsdp_config.model_dtype` says otherwise, so weights under adapters take 4 bytes each.
    """
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    data, trainer, algorithm = config["data"], config["trainer"], config["actor_rollout_ref"]
    actor, model, rollout = algorithm["actor"], algorithm["model"], algorithm["rollout"]
    gpus = trainer["nnodes"] * trainer["n_gpus_per_node"]
    return Recipe(
        host="verl",
        name=path.stem,
        model=model["path"],
        gpus=gpus,
        machines=trainer["nnodes"],
        prompts=data["train_batch_size"],
        replies=rollout["n"],
        updates=data["train_batch_size"] // actor["ppo_mini_batch_size"],
        prompt_limit=data["max_prompt_length"],
        reply_limit=data["max_response_length"],
        steps=trainer["total_training_steps"],
        tensor_parallel=rollout["tensor_model_parallel_size"],
        engine_share=rollout["gpu_memory_utilization"],
        engine_sleeps=rollout.get("free_cache_engine", True),
        states_stay=not _offloaded(actor, "param_offload", "optimizer_offload"),
        shards=gpus,
        pass_tokens=actor["ppo_max_token_len_per_gpu"],
        padded=not model["use_remove_padding"],
        checkpointing=model["enable_gradient_checkpointing"],
        fused_head=model.get("use_fused_kernels", False),
        adapter_rank=model.get("lora_rank") or None,
        frozen_bytes=4 if "32" in actor.get("fsdp_config", {}).get("model_dtype", "fp32") else 2,
        learning_rate=actor["optim"]["lr"],
        temperature=rollout["temperature"],
        kl=actor["kl_loss_coef"] if actor["use_kl_loss"] else 0.0,
        clip=actor["clip_ratio"],
        reference_stays=not _offloaded(algorithm.get("ref", {}), "param_offload"),
    )


def _offloaded(part: Mapping[str, Any], *keys: str) -> bool:
    settings = part.get("fsdp_config", {})
    return all(settings.get(key, False) for key in keys)


HOSTS: dict[str, tuple[Callable[[Path], Recipe], str]] = {
    "trl": (trl_recipe, "judge_*b*.yaml"),
    "openrlhf": (openrlhf_recipe, "judge_*b*.sh"),
    "verl": (verl_recipe, "judge_*b*.yaml"),
}
"""The reader of each host, and which of the files in its folder of integrations/ are recipes."""


def recipes(host: str) -> list[Recipe]:
    """The recipes of a host, in the order of `NAMES`; those of its own names last."""
    reader, pattern = HOSTS[host]
    order = {name: index for index, name in enumerate(NAMES)}
    found = [reader(path) for path in (INTEGRATIONS / host).glob(pattern)]
    return sorted(found, key=lambda recipe: (order.get(recipe.name, len(order)), recipe.name))
