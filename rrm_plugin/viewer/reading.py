"""What a page asks of a ledger: lists of groups by what makes them worth a look, one group, the calls of a match.

Each question opens the file anew, reading only, and sees one moment of it: a run that writes meanwhile waits for
nobody. Left out: texts that are searched for (`searching.py`), and numbers over steps (`summary.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rrm_plugin.errors import LedgerError
from rrm_plugin.ledger import Ledger
from rrm_plugin.ledger_numbers import fill_numbers, unreadable

__all__ = ["SHOWN", "Call", "GroupRow", "LedgerReader", "Listing", "StoredGroup", "StoredMatch"]

SHOWN = {
    "disagreements": "disagreements",
    "upsets": "upset",
    "cycles": "cycles",
    "failures": "ballots - verdicts",
    "unscored": "unscored",
    "steering": "steering",
}
"""What makes a group worth a look, and the number by which it is found; an index of the ledger serves each."""

_ROW = """id, created, name, step, size, played, ballots, verdicts, calls, prompt_tokens + completion_tokens AS tokens,
    agreement, disagreements, cycles, spread, length_correlation, unscored, upset, steering, failed, title"""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group in a list."""

    id: int
    created: float
    name: str
    step: int | None
    size: int
    played: int
    ballots: int
    verdicts: int
    calls: int
    tokens: int
    agreement: float | None
    disagreements: int
    cycles: int
    spread: float | None
    length_correlation: float | None
    unscored: int
    upset: float | None
    steering: int
    failed: int
    title: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Which groups a list holds."""

    shown: str = ""
    """A key of `SHOWN`, the groups with most of it first; empty for all, the newest first."""
    step: int | None = None
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredMatch:
    """A match as the ledger holds it."""

    number: int
    """From 1, in the order of play."""
    first: int
    second: int
    round: int
    verdict: str | None
    reason: str | None
    keys: tuple[str, ...]
    chance: float | None = None
    """Probability that the one shown first is better, where the judge's tokens were asked for it."""

    @property
    def winner(self) -> int | None:
        """Index of the response that won, if one did."""
        return {"first": self.first, "second": self.second}.get(self.verdict or "")

    @property
    def pair(self) -> tuple[int, int]:
        """Both, the lower index first."""
        return (self.first, self.second) if self.first < self.second else (self.second, self.first)


@dataclass(frozen=True, kw_only=True)
class StoredGroup:
    """A group as the ledger holds it, its JSON read."""

    id: int
    created: float
    name: str
    step: int | None
    prompt: Any
    responses: list[Any]
    reference: Any
    scores: list[float | None]
    rewards: list[float | None] | None
    lengths: list[int] | None
    matches: tuple[StoredMatch, ...]
    settings: dict[str, Any]
    error: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """One judge call of a match."""

    key: str
    created: float
    verdict: str | None
    reason: str | None
    detail: str
    text: str
    finished: int
    forced: int
    answered: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    engine: str
    chance: float | None


class LedgerReader:
    """Reads one ledger.

    Args:
        path: of the ledger; one of version 1 is made one of this version.
        on_counted: told how many groups of an older ledger are counted so far.

    Raises:
        LedgerError: there is none, or it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], on_counted: Callable[[int], None] = lambda _: None) -> None:
        self.path = Path(path).expanduser().absolute()
        if not self.path.is_file():
            raise LedgerError(f"there is no ledger {self.path}: name the file that ledger= or --ledger of a run named")
        with self._errors():
            self._take_on(on_counted)

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The ledger at one moment, for reading.

        Raises:
            LedgerError: it cannot be read.
        """
        with self._errors(), contextlib.closing(self._opened()) as connection:
            connection.execute("BEGIN")
            yield connection

    def sizes(self) -> tuple[int, int]:
        """How many groups and calls there are."""
        with self.connection() as connection:
            # Rows are never deleted, so the last number is their count; counting a million would take its time.
            (groups,) = connection.execute("SELECT max(id) FROM group_numbers").fetchone()
            (calls,) = connection.execute("SELECT max(id) FROM judgements").fetchone()
        return groups or 0, calls or 0

    def unreadable(self) -> list[int]:
        """Numbers of the groups that are in no list and no sum, since what is recorded of them is damaged."""
        with self.connection() as connection:
            return unreadable(connection)

    def last_write(self) -> float | None:
        """When the last call or group was recorded, in seconds since 1970."""
        query = "SELECT created FROM {} ORDER BY id DESC LIMIT 1"
        with self.connection() as connection:
            rows = [connection.execute(query.format(table)).fetchone() for table in ("judgements", "groups")]
        return max((row[0] for row in rows if row is not None), default=None)

    def count(self, listing: Listing) -> int:
        """Groups of a list."""
        where, values = _where(listing)
        with self.connection() as connection:
            if not where:
                (last,) = connection.execute("SELECT max(id) FROM group_numbers").fetchone()
                return (last or 0) - sum(id < (last or 0) for id in unreadable(connection))
            return connection.execute(f"SELECT count(*) FROM group_numbers{where}", values).fetchone()[0]

    def groups(self, listing: Listing, limit: int, offset: int = 0) -> list[GroupRow]:
        """Some groups of a list, in its order."""
        where, values = _where(listing)
        query = f"SELECT {_ROW} FROM group_numbers{where} {_order(listing)} LIMIT ? OFFSET ?"
        with self.connection() as connection:
            return [GroupRow(*row) for row in connection.execute(query, (*values, limit, offset))]

    def rows(self, ids: Sequence[int]) -> list[GroupRow]:
        """The groups of these numbers, as far as they are there, in that order."""
        with self.connection() as connection:
            query = f"SELECT {_ROW} FROM group_numbers WHERE id = ?"
            found = [connection.execute(query, (id,)).fetchone() for id in ids]
        return [GroupRow(*row) for row in found if row is not None]

    def neighbours(self, id: int, listing: Listing) -> tuple[int | None, int | None]:
        """The groups before and after this one in a list."""
        where, values = _where(listing)
        value = SHOWN.get(listing.shown)
        with self.connection() as connection:
            place: tuple[Any, ...] = (id,)
            columns = "(id)"
            if value is not None:
                row = connection.execute(f"SELECT {value} FROM group_numbers WHERE id = ?", (id,)).fetchone()
                if row is None or not row[0]:
                    return None, None
                place, columns = (row[0], id), f"({value}, id)"
            here = "(" + ", ".join("?" * len(place)) + ")"
            found = []
            for sign, order in ((">", "ASC"), ("<", "DESC")):
                condition = f"{where or ' WHERE true'} AND {columns} {sign} {here}"
                query = f"SELECT id FROM group_numbers{condition} {_order(listing, order)} LIMIT 1"
                row = connection.execute(query, (*values, *place)).fetchone()
                found.append(row[0] if row else None)
        return found[0], found[1]

    def group(self, id: int) -> StoredGroup | None:
        """A group; None where there is none of this number."""
        columns = (
            "id, created, name, step, prompt, responses, reference, scores, rewards, lengths, matches, settings, error"
        )
        with self.connection() as connection:
            row = connection.execute(f"SELECT {columns} FROM groups WHERE id = ?", (id,)).fetchone()
        return None if row is None else _stored(*row)

    def calls(self, keys: Sequence[str]) -> list[Call | None]:
        """The judge calls of these keys; None where one was never recorded."""
        with self.connection() as connection:
            # A ledger of version 2 is read as it is, which a run may make one of version 3 meanwhile.
            there = {row[1] for row in connection.execute("PRAGMA table_info(judgements)")}
            columns = [field.name if field.name in there else "NULL" for field in fields(Call)]
            query = f"SELECT {', '.join(columns)} FROM judgements WHERE key = ?"
            found = [connection.execute(query, (key,)).fetchone() for key in keys]
        return [None if row is None else Call(*row) for row in found]

    def _take_on(self, on_counted: Callable[[int], None]) -> None:
        """Sees to it that the ledger is one of this version, with the numbers of each group."""
        with contextlib.closing(self._opened()) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"meta", "judgements", "groups"} <= tables:
                raise LedgerError(f"{self.path} is no ledger of a judge: name the file that ledger= of a run named")
            if "group_numbers" in tables and _same_last(connection):
                return
        # Refuses a file of a newer version, and renews one of an older.
        Ledger(self.path).close()
        with contextlib.closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as writing:
            fill_numbers(writing, on_counted)

    def _opened(self) -> sqlite3.Connection:
        # No file is made where one was taken away meanwhile.
        return sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True, timeout=10, isolation_level=None)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"cannot read the ledger {self.path}: {error}") from error


def _same_last(connection: sqlite3.Connection) -> bool:
    """Whether the newest group has its numbers; an older version of this package may have written since."""
    damaged = json.dumps(unreadable(connection))
    first, last = (
        connection.execute(
            f"SELECT {end}(id) FROM groups WHERE id NOT IN (SELECT value FROM json_each(?))", (damaged,)
        ).fetchone()[0]
        for end in ("min", "max")
    )
    counted = [connection.execute(f"SELECT {end}(id) FROM group_numbers").fetchone()[0] for end in ("min", "max")]
    return counted == [first, last]


def _where(listing: Listing) -> tuple[str, list[Any]]:
    conditions, values = [], []
    if listing.shown:
        # Written as the index has it, which is found by its text.
        found = "ballots > verdicts" if listing.shown == "failures" else f"{SHOWN[listing.shown]} > 0"
        conditions.append(found)
    if listing.step is not None:
        conditions.append("step = ?")
        values.append(listing.step)
    if listing.name:
        conditions.append("name = ? AND name <> ''")
        values.append(listing.name)
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _order(listing: Listing, direction: str = "DESC") -> str:
    value = SHOWN.get(listing.shown)
    return f"ORDER BY {value} {direction}, id {direction}" if value else f"ORDER BY id {direction}"


def _stored(
    id: int,
    created: float,
    name: str,
    step: int | None,
    prompt: str,
    responses: str,
    reference: str | None,
    scores: str,
    rewards: str | None,
    lengths: str | None,
    matches: str,
    settings: str,
    error: str | None,
) -> StoredGroup:
    try:
        return StoredGroup(
            id=id,
            created=created,
            name=name,
            step=step,
            prompt=json.loads(prompt),
            responses=list(json.loads(responses)),
            reference=None if reference is None else json.loads(reference),
            scores=[None if score is None else float(score) for score in json.loads(scores)],
            rewards=None if rewards is None else json.loads(rewards),
            lengths=None if lengths is None else json.loads(lengths),
            matches=tuple(_match(number, told) for number, told in enumerate(json.loads(matches), start=1)),
            settings=json.loads(settings),
            error=error,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as wrong:
        raise LedgerError(f"group {id} of the ledger cannot be read: {wrong}") from wrong


def _match(number: int, told: dict[str, Any]) -> StoredMatch:
    return StoredMatch(
        number=number,
        first=int(told["first"]),
        second=int(told["second"]),
        round=int(told.get("round") or 0),
        verdict=told["verdict"],
        reason=told["reason"],
        keys=tuple(key for key in told["keys"] if key),
        chance=told.get("chance"),
    )
