"""The ledger's table `group_numbers`: a narrow row beside each scored group, indexed by what makes it worth a look.

    put_numbers      writes the row of a group, in the transaction that writes the group
    fill_numbers     counts groups that have none: those of a ledger of version 1
    unreadable       groups that cannot be counted, since what is recorded of them is damaged

A column stands for each field of `GroupNumbers`. The indexes hold only rows that they can find, so that an ordinary
group costs the writer one insertion. Left out: reading (`viewer/`).
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Iterable

from rrm_plugin import consistency
from rrm_plugin.metrics.groups import GroupNumbers, judgements_of, numbers_of
from rrm_plugin.types import Group, Judgement, Scores, Usage

__all__ = ["COUNTED", "NUMBERS_SCHEMA", "fill_numbers", "put_numbers", "unreadable"]

COUNTED = tuple(field.name for field in dataclasses.fields(GroupNumbers))
"""The columns beside `id`, `created`, `name` and `step`."""

_TYPES = {"int": "INTEGER NOT NULL", "float": "REAL NOT NULL", "float | None": "REAL", "str": "TEXT NOT NULL"}
_COLUMNS = ", ".join(f"{field.name} {_TYPES[str(field.type)]}" for field in dataclasses.fields(GroupNumbers))
NUMBERS_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS group_numbers (
    id INTEGER PRIMARY KEY, created REAL NOT NULL, name TEXT NOT NULL, step INTEGER, {_COLUMNS});
CREATE INDEX IF NOT EXISTS numbers_by_step ON group_numbers (step, id);
CREATE INDEX IF NOT EXISTS numbers_by_name ON group_numbers (name) WHERE name <> '';
CREATE INDEX IF NOT EXISTS numbers_by_disagreements ON group_numbers (disagreements, id) WHERE disagreements > 0;
CREATE INDEX IF NOT EXISTS numbers_by_failures ON group_numbers (ballots - verdicts, id) WHERE ballots > verdicts;
CREATE INDEX IF NOT EXISTS numbers_by_unscored ON group_numbers (unscored, id) WHERE unscored > 0;
CREATE INDEX IF NOT EXISTS numbers_by_cycles ON group_numbers (cycles, id) WHERE cycles > 0;
CREATE INDEX IF NOT EXISTS numbers_by_upset ON group_numbers (upset, id) WHERE upset > 0;
CREATE INDEX IF NOT EXISTS numbers_by_steering ON group_numbers (steering, id) WHERE steering > 0;
"""
_PUT = f"""INSERT OR REPLACE INTO group_numbers (id, created, name, step, {", ".join(COUNTED)})
    VALUES ({", ".join("?" * (4 + len(COUNTED)))})"""
_MISSING = """SELECT id, created, name, step, prompt, responses, scores, matches, error, lengths FROM groups
    WHERE id > ? AND id NOT IN (SELECT id FROM group_numbers) ORDER BY id LIMIT ?"""
_BATCH = 200
_DAMAGES = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)
"""What reading a row raises that is not what a ledger writes."""


def put_numbers(
    connection: sqlite3.Connection, id: int, created: float, name: str, step: int | None, numbers: GroupNumbers
) -> None:
    """Writes the numbers of the group with this id."""
    values = [getattr(numbers, column) for column in COUNTED]
    values = [value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value for value in values]
    connection.execute(_PUT, (id, created, name, step, *values))


def fill_numbers(connection: sqlite3.Connection, on_counted: Callable[[int], None] = lambda _: None) -> int:
    """Counts the groups that have no numbers, some hundreds at a time, so that a run can write in between.

    What was not recorded then stays out: `duplicates` is 0, and a call that an earlier group paid for counts again. A
    group that cannot be read stays without numbers, and `unreadable` names it.

    Args:
        connection: to a ledger of this version, writing, without a transaction under way.
        on_counted: told how many groups are counted so far.

    Returns:
        How many there were.
    """
    last = counted = 0
    damaged: list[int] = []
    while rows := connection.execute(_MISSING, (last, _BATCH)).fetchall():
        connection.execute("BEGIN IMMEDIATE")
        for id, created, name, step, *stored in rows:
            try:
                put_numbers(connection, id, created, name, step, _numbers(connection, *stored))
            except _DAMAGES:
                damaged.append(id)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('unreadable', ?)", (json.dumps(damaged),))
        connection.execute("COMMIT")
        last, counted = rows[-1][0], counted + len(rows)
        on_counted(counted)
    return counted - len(damaged)


def unreadable(connection: sqlite3.Connection) -> list[int]:
    """Numbers of the groups that could not be counted when all others were."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'unreadable'").fetchone()
    return [] if row is None else json.loads(row[0])


def _numbers(
    connection: sqlite3.Connection,
    prompt: str,
    responses: str,
    scores: str,
    matches: str,
    error: str | None,
    sizes: str,
) -> GroupNumbers:
    played = json.loads(matches)
    usage = _usage(connection, (key for match in played for key in match["keys"] if key))
    judgements = judgements_of(played, usage)
    group = Group(prompt=json.loads(prompt), responses=json.loads(responses))
    values = json.loads(scores)
    told = Scores(
        values=values,
        judgements=judgements,
        usage=sum((ballot.usage for one in judgements for ballot in one.ballots), Usage()),
        agreement=consistency.agreement(judgements),
        first_rate=consistency.first_rate(judgements),
        cycles=consistency.cycles(_players(group, judgements), judgements),
        error=error,
    )
    return numbers_of(group, told, json.loads(sizes) if sizes else None)


def _players(group: Group, judgements: Iterable[Judgement]) -> int:
    seen = [index for one in judgements if one.match is not None for index in one.match.pair]
    return max([len(group.responses), *(index + 1 for index in seen)])


def _usage(connection: sqlite3.Connection, keys: Iterable[str]) -> dict[str, Usage]:
    # A forced verdict is two calls; a reply whose verdict could not be forced is one, though it is asked again.
    query = """SELECT prompt_tokens, completion_tokens, seconds, (answered OR completion_tokens > 0) + forced
        FROM judgements WHERE key = ?"""
    found: dict[str, Usage] = {}
    for key in keys:
        row = connection.execute(query, (key,)).fetchone()
        if row is not None:
            found[key] = Usage(calls=row[3], prompt_tokens=row[0], completion_tokens=row[1], seconds=row[2])
    return found
