"""verl's own data set reads what `rrm policy-data` wrote; skipped where it is not installed."""

from __future__ import annotations

import json

import pytest

from rrm_plugin.training.questions import QuestionReading, write_questions
from rrm_plugin.training.sources import source
from tests.tiny import save_tiny_model

REASON = "needs verl: make test-verl"
rl_dataset = pytest.importorskip("verl.utils.dataset.rl_dataset", reason=REASON, exc_type=ImportError)
omegaconf = pytest.importorskip("omegaconf", reason=REASON)


def test_the_data_set_reads_the_file_as_it_is(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(save_tiny_model(tmp_path / "model"))
    questions = [{"question": f"which is {n}", "answer": "SECRET"} for n in range(4)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    rows = tmp_path / "policy.jsonl"
    write_questions([source(str(tmp_path / "in.jsonl"))], rows, QuestionReading(suffix=" Think."))
    settings = {
        "cache_dir": str(tmp_path / "cache"),
        "prompt_key": "prompt",
        "max_prompt_length": 400,
        "filter_overlong_prompts": True,
        "filter_overlong_prompts_workers": 1,
    }
    dataset = rl_dataset.RLHFDataset(str(rows), tokenizer, omegaconf.OmegaConf.create(settings))
    batch = rl_dataset.collate_fn([dataset[index] for index in range(len(dataset))])
    assert [prompt[0]["content"] for prompt in batch["raw_prompt"]] == [f"which is {n} Think." for n in range(4)]
    assert [model["ground_truth"] for model in batch["reward_model"]] == [""] * 4
    assert {model["style"] for model in batch["reward_model"]} == {"model"}
    assert list(batch["index"]) == [0, 1, 2, 3] and set(batch["data_source"]) == {"in"}
    assert "SECRET" not in str({name: list(batch[name]) for name in batch})
