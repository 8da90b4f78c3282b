"""From single awaited calls to batches in one worker thread, for models that run in this process.

Calls that arrive together, or while a batch is running, become the next batch. A batch that fails fails only the
calls in it. No model here: what runs is a function from a list of tickets to a list of results.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rrm_plugin.errors import EngineError, RRMError

__all__ = ["Batcher", "Ticket"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(eq=False)
class Ticket(Generic[T]):
    """One call on its way through a batch."""

    item: T
    size: int
    """By which calls are sorted, so that a batch holds calls of like length."""
    future: asyncio.Future[Any]
    abandoned: bool = False
    """Set when nobody waits for the result any more; the running function may look at it."""


@dataclass(eq=False)
class _Place:
    """What belongs to one event loop of one process."""

    loop: asyncio.AbstractEventLoop
    worker: ThreadPoolExecutor
    pid: int = field(default_factory=os.getpid)
    waiting: list[Ticket[Any]] = field(default_factory=list)
    driver: asyncio.Task[None] | None = None


class Batcher(Generic[T, R]):
    """Runs single calls in batches.

    Args:
        run: takes the tickets of a batch, in a thread that is the same for every batch, and returns one result for
            each, in order; an exception in place of a result is raised to that caller alone.
        batch_size: most calls in a batch.
        linger: seconds that a first call waits for company while the batch is not full.
        name: of the thread.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Ticket[T]]], Sequence[R | Exception]],
        *,
        batch_size: int,
        linger: float = 0.01,
        name: str = "rrm-engine",
    ) -> None:
        self._run = run
        self._batch_size = batch_size
        self._linger = linger
        self._name = name
        self._place: _Place | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_place": None}

    async def submit(self, item: T, size: int = 0) -> R:
        """The result for `item`.

        Raises:
            EngineError: the batch failed. What `run` returned as an exception is raised as it is.
        """
        place = self._here()
        ticket = Ticket(item=item, size=size, future=place.loop.create_future())
        place.waiting.append(ticket)
        if place.driver is None or place.driver.done():
            place.driver = place.loop.create_task(self._drive(place))
        try:
            return await ticket.future
        finally:
            ticket.abandoned = True

    def close(self) -> None:
        """Let the worker go, after the batch that it is running."""
        place, self._place = self._place, None
        if place is not None and place.pid == os.getpid():
            waiting, place.waiting = place.waiting, []
            for ticket in waiting:
                if not place.loop.is_closed():
                    place.loop.call_soon_threadsafe(_settle, ticket.future, EngineError("the engine was closed"))
            place.worker.shutdown(wait=False, cancel_futures=True)

    def _here(self) -> _Place:
        place, loop = self._place, asyncio.get_running_loop()
        if place is None or place.loop is not loop or place.pid != os.getpid():
            self.close()
            self._place = place = _Place(loop=loop, worker=ThreadPoolExecutor(1, thread_name_prefix=self._name))
        return place

    async def _drive(self, place: _Place) -> None:
        while place.waiting:
            if len(place.waiting) < self._batch_size:
                await asyncio.sleep(self._linger)
            batch = self._take(place)
            if not batch:
                continue
            try:
                results: Sequence[Any] = await place.loop.run_in_executor(place.worker, self._run, batch)
            except RRMError as error:
                results = [error] * len(batch)
            except Exception as error:
                results = [EngineError(f"the model failed: {type(error).__name__}: {error}")] * len(batch)
            for ticket, result in zip(batch, results, strict=True):
                _settle(ticket.future, result)

    def _take(self, place: _Place) -> list[Ticket[Any]]:
        """The call that waits longest, with those nearest to it in size."""
        place.waiting = [ticket for ticket in place.waiting if not ticket.abandoned]
        if not place.waiting:
            return []
        oldest = place.waiting[0]
        ordered = sorted(place.waiting, key=lambda ticket: ticket.size)
        where = ordered.index(oldest)
        count = min(self._batch_size, len(ordered))
        starts = range(max(0, where - count + 1), min(where, len(ordered) - count) + 1)
        start = min(starts, key=lambda start: ordered[start + count - 1].size - ordered[start].size)
        batch = ordered[start : start + count]
        taken = set(map(id, batch))
        place.waiting = [ticket for ticket in place.waiting if id(ticket) not in taken]
        return batch


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
