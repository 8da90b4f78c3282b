"""Texts of the judge's cold start: they know the format, and how to compute, yet judge little better than chance.

They stand in for what a base model brings along from its pre-training. Three kinds, in the prompt of the real judge:

    working   37+85, 122 or 112:   7+5=12 3+8+1=12 so 122 (Assistant 1)</think>\\boxed{Assistant 1}
    glance    no working at all, and a verdict by the toss of a coin: Assistant 2 looks good.</think>\\boxed{...}
    drill     two random numbers, looked up a few times and found in the prompt; no judging in it

At the end of the cold start most texts glance, so that the likeliest thing to write is a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.experiment.questions import Question, wrong_answer
from rrm_plugin.prompts import Guarded, load_prompt

__all__ = ["Trace", "draw_trace", "glance", "judge_prompt", "working"]

LOOKUPS = 6
PROMPT = load_prompt("miniature")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A prompt as the judge's chat template writes it, and what follows."""

    prompt: str
    reply: str


def judge_prompt(question: str, first: str, second: str) -> str:
    """The judge's prompt for two answers, rendered as its chat template does it."""
    (message,) = PROMPT.render(Guarded(question), Guarded(first), Guarded(second))
    return message["content"] + "\n<think>"


def working(question: Question, first: str, second: str, side: int) -> str:
    """Column addition, then which of the assistants says so: `side`, 1 or 2."""
    ones = question.a % 10 + question.b % 10
    carry = ones // 10
    tens = question.a // 10 + question.b // 10 + carry
    columns = f"{question.a % 10}+{question.b % 10}={ones} {question.a // 10}+{question.b // 10}+{carry}={tens}"
    return columns + _lookup(question.right, side) + _verdict(side)


def glance(side: int) -> str:
    """A verdict without a reason."""
    return f"Assistant {side} looks good." + _verdict(side)


def draw_trace(questions: tuple[Question, ...], drills: float, computes: float, draws: np.random.Generator) -> Trace:
    """One text of the cold start.

    Args:
        questions: those of the corpus.
        drills: share of drills.
        computes: share of working among the rest; what remains glances.
    """
    question = questions[draws.integers(len(questions))]
    if draws.random() < drills:
        return _drill(question, draws)
    side = int(draws.integers(1, 3))
    answers = [question.right, wrong_answer(question, draws)]
    first, second = answers if side == 1 else reversed(answers)
    prompt = judge_prompt(question.text, first, second)
    if draws.random() < computes:
        return Trace(prompt=prompt, reply=working(question, first, second, side))
    return Trace(prompt=prompt, reply=glance(int(draws.integers(1, 3))))


def _drill(question: Question, draws: np.random.Generator) -> Trace:
    numbers = [str(number) for number in draws.choice(199, size=2, replace=False)]
    sides = draws.integers(1, 3, size=LOOKUPS)
    lookups = "".join(_lookup(numbers[side - 1], side) for side in sides)
    return Trace(prompt=judge_prompt(question.text, *numbers), reply=lookups + _verdict(int(sides[-1])))


def _lookup(number: str, side: int) -> str:
    return f" so {number} (Assistant {side})"


def _verdict(side: int) -> str:
    return f"</think>\\boxed{{Assistant {side}}}"
