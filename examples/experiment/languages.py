"""The two languages and their models: the policy writes digits, the judge a few words and whole numbers.

Both models have two layers of width 64, about a hundred thousand weights. Their architecture is Llama's with biases in
the attention, which is Qwen2's but for one more bias; under Qwen2's own name transformers 5 would give them Qwen2's
tokenizer whatever they were saved with. In the judge's language a number is one token, except the summands of an
addition, which are digits: it can compute digit by digit and compare in one step. Text is the same either way.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rrm_plugin.prompts import EMPTY_RESPONSE

__all__ = ["CONTEXT", "judge_tokenizer", "new_model", "policy_tokenizer", "save"]

CONTEXT = 128
"""Most tokens of prompt and reply."""

_PAD, _END, _UNKNOWN = "<|endoftext|>", "<|im_end|>", "<unk>"

_JUDGE_WORDS = (
    "Question: ",
    "\n",
    "\n<think>",
    EMPTY_RESPONSE,
    " so ",
    " (Assistant 1)",
    " (Assistant 2)",
    "Assistant 1",
    "Assistant 2",
    " looks good.",
    "</think>",
    "\\boxed{Assistant 1}",
    "\\boxed{Assistant 2}",
    "=?",
    "=",
    "+",
    " ",
)
_SUMMAND = r"\d(?=\d*\+)|(?<=\+)\d|(?<=\+\d)\d"
_NUMBER = r"(?<!\d)(?:1\d\d|[1-9]\d|\d)(?!\d)|\d"

_JUDGE_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n<think>' }}{% endif %}"
)


def policy_tokenizer() -> PreTrainedTokenizerFast:
    """Characters: ten digits and `+=?`."""
    return _tokenizer([*"0123456789+=?"], r"[\s\S]")


def judge_tokenizer() -> PreTrainedTokenizerFast:
    """Numbers from 0 to 199 and a few words, each one token; any other character is unknown."""
    words = sorted(_JUDGE_WORDS, key=len, reverse=True)
    pattern = "|".join([*map(re.escape, words), _SUMMAND, _NUMBER, r"[\s\S]"])
    tokenizer = _tokenizer([*_JUDGE_WORDS, *map(str, range(200))], pattern)
    tokenizer.chat_template = _JUDGE_TEMPLATE
    return tokenizer


def _tokenizer(words: list[str], pattern: str) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate([_PAD, _END, _UNKNOWN, *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=_PAD,
        eos_token=_END,
        unk_token=_UNKNOWN,
        padding_side="left",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: Any, seed: int) -> Any:
    """A model with random weights for a tokenizer's vocabulary."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=192,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=CONTEXT,
                attention_bias=True,
                tie_word_embeddings=True,
                initializer_range=0.05,
                rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes model and tokenizer where transformers and TRL can load them."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    # The name by which versions 4 and 5 of transformers both know it.
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
