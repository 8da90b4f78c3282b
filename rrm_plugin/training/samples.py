"""Sampled answers to a question whose right answer is known: one right and one wrong of comparable length are a pair.

Length is kept comparable because a judge would otherwise learn that wrong answers are long. Correctness comes with the
row, or from a verifier. Left out: sampling the answers.
"""

from __future__ import annotations

import bisect
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm_plugin.prompts import response_text
from rrm_plugin.training.pairs import Pair, RowError, column, content
from rrm_plugin.training.sources import RejectReason, Row
from rrm_plugin.training.verifiers import Verifier

__all__ = ["Sampled", "sampled"]

logger = logging.getLogger(__name__)

_TEXTS = ("text", "response", "content", "output", "completion", "answer")
_GRADES = ("is_correct", "correct", "correctness", "label", "score")


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """How sampled answers become pairs.

    Args:
        verifier: grades answers that come without correctness, and then needs the column with the right answer.
        most: pairs of one question; no answer is in two of them.
        ratio: how much longer one answer of a pair may be than the other, thinking taken out.
    """

    verifier: Verifier | None = None
    most: int = 1
    ratio: float = 2.0


def sampled(
    prompt: str, responses: str, correct: str | None, answer: str | None, settings: Sampled
) -> Callable[[Row], Iterable[Pair]]:
    """The layout of rows that hold a question and sampled answers.

    Args:
        prompt, responses: the columns of the question and of the answers: texts, or objects with a text and its
            correctness.
        correct: the column with a list of the answers' correctness, where there is one.
        answer: the column with the right answer, for a verifier.
    """

    def pairs(row: Row) -> Iterable[Pair]:
        question = content(row, prompt)
        right, wrong = _graded(row, responses, correct, answer, settings.verifier)
        if not right or not wrong:
            counts = f"{len(right)} answers are right and {len(wrong)} wrong"
            raise RowError(responses, RejectReason.UNGRADED, counts)
        matched = _matched(right, wrong, settings)
        if not matched:
            detail = f"no right and wrong answer are within {settings.ratio:g} times each other's length"
            raise RowError(responses, RejectReason.LENGTHS_APART, detail)
        return [Pair(prompt=question, chosen=chosen, rejected=rejected) for chosen, rejected in matched]

    return pairs


def _graded(
    row: Row, responses: str, correct: str | None, answer: str | None, verifier: Verifier | None
) -> tuple[list[str], list[str]]:
    """The distinct right and wrong answers; those that cannot be graded are in neither."""
    values = column(row, responses)
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise RowError(responses, RejectReason.WRONG_TYPE, f"a list of answers is needed, not {type(values).__name__}")
    texts = [_text(value, responses) for value in values]
    grades = _grades(row, values, texts, correct, answer, verifier)
    right, wrong = (
        list(dict.fromkeys(text for text, grade in zip(texts, grades, strict=True) if grade is wanted))
        for wanted in (True, False)
    )
    return right, [text for text in wrong if text not in right]


def _grades(
    row: Row,
    values: Sequence[Any],
    texts: Sequence[str],
    correct: str | None,
    answer: str | None,
    verifier: Verifier | None,
) -> list[bool | None]:
    if verifier is not None:
        if answer is None:
            raise RowError("answer", RejectReason.MISSING, "a verifier needs a column with the right answer")
        wanted = str(column(row, answer))
        return [_verified(verifier, text, wanted) for text in texts]
    if all(isinstance(value, Mapping) for value in values):
        return [_grade(next((value[name] for name in _GRADES if name in value), None)) for value in values]
    if correct is None:
        detail = "the answers come without correctness: map the column with --columns correct=..., or name a --verifier"
        raise RowError("correct", RejectReason.MISSING, detail)
    grades = column(row, correct)
    if not isinstance(grades, Sequence) or len(grades) != len(values):
        raise RowError(correct, RejectReason.WRONG_TYPE, f"a list of {len(values)} values is needed, one per answer")
    return [_grade(grade) for grade in grades]


def _verified(verifier: Verifier, text: str, answer: str) -> bool | None:
    try:
        return verifier(response_text(text), answer)
    except Exception as error:
        logger.debug("an answer could not be graded: %s", error)
        return None


def _grade(value: Any) -> bool | None:
    """Correctness as a truth value; None where it is neither clearly right nor clearly wrong."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    return {"true": True, "false": False, "correct": True, "incorrect": False}.get(str(value).strip().lower())


def _text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        text = next((value[key] for key in _TEXTS if isinstance(value.get(key), str)), None)
        if text is not None:
            return text
        detail = f"an answer has no text under {', '.join(_TEXTS)}; it has {', '.join(map(str, value))}"
        raise RowError(name, RejectReason.MISSING, detail[:300])
    raise RowError(name, RejectReason.WRONG_TYPE, f"an answer must be a text or an object, not {type(value).__name__}")


def _matched(right: Sequence[str], wrong: Sequence[str], settings: Sampled) -> list[tuple[str, str]]:
    """Right and wrong answers, each with the wrong one nearest in length, the best matches first, none used twice."""
    by_length = sorted((_length(text), text) for text in wrong)
    lengths = [length for length, _ in by_length]
    offers: list[tuple[float, str, str]] = []
    for text in right:
        own = _length(text)
        place = bisect.bisect_left(lengths, own)
        for length, other in by_length[max(0, place - settings.most) : place + settings.most]:
            offers.append((abs(math.log(own / length)), text, other))
    used: set[str] = set()
    chosen: list[tuple[str, str]] = []
    for apart, text, other in sorted(offers):
        if apart <= math.log(settings.ratio) and len(chosen) < settings.most and not {text, other} & used:
            used |= {text, other}
            chosen.append((text, other))
    return chosen


def _length(text: str) -> int:
    return len(response_text(text)) + 1
