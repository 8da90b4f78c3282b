"""How many calls may be under way at once, and who of those that wait goes next.

Calls go in the order in which they came, so that calls that begin alike (the pairs of one group) reach the server one
after the other and find their beginning in its prefix cache. What writes on from a reply goes before all others: the
server still has that reply in its cache, and a group waits for it. No sockets here.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Slots"]


class Slots:
    """Places for calls, used from one event loop.

    Args:
        limit: how many there are; `resize` changes it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._ahead: deque[asyncio.Future[None]] = deque()
        self._behind: deque[asyncio.Future[None]] = deque()
        self._waiting = 0
        """Callers in either queue, without those who left: taking these out of the middle would take long for many."""
        self.ahead = _Ahead(self)
        """The same places, for who goes before all others: `async with slots.ahead`."""

    async def __aenter__(self) -> None:
        # What mostly happens, without a further coroutine: this is on the way of every call.
        if self.taken < self.limit and not self._waiting:
            self.taken += 1
        else:
            await self.take()

    async def __aexit__(self, *_: object) -> None:
        self.give()

    @property
    def short(self) -> bool:
        """Whether calls wait for a place."""
        return self._waiting > 0

    async def take(self, *, ahead: bool = False) -> None:
        """Wait for a place; whoever got one has to `give` it back.

        Args:
            ahead: of all who are not.
        """
        if self.taken < self.limit and not self.short:
            self.taken += 1
            return
        place = asyncio.get_running_loop().create_future()
        (self._ahead if ahead else self._behind).append(place)
        self._waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._waiting -= 1
                # Who came since may have waited behind this one while a place was free.
                self._hand_on()
            else:
                # It was handed over at the moment at which the caller was cancelled.
                self.give()
            raise

    def give(self) -> None:
        """A place is free again."""
        self.taken -= 1
        self._hand_on()

    def resize(self, limit: int) -> None:
        """Have more places, or fewer: those taken beyond the limit are not handed on."""
        self.limit = limit
        self._hand_on()

    def _hand_on(self) -> None:
        while self.taken < self.limit and (queue := self._ahead or self._behind):
            place = queue.popleft()
            if not place.done():
                self.taken += 1
                self._waiting -= 1
                place.set_result(None)


class _Ahead:
    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    async def __aenter__(self) -> None:
        await self._slots.take(ahead=True)

    async def __aexit__(self, *_: object) -> None:
        self._slots.give()
