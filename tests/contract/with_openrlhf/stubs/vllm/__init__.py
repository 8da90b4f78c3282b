"""A stand-in for vllm, which cannot generate without a GPU: OpenRLHF's own actors, executors and trainers run on it.

It has the classes that OpenRLHF imports and nothing else. A prompt is answered with one to forty words drawn at random
after a delay drawn at random, so that siblings come in any order. The prompt may ask for trouble:

    (raise 3)    the third sibling's generation raises
    (never 3)    the third sibling's generation does not end
    (stop)       all siblings answer the same
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
from types import SimpleNamespace
from typing import Any

__version__ = "0.29.0"


@dataclasses.dataclass
class SamplingParams:
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    max_tokens: int | None = None
    min_tokens: int = 1
    skip_special_tokens: bool = False
    logprobs: int | None = None


class AsyncEngineArgs:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.model, self.seed = kwargs["model"], kwargs["seed"]


class AsyncLLMEngine:
    def __init__(self, args: AsyncEngineArgs) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(args.model)
        self.random = random.Random(args.seed)
        self.seen: dict[str, int] = {}
        self.output_processor = SimpleNamespace(get_num_unfinished_requests=lambda: 0)

    @classmethod
    def from_engine_args(cls, args: AsyncEngineArgs) -> AsyncLLMEngine:
        return cls(args)

    async def is_sleeping(self) -> bool:
        return False

    async def generate(self, prompt: dict[str, Any], params: SamplingParams, request_id: str) -> Any:
        text = self.tokenizer.decode(prompt["prompt_token_ids"])
        self.seen[text] = number = self.seen.get(text, 0) + 1
        if f"(raise {number})" in text:
            raise RuntimeError("this generation was told to fail")
        if f"(never {number})" in text:
            await asyncio.Event().wait()
        await asyncio.sleep(self.random.random() * 0.05)
        words = 3 if "(stop)" in text else self.random.randint(1, 40)
        topic = re.sub(r"\W+", " ", text).split()[-2]
        reply = f"{topic} {'so ' * words}{0 if '(stop)' in text else number}<|im_end|>"
        tokens = self.tokenizer(reply, add_special_tokens=False)["input_ids"]
        yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=tokens, finish_reason="stop", logprobs=None)])
