"""Every judgement on disk: what a killed run resumes from, and what a person reads afterwards.

One SQLite file in write-ahead mode: several processes may write it, others may read it meanwhile, and a process killed
at any moment leaves it whole. Four tables:

    judgements     one row a judge call, by a key over all that decides the reply: engine, decoding, prompt as sent,
        number of the vote
    groups         one row a scored group: prompt, responses, values, the matches played and the keys of their
        judgements
    group_numbers  what each group amounts to (`ledger_numbers.py`)
    spending       one row an engine with a budget: calls and tokens spent on it so far, by all processes and runs

A call is recorded before its judgement counts, so that none is ever paid twice. Writes of calls that finish together
share a commit. A reply without a verdict was paid too and is kept; a failure of the engine is recorded but asked again
next time.
Left out: rotation, and network file systems, where SQLite's locks do not hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrm_plugin.errors import LedgerError
from rrm_plugin.ledger_numbers import NUMBERS_SCHEMA, put_numbers
from rrm_plugin.metrics.groups import numbers_of
from rrm_plugin.types import Group, Judgement, Scores, Usage

__all__ = ["Ledger", "Record", "call_key"]

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS judgements (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, created REAL NOT NULL,
    verdict TEXT, reason TEXT, detail TEXT NOT NULL, text TEXT NOT NULL,
    finished INTEGER NOT NULL, forced INTEGER NOT NULL, answered INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL, engine TEXT NOT NULL,
    chance REAL);
CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY, created REAL NOT NULL, name TEXT NOT NULL, step INTEGER,
    prompt TEXT NOT NULL, responses TEXT NOT NULL, reference TEXT,
    scores TEXT NOT NULL, rewards TEXT, matches TEXT NOT NULL, settings TEXT NOT NULL, error TEXT, lengths TEXT);
CREATE INDEX IF NOT EXISTS groups_by_step ON groups (step);
CREATE TABLE IF NOT EXISTS spending (engine TEXT PRIMARY KEY, calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL) WITHOUT ROWID;
"""
_JUDGEMENT_COLUMNS = (
    "key, created, verdict, reason, detail, text, finished, forced, answered, "
    "prompt_tokens, completion_tokens, seconds, engine, chance"
)
_PUT = f"""INSERT INTO judgements ({_JUDGEMENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
    ({_JUDGEMENT_COLUMNS}) = ({", ".join("excluded." + name for name in _JUDGEMENT_COLUMNS.split(", "))})
    WHERE judgements.answered = 0"""
_GET = """SELECT text, finished, forced, prompt_tokens, completion_tokens, seconds, engine, verdict, chance
    FROM judgements WHERE key = ? AND answered = 1"""
_GROUP = """INSERT INTO groups
    (created, name, step, prompt, responses, reference, scores, rewards, matches, settings, error, lengths)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SAME = """SELECT 1 FROM group_numbers JOIN groups USING (id)
    WHERE group_numbers.name = ? AND groups.step IS ? AND matches = ? AND scores = ?"""
_COUNTED = """count(*) FILTER (WHERE paid) + coalesce(sum(forced) FILTER (WHERE paid), 0) AS calls,
    coalesce(sum(prompt_tokens) FILTER (WHERE paid), 0) AS prompt_tokens,
    coalesce(sum(completion_tokens) FILTER (WHERE paid), 0) AS completion_tokens
    FROM (SELECT *, engine = ?1 AND (answered OR completion_tokens > 0) AS paid FROM judgements)"""
# One statement, so that it sees one moment; of the calls that were not settled then the numbers are kept.
_RECORDED = f"SELECT coalesce(max(id), 0), json_group_array(id) FILTER (WHERE NOT answered), {_COUNTED}"
_BEGIN_TO_SPEND = f"""INSERT OR IGNORE INTO spending
    SELECT ?1, ?4 + sum(calls), ?5 + sum(prompt_tokens), ?6 + sum(completion_tokens) FROM (
    SELECT {_COUNTED} WHERE id > ?2 UNION ALL
    SELECT {_COUNTED} WHERE answered AND id IN (SELECT value FROM json_each(?3)))"""
_SPEND_MORE = """UPDATE spending SET calls = calls + ?2, prompt_tokens = prompt_tokens + ?3,
    completion_tokens = completion_tokens + ?4 WHERE engine = ?1"""
_SPENT = "SELECT calls, prompt_tokens, completion_tokens FROM spending WHERE engine = ?1"


PATIENCE = 30.0
"""Seconds to wait for another process that holds the file; after a wait in vain, less, until it is free again."""
IMPATIENCE = 0.5


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """One piece of work for the ledger's thread, and who waits for it."""

    work: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]
    writes: bool = True


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a ledger holds of one answered judge call; the verdict is to be read from the text anew."""

    text: str
    finished: bool
    forced: bool
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    engine: str
    verdict: str | None = None
    """As it was read at the time."""
    chance: float | None = None
    """Of that verdict, which cannot be read anew."""


def call_key(engine: str, decoding: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], vote: int) -> str:
    """The name of a judge call: equal for two calls that an engine would answer from the same distribution with the
    same vote number.
    """
    text = json.dumps([engine, dict(decoding), list(messages), vote], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Ledger:
    """A file of judgements, open for reading and writing by any number of processes on one machine.

    Args:
        path: the file; made when absent, with its folder.

    Raises:
        LedgerError: the file cannot be made, is no ledger, or is one of a newer version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Absolute, so that a copy in a process with another working directory writes the same file.
        self.path = Path(path).expanduser().absolute()
        _check(self.path)
        self._reset()

    async def find(self, key: str) -> Record | None:
        """The answered call of that key, if it was ever recorded."""
        row = await self._ask(lambda connection: connection.execute(_GET, (key,)).fetchone(), writes=False)
        if row is None:
            return None
        text, finished, forced, prompt_tokens, completion_tokens, seconds, engine, verdict, chance = row
        return Record(
            text=text,
            finished=bool(finished),
            forced=bool(forced),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            seconds=seconds,
            engine=engine,
            verdict=verdict,
            chance=chance,
        )

    async def record(self, judgement: Judgement, *, finished: bool, answered: bool, counted: bool = False) -> None:
        """Writes a call; returns when it is on disk. An answered call is never overwritten.

        Args:
            judgement: what came of it.
            finished: whether the text is whole.
            answered: whether it is settled, and need not be asked again.
            counted: whether `spend` was told of it already.
        """
        usage = judgement.usage
        row = (
            judgement.key,
            time.time(),
            judgement.verdict.value if judgement.verdict else None,
            judgement.reason.value if judgement.reason else None,
            _storable(judgement.detail),
            _storable(judgement.text),
            finished,
            judgement.forced,
            answered,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.seconds,
            judgement.engine,
            judgement.chance,
        )
        more = (judgement.engine, usage.calls, usage.prompt_tokens, usage.completion_tokens)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_PUT, row)
            if not counted and usage.calls:
                # A run without a budget spends, too; where none had one before there is no sum to add to yet.
                connection.execute(_SPEND_MORE, more)

        await self._ask(write)

    async def record_group(
        self,
        group: Group,
        scores: Scores,
        rewards: Sequence[float | None] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> None:
        """Writes a scored group with the matches that were played, the keys of their judgements, and its numbers.

        A group with an `id` that comes out the same again, call by call, is that of a run that went on: it stays one.

        Args:
            group, scores: what was scored, and what came of it.
            rewards: what a trainer got.
            lengths: of each response in tokens, where they are known.
        """
        created = time.time()
        row = (
            created,
            _storable(group.id),
            group.step,
            _json(group.prompt),
            _json(list(group.responses)),
            None if group.reference is None else _json(group.reference),
            _json(scores.values),
            None if rewards is None else _json(list(rewards)),
            _json([_played(judgement) for judgement in scores.judgements]),
            _json(dict(scores.settings)),
            scores.error,
            None if lengths is None else _json(list(lengths)),
        )
        numbers = numbers_of(group, scores, lengths)

        def write(connection: sqlite3.Connection) -> None:
            known = (row[1], group.step, row[8], row[6])
            if group.id and connection.execute(_SAME, known).fetchone() is not None:
                return
            number = connection.execute(_GROUP, row).lastrowid
            put_numbers(connection, number or 0, created, row[1], group.step, numbers)

        await self._ask(write)

    async def spend(self, engine: str, usage: Usage) -> Usage:
        """Adds calls and tokens to what was spent on an engine, and returns the sum, of all processes and all runs.

        Where nothing was added before, the calls of this engine that are recorded are the beginning.
        """
        more = (engine, usage.calls, usage.prompt_tokens, usage.completion_tokens)
        found = await self._ask(lambda connection: _spend(connection, more))
        if found is None:
            # Read before the transaction that writes: it takes long where there is much, and others write meanwhile.
            recorded = await self._ask(lambda each: each.execute(_RECORDED, more[:1]).fetchone(), writes=False)
            found = await self._ask(lambda connection: _begin_to_spend(connection, recorded, more))
        calls, prompt_tokens, completion_tokens = found
        return Usage(calls=calls, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)

    def close(self) -> None:
        """Writes what is waiting and closes the file; the next use opens it again."""
        if self._pid != os.getpid():
            return
        with self._lock:
            # Put and closed under one lock: what was asked before is answered before the thread ends.
            thread, self._thread = self._thread, None
            if thread is not None:
                self._work.put(None)
                self._work = queue.SimpleQueue()
        if thread is not None and thread is not threading.current_thread():
            thread.join(PATIENCE)

    async def _ask(self, work: Callable[[sqlite3.Connection], Any], *, writes: bool = True) -> Any:
        asked = _Asked(work=work, answer=asyncio.get_running_loop().create_future(), writes=writes)
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_serve, args=(self.path, self._work), name="rrm-ledger", daemon=True
                )
                self._thread.start()
            self._work.put(asked)
        return await asked.answer

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._reset()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    # In write-ahead mode this loses nothing when a process is killed; when the machine is, perhaps the last commits.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA + NUMBERS_SCHEMA)
    return connection


def _check(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(path)
        try:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            (version,) = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
            if not version.isdecimal():
                raise LedgerError(f"{path} is no ledger of a judge; name another file as ledger=")
            if int(version) < SCHEMA_VERSION:
                _renew(connection)
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"cannot use {path} as a ledger ({error}); name another file as ledger=") from error
    if int(version) > SCHEMA_VERSION:
        raise LedgerError(
            f"{path} was written by a newer rrm-plugin (ledger version {version}); name another file as ledger="
        )


def _renew(connection: sqlite3.Connection) -> None:
    """Makes a file of version 1 or 2 one of this version. The numbers of groups are missing in one of version 1 until
    they are read.
    """
    connection.execute("BEGIN IMMEDIATE")
    for table, column, kind in (("groups", "lengths", "TEXT"), ("judgements", "chance", "REAL")):
        if column not in [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION),))
    connection.execute("COMMIT")


def _serve(path: Path, work: queue.SimpleQueue[_Asked | None]) -> None:
    """The ledger's thread: takes all that waits, reads, then writes in one transaction, and tells those who asked."""
    connection: sqlite3.Connection | None = None
    ending = False
    while not ending:
        batch = [work.get()]
        while not work.empty():
            batch.append(work.get_nowait())
        ending = any(item is None for item in batch)
        asked = [item for item in batch if item is not None]
        try:
            connection = connection or _connect(path)
        except Exception as error:
            _refuse(path, asked, error)
            continue
        try:
            for item in asked:
                if not item.writes:
                    _do(connection, path, [item])
            _do(connection, path, [item for item in asked if item.writes])
        except Exception as error:
            # A connection on which not even a rollback works: were this thread to end, all later calls would wait for
            # ever.
            _refuse(path, asked, error)
            connection = None
    if connection is not None:
        connection.close()


def _do(connection: sqlite3.Connection, path: Path, asked: Sequence[_Asked]) -> None:
    """Does all of it in one transaction; where that fails, each by itself, unless the file is not to be had at all."""
    if not asked:
        return
    try:
        if asked[0].writes:
            connection.execute("BEGIN IMMEDIATE")
        results = [item.work(connection) for item in asked]
        if asked[0].writes:
            connection.execute("COMMIT")
    except Exception as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        taken = isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
        if taken or len(asked) == 1:
            connection.execute(f"PRAGMA busy_timeout = {int((IMPATIENCE if taken else PATIENCE) * 1000)}")
            _refuse(path, asked, error)
        else:
            # One row that cannot be written must not cost those that happened to share its commit.
            for item in asked:
                _do(connection, path, [item])
        return
    if asked[0].writes:
        connection.execute(f"PRAGMA busy_timeout = {int(PATIENCE * 1000)}")
    for item, result in zip(asked, results, strict=True):
        _tell(item.answer, result)


def _spend(connection: sqlite3.Connection, more: tuple[str, int, int, int]) -> tuple[int, int, int] | None:
    """Adds to a sum, and returns it; None where there is none yet."""
    if not connection.execute(_SPEND_MORE, more).rowcount:
        return None
    return connection.execute(_SPENT, more[:1]).fetchone()


def _begin_to_spend(
    connection: sqlite3.Connection, recorded: Sequence[Any], more: tuple[str, int, int, int]
) -> tuple[int, int, int] | None:
    """Makes the sum of what was recorded at some moment and what came since, unless another process has, and adds."""
    connection.execute(_BEGIN_TO_SPEND, (more[0], *recorded))
    return _spend(connection, more)


def _refuse(path: Path, asked: Sequence[_Asked], error: Exception) -> None:
    for item in asked:
        _tell(item.answer, error=LedgerError(f"the ledger {path} failed: {error}"))


def _tell(answer: asyncio.Future[Any], result: Any = None, error: Exception | None = None) -> None:
    def settle() -> None:
        if not answer.done():
            answer.set_exception(error) if error is not None else answer.set_result(result)

    try:
        answer.get_loop().call_soon_threadsafe(settle)
    except RuntimeError:
        logger.debug("nobody waits for this ledger write any more: its event loop is closed")


def _played(judgement: Judgement) -> dict[str, Any]:
    match = judgement.match
    return {
        "first": match.first if match else None,
        "second": match.second if match else None,
        "round": match.round if match else None,
        "verdict": judgement.verdict.value if judgement.verdict else None,
        "reason": judgement.reason.value if judgement.reason else None,
        "keys": [ballot.key for ballot in judgement.ballots],
        **({} if judgement.chance is None else {"chance": judgement.chance}),
    }


def _json(value: Any) -> str:
    return _storable(json.dumps(value, ensure_ascii=False, default=str))


def _storable(text: str) -> str:
    """SQLite stores UTF-8, which has no lone surrogates; a broken emoji must not cost a record."""
    return text.encode("utf-8", "replace").decode("utf-8")
