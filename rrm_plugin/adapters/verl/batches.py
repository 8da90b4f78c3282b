"""Rows of verl's colocated path, which come all at once and say nothing of their groups.

There verl rewards a whole batch after it was generated, cut into a piece for each worker, with copies of its first rows
at the end where the pieces would not be even. A row is told from others by its prompt and its text alone. So the rows
are gathered until no more come for a moment; then those with the same prompt are a group, and rows with the same text
as well are one member, whose reward each of them gets.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict

from rrm_plugin.adapters.verl.rows import Row
from rrm_plugin.cohorts import Gate, Outcome

__all__ = ["Batches"]

logger = logging.getLogger(__name__)

Waiting = asyncio.Future[Outcome]


class Batches:
    """Gathers rows and has their groups judged; belongs to one event loop.

    Args:
        gate: judges the groups.
        size: most members of a group; more responses to one prompt are cut into groups of that size.
        quiet: seconds without a further row after which all have come.
    """

    def __init__(self, gate: Gate, *, size: int, quiet: float = 3.0) -> None:
        self._gate = gate
        self._size = size
        self._quiet = quiet
        self._rows: list[tuple[Row, Waiting]] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, row: Row) -> Outcome:
        """Waits until the group of a row is judged.

        Raises:
            GateFullError: too many members wait.
            ConfigError: a setting of the judge cannot work.
        """
        loop = asyncio.get_running_loop()
        waiting: Waiting = loop.create_future()
        self._rows.append((row, waiting))
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_later(self._quiet, self._close)
        return await waiting

    def _close(self) -> None:
        rows, self._rows, self._alarm = self._rows, [], None
        groups: dict[str, dict[str, list[tuple[Row, Waiting]]]] = defaultdict(lambda: defaultdict(list))
        for row, waiting in rows:
            groups[row.key][str(row.member.response)].append((row, waiting))
        batch = next(self._numbers)
        for key, texts in groups.items():
            members = list(texts.values())
            if len(members) > self._size:
                logger.warning(
                    "%d different responses to one prompt, and %d make a group: the prompt is in the batch more than "
                    "once, and its groups cannot be told apart",
                    len(members),
                    self._size,
                )
            for number, chunk in enumerate(_cut(members, self._size)):
                for alike in chunk:
                    self._begin(f"{key} {batch} {number}", alike, len(chunk))

    def _begin(self, key: str, alike: list[tuple[Row, Waiting]], size: int) -> None:
        task = asyncio.ensure_future(self._answer(key, alike, size))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, key: str, alike: list[tuple[Row, Waiting]], size: int) -> None:
        try:
            outcome = await self._gate.join(key, alike[0][0].member, size=size)
        except Exception as error:
            for _, waiting in alike:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for _, waiting in alike:
            if not waiting.done():
                waiting.set_result(outcome)


def _cut(members: list[list[tuple[Row, Waiting]]], size: int) -> list[list[list[tuple[Row, Waiting]]]]:
    return [members[start : start + size] for start in range(0, len(members), size)]
