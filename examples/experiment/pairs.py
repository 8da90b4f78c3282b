"""Pairs of the policy's own answers, one right and one wrong: what the judge is trained on and measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from examples.experiment.questions import Question

__all__ = ["Pair", "own_answers", "test_pairs", "training_pairs"]

SAMPLES = 16
"""Answers drawn for each question."""
WRONG_PER_QUESTION = 3
ANSWER_TOKENS = 5


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two answers in the order in which they are shown."""

    question: Question
    first: str
    second: str
    side: int
    """Which of them is right: 1 or 2."""


def own_answers(
    model: Any, tokenizer: PreTrainedTokenizerFast, questions: Sequence[Question], seed: int
) -> list[list[str]]:
    """SAMPLES answers of the policy to each question, drawn at temperature 1."""
    inputs = tokenizer([question.text for question in questions], return_tensors="pt")
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        rows = model.generate(
            **inputs, do_sample=True, top_k=0, max_new_tokens=ANSWER_TOKENS, num_return_sequences=SAMPLES
        )
    texts = tokenizer.batch_decode(rows[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [texts[start : start + SAMPLES] for start in range(0, len(texts), SAMPLES)]


def training_pairs(questions: Sequence[Question], answers: Sequence[Sequence[str]]) -> list[Pair]:
    """The right answer against up to three wrong ones of each question, each in both orders.

    Questions that the policy always or never got right are left out.
    """
    pairs = []
    for question, given in zip(questions, answers, strict=True):
        if question.right in given:
            for wrong in _wrong(question, given)[:WRONG_PER_QUESTION]:
                pairs += [_pair(question, wrong, side) for side in (1, 2)]
    return pairs


def test_pairs(questions: Sequence[Question], answers: Sequence[Sequence[str]], seed: int) -> list[Pair]:
    """One pair of each question on which the policy was both right and wrong, in an order drawn at random."""
    draws = np.random.default_rng([seed, 3])
    pairs = []
    for question, given in zip(questions, answers, strict=True):
        wrong = _wrong(question, given)
        if wrong and question.right in given:
            pairs.append(_pair(question, wrong[draws.integers(len(wrong))], int(draws.integers(1, 3))))
    return pairs


def _wrong(question: Question, given: Sequence[str]) -> list[str]:
    """Distinct wrong answers that are not empty, in the order drawn."""
    return [answer for answer in dict.fromkeys(given) if answer and answer != question.right]


def _pair(question: Question, wrong: str, side: int) -> Pair:
    first, second = (question.right, wrong) if side == 1 else (wrong, question.right)
    return Pair(question=question, first=first, second=second, side=side)
