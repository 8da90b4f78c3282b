"""Where a command's rows go: a file that is replaced when it is complete, or a pipe or standard output, row by row.

A command that writes must not eat what it reads: `refuse_overlap` compares the files themselves, so that links and
other spellings of a path are found out. Left out: what the rows hold.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

from rrm_plugin.bulk.ranking import json_line

__all__ = ["STDIN", "STDOUT", "Output", "Source", "output", "refuse_overlap"]

STDIN, STDOUT = 0, 1

Source = str | os.PathLike[str] | int
"""A file by its path, or an open one by its descriptor."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where rows are written; made by `output`."""

    name: str
    """As the user wrote it."""
    path: Path | None = None
    """The file to replace, links resolved; None where rows are written straight to `name`."""
    standard: bool = False
    """Whether that is standard output."""

    @property
    def partial(self) -> Path | None:
        """Where rows stand until the file is complete, beside it."""
        return self.path.with_name(self.path.name + ".partial") if self.path is not None else None

    @property
    def written(self) -> dict[str, Source]:
        """The files that writing changes, by what to call them."""
        if self.path is None or self.partial is None:
            return {"--output": STDOUT if self.standard else self.name}
        return {"--output": self.path, "the unfinished output": self.partial}

    @contextlib.contextmanager
    def rows(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """A function that writes one row. The file is replaced when the block ends without an error.

        Raises:
            OSError: the file cannot be written.
        """
        with self._stream() as stream:

            def write(row: Mapping[str, Any]) -> None:
                stream.write(json_line(row))
                stream.flush()

            yield write
            if self.path is not None:
                # A file that is renamed before its rows are on disk may be empty after a crash.
                os.fsync(stream.fileno())
        if self.path is not None and self.partial is not None:
            os.replace(self.partial, self.path)

    def _stream(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        if self.standard:
            return contextlib.nullcontext(sys.stdout.buffer)
        if self.partial is not None:
            return self.partial.open("wb")
        # A descriptor such as /dev/fd/3 may stand for a file that others append to as well.
        return open(self.name, "ab")


def output(name: str) -> Output:
    """The output of this name; `-` is standard output.

    Raises:
        click.BadParameter: nothing can be written there.
    """
    status = _status(STDOUT if name == "-" else name)
    if name == "-" or (status is not None and _is_standard(status)):
        return Output(name=name, standard=True)
    if (status is not None and not stat.S_ISREG(status.st_mode)) or _is_device(name):
        return Output(name=name)
    found = Output(name=name, path=Path(os.path.realpath(name)))
    _refuse_unwritable(found)
    return found


def refuse_overlap(written: Mapping[str, Source], read: Mapping[str, Source]) -> None:
    """Checks that nothing is written over what is read, and nothing by two writers.

    Args:
        written, read: files by what to call them. Pipes and terminals are passed over.

    Raises:
        click.UsageError: two of them are one file.
    """
    known: dict[object, str] = {}
    for called, file in [*written.items(), *read.items()]:
        identity = _identity(file)
        if identity is None:
            continue
        other = known.get(identity)
        if other is not None:
            where = f" ({os.fspath(file)})" if not isinstance(file, int) else ""
            raise click.UsageError(f"{other} and {called} are the same file{where}: name another for one of them")
        if called in written:
            known[identity] = called


def _status(file: Source) -> os.stat_result | None:
    try:
        return os.stat(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise click.BadParameter(f"cannot use {file}: {error.strerror}") from error


def _identity(file: Source) -> object:
    status = _status(file)
    if status is None:
        return os.path.realpath(os.fspath(file)) if not isinstance(file, int) else None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _is_standard(status: os.stat_result) -> bool:
    """Whether this is what standard output goes to, which must not be truncated or opened again."""
    try:
        return os.path.samestat(status, os.fstat(STDOUT))
    except OSError:
        return False


def _is_device(name: str) -> bool:
    folder = os.path.realpath(os.path.dirname(os.path.abspath(name)))
    return folder in ("/dev", "/dev/fd") or folder.startswith("/proc/")


def _refuse_unwritable(target: Output) -> None:
    folder = os.path.dirname(os.path.realpath(target.name))
    if not os.path.isdir(folder):
        raise click.BadParameter(f"there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.BadParameter(f"no file can be made in the folder {folder}")
    partial = target.partial
    if partial is not None and (partial.is_symlink() or (partial.exists() and not partial.is_file())):
        raise click.BadParameter(f"{partial}, needed for unfinished rows, is not a plain file")
