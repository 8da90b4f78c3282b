"""Which files are ranked in bulk, how they are cut into parts, and how a part is read.

A place is a file, a folder or a pattern with `*`, on this machine or under an address such as s3://bucket/data that
pyarrow or fsspec knows. JSON Lines are cut behind line breaks, Parquet between row groups; what is compressed as a
whole can only be read from its beginning and is one part. Left out: what a row means.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rrm_plugin.bulk.ranking import Line
from rrm_plugin.errors import ConfigError, MissingExtraError

__all__ = ["File", "Part", "PartReader", "find_files", "locate"]

_FIELDS = ("prompt", "responses", "id", "reference")
_COMPRESSED = re.compile(r"\.(gz|bz2|zst|lz4)$")
_KNOWN = re.compile(r"\.(jsonl|ndjson)(\.gz|\.bz2|\.zst|\.lz4)?$|\.parquet$")
_CHUNK = 2**20
_ROWS_AT_A_TIME = 64
_FOOTERS_AT_A_TIME = 16


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of groups."""

    place: str
    """Path or address under which its file system is found; `path` is where it lies there."""
    path: str
    name: str
    """Of its output, relative to the folder of the run."""
    size: int
    """Bytes."""
    modified: str
    """Time of the last change, as its file system tells it."""
    cuts: tuple[tuple[int, int | None], ...] = ((0, None),)
    """Where its parts begin and end: in bytes of JSON Lines, in row groups of Parquet. None is the end of the file."""

    def __str__(self) -> str:
        """For a person."""
        return self.path

    @property
    def state(self) -> tuple[int, str]:
        """What tells a changed file; it may be moved."""
        return self.size, self.modified

    @property
    def parts(self) -> list[Part]:
        """What is ranked at a time, in order."""
        return [Part(file=self, index=index) for index in range(len(self.cuts))]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a file that is ranked, and finished, at a time."""

    file: File
    index: int

    @property
    def cut(self) -> tuple[int, int | None]:
        """Where it begins and ends, see `File.cuts`."""
        return self.file.cuts[self.index]

    def __str__(self) -> str:
        """For a person."""
        if len(self.file.cuts) == 1:
            return self.file.path
        start, stop = self.cut
        unit = "row groups" if self.file.path.endswith(".parquet") else "bytes"
        return f"{self.file.path}, {unit} {start} to {'the end' if stop is None else stop}"


@functools.lru_cache(maxsize=64)
def locate(place: str) -> tuple[Any, str]:
    """The file system (of pyarrow) that a path or address is on, and the path there.

    Raises:
        ConfigError: nothing that is installed knows such an address.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowInvalid, fs
    except ImportError:
        raise MissingExtraError("rrm rank --ray", "ray") from None
    if "://" not in place:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(place))
    try:
        system, path = fs.FileSystem.from_uri(place)
    except ArrowInvalid:
        system, path = _by_fsspec(place)
    return system, path.rstrip("/") or path


def find_files(places: Sequence[str], *, but: str, part_size: int, known: Mapping[str, File]) -> list[File]:
    """The files at these places, cut into parts, in the order of their names.

    Args:
        but: a folder that is left out wherever it lies: that of the output.
        part_size: bytes that a part should have, before compression.
        known: files of an earlier run by name; one that has not changed keeps the cuts it had.

    Raises:
        ConfigError: there are none, two would be written to one output, or one cannot be read.
    """
    found: dict[str, File] = {}
    own = _real(*locate(but)) + "/"
    for file in (each for place in places for each in _files_at(place)):
        if _real(locate(file.place)[0], file.path).startswith(own):
            continue
        other = found.setdefault(file.name, file)
        if other.path != file.path:
            raise ConfigError(f"{other.path} and {file.path} would both be written to {file.name}: rank them apart")
    if not found:
        raise ConfigError(
            f"there is no file to rank in {', '.join(places)}: .jsonl, .ndjson (.gz, .bz2, .zst, .lz4), .parquet"
        )

    def cut(file: File) -> File:
        before = known.get(file.name)
        cuts = before.cuts if before is not None and before.state == file.state else _cuts(file, part_size)
        return File(**{**vars(file), "cuts": cuts})

    with ThreadPoolExecutor(_FOOTERS_AT_A_TIME) as pool:
        return list(pool.map(cut, sorted(found.values(), key=lambda file: file.name)))


class PartReader:
    """The rows of a part, read as they are asked for; lines are counted from 1 at its beginning.

    Raises:
        OSError: the file cannot be read; damaged compression is such an error too.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.lines = 0
        """Lines read so far, empty ones too."""

    def __iter__(self) -> Iterator[Line]:
        read = _parquet_rows if self.part.file.path.endswith(".parquet") else _json_lines
        for row in read(self.part):
            self.lines += 1
            if not isinstance(row, str) or row.strip():
                yield self.lines, row


def _real(system: Any, path: str) -> str:
    """A path without symbolic links, by which one folder may have several."""
    return os.path.realpath(path) if system.type_name == "local" else path


def _by_fsspec(place: str) -> tuple[Any, str]:
    from pyarrow import fs

    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{place}: neither pyarrow nor fsspec can open such an address: {error}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path


def _files_at(place: str) -> Iterator[File]:
    from pyarrow import fs

    base, pattern = _pattern(place)
    system, path = locate(base)
    if pattern is None:
        info = system.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise ConfigError(f"there is nothing at {place}")
        if info.type == fs.FileType.File:
            yield _file(base, info, os.path.basename(path))
            return
    fits = _fits(pattern)
    for info in system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True)):
        name = info.path[len(path) :].lstrip("/")
        if info.type == fs.FileType.File and fits(name):
            yield _file(base, info, name)


def _file(place: str, info: Any, name: str) -> File:
    return File(
        place=place if "://" in place else "/",
        path=info.path,
        name=name if name.endswith(".jsonl") else f"{name}.jsonl",
        size=info.size or 0,
        modified=str(info.mtime_ns or ""),
    )


def _pattern(place: str) -> tuple[str, str | None]:
    """A place as the folder that is surely there, and what its files' names have to look like; None is no pattern."""
    address, mark, query = place.partition("?") if "://" in place else (place, "", "")
    if "*" not in address or ("://" not in address and os.path.exists(address)):
        return place, None
    head, slash, _ = address[: address.index("*")].rpartition("/")
    return (head or slash or ".") + mark + query, address[len(head + slash) :]


def _fits(pattern: str | None) -> Callable[[str], bool]:
    """Which names are meant: those that fit a pattern, or in a folder those of a known kind that are not hidden."""
    if pattern is None:
        return lambda name: bool(_KNOWN.search(name)) and not re.search(r"(^|/)[._]", name)
    hides = not re.search(r"(^|/)\.", pattern)
    stars = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    pieces = re.split(r"(\*\*/|\*\*|\*)", pattern)
    compiled = re.compile("".join(stars.get(piece, re.escape(piece)) for piece in pieces))
    return lambda name: bool(compiled.fullmatch(name)) and not (hides and re.search(r"(^|/)\.", name))


def _cuts(file: File, part_size: int) -> tuple[tuple[int, int | None], ...]:
    if file.path.endswith(".parquet"):
        return _parquet_cuts(file, part_size)
    if _COMPRESSED.search(file.path) or file.size <= part_size:
        return ((0, None),)
    starts = range(0, file.size, part_size)
    return tuple((start, start + part_size if start + part_size < file.size else None) for start in starts)


def _parquet_cuts(file: File, part_size: int) -> tuple[tuple[int, int | None], ...]:
    with _parquet(file) as parquet:
        missing = [name for name in ("prompt", "responses") if name not in parquet.schema_arrow.names]
        if missing:
            raise ConfigError(f"{file.path} has no column {' and no '.join(missing)}: {parquet.schema_arrow.names}")
        sizes = [parquet.metadata.row_group(index).total_byte_size for index in range(parquet.num_row_groups)]
    starts, room = [0], part_size
    for index, size in enumerate(sizes):
        if size > room and index > starts[-1]:
            starts.append(index)
            room = part_size
        room -= size
    return tuple(zip(starts, [*starts[1:], None], strict=True))


@contextlib.contextmanager
def _parquet(file: File) -> Iterator[Any]:
    from pyarrow import ArrowInvalid, parquet

    with locate(file.place)[0].open_input_file(file.path) as stream:
        try:
            opened = parquet.ParquetFile(stream)
        except ArrowInvalid as error:
            raise ConfigError(f"{file.path} cannot be read as Parquet: {error}") from error
        yield opened


def _parquet_rows(part: Part) -> Iterator[Mapping[str, Any]]:
    start, stop = part.cut
    with _parquet(part.file) as parquet:
        wanted = [name for name in _FIELDS if name in parquet.schema_arrow.names]
        groups = range(start, parquet.num_row_groups if stop is None else stop)
        for batch in parquet.iter_batches(batch_size=_ROWS_AT_A_TIME, row_groups=list(groups), columns=wanted):
            yield from map(_given, batch.to_pylist())


def _given(value: Any) -> Any:
    """A value without the nulls that stand where a row of JSON would leave a field out."""
    if isinstance(value, dict):
        return {name: _given(each) for name, each in value.items() if each is not None}
    return [_given(each) for each in value] if isinstance(value, list) else value


def _json_lines(part: Part) -> Iterable[str]:
    """Lines as any text file has them; behind a line feed a reader knows nothing more of what was before."""
    start, stop = part.cut
    system, path = locate(part.file.place)[0], part.file.path
    if (start, stop) == (0, None):
        raw: Any = system.open_input_stream(path, compression="detect", buffer_size=_CHUNK)
    else:
        raw = io.BufferedReader(_Stream(_span(system.open_input_file(path), start, stop)), _CHUNK)
    with io.TextIOWrapper(raw, encoding="utf-8-sig" if start == 0 else "utf-8", errors="replace") as text:
        yield from text


def _span(file: Any, start: int, stop: int | None) -> Iterator[bytes]:
    """The lines that begin from `start` and before `stop`, each to its end; None is the end of the file."""
    with file:
        at = _next_line(file, start)
        if stop is not None and at >= stop:
            return
        file.seek(at)
        while chunk := file.read(_CHUNK):
            if stop is not None and at + len(chunk) >= stop:
                # The last line began before `stop`: it ends with the first line feed from the byte before.
                end = chunk.find(b"\n", max(stop - 1 - at, 0))
                if end >= 0:
                    yield chunk[: end + 1]
                    return
            yield chunk
            at += len(chunk)


def _next_line(file: Any, start: int) -> int:
    """Where the first line begins that does not begin before `start`."""
    if start == 0:
        return 0
    at = start - 1
    file.seek(at)
    while chunk := file.read(_CHUNK):
        found = chunk.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(chunk)
    return at


class _Stream(io.RawIOBase):
    """Pieces of bytes, as a file that is read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._pieces, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
