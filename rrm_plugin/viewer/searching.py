"""A text looked for in a ledger, newest groups first, for a moment at a time.

A million calls hold gigabytes. An index over them would double the file and what a training run has to write; reading
them takes some ten seconds. So a search goes on from where it was: each request reads for `SECONDS`, tells what it
found and where it stopped, and the page asks for more. What was not read yet is said. Left out: ranking of hits, and
patterns.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rrm_plugin.viewer.reading import LedgerReader

__all__ = ["PLACES", "Found", "Hit", "search"]

SECONDS = 0.12
MOST_HITS = 40
"""Groups with a hit that end a request."""
HITS_OF_A_GROUP = 4
PLACES = ("all", "prompt", "responses", "judge")
"""Where to look."""
_AROUND = 70
_AT_A_TIME = 64


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A place in a text of a group."""

    group: int
    where: str
    """`name`, `prompt`, `response` or `judge`."""
    number: int
    """Of the response, from 0, or of the match, from 1."""
    before: str
    text: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a request found."""

    hits: list[Hit]
    groups: int
    """Groups that were read."""
    calls: int
    """Judge texts that were read."""
    next: int | None
    """The group to go on before; None where all is read."""
    newest: int
    """The newest group there is."""


def search(
    reader: LedgerReader, text: str, place: str = "all", before: int | None = None, seconds: float = SECONDS
) -> Found:
    """Looks for a text, upper and lower case alike.

    Args:
        reader: of the ledger.
        text: what to look for; an empty one is nowhere.
        place: one of `PLACES`.
        before: the group to begin below; None for the newest.
        seconds: after which it stops.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    ends = time.monotonic() + seconds
    wanted = text.casefold()
    hits: list[Hit] = []
    read = calls = 0
    with reader.connection() as connection:
        (newest,) = connection.execute("SELECT max(id) FROM groups").fetchone()
        last = before if before is not None else (newest or 0) + 1
        for id, name, prompt, responses, matches in _groups(connection, last) if wanted else ():
            own, looked = _look(connection, wanted, place, (id, name, prompt, responses, matches))
            hits += own[:HITS_OF_A_GROUP]
            read, calls, last = read + 1, calls + looked, id
            if time.monotonic() >= ends or len({hit.group for hit in hits}) >= MOST_HITS:
                break
        more = bool(wanted) and connection.execute("SELECT 1 FROM groups WHERE id < ? LIMIT 1", (last,)).fetchone()
    return Found(hits=hits, groups=read, calls=calls, next=last if more else None, newest=newest or 0)


def _groups(connection: sqlite3.Connection, before: int) -> Iterator[tuple[int, str, str, str, str]]:
    query = "SELECT id, name, prompt, responses, matches FROM groups WHERE id < ? ORDER BY id DESC LIMIT ?"
    while rows := connection.execute(query, (before, _AT_A_TIME)).fetchall():
        yield from rows
        before = rows[-1][0]


def _look(
    connection: sqlite3.Connection, wanted: str, place: str, group: tuple[int, str, str, str, str]
) -> tuple[list[Hit], int]:
    """The hits of a group, and how many judge texts were read for them."""
    id, name, prompt, responses, matches = group
    hits: list[Hit] = []
    if place == "all":
        hits += _hits(id, "name", 0, name, wanted)
    if place in ("all", "prompt"):
        hits += _hits(id, "prompt", 0, _flat(_loaded(prompt)), wanted)
    if place in ("all", "responses"):
        for number, response in enumerate(_listed(responses)):
            hits += _hits(id, "response", number, _flat(response), wanted)
    if place not in ("all", "judge"):
        return hits, 0
    looked = 0
    for number, match in enumerate(_listed(matches), start=1):
        for key in match["keys"] if isinstance(match, dict) else ():
            row = connection.execute("SELECT text, detail FROM judgements WHERE key = ?", (key,)).fetchone()
            if row is not None:
                looked += 1
                hits += _hits(id, "judge", number, row[0] or row[1], wanted)
    return hits, looked


def _loaded(stored: str) -> object:
    """A column's value; where it is damaged, what stands there."""
    try:
        return json.loads(stored)
    except ValueError:
        return stored


def _listed(stored: str) -> list[Any]:
    value = _loaded(stored)
    return value if isinstance(value, list) else [value]


def _hits(group: int, where: str, number: int, text: str, wanted: str) -> list[Hit]:
    folded = text.casefold()
    at = folded.find(wanted)
    if at < 0:
        return []
    if len(folded) != len(text):
        # A few letters become longer when folded; the excerpt is then told from the folded text.
        text = folded
    end = at + len(wanted)
    before, after = text[max(0, at - _AROUND) : at], text[end : end + _AROUND]
    return [Hit(group=group, where=where, number=number, before=before, text=text[at:end], after=after)]


def _flat(value: object) -> str:
    """The texts of a prompt or response, however it is laid out."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(_flat(value[key]) for key in value if key != "role")
    if isinstance(value, list):
        return "\n".join(map(_flat, value))
    return "" if value is None else str(value)
