"""Equal calls that are under way at the same time are made once, and nobody is harmed by those who leave."""

from __future__ import annotations

import asyncio

import pytest

from rrm_plugin.underway import UnderWay


class Calls:
    """Counts how often a call is made, and lets it take as long as the test wants."""

    def __init__(self):
        self.made = 0
        self.may_end = asyncio.Event()

    async def make(self):
        self.made += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            # Real calls take a few turns of the loop to give back what they hold.
            await asyncio.sleep(0)
            raise
        return self.made


def test_equal_calls_are_made_once_and_the_next_one_anew():
    async def main():
        under_way, calls = UnderWay(), Calls()
        asking = [asyncio.ensure_future(under_way.once("key", calls.make)) for _ in range(3)]
        await asyncio.sleep(0)
        calls.may_end.set()
        assert await asyncio.gather(*asking) == [(1, True), (1, False), (1, False)]
        assert await under_way.once("key", calls.make) == (2, True)

    asyncio.run(main())


def test_a_call_goes_on_while_anybody_waits_for_it():
    async def main():
        under_way, calls = UnderWay(), Calls()
        maker, other = (asyncio.ensure_future(under_way.once("key", calls.make)) for _ in range(2))
        await asyncio.sleep(0.01)
        maker.cancel()
        await asyncio.sleep(0.01)
        calls.may_end.set()
        assert await other == (1, False)

    asyncio.run(main())


def test_who_asks_while_a_call_is_being_cancelled_is_not_cancelled_with_it():
    async def main():
        under_way, calls = UnderWay(), Calls()
        leaver = asyncio.ensure_future(under_way.once("key", calls.make))
        await asyncio.sleep(0.01)
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        calls.may_end.set()
        assert await under_way.once("key", calls.make) == (2, True)

    asyncio.run(main())


def test_errors_reach_all_who_wait():
    async def fail():
        await asyncio.sleep(0)
        raise OSError("gone")

    async def main():
        under_way = UnderWay()
        found = await asyncio.gather(*(under_way.once("key", fail) for _ in range(2)), return_exceptions=True)
        assert [str(error) for error in found] == ["gone", "gone"]

    asyncio.run(main())
