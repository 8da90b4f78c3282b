"""The PandaLM test set (arXiv 2306.05087): pairs of responses with the votes of three annotators.

The label is their majority, ties included as a class of their own (0), so a judge that knows no ties is wrong on those
pairs. Where all three differ the source takes the first annotator's vote, and so does this. The source's script counts
a reply that it cannot read as a tie; here it is no verdict, and wrong. Accuracy and macro-averaged F1 are its figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from rrm_plugin.evaluation.benchmarks.figures import accuracies, accuracy
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, Published, integer, named, text
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.pairs import RowError, column
from rrm_plugin.training.sources import RejectReason, Row
from rrm_plugin.types import Verdict

__all__ = ["PANDALM"]

_VOTES = {0: Verdict.TIE, 1: Verdict.FIRST, 2: Verdict.SECOND}


def _majority(row: Row) -> Verdict:
    votes = []
    for name in ("annotator1", "annotator2", "annotator3"):
        vote = integer(row, name)
        if vote not in _VOTES:
            raise RowError(name, RejectReason.WRONG_LABEL, f"{vote} is none of 0, 1 and 2")
        votes.append(vote)
    # Counter keeps the order of first sight, so that three different votes give the first one.
    return _VOTES[Counter(votes).most_common(1)[0][0]]


def _said(row: Row, name: str) -> str:
    # Some responses are a bare number or truth value in the source's file, which its own prompts show as Python does.
    value = column(row, name)
    return str(value) if isinstance(value, bool | int | float) else text(row, name)


def _read(row: Row, hint: str) -> Iterator[LabelledPair]:
    given = text(row, "input")
    yield LabelledPair(
        id=named(row, "idx"),
        subset="pandalm",
        prompt=f"{text(row, 'instruction')}\n\n{given}" if given else text(row, "instruction"),
        first=_said(row, "response1"),
        second=_said(row, "response2"),
        label=_majority(row),
    )


def _f1(judged: Sequence[JudgedPair], verdict: Verdict) -> float:
    """Of one class, over the judgements of both orders."""
    said = [(one.verdict(swapped), one.pair.label) for one in judged for swapped in one.orders]
    hits = sum(given is verdict and label is verdict for given, label in said)
    named = sum(given is verdict for given, _ in said) + sum(label is verdict for _, label in said)
    return 2 * hits / named if named else 0.0


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    decided = [one for one in judged if one.pair.label is not Verdict.TIE]
    parts = {
        "macro F1": float(np.mean([_f1(judged, verdict) for verdict in Verdict])) if judged else None,
        "without ties": accuracy(decided),
        "both orders together": float(np.mean([one.together is one.pair.label for one in judged])) if judged else None,
    }
    return Figures(name="accuracy", value=accuracy(judged), parts=parts, strata=[(1.0, accuracies(judged))])


_SCRIPT = "comments of the source's data/compute_metrics.py"

PANDALM = Benchmark(
    name="pandalm",
    about="999 pairs of responses of small models, with the votes of three annotators, ties included",
    hub={},
    columns=("idx", "instruction", "input", "response1", "response2", "annotator1", "annotator2", "annotator3"),
    read=_read,
    figures=_figures,
    metric="accuracy over both orders against the annotators' majority, ties a class of their own",
    seen="half of the test set of the authors' repository, loaded; data/compute_metrics.py",
    files=("testset-v1*.json",),
    published=(
        Published(judge="gpt-3.5-turbo, one order", figure="accuracy", value=71.07, source=_SCRIPT),
        Published(judge="gpt-3.5-turbo, one order", figure="macro F1", value=57.55, source=_SCRIPT),
        Published(judge="PandaLM-7B, one order", figure="accuracy", value=66.77, source=_SCRIPT),
        Published(judge="PandaLM-7B, one order", figure="macro F1", value=57.43, source=_SCRIPT),
    ),
    pairs=999,
)
