"""The same in simulated time: an event loop that jumps to its next timer, and an engine with slots on it.

What is left then is the order of the calls, without the noise of a machine: minutes of a server take a second.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from loaded.replies import reply
from rrm_plugin.engines import Reply, Sampling
from rrm_plugin.engines.pace import Pace
from rrm_plugin.engines.slots import Slots
from rrm_plugin.types import Message

__all__ = ["SlottedEngine", "simulated"]

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Never waits, and notes how long it would have."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def simulated(main: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
    """What `main()` returns, and the simulated seconds it took."""
    loop = _Loop()
    try:
        return loop.run_until_complete(main()), loop.time()
    finally:
        loop.close()


class SlottedEngine:
    """A server that works on so many requests at a time and queues the others, with the client's own limit before it.

    A token takes a simulated second.

    Args:
        seed: of the replies.
        slots: of the server.
        concurrency: of the client; None finds it by itself.
    """

    name = "slotted"
    special_tokens = ()

    def __init__(self, seed: int, slots: int, concurrency: int | None) -> None:
        self._seed = seed
        self._server = asyncio.Semaphore(slots)
        self.pace = Pace() if concurrency is None else None
        self.slots = Slots(concurrency or Pace().limit)

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """The judge's reply, after as many simulated seconds as it has tokens."""
        tokens, text = reply(self._seed, messages)
        async with self.slots:
            async with self._server:
                await asyncio.sleep(tokens)
            if self.pace is not None:
                self.pace.replied(tokens, asyncio.get_running_loop().time(), short=self.slots.short)
                self.slots.resize(self.pace.limit)
        return Reply(text=text, finished=True, prompt_tokens=0, completion_tokens=tokens, seconds=tokens)

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> None:
        """Not needed: every reply is finished."""

    async def close(self) -> None:
        """Nothing is held."""
