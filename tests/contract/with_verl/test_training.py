"""verl's own classes read what `rrm train-data` wrote and load the reward; skipped where it is not installed."""

from __future__ import annotations

import asyncio
import json

import pytest

from rrm_plugin.training.builder import write_training_data
from rrm_plugin.training.candidates import Preparation
from rrm_plugin.training.sources import source
from tests.tiny import save_tiny_model

REASON = "needs verl: make test-verl"
rl_dataset = pytest.importorskip("verl.utils.dataset.rl_dataset", reason=REASON, exc_type=ImportError)
omegaconf = pytest.importorskip("omegaconf", reason=REASON)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def rows(tmp_path):
    pairs = [{"prompt": f"q {n}", "chosen": f"good {n} <image>", "rejected": f"bad {n}"} for n in range(6)]
    pairs.append({"prompt": "long " * 3000, "chosen": "a", "rejected": "b"})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    write_training_data([source(str(tmp_path / "pairs.jsonl"))], tmp_path / "train.jsonl", Preparation())
    return tmp_path / "train.jsonl"


def test_the_data_set_reads_the_file_as_it_is(rows, tokenizer, tmp_path):
    config = omegaconf.OmegaConf.create(
        {
            "cache_dir": str(tmp_path / "cache"),
            "prompt_key": "prompt",
            "max_prompt_length": 4000,
            "filter_overlong_prompts": True,
            "filter_overlong_prompts_workers": 1,
        }
    )
    dataset = rl_dataset.RLHFDataset(str(rows), tokenizer, config)
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert len(dataset) == 6, "the long prompt is verl's to leave out"
    batch = rl_dataset.collate_fn([dataset[index] for index in range(6)])
    for index, row in enumerate(written[:6]):
        assert batch["raw_prompt"][index] == row["prompt"]
        assert batch["reward_model"][index]["ground_truth"] == str(row["label"])
        assert batch["data_source"][index] == row["source"] and batch["index"][index] == index


def test_its_loader_finds_the_reward(rows):
    reward = pytest.importorskip("verl.trainer.ppo.reward", reason=REASON, exc_type=ImportError)
    named = {"path": "pkg://rrm_plugin.adapters.verl", "name": "compute_score", "reward_kwargs": {"malformed": -2.0}}
    config = omegaconf.OmegaConf.create({"reward": {"custom_reward_function": named}})
    score = reward.get_custom_reward_fn(config)
    row = json.loads(rows.read_text().splitlines()[0])
    arguments = {
        "data_source": row["data_source"],
        "ground_truth": row["reward_model"]["ground_truth"],
        "extra_info": row["extra_info"],
    }
    assert score(solution_str=rf"\boxed{{Assistant {row['label']}}}", **arguments)["score"] == 1.0
    assert score(solution_str="I wonder", **arguments)["score"] == -2.0


def test_its_reward_manager_is_paid_by_it(rows, tokenizer):
    naive = pytest.importorskip(
        "verl.experimental.reward_loop.reward_manager.naive", reason=REASON, exc_type=ImportError
    )
    import torch
    from verl import DataProto

    from rrm_plugin.adapters.verl import compute_score

    row = json.loads(rows.read_text().splitlines()[0])
    tokens = torch.tensor([tokenizer(rf"\boxed{{Assistant {row['label']}}}")["input_ids"]])
    columns = {name: [row[name]] for name in ("data_source", "reward_model", "extra_info")}
    data = DataProto.from_single_dict(
        {"responses": tokens, "attention_mask": torch.ones_like(tokens), **{k: _objects(v) for k, v in columns.items()}}
    )

    async def paid():
        manager = naive.NaiveRewardManager(omegaconf.OmegaConf.create({}), tokenizer, compute_score)
        return await manager.run_single(data)

    result = asyncio.run(paid())
    assert result["reward_score"] == 1.0 and result["reward_extra_info"]["acc"] == 1.0


def _objects(values):
    import numpy

    array = numpy.empty(len(values), dtype=object)
    array[:] = values
    return array
