"""JudgeBench (arXiv 2410.12784): pairs of a right and a wrong answer to hard questions, by one model.

The source asks in both orders and counts a pair as right if the right answer is named more often than the wrong one:
one order right and the other a tie, or without a verdict, is right; orders that contradict each other are not. That is
its figure here, over all pairs and by kind of question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np

from rrm_plugin.evaluation.benchmarks.figures import by
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, Published, hub, named, text, verdict_of
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.sources import Row
from rrm_plugin.types import Verdict

__all__ = ["JUDGEBENCH"]

_LABELS = {"A>B": Verdict.FIRST, "B>A": Verdict.SECOND}
_KINDS = {"livebench-reasoning": "reasoning", "livebench-math": "math", "livecodebench": "coding"}


def _split(path: PurePath) -> str:
    return "claude" if "claude" in path.name else "gpt" if "gpt" in path.name else path.stem


def _read(row: Row, hint: str) -> Iterator[LabelledPair]:
    yield LabelledPair(
        id=named(row, "pair_id"),
        subset=f"{hint}/{text(row, 'source')}",
        prompt=text(row, "question"),
        first=text(row, "response_A"),
        second=text(row, "response_B"),
        label=verdict_of(row, "label", _LABELS),
    )


def _kind(one: JudgedPair) -> str:
    source = one.pair.subset.partition("/")[2]
    return "knowledge" if source.startswith("mmlu-pro") else _KINDS.get(source, source)


def _share(judged: Sequence[JudgedPair]) -> float:
    """Of the pairs on which the orders together name the right answer more often than the wrong one."""
    return float(np.mean([_net(one) > 0 for one in judged]))


def _net(one: JudgedPair) -> int:
    said = [one.verdict(swapped) for swapped in one.orders]
    return said.count(one.pair.label) - said.count(one.pair.label.swapped)


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    parts = {
        f"{split}: {name}": _share(own)
        for split, pairs in by(judged, lambda one: one.pair.subset.partition("/")[0]).items()
        for name, own in {"overall": pairs, **by(pairs, _kind)}.items()
    }
    counted = [one for one in judged if one.pair.subset.startswith("gpt/")] or judged
    strata = [(1.0, [float(_net(one) > 0) for one in counted])]
    return Figures(name="gpt: overall", value=_share(counted), parts=parts, strata=strata)


_MEASURED = "measured for the GRAM-R2 paper, as others quote it; split not stated"

JUDGEBENCH = Benchmark(
    name="judgebench",
    about="a right and a wrong answer of one model to hard questions: 350 pairs of GPT-4o, 270 of Claude 3.5 Sonnet",
    hub={split: hub("ScalerLab/JudgeBench", split=split) for split in ("gpt", "claude")},
    columns=("pair_id", "source", "question", "response_A", "response_B", "label"),
    read=_read,
    figures=_figures,
    metric="share of pairs on which both orders together name the right answer more often, on the pairs of GPT-4o",
    seen="the README and utils/metrics.py of the authors' repository; not loaded from the hub",
    hint=_split,
    published=tuple(
        Published(judge="RRM-32B", figure=f"gpt: {kind}", value=value, source=_MEASURED)
        for kind, value in (
            ("overall", 75.7),
            ("knowledge", 79.9),
            ("reasoning", 70.4),
            ("math", 87.5),
            ("coding", 65.0),
        )
    ),
    pairs=620,
)
