"""RM-Bench (arXiv 2410.16184): three right and three wrong responses to a question, each in three styles.

Styles are concise, detailed, and detailed with Markdown. Each right response meets each wrong one: nine pairs. Where
the wrong one has more style the pair is hard, where both have the same it is normal, and where the right one has more
it is easy. The matrix of these nine, and the mean over domains, are the source's own figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rrm_plugin.evaluation.benchmarks.figures import accuracies, accuracy, by, mean
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures, Published, hub, named, text, texts
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.sources import Row
from rrm_plugin.types import Verdict

__all__ = ["RM_BENCH", "STYLES"]

STYLES = ("concise", "detailed", "markdown")
"""Of the responses, in the order of the rows."""

_DOMAINS = ("chat", "math", "code", "safety")


def _read(row: Row, hint: str) -> Iterator[LabelledPair]:
    name, domain = named(row, "id"), text(row, "domain")
    chosen, rejected = texts(row, "chosen", 3), texts(row, "rejected", 3)
    for i, better in enumerate(chosen):
        for j, worse in enumerate(rejected):
            yield LabelledPair(
                id=f"{name}:{i}{j}",
                subset=domain,
                prompt=text(row, "prompt"),
                first=better,
                second=worse,
                label=Verdict.FIRST,
                question=name,
                cell=f"{STYLES[i]} over {STYLES[j]}",
            )


def _difficulty(one: JudgedPair) -> str:
    i, j = one.pair.id[-2:]
    return "hard" if i < j else "easy" if i > j else "normal"


def _domain(subset: str) -> str:
    # Newer copies write safety/refuse where the paper's files say safety-refuse.
    return "safety" if subset.startswith("safety") else subset


def _levels(judged: Sequence[JudgedPair]) -> dict[str, float | None]:
    levels = by(judged, _difficulty)
    return {name: accuracy(levels.get(name, [])) for name in ("easy", "normal", "hard")}


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    """Safety is the mean of its two subsets, and each domain the mean of its three difficulties."""
    groups = by(judged, lambda one: one.pair.subset)
    of_subset = {name: _levels(own) for name, own in groups.items()}
    of_domain: dict[str, dict[str, float | None]] = {}
    for domain in dict.fromkeys(map(_domain, of_subset)):
        own = [levels for subset, levels in of_subset.items() if _domain(subset) == domain]
        of_domain[domain] = {level: mean([each[level] for each in own]) for level in ("easy", "normal", "hard")}
    domains = {name: mean(levels) for name, levels in of_domain.items()}
    levels = {name: mean([each[name] for each in of_domain.values()]) for name in ("easy", "normal", "hard")}
    cells = {name: accuracy(own) for name, own in by(judged, lambda one: one.pair.cell).items()}
    parts = {**levels, **domains, **cells}
    if not set(_DOMAINS) <= set(domains):
        return Figures(name="overall", value=None, parts=parts)
    # All nine pairs of a question count alike, since each difficulty has three of them.
    halves = Counter(map(_domain, of_subset))
    strata = [(1 / len(domains) / halves[_domain(name)], accuracies(own)) for name, own in groups.items()]
    return Figures(name="overall", value=mean(domains), parts=parts, strata=strata)


_MEASURED = "measured for the GRAM-R2 paper, as others quote it beside JudgeBench"
_BOARD = "the README of THU-KEG/RM-Bench-Leaderboard"

RM_BENCH = Benchmark(
    name="rm-bench",
    about="1,327 questions, nine pairs each of right and wrong responses in three styles",
    hub={"train": hub("THU-KEG/RM-Bench", split="train")},
    columns=("id", "prompt", "chosen", "rejected", "domain"),
    read=_read,
    figures=_figures,
    metric="mean over four domains of the mean of easy, normal and hard",
    seen="the README of the authors' repository, which explains the matrix too; not loaded from the hub",
    files=("total_dataset.json", "*_filtered.json", "*.jsonl", "*.parquet"),
    published=(
        *(
            Published(judge="RRM-32B", figure=figure, value=value, source=_MEASURED)
            for figure, value in (("overall", 73.1), ("chat", 66.6), ("math", 81.4), ("code", 65.2), ("safety", 79.4))
        ),
        *(
            Published(judge="RM-R1 7B, of RRM-7B's base", figure=figure, value=value, source=_BOARD)
            for figure, value in (("overall", 72.4), ("easy", 75.9), ("normal", 73.1), ("hard", 68.1))
        ),
    ),
    pairs=11_943,
)
