"""How far a run is: a bar in a terminal, a plain line now and then in a log file.

In a terminal a line of the log goes above the bar, and the bar keeps to one line: of a note that is too long, whole
parts are left out.
Whoever reads these lines may leave (`2>&1 | head`): they are lost then, and the run goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import textwrap
import time
from types import TracebackType
from typing import Any, TextIO

import click
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

__all__ = ["Progress", "folded", "note", "terminal_width"]


def note(text: str) -> None:
    """Writes a line to standard error, if it is read there."""
    try:
        click.echo(text, err=True)
    except OSError as error:
        _mute(sys.stderr, error)


def terminal_width() -> int | None:
    """Columns of the terminal in which standard error is read; None where it goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stderr.isatty() else None


def folded(text: str, stream: TextIO, *, before: int = 0, indent: int = 0) -> str:
    """A message between words, in lines that a terminal has room for; as it is for a file or a pipe.

    Args:
        text: of one line or several, each folded by itself.
        stream: where it goes.
        before: columns that are taken in the first line.
        indent: columns that are left free in the lines that follow.
    """
    if not stream.isatty():
        return text
    shape: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": " " * indent}
    width = max(20, shutil.get_terminal_size().columns)
    lines = [textwrap.fill(" " * before + line, width, **shape) for line in text.split("\n")]
    return "\n".join(lines)[before:]


_BAR = "{l_bar}{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}"
_COUNT = "{n_fmt} {unit}s [{elapsed}]{postfix}"
_AROUND = 44
"""Columns of a bar beside the two numbers and the note, with hours in its times."""


class Progress:
    """Counts what is done, on standard error.

    Args:
        total: of the items, where it is known.
        unit: what an item is.
        every: seconds between two lines where no terminal shows a bar.
    """

    def __init__(self, total: int | None, unit: str, every: float = 10.0, stream: TextIO | None = None) -> None:
        self._stream = _Unbreakable(stream or sys.stderr)
        self._every = every
        self._total = total
        self._unit = unit
        self._done = 0
        self._note = ""
        self._said = time.monotonic()
        terminal = self._stream.isatty()
        self._open = contextlib.ExitStack()
        self._bar: tqdm[Any] | None = None
        if terminal:
            shape = _BAR if total is not None else _COUNT
            self._bar = tqdm(total=total, unit=unit, file=self._stream, dynamic_ncols=True, bar_format=shape)

    def advance(self, note: str) -> None:
        """One more item is done; `note` says how it stands."""
        self.stand(self._done + 1, note)

    def stand(self, done: int, note: str) -> None:
        """So many items are done; `note` says how it stands."""
        more, self._done, self._note = done - self._done, done, note
        if self._bar is not None:
            room = self._columns() - _AROUND - 2 * len(str(self._total))
            self._bar.set_postfix_str(_fitting(note, room), refresh=not more)
            self._bar.update(more)
        elif time.monotonic() - self._said >= self._every:
            self._say()

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._open.enter_context(logging_redirect_tqdm())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if self._bar is not None:
            self._bar.close()
        else:
            self._say()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _say(self) -> None:
        of = f"/{self._total}" if self._total is not None else ""
        self._stream.write(
            f"{self._done}{of} {self._unit}s; {self._note}\n" if self._note else f"{self._done}{of} {self._unit}s\n"
        )
        self._stream.flush()
        self._said = time.monotonic()


def _fitting(note: str, columns: int) -> str:
    """As many parts of a note, between commas, as fit."""
    while len(note) > columns and ", " in note:
        note = note.rpartition(", ")[0]
    return note if len(note) <= columns else ""


class _Unbreakable:
    """A stream whose write errors are nobody's concern."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            _mute(self._stream, error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            _mute(self._stream, error)

    def __eq__(self, other: object) -> bool:
        # tqdm takes a bar away, before a line of the log is written, where both go to the same stream.
        return self._stream is other or (isinstance(other, _Unbreakable) and self._stream is other._stream)

    def __hash__(self) -> int:
        return hash(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _mute(stream: TextIO, error: OSError) -> None:
    """Where nobody reads any more, the stream leads nowhere from now on.

    Otherwise what stands in its buffer would fail once more when the interpreter ends, and change the exit status.
    """
    if error.errno != errno.EPIPE:
        return
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
