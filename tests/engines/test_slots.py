from __future__ import annotations

import asyncio
import random

import pytest

from rrm_plugin.engines.slots import Slots


class Callers:
    """Calls that begin in the order of their names, and end when they are told to."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.begun: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._end: dict[str, asyncio.Event] = {}

    async def call(self, name: str, *, ahead: bool = False) -> None:
        self._end[name] = asyncio.Event()

        async def run() -> None:
            async with self.slots.ahead if ahead else self.slots:
                self.begun.append(name)
                await self._end[name].wait()

        self.tasks[name] = asyncio.create_task(run())
        await settled()

    async def end(self, name: str) -> None:
        self._end[name].set()
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def played(test):
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 10))

    run.__name__ = test.__name__
    return run


@played
async def test_calls_go_in_the_order_in_which_they_came():
    callers = Callers(Slots(1))
    for name in "abc":
        await callers.call(name)
    assert callers.begun == ["a"] and callers.slots.short
    await callers.end("a")
    await callers.end("b")
    assert callers.begun == ["a", "b", "c"] and not callers.slots.short


@played
async def test_who_writes_on_goes_before_all_others():
    callers = Callers(Slots(1))
    for name in "abc":
        await callers.call(name)
    await callers.call("on", ahead=True)
    await callers.end("a")
    assert callers.begun == ["a", "on"]
    await callers.end("on")
    assert callers.begun == ["a", "on", "b"]


@played
async def test_nobody_overtakes_when_a_place_is_free():
    callers = Callers(Slots(1))
    for name in "ab":
        await callers.call(name)
    callers._end["a"].set()
    # Comes in the moment in which the place goes from a to b.
    await callers.call("c")
    assert callers.begun == ["a", "b"]


@played
async def test_a_cancelled_caller_leaves_its_turn_to_the_next():
    callers = Callers(Slots(1))
    for name in "abc":
        await callers.call(name)
    callers.tasks["b"].cancel()
    await settled()
    await callers.end("a")
    assert callers.begun == ["a", "c"]
    await callers.end("c")
    assert callers.slots.taken == 0 and not callers.slots.short


@played
async def test_a_place_is_not_lost_with_a_caller_who_was_just_given_it():
    slots = Slots(1)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await settled()
    slots.give()
    # The place is handed over, and the caller is cancelled before it could run.
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert slots.taken == 0
    await slots.take()


@played
async def test_a_caller_cancelled_as_a_place_comes_back_is_cancelled_and_nothing_else():
    slots = Slots(1)
    await slots.take()
    waiting = [asyncio.create_task(slots.take()) for _ in range(2)]
    await settled()
    waiting[0].cancel()
    # Before the cancelled caller could run.
    slots.give()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    await waiting[1]
    assert slots.taken == 1 and not slots.short


@played
async def test_more_places_are_taken_at_once_and_fewer_as_they_come_back():
    callers = Callers(Slots(1))
    for name in "abcd":
        await callers.call(name)
    callers.slots.resize(3)
    await settled()
    assert callers.begun == ["a", "b", "c"]
    callers.slots.resize(1)
    await callers.end("a")
    await callers.end("b")
    assert callers.begun == ["a", "b", "c"]
    await callers.end("c")
    assert callers.begun == ["a", "b", "c", "d"]


@pytest.mark.parametrize("seed", range(20))
def test_no_place_is_lost_and_none_given_twice_whoever_leaves_when(seed):
    drawn = random.Random(seed)

    async def main() -> None:
        slots, held, most = Slots(3), 0, 0

        async def call(ahead: bool) -> None:
            nonlocal held, most
            async with slots.ahead if ahead else slots:
                held += 1
                most = max(most, held)
                try:
                    for _ in range(drawn.randrange(4)):
                        await asyncio.sleep(0)
                finally:
                    held -= 1

        calls = []
        for _ in range(300):
            calls.append(asyncio.ensure_future(call(drawn.random() < 0.2)))
            if drawn.random() < 0.4:
                drawn.choice(calls).cancel()
            if drawn.random() < 0.3:
                await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
        assert most == 3 and held == slots.taken == 0 and not slots.short

    asyncio.run(main())


@played
async def test_who_comes_behind_one_that_is_leaving_gets_the_place_that_is_free():
    slots = Slots(1)
    await slots.take()
    leaver = asyncio.ensure_future(slots.take())
    await settled()
    leaver.cancel()
    slots.give()
    comer = asyncio.ensure_future(slots.take())
    await settled()
    assert comer.done() and slots.taken == 1 and not slots.short
