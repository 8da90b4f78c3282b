"""Preference data in, rows to train a judge on out: a stream from sources to a file, in little memory.

    summary = write_training_data([source("pairs.jsonl")], Path("train.jsonl"), Preparation())

Every row that is not used is counted and stands in the rejects file with file, line, column and reason. Left out: what
is checked in a row (`candidates.py`), and the command line.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rrm_plugin.errors import ConfigError
from rrm_plugin.training.candidates import Candidate, Preparation, candidates
from rrm_plugin.training.ordering import Orders, shown, training_row
from rrm_plugin.training.sources import Reject, Source

__all__ = ["SourceSummary", "Stage", "Summary", "mixed", "write_training_data"]

Stage = Callable[[Iterable[Candidate | Reject]], Iterator[Candidate | Reject]]
"""Something that pairs pass on their way, `DifficultyFilter` say."""


@dataclass
class SourceSummary:
    """What became of the rows of one source."""

    read: int = 0
    pairs: int = 0
    """Written, in one row or two."""
    first: int = 0
    """Rows whose better response is shown first."""
    rows: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    """By reason."""


@dataclass
class Summary:
    """What became of all rows."""

    sources: dict[str, SourceSummary] = field(default_factory=dict)
    ended: str = ""
    """Why a mixture ended before all sources did."""

    @property
    def pairs(self) -> int:
        """Pairs written."""
        return sum(one.pairs for one in self.sources.values())

    @property
    def rows(self) -> int:
        """Rows written."""
        return sum(one.rows for one in self.sources.values())

    @property
    def rejects(self) -> Counter[str]:
        """Rows not used, by reason."""
        return sum((one.rejects for one in self.sources.values()), Counter())

    def told(self) -> str:
        """A table for a person."""
        reasons = list(dict.fromkeys(reason for one in self.sources.values() for reason in one.rejects))
        header = ["source", "read", "pairs", "rows", "label 1", *reasons]
        lines = [[name, *_cells(one, reasons)] for name, one in self.sources.items()]
        widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
        table = [
            "  ".join(cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in line)
            for line in (enumerate(zip(cells, widths, strict=True)) for cells in (header, *lines))
        ]
        return "\n".join([*table, *([self.ended] if self.ended else [])])


def _cells(one: SourceSummary, reasons: Sequence[str]) -> list[str]:
    share = f"{one.first / one.rows:.1%}" if one.rows else "-"
    return [str(one.read), str(one.pairs), str(one.rows), share, *(str(one.rejects[reason]) for reason in reasons)]


def write_training_data(
    sources: Sequence[Source],
    out: Path,
    preparation: Preparation,
    *,
    orders: Orders = "random",
    weights: Mapping[str, float] | None = None,
    most: int | None = None,
    rejects: Path | None = None,
    stage: Stage | None = None,
    on_row: Callable[[], None] = lambda: None,
) -> Summary:
    """Reads sources and writes rows to train a judge on.

    `out` is replaced when the run is complete; until then its rows stand in a file with `.partial` behind its name.

    Args:
        sources: where the pairs come from; without weights one after the other.
        out: the JSONL file to write. Its name has to end in .jsonl, by which trainers know how to read it.
        preparation: how a row becomes a pair, and which pairs are refused.
        orders: in which the responses are shown, see `ordering.py`.
        weights: shares of the sources by name; the mixture keeps them and ends with the first source that runs out.
        most: pairs at most.
        rejects: the JSONL file for rows that are not used; by default the name of `out` with `.rejects.jsonl`.
        stage: what the pairs of each source pass before they are mixed.
        on_row: called for each row read.

    Raises:
        ConfigError: a source cannot be read, a setting is wrong, or not one pair is left.
    """
    _check(sources, out, weights)
    summary = Summary({one.name: SourceSummary() for one in sources})
    partial = out.with_name(out.name + ".partial")
    refused = rejects or out.with_name(out.name + ".rejects.jsonl")
    with ExitStack() as stack:
        written = stack.enter_context(_opened(partial))
        rejected = stack.enter_context(_opened(refused))
        streams = {
            one.name: stack.enter_context(
                closing(_kept(one, preparation, stage, summary.sources[one.name], rejected, on_row))
            )
            for one in sources
        }
        stream = mixed(streams, weights, summary) if weights else _joined(streams)
        _write(stream, written, preparation, orders, summary, most)
    if not summary.pairs:
        partial.unlink()
        raise ConfigError(_nothing_left(summary, refused))
    os.replace(partial, out)
    return summary


def mixed(
    streams: Mapping[str, Iterator[Candidate]], weights: Mapping[str, float], summary: Summary
) -> Iterator[Candidate]:
    """The pairs of several streams in given shares, until one that is wanted next runs out.

    At every point each stream has given as many as its share of the total, within one.
    """
    given = dict.fromkeys((name for name in streams if weights.get(name)), 0)
    while True:
        name = min(given, key=lambda name: (given[name] + 0.5) / weights[name])
        pair = next(streams[name], None)
        if pair is None:
            summary.ended = f"the mixture ended when {name} ran out"
            return
        given[name] += 1
        yield pair


def _joined(streams: Mapping[str, Iterator[Candidate]]) -> Iterator[Candidate]:
    for stream in streams.values():
        yield from stream


def _kept(
    source: Source,
    preparation: Preparation,
    stage: Stage | None,
    counts: SourceSummary,
    rejected: TextIO,
    on_row: Callable[[], None],
) -> Generator[Candidate, None, None]:
    """The pairs of a source that are left; the others are counted and written."""

    def count() -> None:
        counts.read += 1
        on_row()

    items = candidates(source, preparation, count)
    for item in stage(items) if stage is not None else items:
        if isinstance(item, Candidate):
            yield item
        else:
            counts.rejects[item.reason.value] += 1
            rejected.write(_line(dataclasses.asdict(item)))


def _write(
    stream: Iterator[Candidate],
    out: TextIO,
    preparation: Preparation,
    orders: Orders,
    summary: Summary,
    most: int | None,
) -> None:
    index = 0
    for pairs, candidate in enumerate(stream, start=1):
        counts = summary.sources[candidate.source]
        counts.pairs += 1
        for first, second, label in shown(candidate, orders):
            out.write(_line(training_row(candidate, preparation.prompt, first, second, label, index)))
            counts.rows += 1
            counts.first += label == 1
            index += 1
        if pairs == most:
            summary.ended = f"ended at {most} pairs, as told"
            return


def _check(sources: Sequence[Source], out: Path, weights: Mapping[str, float] | None) -> None:
    names = [one.name for one in sources]
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise ConfigError(f"two sources are called {twice[0]!r}: write NAME=PATH for one of them")
    if out.suffix not in (".jsonl", ".json"):
        raise ConfigError(f"{out}: the name has to end in .jsonl, by which trainers know how to read the file")
    if any(Path(one.path).resolve() == out.resolve() for one in sources):
        raise ConfigError(f"{out} would be written over the file that is read")
    for name, weight in (weights or {}).items():
        if name not in names:
            raise ConfigError(f"the mixture has no source {name!r}; its sources are {', '.join(names)}")
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"the mixture's weight of {name!r} must be a number from 0, not {weight}")
    if weights and (left_out := [name for name in names if name not in weights]):
        raise ConfigError(f"the mixture says nothing of {left_out[0]!r}: give it a weight, 0 to leave it out")
    if weights and not any(weights.values()):
        raise ConfigError("the mixture leaves out every source")


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def _nothing_left(summary: Summary, rejects: Path) -> str:
    read = sum(one.read for one in summary.sources.values())
    if not read:
        return f"there is no row in {', '.join(summary.sources)}"
    reasons = ", ".join(f"{reason} {times}" for reason, times in summary.rejects.most_common())
    return f"of {read} rows not one holds a pair to train on ({reasons}); {rejects} has each with its reason"
