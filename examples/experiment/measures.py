"""What is measured on held-out questions: how often the policy is right, and how well a judge judges.

The judge is measured through the same `RRMJudge` that rewards the policy, with the same decoding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from examples.experiment.pairs import Pair
from examples.experiment.questions import Question
from rrm_plugin import Group, Judgement, RRMJudge, Verdict
from rrm_plugin.verdicts import split_thinking

__all__ = ["JUDGE_TOKENS", "judge_accuracy", "make_judge", "pass_at_1"]

JUDGE_TOKENS = 36
"""Most tokens of a judge's reply; working takes 19."""
RUNS = 2
"""How often each pair is judged in each order."""


def make_judge(folder: Path) -> RRMJudge:
    """The judge of every measurement and every reward: all distinct answers of a group meet, in both orders."""
    return RRMJudge(
        model=str(folder),
        engine="transformers",
        prompt="miniature",
        schedule="round_robin",
        reducer="win_rate",
        orders="both",
        temperature=0.6,
        max_tokens=JUDGE_TOKENS,
        batch_size=512,
    )


def pass_at_1(model: Any, tokenizer: Any, questions: Sequence[Question]) -> float:
    """Chance that one answer drawn at temperature 1 is right, in percent: computed exactly, not sampled."""
    prompts = tokenizer([question.text for question in questions])["input_ids"]
    replies = tokenizer([question.right + tokenizer.eos_token for question in questions])["input_ids"]
    width = max(map(len, replies))
    ids = torch.tensor(
        [p + r + [tokenizer.pad_token_id] * (width - len(r)) for p, r in zip(prompts, replies, strict=True)]
    )
    start = len(prompts[0])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, start - 1 : -1]
    chances = logits.float().log_softmax(-1).gather(-1, ids[:, start:, None])[..., 0]
    counted = ids[:, start:] != tokenizer.pad_token_id
    return 100 * float((chances * counted).sum(-1).exp().mean())


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """One reply of the judge to a pair."""

    right: bool
    computed: bool
    sum_right: bool
    tokens: int
    """Of its thinking."""


def judge_accuracy(folder: Path, pairs: Sequence[Pair], runs: int = RUNS) -> dict[str, float]:
    """How a judge fares with pairs, each shown in both orders.

    Returns:
        In percent: `first_order` and `swapped_order`, how often it names the right answer, where no verdict is wrong;
        `agreement`, how often both orders name the same answer; `computes`, how often it works the sum out;
        `sum_right`, how often that sum is right. `thinking_tokens` is the mean length of its thinking.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    groups = [Group(prompt=pair.question.text, responses=[pair.first, pair.second]) for pair in pairs]
    straight: list[_Reply] = []
    swapped: list[_Reply] = []
    agreed: list[bool] = []
    with make_judge(folder) as judge:
        for _ in range(runs):
            for pair, scores in zip(pairs, judge.score_groups(groups), strict=True):
                if len(scores.judgements) != 2:
                    raise RuntimeError(f"a pair was not judged twice: {scores.error or scores.judgements}")
                first, second = sorted(scores.judgements, key=lambda one: one.match.first if one.match else 0)
                straight.append(_read(first, pair, pair.side, tokenizer))
                swapped.append(_read(second, pair, 3 - pair.side, tokenizer))
                agreed.append(first.verdict is not None and second.verdict is first.verdict.swapped)
    replies = straight + swapped
    working = [reply for reply in replies if reply.computed]
    return {
        "first_order": _percent([reply.right for reply in straight]),
        "swapped_order": _percent([reply.right for reply in swapped]),
        "agreement": _percent(agreed),
        "computes": _percent([reply.computed for reply in replies]),
        "sum_right": _percent([reply.sum_right for reply in working]),
        "thinking_tokens": round(fmean(reply.tokens for reply in replies), 1),
        "pairs": len(pairs),
    }


def _read(judgement: Judgement, pair: Pair, side: int, tokenizer: PreTrainedTokenizerFast) -> _Reply:
    thinking = split_thinking(judgement.text).thinking
    return _Reply(
        right=judgement.verdict is (Verdict.FIRST if side == 1 else Verdict.SECOND),
        computed=re.match(r"\d\+\d=", thinking) is not None,
        sum_right=f" so {pair.question.right} (" in thinking,
        tokens=len(tokenizer(thinking)["input_ids"]),
    )


def _percent(values: Sequence[bool]) -> float:
    return round(100 * sum(values) / len(values), 1) if values else 0.0
