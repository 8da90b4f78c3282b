"""Two-digit additions: the questions, their disjoint splits, and the mediocre text that a policy learns them from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["SPLITS", "Question", "carries", "carry_mistake", "corpus_answer", "split", "wrong_answer"]

SPLITS = {"corpus": 4500, "judge_rl": 1400, "policy_rl": 1000, "dev": 600, "test": 600}
"""How many of the 8100 questions each stage gets. No question is in two of them."""

PERMUTATION = 31_337
"""Seed of the order in which the questions are dealt out; the same for all seeds of an experiment."""

SLIPS, FORGOTTEN = 0.4, 0.75
"""Share of the corpus that is off by a slip; in what remains, share of the additions with a carry that forget it."""

OFF_BY_TEN = 0.45 / 0.68
"""Share of the wrong answers that the judge's cold start is shown."""

_OFFSETS = (-30, -20, -11, -9, -5, -3, -2, -1, 1, 2, 3, 5, 9, 11, 20, 30)


@dataclass(frozen=True, order=True)
class Question:
    """`a` + `b`, both from 10 to 99."""

    a: int
    b: int

    @property
    def text(self) -> str:
        return f"{self.a}+{self.b}=?"

    @property
    def right(self) -> str:
        return str(self.a + self.b)


@lru_cache
def _dealt() -> dict[str, tuple[Question, ...]]:
    every = [Question(a, b) for a in range(10, 100) for b in range(10, 100)]
    order = np.random.default_rng(PERMUTATION).permutation(len(every))
    ends = np.cumsum(list(SPLITS.values()))
    parts = np.split(order, ends[:-1])
    return {name: tuple(every[index] for index in part) for name, part in zip(SPLITS, parts, strict=True)}


def split(name: str) -> tuple[Question, ...]:
    """The questions of a split.

    Raises:
        KeyError: there is no split of that name.
    """
    return _dealt()[name]


def carries(question: Question) -> bool:
    """Whether the ones add up to ten or more."""
    return question.a % 10 + question.b % 10 >= 10


def carry_mistake(question: Question) -> str:
    """The sum without its carry, or with one that is not there."""
    return str(question.a + question.b + (-10 if carries(question) else 10))


def corpus_answer(question: Question, draws: np.random.Generator) -> str:
    """What a line of the corpus says: more often wrong than right. The policy is mediocre by design."""
    if draws.random() < SLIPS:
        return _slip(question, draws)
    if carries(question) and draws.random() < FORGOTTEN:
        return carry_mistake(question)
    return question.right


def wrong_answer(question: Question, draws: np.random.Generator) -> str:
    """A wrong answer for the judge to practise on."""
    if draws.random() < OFF_BY_TEN:
        return carry_mistake(question)
    return _slip(question, draws)


def _slip(question: Question, draws: np.random.Generator) -> str:
    while True:
        value = question.a + question.b + int(draws.choice(_OFFSETS))
        if 0 <= value <= 198:
            return str(value)
