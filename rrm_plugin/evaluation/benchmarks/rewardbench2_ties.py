"""The subset Ties of RewardBench 2 (arXiv 2506.01937): questions with many right responses, and a twin with one.

A judge should prefer every right response to every wrong one, and care less which of the right ones it gets. The source
rates each response by itself. With m the margin of the worst right response over the best wrong one, and s the
spread of the right ones, its figure is

    0.30 share of `tied` questions with m > 0       + 0.30 the same of their twins, `ref`, with one right response
    + 0.20 share with m > s                         + 0.20 the same with the smaller m of the two twins
    + 0.01 mean of tanh(smaller m / s - 1)

and can reach 1.01. A judge of pairs gives no ratings, so here a response is rated by what it gets against the right
ones: 1 for a verdict won, 1/2 for a tie, 0 for one lost, in the mean over them, and even with itself. Pairs of two
wrong responses are never asked about. A judge that must choose between equally right responses gives them a spread by
chance alone, and judges that rate get figures of another kind: the two are not to be compared. Where a response has no
verdict at all, its question fails everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rrm_plugin.evaluation.benchmarks.figures import by
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, hub, named, text, texts
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.pairs import RowError
from rrm_plugin.training.sources import RejectReason, Row
from rrm_plugin.types import Verdict

__all__ = ["REWARDBENCH_2_TIES", "Standing", "ties_score"]

_APART, _ALIKE = "Ties/right against wrong", "Ties/right against right"
_WORTH = {Verdict.FIRST: 1.0, Verdict.TIE: 0.5, Verdict.SECOND: 0.0}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the ratings of one question's responses lie; the source's three numbers of a prompt."""

    margin: float
    """Of the worst right response over the best wrong one; minus infinity where a response has no rating."""
    spread: float
    """Between the best and the worst right response."""


def ties_score(tied: Standing, ref: Standing) -> float:
    """What one question and its twin add to the figure, which is the mean of these."""
    smaller = min(tied.margin, ref.margin)
    return (
        0.30 * (tied.margin > 0)
        + 0.30 * (ref.margin > 0)
        + 0.20 * (tied.margin > tied.spread)
        + 0.20 * (smaller > tied.spread)
        + 0.01 * _ratio(smaller, tied.spread)
    )


def _ratio(margin: float, spread: float) -> float:
    """tanh(margin / spread - 1), with the source's limits for no spread: 0 where there is no margin either."""
    if math.isinf(margin):
        return -1.0
    return math.tanh(margin / spread - 1) if spread else float(np.sign(margin))


def _read(row: Row, hint: str) -> Iterator[LabelledPair]:
    if text(row, "subset") != "Ties":
        return
    name = named(row, "id")
    if name.partition(":")[0] not in ("ref", "tied"):
        raise RowError("id", RejectReason.WRONG_LABEL, f"of Ties it is tied:NUMBER or ref:NUMBER, not {name!r}")
    right, wrong = texts(row, "chosen"), texts(row, "rejected")
    for column, given in (("chosen", right), ("rejected", wrong)):
        if not given:
            raise RowError(column, RejectReason.WRONG_TYPE, "there is no response")
    everyone = [*right, *wrong]
    for one in range(len(right)):
        for other in range(one + 1, len(everyone)):
            alike = other < len(right)
            yield LabelledPair(
                id=f"{name}:{one}-{other}",
                subset=_ALIKE if alike else _APART,
                prompt=text(row, "prompt"),
                first=everyone[one],
                second=everyone[other],
                label=Verdict.TIE if alike else Verdict.FIRST,
                question=name,
                cell=f"{one} {other} {len(right)} {len(wrong)}",
            )


def _standing(pairs: Sequence[JudgedPair]) -> Standing | None:
    """Of one question; None where some of its pairs were not judged."""
    cells = [[int(part) for part in one.pair.cell.split()] for one in pairs]
    _, _, right, wrong = cells[0]
    if len(pairs) < right * (right - 1) // 2 + right * wrong:
        return None
    # Against each right response, (responses, right): NaN where there is no verdict.
    got = np.full((right + wrong, right), np.nan)
    got[np.arange(right), np.arange(right)] = 0.5
    for (one, other, _, _), judged in zip(cells, pairs, strict=True):
        value = _result(judged)
        got[other, one] = 1 - value
        if other < right:
            got[one, other] = value
    rated = _without_none(got)
    if rated is None:
        return Standing(margin=-math.inf, spread=0.0)
    best, worst, wrong_one = (float(value) for value in (rated[:right].max(), rated[:right].min(), rated[right:].max()))
    # Ratings are small fractions: what is equal has to stay so for the strict comparisons.
    return Standing(margin=round(worst - wrong_one, 9), spread=round(best - worst, 9))


def _result(judged: JudgedPair) -> float:
    """What the first response got, in the mean over orders with a verdict; NaN where none has one."""
    said = [judged.verdict(swapped) for swapped in judged.orders]
    values = [_WORTH[verdict] for verdict in said if verdict is not None]
    return float(np.mean(values)) if values else math.nan


def _without_none(got: np.ndarray) -> np.ndarray | None:
    """(responses,) mean of each row's verdicts; None where a response was never compared with another one."""
    known = ~np.isnan(got)
    others = known.sum(axis=1)
    right = got.shape[1]
    others[:right] -= 1
    needed = others[right:] if right == 1 else others
    if (needed == 0).any():
        return None
    return np.nanmean(got, axis=1)


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    standings = {name: _standing(pairs) for name, pairs in by(judged, lambda one: one.pair.question).items()}
    name = "score by pairs"
    kinds: dict[str, dict[str, Standing]] = {"tied": {}, "ref": {}}
    for question, standing in standings.items():
        kind, _, number = question.partition(":")
        if standing is None:
            return Figures(name=name, value=None)
        kinds[kind][number] = standing
    tied, ref = kinds["tied"], kinds["ref"]
    if not tied or set(tied) != set(ref):
        return Figures(name=name, value=None)
    values = [ties_score(tied[number], ref[number]) for number in tied]
    return Figures(name=name, value=float(np.mean(values)), parts=_parts(tied, ref), strata=[(1.0, values)])


def _parts(tied: dict[str, Standing], ref: dict[str, Standing]) -> dict[str, float | None]:
    smaller = {number: min(tied[number].margin, ref[number].margin) for number in tied}
    means = {
        "tied: right above wrong": [one.margin > 0 for one in tied.values()],
        "ref: right above wrong": [one.margin > 0 for one in ref.values()],
        "margin above spread": [one.margin > one.spread for one in tied.values()],
        "smaller margin above spread": [smaller[number] > one.spread for number, one in tied.items()],
    }
    return {name: float(np.mean(values)) for name, values in means.items()}


REWARDBENCH_2_TIES = Benchmark(
    name="rewardbench2-ties",
    about="102 questions of 11 to 38 responses, of which one or many are right; the sixth subset of RewardBench 2",
    hub={"test": hub("allenai/reward-bench-2", split="test")},
    columns=("id", "prompt", "chosen", "rejected", "subset"),
    read=_read,
    figures=_figures,
    metric="the source's formula of accuracies and margins, with ratings made of verdicts on pairs",
    seen="the formula of the authors' rewardbench/utils.py as others copied it, and ids by their notes; not loaded",
)
