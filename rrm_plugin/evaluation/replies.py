"""A policy's replies on disk, each written as it comes, so that a killed run repeats no call.

    with Replies(Path("before.json.replies.jsonl")) as replies:
        reply = replies.get(key) or ...

A reply is filed under what it was asked with: the engine's fingerprint, the prompt, the sampling and its number. With
another setting the same file serves as well, and nothing is taken for what it is not. Calls that failed are written for
a person to read, and are made again. Left out: what a reply says (`answers.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from rrm_plugin.engines.base import Reply, Sampling
from rrm_plugin.errors import ConfigError

__all__ = ["Replies", "hold", "reply_key"]

_FIELDS = tuple(field.name for field in dataclasses.fields(Reply) if field.name != "logprobs")


def reply_key(engine: str, style: str, question: str, prompt: str, sampling: Sampling) -> str:
    """Under which a reply is filed.

    Args:
        engine: its fingerprint.
        style: whether the prompt was sent as a chat.
        question: of which benchmark and id; where two questions read the same, each has replies of its own.
        prompt: its text.
        sampling: the decoding, with the number of the reply as its draw.
    """
    asked = [engine, style, question, prompt, {**sampling.filed, "draw": sampling.draw}]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode("ascii")).hexdigest()[:32]


class Replies:
    """A file of replies, a line each. Close it, or use it in a `with` statement.

    Args:
        path: is made where it is not there. A line that was being written when a run was killed is passed over.

    Raises:
        ConfigError: it cannot be read or written, or another run is writing it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, int] = {}
        try:
            self._file: BinaryIO = path.open("a+b")
            hold(self._file, path)
            self._index()
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Reply | None:
        """The reply that is filed under a key."""
        place = self._places.get(key)
        if place is None:
            return None
        self._file.seek(place)
        row = json.loads(self._file.readline())
        return Reply(**{name: row[name] for name in _FIELDS if name in row})

    def add(self, key: str, about: Mapping[str, Any], reply: Reply) -> None:
        """Files a reply; `about` is for a person."""
        place = self._write({"key": key, **about, **{name: getattr(reply, name) for name in _FIELDS}})
        self._places[key] = place

    def add_failure(self, key: str, about: Mapping[str, Any], reason: str, detail: str) -> None:
        """Notes a call that failed."""
        self._write({"key": key, **about, "failed": reason, "detail": detail})

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()

    def __enter__(self) -> Replies:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, row: Mapping[str, Any]) -> int:
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        self._file.flush()
        return place

    def _index(self) -> None:
        self._file.seek(0)
        place, line = 0, b"\n"
        for line in self._file:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                row = json.loads(line)
                if "failed" not in row and isinstance(row["text"], str):
                    self._places[row["key"]] = place
            place += len(line)
        if not line.endswith(b"\n"):
            self._file.write(b"\n")
            self._file.flush()


def hold(file: BinaryIO, path: Path) -> None:
    """Keeps other runs from writing the same file, as long as it is open; where the system has no such locks, not.

    Raises:
        ConfigError: another run is writing it; `file` is closed.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigError(f"another run is writing {path}: wait for it, or name another file") from None
