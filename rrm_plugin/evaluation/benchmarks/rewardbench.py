"""RewardBench (arXiv 2403.13787) and RewardBench 2 (arXiv 2506.01937).

RewardBench counts subsets by fixed weights in four categories, and takes the mean of the categories. A judge of pairs
is asked in both orders here; the source draws one of them by lot.

RewardBench 2 shows one right response beside three wrong ones. A judge of pairs is right in an order if it prefers the
right one to each of the three, in that order. Its sixth subset, Ties, has many right responses and a figure of another
kind: `rewardbench2_ties.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rrm_plugin.evaluation.benchmarks.figures import accuracies, accuracy, best_of_all, by, mean
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, Published, hub, named, text, texts
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.sources import Row
from rrm_plugin.types import Verdict

__all__ = ["REWARDBENCH", "REWARDBENCH_2"]

_CODE = ("cpp", "go", "java", "js", "python", "rust")
CATEGORIES: Mapping[str, Mapping[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 250,
        "xstest-should-respond": 154,
        "donotanswer": 136,
    },
    # Mathematics is weighted up from 447 pairs to as much as all code together.
    "Reasoning": {"math-prm": 984, **{f"hep-{language}": 164 for language in _CODE}},
}


def _read(row: Row, hint: str) -> Iterator[LabelledPair]:
    yield LabelledPair(
        # Ids are those of the sets it was made from; the row's number is sure to be one row's alone.
        id=str(row.line),
        subset=text(row, "subset"),
        prompt=text(row, "prompt"),
        first=text(row, "chosen"),
        second=text(row, "rejected"),
        label=Verdict.FIRST,
    )


def _category(weights: Mapping[str, int], subsets: Mapping[str, list[JudgedPair]]) -> float | None:
    if set(weights) - set(subsets):
        return None
    values = [accuracy(subsets[name]) or 0.0 for name in weights]
    return float(np.average(values, weights=list(weights.values())))


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    subsets = by(judged, lambda one: one.pair.subset)
    parts = {name: _category(weights, subsets) for name, weights in CATEGORIES.items()}
    value = mean(parts)
    if value is None:
        return Figures(name="overall", value=None, parts=parts)
    strata = [
        (weight / sum(weights.values()) / len(CATEGORIES), accuracies(subsets[name]))
        for weights in CATEGORIES.values()
        for name, weight in weights.items()
    ]
    return Figures(name="overall", value=value, parts=parts, strata=strata)


_REPORTED = "reported by others as the RRM paper's, arXiv 2505.14674"
_REMEMBERED = "remembered from the RRM paper, unverified"
_REMEASURED = "measured by the authors of Rubric-ARM, Table 1 of their paper"

REWARDBENCH = Benchmark(
    name="rewardbench",
    about="2,985 pairs in four categories: chat, hard chat, safety, reasoning",
    hub={"filtered": hub("allenai/reward-bench", split="filtered")},
    columns=("prompt", "chosen", "rejected", "subset"),
    read=_read,
    figures=_figures,
    metric="mean of four categories, each the mean of its subsets by the source's weights",
    seen="the data set's card, and the source's rewardbench/constants.py for weights; not loaded from the hub",
    published=(
        Published(judge="RRM-7B", figure="overall", value=82.2, source=_REPORTED),
        Published(judge="RRM-7B, 16 votes", figure="overall", value=84.8, source=_REPORTED),
        Published(judge="RRM-32B", figure="overall", value=91.2, source=_REPORTED),
        Published(judge="RRM-32B, 16 votes", figure="overall", value=91.9, source=_REPORTED),
        Published(judge="RRM-7B", figure="Chat", value=87.7, source=_REMEMBERED),
        Published(judge="RRM-7B", figure="Chat Hard", value=70.4, source=_REMEMBERED),
        Published(judge="RRM-7B", figure="Safety", value=80.7, source=_REMEMBERED),
        Published(judge="RRM-7B", figure="Reasoning", value=90.0, source=_REMEMBERED),
        Published(judge="RRM-7B", figure="Chat", value=77.7, source=_REMEASURED),
        Published(judge="RRM-7B", figure="Chat Hard", value=69.5, source=_REMEASURED),
        Published(judge="RRM-32B", figure="Chat", value=94.7, source=_REMEASURED),
        Published(judge="RRM-32B", figure="Chat Hard", value=81.1, source=_REMEASURED),
    ),
    pairs=2985,
)

SUBSETS_2 = ("Factuality", "Focus", "Math", "Precise IF", "Safety")


def _read_2(row: Row, hint: str) -> Iterator[LabelledPair]:
    subset, name = text(row, "subset"), named(row, "id")
    if subset == "Ties":
        return
    (chosen,) = texts(row, "chosen", 1)
    for place, rejected in enumerate(texts(row, "rejected")):
        yield LabelledPair(
            id=f"{name}:{place}",
            subset=subset,
            prompt=text(row, "prompt"),
            first=chosen,
            second=rejected,
            label=Verdict.FIRST,
            question=name,
        )


def _figures_2(judged: Sequence[JudgedPair]) -> Figures:
    won = {
        subset: [best_of_all(pairs) for pairs in by(own, lambda one: one.pair.unit).values()]
        for subset, own in by(judged, lambda one: one.pair.subset).items()
    }
    parts = {subset: float(np.mean(values)) for subset, values in won.items()}
    name = "mean of five subsets, without Ties"
    if not set(SUBSETS_2) <= set(parts):
        return Figures(name=name, value=None, parts=parts)
    strata = [(1 / len(SUBSETS_2), won[subset]) for subset in SUBSETS_2]
    return Figures(name=name, value=mean([parts[subset] for subset in SUBSETS_2]), parts=parts, strata=strata)


REWARDBENCH_2 = Benchmark(
    name="rewardbench2",
    about="one right response against three wrong ones: 1,763 questions in five of the six subsets",
    hub={"test": hub("allenai/reward-bench-2", split="test")},
    columns=("id", "prompt", "chosen", "rejected", "subset"),
    read=_read_2,
    figures=_figures_2,
    metric="share of questions whose right response wins all its pairs in an order, mean of five subsets",
    seen="loaders and notes of others that use it; not loaded from the hub",
    published=(
        Published(judge="RRM-7B", figure="Precise IF", value=10.0, source=_REMEASURED),
        Published(judge="RRM-32B", figure="Precise IF", value=34.4, source=_REMEASURED),
        Published(judge="RRM-7B", figure="Focus", value=60.4, source=_REMEASURED),
        Published(judge="RRM-32B", figure="Focus", value=83.6, source=_REMEASURED),
    ),
    pairs=5289,
)
