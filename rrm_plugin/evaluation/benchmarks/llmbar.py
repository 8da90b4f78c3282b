"""LLMBar (arXiv 2310.07641): 419 pairs of which one output carries out the instruction and the other does not.

Its authors report by subset the accuracy over both orders and the rate at which these agree, and the mean over the five
subsets. Their rate of agreement is over all pairs, and two orders without a verdict count as equal. Recorded texts of
their judges are read with the grammar `llmbar`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np

from rrm_plugin.evaluation.benchmarks.figures import accuracies, accuracy, by, mean
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, Published, hub, text, verdict_of
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.sources import Row
from rrm_plugin.types import Verdict

__all__ = ["LLMBAR"]

_ADVERSARIAL = ("Neighbor", "GPTInst", "GPTOut", "Manual")
_LABELS = {1: Verdict.FIRST, 2: Verdict.SECOND, "1": Verdict.FIRST, "2": Verdict.SECOND}


def _subset(path: PurePath) -> str:
    """`LLMBar_Adversarial_Manual.json` and `LLMBar/Adversarial/Manual/dataset.json` are LLMBar/Adversarial/Manual."""
    parts = path.stem.split("_") if path.stem != "dataset" else list(path.parent.parts)
    if not parts:
        return "LLMBar"
    if parts[-1] in _ADVERSARIAL:
        return f"LLMBar/Adversarial/{parts[-1]}"
    return "LLMBar/Natural" if parts[-1] == "Natural" else "/".join(parts)


def _read(row: Row, hint: str) -> Iterator[LabelledPair]:
    yield LabelledPair(
        id=str(row.line - 1),
        subset=hint,
        prompt=text(row, "input"),
        first=text(row, "output_1"),
        second=text(row, "output_2"),
        label=verdict_of(row, "label", _LABELS),
    )


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    groups = by(judged, lambda one: one.pair.subset)
    subsets = {name: accuracy(own) for name, own in groups.items()}
    adversarial = {name: value for name, value in subsets.items() if "/Adversarial/" in name}
    parts = {"adversarial": mean(adversarial) if len(adversarial) == len(_ADVERSARIAL) else None, **subsets}
    whole = {name: value for name, value in subsets.items() if name.startswith("LLMBar/")}
    if len(whole) < len(_ADVERSARIAL) + 1:
        return Figures(name="mean of five subsets", value=None, parts=parts)
    strata = [(1 / len(whole), accuracies(own)) for name, own in groups.items() if name in whole]
    return Figures(name="mean of five subsets", value=mean(whole), parts=parts, strata=strata)


def _equal(judged: Sequence[JudgedPair]) -> float | None:
    """As the source counts: over all pairs, and two orders without a verdict are equal."""
    shown = [one for one in judged if len(one.orders) == 2]
    return float(np.mean([one.verdict(False) is one.verdict(True) for one in shown])) if shown else None


_RECORDED = "the source's recorded verdicts, counted here"

LLMBAR = Benchmark(
    name="llmbar",
    about="one of two outputs carries out the instruction; five subsets, four of them adversarial",
    hub={
        ("LLMBar/Natural" if name == "Natural" else f"LLMBar/Adversarial/{name}"): hub(
            "princeton-nlp/LLMBar", name="LLMBar", split=split
        )
        for name, split in (("Natural", "Natural"), *((name, f"Adversarial_{name}") for name in _ADVERSARIAL))
    },
    columns=("input", "output_1", "output_2", "label"),
    read=_read,
    figures=_figures,
    metric="mean over the five subsets of the accuracy over both orders",
    seen="files of the authors' repository, loaded; the hub's copy, a loading script that newer `datasets` refuse, not",
    files=("LLMBar_*.json", "dataset.json"),
    hint=_subset,
    prompt="llmbar",
    published=tuple(
        Published(judge=judge, figure="mean of five subsets", value=value, source=_RECORDED)
        for judge, value in (
            ("GPT-4, CoT", 80.2),
            ("GPT-4, Vanilla", 83.7),
            ("ChatGPT, Vanilla", 40.8),
            ("PaLM2, Vanilla", 68.8),
            ("LLaMA2, Vanilla", 45.8),
        )
    ),
    pairs=419,
    agreement=_equal,
)
