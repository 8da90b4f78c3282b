"""Rows of verl's colocated path, which come all at once and say nothing of their groups.

There verl rewards a whole batch after it was generated, cut into a piece for each worker, with copies of its first rows
at the end where the pieces would not be even. A row is told from others by its prompt and its text alone. So the rows
are gathered until no more come for a moment; then those with the same prompt are a group, and rows with the same text
as well are one member, whose reward each of them gets. A piece may reach its worker later than the others, on another
node say: where a group is not whole yet, the moment is a longer one.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter, defaultdict

from rrm_plugin.adapters.verl.rows import Row
from rrm_plugin.cohorts import Gate, Outcome

__all__ = ["Batches"]

logger = logging.getLogger(__name__)

Waiting = asyncio.Future[Outcome]

LONGER = 10
"""How much longer is waited where a group is not whole."""


class Batches:
    """Gathers rows and has their groups judged; belongs to one event loop.

    Args:
        gate: judges the groups.
        size: most members of a group; more responses to one prompt are cut into groups of that size.
        quiet: seconds without a further row after which all have come; ten times that where a group is not whole.
        validation_size: the same as `size` in a validation.
    """

    def __init__(self, gate: Gate, *, size: int, quiet: float = 3.0, validation_size: int = 1) -> None:
        self._gate = gate
        self._size = size
        self._quiet = quiet
        self._validation_size = validation_size
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
        self._alarm = loop.call_later(self._quiet, self._look)
        return await waiting

    def _look(self) -> None:
        """No row has come for a moment."""
        rows = Counter(row.key for row, _ in self._rows)
        in_training = all(count >= self._size for count in rows.values())
        if in_training or all(count <= self._validation_size for count in rows.values()):
            self._close()
            return
        self._alarm = asyncio.get_running_loop().call_later((LONGER - 1) * self._quiet, self._close_in_part, rows)

    def _close_in_part(self, rows: Counter[str]) -> None:
        few = [count for count in rows.values() if count < self._size]
        logger.warning(
            "of %d of %d prompts fewer than %d responses came, and no more for %g s: they are judged in part; if "
            "others come after them, raise quiet under gate in the file of settings",
            len(few),
            len(rows),
            self._size,
            LONGER * self._quiet,
        )
        self._close()

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
