"""What a benchmark of a judge is: pairs with a label, where they come from, and how its own figure is computed.

A file of the source's own layout is read row by row. A row of another layout ends the reading with its file, row and
column: a benchmark of which some pairs are missing is another benchmark. Left out: asking a judge (`judging.py`), and
what every benchmark counts alike (`scores.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair, agreement
from rrm_plugin.training.pairs import RowError, column
from rrm_plugin.training.sources import Reject, RejectReason, Row, Source
from rrm_plugin.types import Verdict

__all__ = [
    "Benchmark",
    "Figures",
    "Published",
    "hub",
    "integer",
    "named",
    "number",
    "read_pairs",
    "text",
    "texts",
    "unreachable",
    "unreadable",
    "verdict_of",
]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure that somebody published, to hold one's own against."""

    judge: str
    figure: str
    """Which of the benchmark's figures, as `Figures` names it."""
    value: float
    """In percent."""
    source: str
    """Where it was read, or that it is remembered only."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a benchmark itself counts."""

    name: str
    """Of the one that stands for the benchmark."""
    value: float | None
    """Between 0 and 1; None where nothing can be said."""
    parts: Mapping[str, float | None] = field(default_factory=dict)
    """What it is made of, and what else the source reports."""
    strata: Sequence[tuple[float, Sequence[float]]] = ()
    """For its interval: `value` as a sum of weights times means over questions; empty where there is no value."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark by name.

    Args:
        name: on the command line.
        about: what it holds, in a line.
        hub: its data sets on the Hugging Face hub, by what `read` is told about their rows.
        columns: those that a row has to have.
        read: the pairs of a row. Raises `RowError` for a row of another layout.
        figures: what the source itself counts.
        metric: that, in words.
        seen: where the layout was read, and whether the data was loaded here.
        files: patterns of its files in a folder.
        hint: what `read` is told about the rows of a file, by its path inside the folder.
        prompt: the preset by whose grammar texts that the source recorded are read.
        published: figures of others.
        pairs: how many it has in full, for an estimate of what it costs.
        agreement: of the orders, where the source counts it in a way of its own.
    """

    name: str
    about: str
    hub: Mapping[str, Source]
    columns: tuple[str, ...]
    read: Callable[[Row, str], Iterable[LabelledPair]]
    figures: Callable[[Sequence[JudgedPair]], Figures]
    metric: str
    seen: str
    files: tuple[str, ...] = ("*.json", "*.jsonl", "*.jsonl.gz", "*.parquet")
    hint: Callable[[PurePath], str] = lambda path: path.stem
    prompt: str = "rrm"
    published: tuple[Published, ...] = ()
    pairs: int | None = None
    agreement: Callable[[Sequence[JudgedPair]], float | None] = agreement


def hub(path: str, **options: str) -> Source:
    """A data set of the Hugging Face hub."""
    return Source(name=path, path=path, options=options)


def read_pairs(benchmark: Benchmark, data: Path | None = None) -> list[LabelledPair]:
    """All pairs of a benchmark.

    Args:
        data: its file, or a folder with its files; without it, the data set of the hub.

    Raises:
        ConfigError: the data cannot be had, a row has another layout, or an id stands in two rows.
        MissingExtraError: reading it needs a library that is not installed.
    """
    places = _files(benchmark, data) if data is not None else benchmark.hub.items()
    if not places:
        raise ConfigError(f"{benchmark.name} is on no hub: give its file or folder with --data")
    pairs = [pair for hint, place in places for pair in _read(benchmark, place, hint, local=data is not None)]
    if not pairs:
        raise ConfigError(f"{benchmark.name}: there is no pair in {data or 'its data set'}")
    _refuse_duplicates(benchmark, pairs)
    return pairs


def _files(benchmark: Benchmark, data: Path) -> Sequence[tuple[str, Source]]:
    if data.is_file():
        return [(benchmark.hint(PurePath(data.name)), _source(data))]
    if not data.is_dir():
        raise ConfigError(f"{benchmark.name}: there is no file or folder {data}")
    for pattern in benchmark.files:
        found = sorted(data.rglob(pattern))
        if found:
            return [(benchmark.hint(PurePath(path.relative_to(data))), _source(path)) for path in found]
    raise ConfigError(f"{benchmark.name}: the folder {data} holds no file named {' or '.join(benchmark.files)}")


def _source(path: Path) -> Source:
    return Source(name=path.stem, path=str(path), options={})


def _read(benchmark: Benchmark, place: Source, hint: str, *, local: bool) -> Iterator[LabelledPair]:
    try:
        for row in place.read():
            if isinstance(row, Reject):
                raise ConfigError(f"{benchmark.name}: {unreadable(row)}")
            yield from _pairs_of(benchmark, row, hint)
    except ConfigError as error:
        if not local and error.__cause__ is not None and not isinstance(error.__cause__, RowError):
            raise ConfigError(unreachable(benchmark.name, place, error, "--data")) from error
        raise


def _pairs_of(benchmark: Benchmark, row: Row, hint: str) -> Iterator[LabelledPair]:
    try:
        yield from benchmark.read(row, hint)
    except RowError as error:
        where = f"{benchmark.name}: {row.file}, row {row.line}, column {error.column!r}"
        needed = f"; needed are {', '.join(benchmark.columns)}" if benchmark.columns else ""
        raise ConfigError(f"{where}: {error.detail or error.reason}{needed}") from error


def unreadable(row: Reject) -> str:
    """What is wrong with a row that could not be read, and what to do."""
    said = f"{row.file}, row {row.line}: {row.reason}: {row.detail}"
    return f"{said}. Is the file whole? Get it anew" if row.reason is RejectReason.BROKEN else said


def unreachable(name: str, place: Source, error: ConfigError, instead: str) -> str:
    """What to do where a data set of the hub cannot be had.

    Args:
        name: what was asked for.
        place: of the data set.
        error: what came of it; its cause is what the hub said.
        instead: how a file is given.
    """
    said = f"{error} {error.__cause__!r}"
    page = f"https://huggingface.co/datasets/{place.path}"
    if any(sign in said for sign in ("gated", "401", "403", "authenticated", "Unauthorized", "Forbidden")):
        return (
            f"{name} is gated: accept its terms at {page}, then make a token known with `hf auth login` or HF_TOKEN; "
            f"or download it and give the file with {instead}. The hub said: {error}"
        )
    return f"{name} cannot be fetched from {page}: download it and give the file with {instead}. {error}"


def _refuse_duplicates(benchmark: Benchmark, pairs: Sequence[LabelledPair]) -> None:
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        if pair.key in seen:
            raise ConfigError(
                f"{benchmark.name}: the id {pair.id!r} stands twice in subset {pair.subset!r}; take out the pair that "
                "is there twice, or give each an id of its own"
            )
        seen.add(pair.key)


def text(row: Row, name: str) -> str:
    """The text in a column; empty is a text.

    Raises:
        RowError: there is none.
    """
    value = column(row, name)
    if not isinstance(value, str):
        raise RowError(name, RejectReason.WRONG_TYPE, f"a text is needed, not {type(value).__name__}")
    return value


def texts(row: Row, name: str, count: int | None = None) -> list[str]:
    """The texts in a column.

    Raises:
        RowError: it is no list of texts, or not of `count` of them.
    """
    value = column(row, name)
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise RowError(name, RejectReason.WRONG_TYPE, "a list of texts is needed")
    if count is not None and len(value) != count:
        raise RowError(name, RejectReason.WRONG_TYPE, f"{count} texts are needed, not {len(value)}")
    return list(value)


def integer(row: Row, name: str) -> int:
    """The whole number in a column.

    Raises:
        RowError: there is none.
    """
    value = column(row, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise RowError(name, RejectReason.WRONG_TYPE, f"a whole number is needed, not {value!r}")
    return int(value)


def number(value: Any) -> bool:
    """Whether this is a number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def named(row: Row, name: str) -> str:
    """A name or number in a column, as text.

    Raises:
        RowError: there is none.
    """
    value = column(row, name)
    if not isinstance(value, str | int):
        raise RowError(name, RejectReason.WRONG_TYPE, f"a name is needed, not {type(value).__name__}")
    return str(value)


def verdict_of(row: Row, name: str, meanings: Mapping[Any, Verdict]) -> Verdict:
    """The label in a column.

    Raises:
        RowError: its value is none of those that have a meaning.
    """
    value = column(row, name)
    if not isinstance(value, str | int) or value not in meanings:
        known = ", ".join(map(repr, meanings))
        raise RowError(name, RejectReason.WRONG_LABEL, f"{value!r} is no label; known are {known}")
    return meanings[value]
