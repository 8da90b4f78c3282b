"""OpenRLHF's own data set reads what `rrm policy-data` wrote; skipped where it is not installed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from rrm_plugin.training.questions import QuestionReading, write_questions
from rrm_plugin.training.sources import source
from tests.tiny import save_tiny_model

REASON = "needs OpenRLHF: make test-openrlhf"
prompts_dataset = pytest.importorskip("openrlhf.datasets.prompts_dataset", reason=REASON, exc_type=ImportError)
utils = pytest.importorskip("openrlhf.datasets.utils", reason=REASON, exc_type=ImportError)


def test_the_prompt_data_set_reads_the_file_as_it_is(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(save_tiny_model(tmp_path / "model"))
    questions = [{"question": f"which is {n}", "answer": "SECRET"} for n in range(4)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    rows = tmp_path / "policy.jsonl"
    write_questions([source(str(tmp_path / "in.jsonl"))], rows, QuestionReading(suffix=" Think."))
    data = SimpleNamespace(input_key="prompt", label_key=None, apply_chat_template=True, image_key="images")
    args = SimpleNamespace(data=data, use_ms=False)
    strategy = SimpleNamespace(args=args, is_rank_0=lambda: True, print=lambda *_: None)
    dataset = prompts_dataset.PromptDataset(utils.blending_datasets(str(rows), strategy=strategy), tokenizer, strategy)
    assert len(dataset) == 4
    for index, (datasource, prompt, label, images) in enumerate(dataset):
        assert (datasource, label or "", images) == ("in", "", None)
        assert f"which is {index} Think." in prompt and prompt.endswith("<|im_start|>assistant\n")
        assert "SECRET" not in prompt
