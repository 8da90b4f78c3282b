"""RMB (arXiv 2410.09893): real questions, by goal (helpfulness, harmlessness), as pairs and as best of several.

In its pairs one response is better; in its best-of-n rows one is better than each of a list of others, and a judge is
right only if it prefers it to all of them. The mean of the four figures is the source's overall figure, as its own
table is described; read it with that in mind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from rrm_plugin.evaluation.benchmarks.figures import accuracies, best_of_all, by, mean
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, named, text
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.pairs import RowError, column
from rrm_plugin.training.sources import RejectReason, Row
from rrm_plugin.types import Message, Verdict

__all__ = ["RMB"]


def _path(path: PurePath) -> str:
    return "/".join(path.with_suffix("").parts)


def _read(row: Row, hint: str) -> Iterator[LabelledPair]:
    subset = text(row, "category_path")
    prompt = _conversation(row)
    if "pair_uid" in row.values:
        name = named(row, "pair_uid")
        better, others = _answer(row, "chosen"), [_answer(row, "reject")]
    else:
        name = named(row, "bon_uid")
        better, others = _answer(row, "bon_best"), _answers(row, "loser_list")
    for place, worse in enumerate(others):
        yield LabelledPair(
            id=name if "pair_uid" in row.values else f"{name}:{place}",
            subset=subset,
            prompt=prompt,
            first=better,
            second=worse,
            label=Verdict.FIRST,
            question=name,
        )


def _conversation(row: Row) -> list[Message]:
    turns: Any = column(row, "conversation_input")
    fits = isinstance(turns, list) and all(
        isinstance(turn, Mapping) and isinstance(turn.get("content"), str) and isinstance(turn.get("role"), str)
        for turn in turns
    )
    if not fits or not turns:
        raise RowError("conversation_input", RejectReason.WRONG_TYPE, "a list of turns with role and content is needed")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _answer(row: Row, name: str) -> str:
    return _said(column(row, name), name)


def _answers(row: Row, name: str) -> list[str]:
    given: Any = column(row, name)
    if not isinstance(given, list) or not given:
        raise RowError(name, RejectReason.WRONG_TYPE, "a list of responses is needed")
    return [_said(each, name) for each in given]


def _said(given: Any, name: str) -> str:
    if not isinstance(given, Mapping) or not isinstance(given.get("answer"), str):
        raise RowError(name, RejectReason.WRONG_TYPE, "a response with its `answer` is needed")
    return given["answer"]


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    values: dict[str, list[float]] = {}
    for goal, own in by(judged, lambda one: "/".join(one.pair.subset.split("/")[:2])).items():
        if goal.startswith("BoN"):
            values[goal] = [best_of_all(pairs) for pairs in by(own, lambda one: one.pair.unit).values()]
        else:
            values[goal] = accuracies(own)
    parts = {goal: float(np.mean(own)) for goal, own in values.items()}
    strata = [(1 / 4, own) for own in values.values()] if len(parts) == 4 else []
    value = mean(parts) if len(parts) == 4 else None
    return Figures(name="mean of pairs and best of n, by goal", value=value, parts=parts, strata=strata)


RMB = Benchmark(
    name="rmb",
    about="real questions in 49 scenarios, by goal: a better response against one or several worse ones",
    hub={},
    columns=("pair_uid or bon_uid", "conversation_input", "chosen, reject or bon_best, loser_list", "category_path"),
    read=_read,
    figures=_figures,
    metric="mean of four: pairs and best of n, for helpfulness and harmlessness",
    seen="some rows of RMB_dataset/Pairwise_set and BoN_set in the authors' repository; not loaded as a whole",
    files=("*.json",),
    hint=_path,
)
