"""PPE (arXiv 2410.14872), its part on correctness: 32 answers of a model to each question, each right or wrong.

The pairs of a right and a wrong answer that its authors drew are the benchmark of a judge of pairs; the 32 answers
themselves are one for best of 32 (`rrm bon`). The RRM paper reports the mean of MMLU-Pro, MATH and GPQA.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from rrm_plugin.evaluation.benchmarks.figures import accuracies, accuracy, by, mean
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, Published, hub, named, number, text
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.pairs import RowError, column
from rrm_plugin.training.sources import RejectReason, Row
from rrm_plugin.types import Verdict

__all__ = ["PPE", "SETS", "answers", "correctness", "question_id"]

SETS = {
    "mmlu_pro": "lmarena-ai/PPE-MMLU-Pro-Best-of-K",
    "math": "lmarena-ai/PPE-MATH-Best-of-K",
    "gpqa": "lmarena-ai/PPE-GPQA-Best-of-K",
}
"""The data sets of the paper's mean, by short name."""

_SIGNS = {"mmlu": "mmlu_pro", "gpqa": "gpqa", "mbpp": "mbpp_plus", "ifeval": "ifeval", "math": "math"}


def _set_of(path: PurePath) -> str:
    """Which set a file is of, by its name or that of its folder."""
    name = "/".join(path.parts).lower()
    return next((called for sign, called in _SIGNS.items() if sign in name), path.stem)


def question_id(row: Row) -> str:
    """The question and the model that answered it: several models answer one question."""
    name = named(row, "question_id")
    model = row.values.get("model_name")
    return f"{name}@{model}" if isinstance(model, str) and model else name


def answers(row: Row) -> list[str]:
    """The answers of a row, in the columns response_1, response_2...

    Raises:
        RowError: there are none.
    """
    found: list[str] = []
    while f"response_{len(found) + 1}" in row.values:
        found.append(text(row, f"response_{len(found) + 1}"))
    if not found:
        raise RowError("response_1", RejectReason.MISSING, "there are no answers")
    return found


def correctness(row: Row, count: int) -> list[bool]:
    """Which of the answers are right.

    Raises:
        RowError: `scores` is no list of as many truth values.
    """
    scores: Any = column(row, "scores")
    fits = isinstance(scores, list | tuple) and len(scores) == count
    if not fits or not all(isinstance(each, bool) or (number(each) and each in (0, 1)) for each in scores):
        raise RowError("scores", RejectReason.WRONG_TYPE, f"{count} truth values are needed, one for each answer")
    return [bool(each) for each in scores]


def _read(row: Row, hint: str) -> Iterator[LabelledPair]:
    given = answers(row)
    right = correctness(row, len(given))
    name = question_id(row)
    for place, (i, j) in enumerate(_drawn(row, len(given))):
        if right[i] is right[j]:
            raise RowError(
                "sampled_conflict_pairs", RejectReason.WRONG_LABEL, f"answers {i} and {j} are alike in truth"
            )
        yield LabelledPair(
            id=f"{name}:{place}",
            subset=hint,
            prompt=text(row, "prompt"),
            first=given[i],
            second=given[j],
            label=Verdict.FIRST if right[i] else Verdict.SECOND,
            question=name,
        )


def _drawn(row: Row, count: int) -> Iterator[tuple[int, int]]:
    pairs: Any = column(row, "sampled_conflict_pairs")
    if not isinstance(pairs, list | tuple):
        raise RowError("sampled_conflict_pairs", RejectReason.WRONG_TYPE, "a list of pairs is needed")
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(_is_index(place, count) for place in pair):
            raise RowError("sampled_conflict_pairs", RejectReason.WRONG_TYPE, f"{pair!r} is no pair of answers")
        yield int(pair[0]), int(pair[1])


def _is_index(place: Any, count: int) -> bool:
    return isinstance(place, int) and not isinstance(place, bool) and 0 <= place < count


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    groups = by(judged, lambda one: one.pair.subset)
    parts = {name: accuracy(own) for name, own in groups.items()}
    if not set(SETS) <= set(parts):
        return Figures(name="mean of mmlu_pro, math, gpqa", value=None, parts=parts)
    strata = [(1 / len(SETS), accuracies(groups[name])) for name in SETS]
    value = mean([parts[name] for name in SETS])
    return Figures(name="mean of mmlu_pro, math, gpqa", value=value, parts=parts, strata=strata)


_REPORTED = "reported by others as the RRM paper's, arXiv 2505.14674"
_OTHERS = "reported by others; the mean of its three figures and the paper's own mean do not agree"

PPE = Benchmark(
    name="ppe",
    about="a right and a wrong answer of one model, about five pairs a question: MMLU-Pro, MATH and GPQA",
    hub={name: hub(path, split="train") for name, path in SETS.items()},
    columns=("question_id", "prompt", "response_1", "scores", "sampled_conflict_pairs"),
    read=_read,
    figures=_figures,
    metric="mean over MMLU-Pro, MATH and GPQA of the accuracy over both orders",
    seen="the data sets' cards, and loaders of others for scores and pairs; not loaded from the hub",
    files=("*.parquet", "*.jsonl", "*.json"),
    hint=_set_of,
    published=(
        Published(judge="RRM-7B", figure="mean of mmlu_pro, math, gpqa", value=70.3, source=_REPORTED),
        Published(judge="RRM-32B", figure="mean of mmlu_pro, math, gpqa", value=80.7, source=_REPORTED),
        Published(judge="RRM-32B, 5 votes", figure="mean of mmlu_pro, math, gpqa", value=81.7, source=_REPORTED),
        Published(judge="RRM-32B", figure="mmlu_pro", value=80.5, source=_OTHERS),
        Published(judge="RRM-32B", figure="math", value=94.3, source=_OTHERS),
        Published(judge="RRM-32B", figure="gpqa", value=68.4, source=_OTHERS),
    ),
    pairs=7680,
)
