"""Texts of the judge's cold start: they know the format, and how to compute, yet judge little better than chance.

They stand in for what a base model brings along from its pre-training. Four kinds, in the prompt of the real judge:

    working   37+85, 122 or 112:   7+5=12 3+8+1=12 so 122 (Assistant 1)</think>\\boxed{Assistant 1}
    glance    no working at all, and a verdict by the toss of a coin: Assistant 2 looks good.</think>\\boxed{...}
    drill     two random numbers, looked up a few times and found in the prompt; no judging in it
    practice  column addition beside two random numbers, up to the sum: nothing to copy it from

At the end of the cold start most texts glance, so that the likeliest thing to write is a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from examples.experiment.questions import Question, split, wrong_answer
from rrm_plugin.prompts import Guarded, load_prompt

__all__ = ["Trace", "draw_trace", "glance", "judge_prompt", "working"]

LOOKUPS = 6
PROMPT = load_prompt("miniature")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A prompt as the judge's chat template writes it, and what follows."""

    prompt: str
    reply: str
    ends: bool = True
    """Whether the reply is whole; if not, its end is not learnt."""


def judge_prompt(question: str, first: str, second: str) -> str:
    """The judge's prompt for two answers, rendered as its chat template does it."""
    (message,) = PROMPT.render(Guarded(question), Guarded(first), Guarded(second))
    return message["content"] + "\n<think>"


def working(question: Question, side: int) -> str:
    """Column addition, then which of the assistants says so: `side`, 1 or 2."""
    return _columns(question) + _lookup(question.right, side) + _verdict(side)


def _columns(question: Question) -> str:
    ones = question.a % 10 + question.b % 10
    carry = ones // 10
    tens = question.a // 10 + question.b // 10 + carry
    return f"{question.a % 10}+{question.b % 10}={ones} {question.a // 10}+{question.b // 10}+{carry}={tens}"


def glance(side: int) -> str:
    """A verdict without a reason."""
    return f"Assistant {side} looks good." + _verdict(side)


def draw_trace(mixture: Mapping[str, float], draws: np.random.Generator) -> Trace:
    """One text of the cold start, about a question of the corpus.

    Args:
        mixture: share of each kind: `working`, `glance`, `drill`, `practice`.
    """
    kind = draws.choice(list(mixture), p=list(mixture.values()))
    if kind == "practice":
        return _practice(draws)
    questions = split("corpus")
    question = questions[draws.integers(len(questions))]
    if kind == "drill":
        numbers = _numbers(draws)
        return Trace(prompt=judge_prompt(question.text, *numbers), reply=_drill(numbers, draws))
    side = int(draws.integers(1, 3))
    answers = [question.right, wrong_answer(question, draws)]
    prompt = judge_prompt(question.text, *(answers if side == 1 else reversed(answers)))
    reply = working(question, side) if kind == "working" else glance(int(draws.integers(1, 3)))
    return Trace(prompt=prompt, reply=reply)


def _practice(draws: np.random.Generator) -> Trace:
    """Every sum as often as any other: by chance alone, the small and the large ones would be seen seldom."""
    alike = _by_sum()
    choices = alike[draws.integers(len(alike))]
    question = choices[draws.integers(len(choices))]
    prompt = judge_prompt(question.text, *_numbers(draws))
    return Trace(prompt=prompt, reply=_columns(question) + f" so {question.right}", ends=False)


@lru_cache
def _by_sum() -> list[list[Question]]:
    """The questions of the corpus, those with the same sum together."""
    alike: dict[int, list[Question]] = {}
    for question in split("corpus"):
        alike.setdefault(question.a + question.b, []).append(question)
    return list(alike.values())


def _numbers(draws: np.random.Generator) -> list[str]:
    return [str(number) for number in draws.choice(199, size=2, replace=False)]


def _drill(numbers: Sequence[str], draws: np.random.Generator) -> str:
    sides = [int(side) for side in draws.integers(1, 3, size=LOOKUPS)]
    return "".join(_lookup(numbers[side - 1], side) for side in sides) + _verdict(sides[-1])


def _lookup(number: str, side: int) -> str:
    return f" so {number} (Assistant {side})"


def _verdict(side: int) -> str:
    return f"</think>\\boxed{{Assistant {side}}}"
