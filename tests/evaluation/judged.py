"""Pairs and calls for the tests of an evaluation, made without a judge."""

from __future__ import annotations

from rrm_plugin.evaluation.scores import Call, JudgedPair, LabelledPair
from rrm_plugin.types import Reason, Verdict

MARKS = {"1": Verdict.FIRST, "2": Verdict.SECOND, "=": Verdict.TIE, "?": None}


def pair(name: str = "a", *, subset: str = "s", label: str = "1", question: str = "", cell: str = "") -> LabelledPair:
    return LabelledPair(
        id=name,
        subset=subset,
        prompt=f"question {name}",
        first=f"first of {name}",
        second=f"second of {name}",
        label=MARKS[label] or Verdict.TIE,
        question=question,
        cell=cell,
    )


def judged(straight: str, swapped: str = "", **of_pair: str) -> JudgedPair:
    """A pair with the votes of each order, by the data set's order: "1", "2", "=" for a tie, "?" for none."""
    calls = [
        Call(
            swapped=order,
            vote=vote,
            verdict=MARKS[mark],
            reason=None if MARKS[mark] else Reason.NO_VERDICT,
            completion_tokens=10 * (vote + 1),
        )
        for order, marks in ((False, straight), (True, swapped))
        for vote, mark in enumerate(marks)
    ]
    return JudgedPair(pair=pair(**of_pair), calls=tuple(calls))
