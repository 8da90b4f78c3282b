"""Rows of files and data sets, one at a time, with the place each of them stands at.

    reviews.jsonl, reviews.jsonl.gz          a row a line
    reviews.json                             a list of rows, held in memory as a whole
    reviews.parquet                          with pyarrow
    reviews.csv                              with a line of names first; every value is a text
    nvidia/HelpSteer2?data_dir=preference    a data set of the Hugging Face hub, streamed, or a folder of one

A name of its own may stand in front, `helpsteer=nvidia/HelpSteer2?data_dir=preference`. What a row means is the
layouts' business (`layouts.py`). A line that is no row becomes a `Reject`; a file that cannot be read is an error.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl

from rrm_plugin.errors import ConfigError, MissingExtraError

__all__ = ["LONGEST_LINE", "Reject", "RejectReason", "Row", "Source", "source"]

LONGEST_LINE = 16 * 2**20
"""Bytes of a line that are read unless told otherwise; a longer line is passed over without being held in memory."""


class RejectReason(StrEnum):
    """Why a row is not used. The values are stable: rejects files and summaries carry them."""

    BROKEN = "broken"
    """The line is no JSON, or not UTF-8."""
    LINE_TOO_LONG = "line_too_long"
    """The line has more bytes than the limit."""
    NO_ROW = "no_row"
    """The line is JSON, but no object."""
    MISSING = "missing"
    """A column is not there, or is null."""
    WRONG_TYPE = "wrong_type"
    """A column holds something that is neither a text nor messages, or what else is needed there."""
    WRONG_LABEL = "wrong_label"
    """The label says neither which response is better nor that there is a tie."""
    NO_SHARED_PROMPT = "no_shared_prompt"
    """The two conversations do not begin alike, so that it is unknown what was asked."""
    TIE = "tie"
    """Neither response is better."""
    UNGRADED = "ungraded"
    """Of the sampled responses none is right, none is wrong, or none could be graded."""
    LENGTHS_APART = "lengths_apart"
    """No right and wrong response are of comparable length."""
    EMPTY = "empty"
    """A response, or what was asked, is empty once the thinking is taken out."""
    IDENTICAL = "identical"
    """Both responses are the same once the thinking is taken out."""
    DUPLICATE = "duplicate"
    """An earlier row holds the same pair."""
    CONTRADICTION = "contradiction"
    """An earlier row holds the same pair, with the other response as the better one."""
    BENCHMARK = "benchmark"
    """What was asked stands in a benchmark file."""
    TOO_LONG = "too_long"
    """The judge's prompt has more tokens than the limit."""
    TOO_EASY = "too_easy"
    """The current judge is right every time."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as it was read."""

    values: Mapping[str, Any]
    source: str
    """Name of the source."""
    file: str
    line: int
    """From 1; of a data set or Parquet file, the row's number."""


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A row that is not used, and why."""

    source: str
    file: str
    line: int
    reason: RejectReason
    column: str | int | None = None
    """The column at fault; for broken JSON the position in the line, from 1."""
    detail: str = ""
    """For a person."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where rows come from."""

    name: str
    path: str
    """A file, a folder, or the name of a data set."""
    options: Mapping[str, str]
    """Of a data set: `name`, `split`, `data_dir`, `data_files`, `revision`."""

    def read(self, longest_line: int = LONGEST_LINE) -> Iterator[Row | Reject]:
        """Its rows in order.

        Args:
            longest_line: most bytes of a line of JSON.

        Raises:
            ConfigError: it cannot be read, or not any further; names the file and the line.
            MissingExtraError: reading it needs a library that is not installed.
        """
        path = Path(self.path)
        if not path.is_file():
            yield from self._numbered(_data_set_rows(self.path, self.options))
        elif path.suffix == ".parquet":
            yield from self._numbered(_parquet_rows(path))
        elif path.suffix == ".csv":
            yield from self._numbered(_csv_rows(path))
        elif path.suffix == ".json" and _is_list(path):
            yield from self._numbered(_list_rows(path))
        else:
            yield from self._lines(path, longest_line)

    def check(self) -> None:
        """Raises what `read` would at once: an unknown name, a missing library.

        Raises:
            ConfigError: there is no such file, and the text is no name of a data set.
        """
        path = Path(self.path)
        if self.path and path.exists():
            return
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.path) or path.suffix in (
            ".jsonl",
            ".json",
            ".gz",
            ".parquet",
            ".csv",
        ):
            raise ConfigError(f"there is no file {self.path!r}, and it is no name of a data set (owner/name)")

    def _numbered(self, rows: Iterator[Any]) -> Iterator[Row | Reject]:
        for line, values in enumerate(rows, start=1):
            yield self._row(values, line)

    def _lines(self, path: Path, longest: int) -> Iterator[Row | Reject]:
        line = 0
        try:
            with _opened(path) as file:
                for line, data in _numbered_lines(file, longest):
                    if data is None:
                        detail = f"more than {longest} bytes; raise the limit to read it"
                        yield self._reject(line, RejectReason.LINE_TOO_LONG, None, detail)
                    elif data.strip():
                        yield self._parsed(data, line)
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{self.path}: cannot be read after line {line}: {error}") from error

    def _parsed(self, data: bytes, line: int) -> Row | Reject:
        try:
            return self._row(json.loads(data.rstrip(b"\r\n").decode("utf-8-sig" if line == 1 else "utf-8")), line)
        except UnicodeDecodeError as error:
            return self._reject(line, RejectReason.BROKEN, error.start + 1, "not UTF-8")
        except json.JSONDecodeError as error:
            return self._reject(line, RejectReason.BROKEN, error.pos + 1, error.msg)
        except (ValueError, RecursionError) as error:
            return self._reject(line, RejectReason.BROKEN, None, str(error))

    def _row(self, values: Any, line: int) -> Row | Reject:
        if not isinstance(values, Mapping):
            return self._reject(
                line, RejectReason.NO_ROW, None, f"a JSON object is needed, not {type(values).__name__}"
            )
        return Row(values=values, source=self.name, file=self.path, line=line)

    def _reject(self, line: int, reason: RejectReason, column: str | int | None, detail: str) -> Reject:
        return Reject(source=self.name, file=self.path, line=line, reason=reason, column=column, detail=detail)


def source(spec: str) -> Source:
    """The source that a user wrote: `[NAME=]FILE`, or `[NAME=]OWNER/DATASET[?split=...&name=...&data_dir=...]`.

    Raises:
        ConfigError: there is no such file, or an option of a data set is unknown.
    """
    head, equals, rest = spec.partition("=")
    named = bool(equals) and not Path(spec).exists() and re.fullmatch(r"[\w.+-]+", head) is not None
    name, path = (head, rest) if named else ("", spec)
    options: dict[str, str] = {}
    if not Path(path).exists() and "?" in path:
        path, _, query = path.partition("?")
        options = dict(parse_qsl(query))
        if unknown := sorted(set(options) - set(_DATA_SET_OPTIONS)):
            raise ConfigError(f"{spec}: no option {unknown[0]!r}; known are {', '.join(_DATA_SET_OPTIONS)}")
    found = Source(name=name or _stem(path), path=path, options=options)
    found.check()
    return found


_FILES = (".jsonl", ".json", ".gz", ".parquet", ".csv")
_DATA_SET_OPTIONS = ("name", "split", "data_dir", "data_files", "revision")


def _stem(path: str) -> str:
    return re.sub(r"\.(?:jsonl|json|gz|parquet|csv)(?=\.|$)", "", Path(path).name)


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # pyright: ignore[reportReturnType]


def _numbered_lines(file: BinaryIO, longest: int) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number; None for one over the limit, of which never more than the limit is in memory."""
    line = 0
    while data := file.readline(longest + 1):
        line += 1
        if len(data) <= longest or data.endswith(b"\n"):
            yield line, data
            continue
        while (rest := file.readline(2**20)) and not rest.endswith(b"\n"):
            pass
        yield line, None


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _list_rows(path: Path) -> Iterator[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        where = f"{path}: line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where}: {error.msg}. Is the file whole?") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    yield from rows


def _csv_rows(path: Path) -> Iterator[Any]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            for row in rows:
                if None in row or None in row.values():
                    raise ConfigError(f"{path}: line {rows.line_num} has not as many values as there are names")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as CSV: {error}") from error


def _parquet_rows(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("reading Parquet files", "training") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            # Small batches: a row may hold two long conversations, and all of a batch is in memory.
            for batch in file.iter_batches(batch_size=64):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as Parquet: {error}") from error


def _data_set_rows(path: str, options: Mapping[str, str]) -> Iterator[Any]:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("reading data sets of the hub", "training") from None
    try:
        rows = datasets.load_dataset(path, streaming=True, **{"split": "train", **options})  # pyright: ignore
        yield from rows
    except Exception as error:
        # The library raises what its backends raise; with its words the user can do something.
        raise ConfigError(f"the data set {path!r} cannot be read: {type(error).__name__}: {error}") from error
