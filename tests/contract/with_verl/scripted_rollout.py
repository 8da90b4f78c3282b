"""What stands in for vLLM under verl's trainer: a client that writes replies instead of generating them.

It is all that is not real there: verl asks it for the tokens of a reply and gets some, after a while.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any


class ScriptedClient:
    """As verl's `LLMServerClient`, as far as a rollout asks it.

    Args:
        model: the folder with the policy's tokenizer.
        slowest: seconds after which the last reply has come.
    """

    def __init__(self, model: str, slowest: float = 0.5) -> None:
        self.model = model
        self.slowest = slowest
        self.tokenizer: Any = None

    async def generate(self, *, prompt_ids: list[int], **_: Any) -> Any:
        """A reply of some words, at some time."""
        from transformers import AutoTokenizer
        from verl.workers.rollout.replica import TokenOutput

        if self.tokenizer is None:
            self.tokenizer = AutoTokenizer.from_pretrained(self.model)
        await asyncio.sleep(random.random() * self.slowest)
        text = f"answer {random.randrange(10**6)}" + " so" * random.randrange(6)
        return TokenOutput(token_ids=self.tokenizer(text)["input_ids"], stop_reason="completed")
