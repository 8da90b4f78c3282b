"""The pairs of Auto-J's test set (arXiv 2310.05470): 58 scenarios, 24 pairs each, labelled by people, ties included.

The source counts a pair only where the judge is right in both orders ("agreement"), and the share of pairs on which the
orders say the same ("consistency"). A tie is a class of its own. In its script every reply is 0, 1 or 2; here one
without a verdict is wrong and no agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rrm_plugin.evaluation.benchmarks.figures import accuracy
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, Published, text, verdict_of
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.sources import Row
from rrm_plugin.types import Verdict

__all__ = ["AUTO_J"]

_LABELS = {0: Verdict.FIRST, 1: Verdict.SECOND, 2: Verdict.TIE}


def _read(row: Row, hint: str) -> Iterator[LabelledPair]:
    yield LabelledPair(
        id=str(row.line - 1),
        subset=text(row, "scenario"),
        prompt=text(row, "prompt"),
        first=text(row, "response 1"),
        second=text(row, "response 2"),
        label=verdict_of(row, "label", _LABELS),
    )


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    both = [one.both for one in judged if one.both is not None]
    decided = [one.both for one in judged if one.both is not None and one.pair.label is not Verdict.TIE]
    agreed = [one.agrees is True for one in judged if one.both is not None]
    parts = {
        "consistency": float(np.mean(agreed)) if agreed else None,
        "agreement without ties": float(np.mean(decided)) if decided else None,
        "accuracy of one order": accuracy(judged),
    }
    value = float(np.mean(both)) if both else None
    return Figures(name="agreement", value=value, parts=parts, strata=[(1.0, both)] if both else [])


_BOARD = "the leaderboard in the authors' README"

AUTO_J = Benchmark(
    name="auto-j",
    about="1,392 pairs of 58 scenarios, labelled by people, ties included",
    hub={},
    columns=("scenario", "label", "prompt", "response 1", "response 2"),
    read=_read,
    figures=_figures,
    metric="share of pairs judged right in both orders, ties a class of their own",
    seen="the README and codes/leaderboard/pairwise_eval.py of the authors' repository; not loaded",
    files=("testdata_pairwise.jsonl",),
    published=(
        Published(judge="GPT-4", figure="agreement", value=62.28, source=_BOARD),
        Published(judge="GPT-4", figure="consistency", value=86.28, source=_BOARD),
        Published(judge="Auto-J 13B", figure="agreement", value=54.96, source=_BOARD),
        Published(judge="Auto-J 13B", figure="consistency", value=83.41, source=_BOARD),
    ),
    pairs=1392,
)
