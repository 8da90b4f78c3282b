"""OpenRLHF's own classes read what `rrm train-data` wrote and call the reward; skipped where it is not installed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from rrm_plugin.training.builder import write_training_data
from rrm_plugin.training.candidates import Preparation
from rrm_plugin.training.sources import source
from tests.tiny import save_tiny_model

REASON = "needs OpenRLHF: make test-openrlhf"
prompts_dataset = pytest.importorskip("openrlhf.datasets.prompts_dataset", reason=REASON, exc_type=ImportError)
utils = pytest.importorskip("openrlhf.datasets.utils", reason=REASON, exc_type=ImportError)


ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def rows(tmp_path):
    pairs = [{"prompt": f"q {n}", "chosen": f"good {n} <image>", "rejected": f"bad {n}"} for n in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    write_training_data([source(str(tmp_path / "pairs.jsonl"))], tmp_path / "train.jsonl", Preparation())
    return tmp_path / "train.jsonl"


def strategy():
    data = SimpleNamespace(input_key="prompt", label_key="label", apply_chat_template=True, image_key="images")
    args = SimpleNamespace(data=data, use_ms=False)
    return SimpleNamespace(args=args, is_rank_0=lambda: True, print=lambda *_: None)


def test_the_prompt_data_set_reads_the_file_as_it_is(rows, tokenizer):
    told = strategy()
    dataset = prompts_dataset.PromptDataset(utils.blending_datasets(str(rows), strategy=told), tokenizer, told)
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert len(dataset) == len(written) == 6
    for (datasource, prompt, label, images), row in zip(dataset, written, strict=True):
        assert (datasource, label, images) == (row["source"], row["label"], None)
        assert row["prompt"][-1]["content"] in prompt and prompt.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("ended", [True, False])
def test_its_executor_calls_the_reward_file(rows, tokenizer, ended):
    agent = pytest.importorskip("openrlhf.utils.agent", reason=REASON, exc_type=ImportError)
    executor = agent.SingleTurnAgentExecutor(str(ROOT / "integrations" / "openrlhf" / "judge_reward.py"))
    row = json.loads(rows.read_text().splitlines()[0])
    prompt = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    reply = rf"<think>so</think>\boxed{{Assistant {row['label']}}}" if ended else r"I think \boxed{Assistant 1} is"
    tokens = tokenizer(reply + "<|im_end|>" * ended, add_special_tokens=False)["input_ids"]

    class Llm:
        async def generate(self, prompt_ids, params, multi_modal_data=None):
            finish = "stop" if ended else "length"
            return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tokens, finish_reason=finish, logprobs=None)])

    params = SimpleNamespace(max_tokens=2000, logprobs=None)
    output = asyncio.run(executor.execute(prompt, row["label"], params, 8000, tokenizer, Llm()))
    assert output["reward"] == (1.0 if ended else -1.0) and output["scores"] == float(ended)
    assert output["extra_logs"]["judge_malformed"] == float(not ended)
