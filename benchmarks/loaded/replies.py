"""What the judge of this benchmark answers, and how long it thinks: both drawn from the pair that it is shown.

So a call takes as long whenever and in whichever run it is made, and total work is the same for every way to order it.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Sequence

import numpy as np

from rrm_plugin.types import Group, Message, Scores

__all__ = ["bound", "groups", "reply"]

MARK = re.compile(r"#(\d+)\.(\d+) q=(-?\d+\.\d+)")
"""Stands in each response: its group, its number and its quality."""
MEDIAN, SPREAD = 800, 1.0
"""Of the lognormal distribution of a reply's tokens."""
LEAST, MOST = 64, 8192
SLOPE = 4.0
"""Of the Bradley-Terry model by which the judge prefers the better response."""


def groups(seed: int, count: int, size: int) -> list[Group]:
    """Groups of responses with qualities from a standard normal distribution, each with a reference answer."""
    quality = np.random.default_rng(seed).normal(size=(count, size))
    return [
        Group(
            prompt=f"Question {number}",
            responses=tuple(f"Answer #{number}.{each} q={value:.3f}" for each, value in enumerate(own)),
            reference=f"Answer #{number}.{size} q=0.000",
        )
        for number, own in enumerate(quality)
    ]


def reply(seed: int, messages: Sequence[Message]) -> tuple[int, str]:
    """Tokens and text."""
    shown = MARK.findall(str(messages[-1]["content"]))
    drawn = random.Random(hashlib.sha256(f"{seed} {shown}".encode()).digest())
    tokens = min(MOST, max(LEAST, int(drawn.lognormvariate(math.log(MEDIAN), SPREAD))))
    lead = float(shown[0][2]) - float(shown[1][2])
    first = drawn.random() < 1 / (1 + math.exp(-SLOPE * lead))
    return tokens, f"<think>\nI compare.\n</think>\n\n\\boxed{{Assistant {1 if first else 2}}}"


def bound(scores: Sequence[Scores], slots: int) -> tuple[float, str]:
    """The least tokens that the calls behind these scores can take on so many slots, and what makes it so many.

    Either all slots work all the time, or it is the longest chain: of a group's rounds, each of which takes as long as
    the longest of its replies and cannot begin before the one before it ended.
    """
    work = sum(each.usage.completion_tokens for each in scores) / slots
    chain = max(map(_chain, scores))
    return (work, "work") if work >= chain else (chain, "chain")


def _chain(scores: Scores) -> int:
    longest: dict[int, int] = {}
    for judgement in scores.judgements:
        assert judgement.match is not None
        number = judgement.match.round
        longest[number] = max(longest.get(number, 0), judgement.usage.completion_tokens)
    return sum(longest.values())
