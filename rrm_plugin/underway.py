"""Equal calls that are under way at the same time are made once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["UnderWay"]

Result = TypeVar("Result")


@dataclass(eq=False)
class _Call(Generic[Result]):
    task: asyncio.Task[Result]
    waiting: int = 0


class UnderWay(Generic[Result]):
    """Calls by key; whoever asks for one that is under way waits for its result instead of making it again."""

    def __init__(self) -> None:
        self._calls: dict[tuple[int, str], _Call[Result]] = {}

    async def once(self, key: str, make: Callable[[], Coroutine[Any, Any, Result]]) -> tuple[Result, bool]:
        """The result, and whether this very call made it. A call that nobody waits for any more is cancelled."""
        # Tasks belong to a loop; a judge that moved to another one must not wait for those of the first.
        place = (id(asyncio.get_running_loop()), key)
        known = self._calls.get(place)
        call = known or _Call(asyncio.ensure_future(make()))
        if known is None:
            self._calls[place] = call
            call.task.add_done_callback(lambda _: self._forget(place, call))
        call.waiting += 1
        try:
            return await asyncio.shield(call.task), known is None
        finally:
            call.waiting -= 1
            if not call.waiting and not call.task.done():
                # Forgotten at once: whoever asks before it has ended must not be cancelled along with it.
                self._forget(place, call)
                call.task.cancel()

    def _forget(self, place: tuple[int, str], call: _Call[Result]) -> None:
        if self._calls.get(place) is call:
            del self._calls[place]

    def __reduce__(self) -> tuple[Any, ...]:
        return (UnderWay, ())
