"""The recipes that train a judge or a policy, as far as verl can be asked without a GPU.

Its hydra composes them, its dataclasses and checks take them, its data set reads the data, its loader finds the reward.
Not here: workers, vLLM, and so everything that only shows when it runs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types

import pytest

from rrm_plugin.training.builder import write_training_data
from rrm_plugin.training.candidates import Preparation
from rrm_plugin.training.sources import source
from tests.contract.with_verl.recipes import FOLDER, JUDGES, POLICIES, ROOT, composed, keys, verls_own, written

REASON = "needs verl: make test-verl"
pytest.importorskip("verl.utils.config", reason=REASON, exc_type=ImportError)
omegaconf = pytest.importorskip("omegaconf", reason=REASON)

OURS = ("reward.custom_reward_function.reward_kwargs.", "actor_rollout_ref.rollout.engine_kwargs.vllm.")
"""Keys that verl reads and its own configuration does not list."""


@pytest.fixture
def without_vllm(monkeypatch):
    """verl asks a module that imports vLLM for the ranks of LoRA that it takes; these are the ones it lists itself."""
    ranks = types.ModuleType("verl.workers.rollout.vllm_rollout.utils")
    ranks.get_vllm_max_lora_rank = lambda rank: next(one for one in (1, 8, 16, 32, 64, 128, 256) if one >= rank)
    monkeypatch.setitem(sys.modules, ranks.__name__, ranks)


@pytest.mark.parametrize("name", JUDGES + POLICIES)
def test_every_key_is_verls(name):
    known = set(keys(omegaconf.OmegaConf.to_container(verls_own())))
    said = {key for key in keys(written(name)) if not key.startswith(("defaults", *OURS))}
    assert said <= known, f"verl knows no {sorted(said - known)}"


@pytest.mark.parametrize("name", JUDGES + POLICIES)
def test_verl_accepts_it(name, model, without_vllm):
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    config = composed(name, f"actor_rollout_ref.model.path={model}")
    assert need_reference_policy(config) and not need_critic(config)
    validate_config(config, use_reference_policy=True, use_critic=False)
    for part in ("actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model", "algorithm"):
        made = omega_conf_to_dataclass(omegaconf.OmegaConf.select(config, part))
        assert type(made).__name__ in ("FSDPActorConfig", "RolloutConfig", "HFModelConfig", "AlgoConfig")


@pytest.mark.parametrize("name", JUDGES)
def test_what_a_step_is(name):
    from verl.utils.config import omega_conf_to_dataclass

    config = composed(name)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    prompts, limit = config.data.train_batch_size, config.data.max_prompt_length + config.data.max_response_length
    expected = {"judge_1_5b_lora": (32, 8, 32, 7168, 1)}.get(name, (128, 16, 64, 12288, 32 if "32" in name else 8))
    gpus = config.trainer.nnodes * config.trainer.n_gpus_per_node
    assert (prompts, rollout.n, actor.ppo_mini_batch_size, limit, gpus) == expected
    assert prompts * rollout.n % gpus == 0 and gpus % rollout.tensor_model_parallel_size == 0
    assert (rollout.prompt_length, rollout.response_length) == (
        limit - rollout.response_length,
        rollout.response_length,
    )
    # A row that is longer than a pass cannot be packed; scoring takes the same passes as training.
    assert limit <= actor.ppo_max_token_len_per_gpu == rollout.log_prob_max_token_len_per_gpu
    assert (rollout.temperature, rollout.top_p, rollout.name) == (0.6, 1.0, "vllm")
    assert (actor.clip_ratio_low, actor.clip_ratio_high, actor.kl_loss_coef) == (0.2, 0.2, 0.001)
    assert actor.use_kl_loss and actor.kl_loss_type == "low_var_kl" and not config.algorithm.use_kl_in_reward
    assert (config.algorithm.adv_estimator, config.algorithm.norm_adv_by_std_in_grpo) == ("grpo", True)
    assert config.reward.reward_manager.name == "naive" and not config.reward.reward_model.enable


def test_the_recipes_differ_in_what_they_have_to():
    large, small = (dict(_flat(written(name))) for name in ("judge_7b", "judge_32b"))
    differing = {key for key in large | small if large.get(key) != small.get(key)}
    assert differing == {
        "actor_rollout_ref.actor.fsdp_config.optimizer_offload",
        "actor_rollout_ref.actor.fsdp_config.param_offload",
        "actor_rollout_ref.actor.optim.lr",
        "actor_rollout_ref.model.path",
        "actor_rollout_ref.rollout.gpu_memory_utilization",
        "actor_rollout_ref.rollout.tensor_model_parallel_size",
        "trainer.default_local_dir",
        "trainer.experiment_name",
        "trainer.nnodes",
    }


@pytest.mark.parametrize("name", JUDGES)
def test_its_data_section_reads_what_train_data_wrote(name, model, tmp_path):
    from transformers import AutoTokenizer
    from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler

    pairs = [{"prompt": f"q {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(5)]
    pairs.append({"prompt": "long " * 5000, "chosen": "a", "rejected": "b"})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    write_training_data([source(str(tmp_path / "pairs.jsonl"))], tmp_path / "train.jsonl", Preparation())
    config = composed(name, f"data.train_files={tmp_path}/train.jsonl", "data.filter_overlong_prompts_workers=1")
    tokenizer = AutoTokenizer.from_pretrained(model)
    dataset = create_rl_dataset(config.data.train_files, config.data, tokenizer, None)
    assert len(dataset) == 5, "the long prompt is left out"
    assert sorted(create_rl_sampler(config.data, dataset)) == list(range(5))
    assert dataset[0]["reward_model"]["ground_truth"] in ("1", "2") and dataset[0]["raw_prompt"][0]["role"] == "system"


@pytest.mark.parametrize("name", JUDGES)
def test_its_reward_is_found_and_pays_by_the_verdict(name, monkeypatch):
    from verl.trainer.ppo.reward import get_custom_reward_fn

    monkeypatch.delenv("RRM_REWARD_CONFIG", raising=False)
    score = get_custom_reward_fn(composed(name))
    row = {"data_source": "s", "ground_truth": "1", "extra_info": {}}
    assert score(solution_str=r"so</think>\boxed{Assistant 1}", **row)["score"] == 1.0
    assert score(solution_str=r"so</think>\boxed{Assistant 2}", **row)["score"] == -1.0
    never_ends = score(solution_str=r"Perhaps \boxed{Assistant 1}, but", **row)
    assert (never_ends["score"], never_ends["malformed"]) == (-1.0, 1.0), "the prompt had opened the thinking"


@pytest.mark.parametrize("name", POLICIES)
def test_what_a_step_of_a_policy_is(name):
    from verl.utils.config import omega_conf_to_dataclass

    config = composed(name)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    assert (config.data.train_batch_size, rollout.n, actor.ppo_mini_batch_size) == (64, 8, 64)
    assert (rollout.prompt_length, rollout.response_length, rollout.temperature) == (1024, 4096, 1.0)
    assert actor.use_kl_loss and (actor.kl_loss_coef, actor.kl_loss_type) == (0.001, "low_var_kl")
    assert (config.trainer.total_training_steps, actor.optim.lr) == (200, 1e-6)
    assert not config.trainer.val_before_train and config.trainer.test_freq < 0
    assert rollout.prompt_length + rollout.response_length <= actor.ppo_max_token_len_per_gpu


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_rewarded_by_our_manager_with_the_settings_of_the_file(name, monkeypatch):
    from verl.trainer.ppo.reward import resolve_reward_manager_cls

    from rrm_plugin.adapters.verl.broker import Broker
    from rrm_plugin.adapters.verl.settings import policy_settings

    monkeypatch.setenv("RRM_CONFIG", str(FOLDER / "judge.yaml"))
    config = composed(name)
    assert resolve_reward_manager_cls(config).__name__ == "RRMRewardManager"
    served = config.reward.reward_model.enable
    found = policy_settings(config, "10.0.0.1:80" if served else None)
    assert (found.size, found.validation_size, found.in_flight, found.starving) == (8, 1, 512, None)
    address = "http://10.0.0.1:80/v1" if served else "http://localhost:8001/v1"
    assert (found.judge["engine"], found.judge["model"]) == (address, "Reward-Reasoning/RRM-7B")
    assert found.judge["concurrency"] == found.in_flight // 8 * 24, "all calls of a step"
    Broker(found)


def test_verl_asks_the_manager_where_it_serves_the_judge_itself():
    """It does so where there is a custom reward function, and otherwise takes the model for one that gives scores."""
    import inspect

    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker

    config = composed("policy_7b_colocated")
    assert config.reward.reward_model.enable and not config.reward.reward_model.enable_resource_pool
    condition = "if self.config.reward.custom_reward_function.path is not None"
    assert condition in inspect.getsource(RewardLoopWorker.compute_score)
    assert config.reward.custom_reward_function.path == "pkg://rrm_plugin.adapters.verl"
    limits = config.reward.reward_model.rollout
    assert limits.prompt_length + limits.response_length == limits.max_model_len


def test_the_policys_end_is_known_to_vllm(monkeypatch):
    monkeypatch.setenv("PWD", str(ROOT))
    config = composed("gpqa")
    folder = config.actor_rollout_ref.rollout.engine_kwargs.vllm.generation_config
    from transformers import GenerationConfig

    assert GenerationConfig.from_pretrained(folder).eos_token_id == [151643, 151645]


def test_its_data_section_reads_what_policy_data_wrote(model, tmp_path):
    from transformers import AutoTokenizer
    from verl.trainer.ppo.utils import create_rl_dataset

    from rrm_plugin.training.questions import QuestionReading, write_questions

    questions = [{"question": f"What is {n} + {n}?", "answer": str(2 * n), "id": n} for n in range(4)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in questions))
    write_questions([source(str(tmp_path / "questions.jsonl"))], tmp_path / "policy.jsonl", QuestionReading())
    config = composed("gpqa", f"data.train_files={tmp_path}/policy.jsonl", "data.filter_overlong_prompts_workers=1")
    dataset = create_rl_dataset(config.data.train_files, config.data, AutoTokenizer.from_pretrained(model), None)
    assert [row["raw_prompt"][-1]["content"] for row in dataset] == [one["question"] for one in questions]


def test_the_command_of_the_readme_composes_it():
    commands = re.findall(r"python -m verl\.trainer\.main_ppo (.*)$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    named = {name: command for command in commands for name in re.findall(r"--config-name (\S+)", command)}
    assert {*JUDGES, *POLICIES} <= named.keys()
    arguments = named["judge_7b"].split()
    done = subprocess.run(
        [sys.executable, "-m", "verl.trainer.main_ppo", *arguments, "--cfg", "job"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    shown = omegaconf.OmegaConf.create(done.stdout[done.stdout.index("model_engine:") :])
    assert shown.data.train_batch_size == 128 and shown.trainer.experiment_name == "judge-7b"
    assert shown == composed("judge_7b")


def _flat(settings, prefix=""):
    for key in keys(settings, prefix):
        value = settings
        for part in key.split("."):
            value = value[part]
        yield key, value
