"""The output of a bulk run: a file of rows for each file of groups, each of which is whole or not there.

    OUT/NAME.jsonl                            rows of one file
    OUT/_rank/plan.json                       settings, files and cuts of the run
    OUT/_rank/parts/NAME.jsonl/00007.jsonl    rows of a finished part, with its own lines, until all of its file are
    OUT/_rank/tallies/NAME.jsonl/00007.json   what came of it
    OUT/_rank/unfinished/                     what is being written
    OUT/_rank/running.json                    the run that is ranking into it now

What is finished is known by the files that are there and by nothing else, so that a run may be killed at any moment,
and a part may be ranked twice: the first that is whole stays. Left out: that one run at a time has a folder
(`holding.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import posixpath
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rrm_plugin.bulk.ranking import Tally, json_line
from rrm_plugin.bulk.sources import File, Part, locate
from rrm_plugin.errors import ConfigError

__all__ = ["Folder", "PartTally", "Plan"]

_OWN = "_rank"
_PLAN = f"{_OWN}/plan.json"
_UNFINISHED = f"{_OWN}/unfinished"
_READS_AT_A_TIME = 32


@dataclass(kw_only=True)
class PartTally(Tally):
    """What came of a part."""

    lines: int = 0
    """Lines that it has, empty ones too."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run ranks, and how; kept from its first start on."""

    settings: Mapping[str, Any]
    """All that decides a score, as plain values."""
    files: Sequence[File]
    stamp: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    """Tells this folder from another one at the same place on another machine."""

    def continued(self, settings: Mapping[str, Any], files: Sequence[File]) -> Plan:
        """This plan, with the files that came since it was made.

        Raises:
            ConfigError: it was made with other settings, or a file has changed.
        """
        before, now = dict(self.settings), dict(settings)
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed:
            told = "; ".join(f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in changed)
            raise ConfigError(f"these scores were begun with other settings: {told}. Name another folder for them")
        known = {file.name: file for file in self.files}
        for file in files:
            if (was := known.get(file.name)) is not None and was.state != file.state:
                raise ConfigError(
                    f"{file.path} has changed since it was first ranked into this folder "
                    f"({was.size} bytes then, {file.size} now): name another folder for its scores"
                )
        return dataclasses.replace(self, files=list({**known, **{file.name: file for file in files}}.values()))


@dataclass(frozen=True)
class Folder:
    """The folder of a run, by path or address."""

    place: str

    def read_plan(self) -> Plan | None:
        """What an earlier run wrote; None where there was none.

        Raises:
            ConfigError: there is something else.
        """
        try:
            plan = json.loads(self.read(_PLAN))
            files = [File(**{**file, "cuts": tuple(map(tuple, file["cuts"]))}) for file in plan["files"]]
            return Plan(settings=plan["settings"], files=files, stamp=plan["stamp"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{self._path(_PLAN)} is no plan that this version reads: {error}") from error

    def write_plan(self, plan: Plan) -> None:
        """Keeps a plan.

        Raises:
            OSError: the folder cannot be written.
        """
        with self.writing(_PLAN, again=True) as write:
            write(json.dumps(dataclasses.asdict(plan)).encode())

    def names(self) -> frozenset[str]:
        """Of all files in the folder that are whole."""
        from pyarrow import fs

        system, root = locate(self.place)
        found = system.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
        names = (info.path[len(root) :].lstrip("/") for info in found if info.type == fs.FileType.File)
        return frozenset(name for name in names if not name.startswith(f"{_UNFINISHED}/"))

    def read(self, name: str) -> bytes:
        """A file of the folder.

        Raises:
            OSError: it cannot be read; FileNotFoundError where there is none.
        """
        with locate(self.place)[0].open_input_stream(self._path(name)) as stream:
            return stream.read()

    def remove(self, name: str) -> None:
        """Removes a file of the folder.

        Raises:
            OSError: it cannot be removed.
        """
        locate(self.place)[0].delete_file(self._path(name))

    def target(self, part: Part) -> str:
        """The name under which the rows of a part are finished: of the file, where it is all of it."""
        return part.file.name if len(part.file.cuts) == 1 else f"{_OWN}/parts/{part.file.name}/{part.index:05}.jsonl"

    @contextlib.contextmanager
    def writing(self, name: str, *, again: bool = False) -> Iterator[Callable[[bytes], Any]]:
        """A function that writes into a file, which comes to its place when the block ends without an error.

        Args:
            again: whether one that is there already is replaced; otherwise it stays.

        Raises:
            OSError: it cannot be written.
        """
        system, _ = locate(self.place)
        unfinished, target = self._path(f"{_UNFINISHED}/{uuid.uuid4().hex}"), self._path(name)
        for folder in {posixpath.dirname(unfinished), posixpath.dirname(target)}:
            system.create_dir(folder, recursive=True)
        try:
            with self._open(unfinished) as stream:
                yield stream.write
                if self._local:
                    # A file that is renamed before its rows are on disk may be empty after a crash.
                    stream.flush()
                    os.fsync(stream.fileno())
            self._place(unfinished, target, again)
        finally:
            with contextlib.suppress(OSError):
                system.delete_file(unfinished)

    def keep_tally(self, part: Part, tally: PartTally) -> None:
        """Keeps what came of a part; to be done before the part is finished."""
        with self.writing(_tally_name(part), again=True) as write:
            write(json.dumps(dataclasses.asdict(tally)).encode())

    def tallies(self, parts: Iterable[Part]) -> list[PartTally]:
        """What came of finished parts, in the order given."""

        def read(part: Part) -> PartTally:
            return PartTally(**json.loads(self.read(_tally_name(part))))

        with ThreadPoolExecutor(_READS_AT_A_TIME) as pool:
            return list(pool.map(read, parts))

    def join(self, file: File) -> None:
        """Puts the finished parts of a file together, with the lines of the file, and removes them.

        Raises:
            OSError: a part is missing, or the file cannot be written.
        """
        try:
            self._join(file)
        except OSError:
            # Another run may have put it together, and removed the parts, meanwhile.
            if not self._exists(self._path(file.name)):
                raise
        self.remove_parts(file)

    def _join(self, file: File) -> None:
        before = 0
        with self.writing(file.name) as write:
            for part, tally in zip(file.parts, self.tallies(file.parts), strict=True):
                for row in self.read(self.target(part)).splitlines():
                    write(json_line(_moved(json.loads(row), before)))
                before += tally.lines

    def remove_parts(self, file: File) -> None:
        """Removes the parts of a file that is whole."""
        with contextlib.suppress(OSError):
            locate(self.place)[0].delete_dir(self._path(f"{_OWN}/parts/{file.name}"))

    def remove_unfinished(self) -> None:
        """Removes what killed replicas left; for the end of a run."""
        with contextlib.suppress(OSError):
            locate(self.place)[0].delete_dir(self._path(_UNFINISHED))

    def _path(self, name: str) -> str:
        return posixpath.join(locate(self.place)[1], name)

    def _open(self, path: str) -> Any:
        # Python's own file, since pyarrow's knows no fsync.
        return open(path, "wb") if self._local else locate(self.place)[0].open_output_stream(path)

    @property
    def _local(self) -> bool:
        return locate(self.place)[0].type_name == "local"

    def _place(self, unfinished: str, target: str, again: bool) -> None:
        system, _ = locate(self.place)
        if self._local and not again:
            try:
                # The only way to a name that never takes it from another file; some file systems know no links.
                os.link(unfinished, target)
                return
            except FileExistsError:
                return
            except OSError:
                pass
        if again or not self._exists(target):
            system.move(unfinished, target)

    def _exists(self, path: str) -> bool:
        from pyarrow import fs

        return locate(self.place)[0].get_file_info(path).type == fs.FileType.File


def _tally_name(part: Part) -> str:
    return f"{_OWN}/tallies/{part.file.name}/{part.index:05}.json"


def _moved(row: dict[str, Any], lines: int) -> dict[str, Any]:
    """A row of a part as one of its file, in which so many lines come before the part."""
    mark = f"line {row['line']}: "
    row["line"] += lines
    if row["error"] and row["error"].startswith(mark):
        row["error"] = f"line {row['line']}: {row['error'][len(mark) :]}"
    return row
