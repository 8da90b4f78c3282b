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

__all__ = ["bound", "groups", "longest_chain", "reply"]

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

    Either all slots work all the time, or it is the longest chain of pairs in a group, each of which begins when the
    one before it is settled, in both orders where it is shown in both.
    """
    work = sum(each.usage.completion_tokens for each in scores) / slots
    chain = max(map(longest_chain, scores))
    return (work, "work") if work >= chain else (chain, "chain")


def longest_chain(scores: Scores) -> int:
    """Tokens of the longest chain of a group.

    A match of a knockout waits for the last matches of its own two players, so that is the longest way through the
    bracket. Of other schedules each round waits for all of the round before.
    """
    knockout = str(scores.settings["schedule"]).startswith("knockout")
    players = {index for judgement in scores.judgements if judgement.match for index in judgement.match.pair}
    free = dict.fromkeys(players, 0)
    """When each player can play again."""
    for number in sorted({judgement.match.round for judgement in scores.judgements if judgement.match}):
        ends = dict(free)
        for judgement in scores.judgements:
            if judgement.match is not None and judgement.match.round == number:
                waits_for = judgement.match.pair if knockout else players
                end = max(free[index] for index in waits_for) + judgement.usage.completion_tokens
                ends |= {index: max(ends[index], end) for index in judgement.match.pair}
        free = ends
    return max(free.values(), default=0)
