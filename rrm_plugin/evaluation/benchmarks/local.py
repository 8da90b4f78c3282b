"""Pairs of one's own: a file in any layout that `rrm train-data` reads.

    {"prompt": "...", "chosen": "...", "rejected": "..."}
    {"prompt": "...", "response_1": "...", "response_2": "...", "label": 2}

Columns `id` and `subset` (or `category`) are taken over. A row that holds no pair is an error, since a benchmark with
holes measures something else; a label that says tie is one too, as these layouts have no place for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rrm_plugin.evaluation.benchmarks.figures import accuracies, accuracy, by
from rrm_plugin.evaluation.benchmarks.pairs import Benchmark, Figures
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.training.layouts import Layout, Reading, recognise
from rrm_plugin.training.sources import Row
from rrm_plugin.types import Verdict

__all__ = ["pairs_file"]


def _reader(reading: Reading) -> Callable[[Row, str], Iterator[LabelledPair]]:
    layouts: dict[str, Layout] = {}

    def read(row: Row, hint: str) -> Iterator[LabelledPair]:
        layout = layouts.get(row.file) or layouts.setdefault(row.file, recognise(row, reading))
        found = list(layout(row))
        name = row.values.get("id")
        subset = row.values.get("subset", row.values.get("category"))
        for place, pair in enumerate(found):
            own = str(row.line) if name is None else str(name)
            yield LabelledPair(
                id=own if len(found) == 1 else f"{own}:{place}",
                subset=str(subset) if isinstance(subset, str) and subset else hint,
                prompt=pair.prompt,
                first=pair.chosen,
                second=pair.rejected,
                label=Verdict.FIRST,
                question=own,
            )

    return read


def _figures(judged: Sequence[JudgedPair]) -> Figures:
    parts = {name: accuracy(own) for name, own in by(judged, lambda one: one.pair.subset).items()}
    return Figures(name="accuracy", value=accuracy(judged), parts=parts, strata=[(1.0, accuracies(judged))])


def pairs_file(reading: Reading | None = None) -> Benchmark:
    """The benchmark of a local file.

    Args:
        reading: how its columns are to be read.
    """
    return Benchmark(
        name="pairs",
        about="pairs of your own, in any layout that rrm train-data reads",
        hub={},
        columns=(),
        read=_reader(reading or Reading()),
        figures=_figures,
        metric="accuracy over both orders",
        seen="your own file",
    )
