"""The miniature judge: a Reward Reasoning Model of a hundred thousand weights that comes with the package.

    RRMJudge(model="miniature")

It judges answers to additions of two numbers from 10 to 99, and nothing else: it is for trying the package out, for
examples and for tests, with a real model and no download. It needs the extra `transformers`. How it was trained says
README.md beside it, and the documentation's page on the experiment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "NAME", "settings"]

NAME = "miniature"
FOLDER = Path(__file__).parent
"""Where its weights, configuration and tokenizer lie."""

BATCH = 256
"""Replies at once; they are some twenty tokens long, and cost more one by one."""


def settings(prompt: Any, engine_options: dict[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """What `RRMJudge(model="miniature")` stands for.

    Returns:
        The folder of the model; its own prompt in place of the default one, which it cannot read; the engine's options,
        with a batch size that fits it. What a user chose is kept.
    """
    return str(FOLDER), NAME if prompt == "rrm" else prompt, {"batch_size": BATCH, **engine_options}
