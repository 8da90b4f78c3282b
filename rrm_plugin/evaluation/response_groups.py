"""Several responses to a question, each right or wrong: what best of n picks from.

    {"question": "...", "responses": [{"text": "...", "is_correct": true, "pred": "42"}, ...]}

Known layouts, by the names of their columns:

    question or prompt        what was asked; `options` are listed below it with letters
    responses                 objects with `text`, with their correctness under `correct`, `is_correct` or
                              `is_correct_helper`, an extracted answer under `answer`, `pred` or `extracted`, and
                              perhaps a scalar reward model's score under `score` or `rm_score`
    response_1, response_2..., scores
                              PPE's rows: texts, and a list of truth values; extracted answers in `parsed_outputs`
    id, question_id or idx    its name; else the row's number

Where a row extracts no answers, the final answer of each response is extracted here (`verifiers.final_answer`), for the
majority of answers alone. Left out: picking (`best_of_n.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.answers import LETTERS
from rrm_plugin.evaluation.benchmarks.pairs import Published, unreachable, unreadable
from rrm_plugin.evaluation.benchmarks.ppe import SETS, answers, correctness, question_id
from rrm_plugin.training.pairs import RowError, column
from rrm_plugin.training.sources import Reject, RejectReason, Row, Source
from rrm_plugin.training.verifiers import final_answer

__all__ = ["PPE_GROUPS", "PPE_PUBLISHED", "ResponseGroup", "group_source", "read_groups"]

PPE_GROUPS: Mapping[str, Source] = {
    f"ppe_{name}": Source(name=name, path=path, options={"split": "train"}) for name, path in SETS.items()
}
"""Data sets of the hub by a name of their own: 32 answers to each question."""

_REMEMBERED = "remembered from the RRM paper, unverified"
PPE_PUBLISHED: Mapping[str, tuple[Published, ...]] = {
    name: tuple(
        Published(judge=judge, figure=f"best of 32, {name}", value=value, source=_REMEMBERED)
        for judge, value in zip(("RRM-7B", "RRM-32B", "RRM-32B, 5 votes"), values, strict=True)
    )
    for name, values in {
        "ppe_mmlu_pro": (69.1, 81.3, 83.0),
        "ppe_math": (82.0, 89.8, 91.8),
        "ppe_gpqa": (49.2, 61.1, 64.3),
    }.items()
}
"""What others published of best of 32."""

_PROMPTS = ("question", "prompt")
_CORRECT = ("correct", "is_correct", "is_correct_helper")
_ANSWERS = ("answer", "pred", "extracted")
_SCORES = ("score", "rm_score")
_IDS = ("id", "question_id", "idx")


@dataclass(frozen=True, kw_only=True)
class ResponseGroup:
    """A question, and responses of known correctness."""

    id: str
    prompt: str = field(repr=False)
    responses: tuple[str, ...] = field(repr=False)
    correct: tuple[bool, ...]
    answers: tuple[str | None, ...]
    """Each response's final answer; None where it has none."""
    scores: tuple[float, ...] | None = None
    """Of a scalar reward model."""


def read_groups(source: Source) -> list[ResponseGroup]:
    """All groups of a file or data set.

    Raises:
        ConfigError: it cannot be read, a row is of no known layout, a group has fewer than two responses, or an id
            stands twice.
    """
    groups: list[ResponseGroup] = []
    seen: set[str] = set()
    for row in _rows(source):
        group = _group(row)
        if group.id in seen:
            raise ConfigError(f"{row.file}, row {row.line}: the id {group.id!r} stands in a row before")
        seen.add(group.id)
        groups.append(group)
    if not groups:
        raise ConfigError(f"there is no group in {source.path}")
    return groups


def _rows(source: Source) -> Iterator[Row]:
    try:
        for row in source.read():
            if isinstance(row, Reject):
                raise ConfigError(unreadable(row))
            yield row
    except ConfigError as error:
        if source in PPE_GROUPS.values() and error.__cause__ is not None:
            raise ConfigError(unreachable(source.path, source, error, "`rrm bon FILE`")) from error
        raise


def _group(row: Row) -> ResponseGroup:
    try:
        group = _numbered(row) if "response_1" in row.values else _listed(row)
    except RowError as error:
        raise ConfigError(
            f"{row.file}, row {row.line}, column {error.column!r}: {error.detail or error.reason}. Needed are "
            "question or prompt, and responses with text and correctness"
        ) from error
    if len(group.responses) < 2:
        raise ConfigError(f"{row.file}, row {row.line}: there is nothing to pick from a single response")
    return group


def _numbered(row: Row) -> ResponseGroup:
    """PPE's layout."""
    texts = answers(row)
    parsed = row.values.get("parsed_outputs")
    given = parsed if isinstance(parsed, list) and len(parsed) == len(texts) else [final_answer(text) for text in texts]
    return ResponseGroup(
        id=question_id(row),
        prompt=_prompt(row),
        responses=tuple(texts),
        correct=tuple(correctness(row, len(texts))),
        answers=tuple(_answer(one) for one in given),
    )


def _listed(row: Row) -> ResponseGroup:
    given: Any = column(row, "responses")
    if not isinstance(given, list | tuple) or not all(isinstance(one, Mapping) for one in given):
        raise RowError("responses", RejectReason.WRONG_TYPE, "a list of objects is needed")
    texts = tuple(_text(one, place) for place, one in enumerate(given))
    name = next((row.values[name] for name in _IDS if row.values.get(name) is not None), row.line)
    return ResponseGroup(
        id=str(name),
        prompt=_prompt(row),
        responses=texts,
        correct=tuple(_correct(one, place) for place, one in enumerate(given)),
        answers=tuple(_answers(given, texts)),
        scores=_scores(given),
    )


def _prompt(row: Row) -> str:
    name = next((name for name in _PROMPTS if isinstance(row.values.get(name), str)), None)
    if name is None:
        raise RowError(" or ".join(_PROMPTS), RejectReason.MISSING, "there is no text that says what was asked")
    options = row.values.get("options")
    if options is None:
        return row.values[name]
    if not isinstance(options, list | tuple) or not all(isinstance(option, str) for option in options):
        raise RowError("options", RejectReason.WRONG_TYPE, "a list of texts is needed")
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{row.values[name]}\n\n{listed}"


def _text(one: Mapping[str, Any], place: int) -> str:
    if not isinstance(one.get("text"), str):
        raise RowError("responses", RejectReason.MISSING, f"response {place} has no `text`")
    return one["text"]


def _correct(one: Mapping[str, Any], place: int) -> bool:
    value = next((one[name] for name in _CORRECT if one.get(name) is not None), None)
    if not isinstance(value, bool):
        raise RowError(
            "responses", RejectReason.WRONG_LABEL, f"response {place}: {' or '.join(_CORRECT)} is no truth value"
        )
    return value


def _answers(given: Sequence[Mapping[str, Any]], texts: Iterable[str]) -> list[str | None]:
    name = next((name for name in _ANSWERS if any(name in one for one in given)), None)
    return [_answer(one.get(name)) for one in given] if name else [_answer(final_answer(text)) for text in texts]


def _answer(value: Any) -> str | None:
    text = " ".join(str(value).split()).casefold() if value is not None else ""
    return text or None


def _scores(given: Sequence[Mapping[str, Any]]) -> tuple[float, ...] | None:
    name = next((name for name in _SCORES if all(isinstance(one.get(name), int | float) for one in given)), None)
    return tuple(float(one[name]) for one in given) if name else None


def group_source(spec: str) -> Source:
    """The source of a name in `PPE_GROUPS`, or of a file.

    Raises:
        ConfigError: there is neither.
    """
    if spec in PPE_GROUPS:
        return PPE_GROUPS[spec]
    if not Path(spec).is_file():
        raise ConfigError(f"there is no file {spec!r}; data sets of the hub are {', '.join(PPE_GROUPS)}")
    return Source(name=Path(spec).stem, path=spec, options={})
