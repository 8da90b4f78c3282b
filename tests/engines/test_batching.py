from __future__ import annotations

import asyncio
import pickle
import threading

import pytest

from rrm_plugin.engines.batching import Batcher
from rrm_plugin.errors import EngineError


class Doubler:
    """Records its batches; fails on what it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()

    def __call__(self, tickets):
        items = [ticket.item for ticket in tickets]
        self.batches.append(items)
        self.threads.add(threading.get_ident())
        if 13 in items:
            raise ValueError("unlucky")
        return [EngineError("odd one") if item == 7 else item * 2 for item in items]


def submit_all(batcher: Batcher, items, sizes=None):
    async def run():
        calls = [batcher.submit(item, size) for item, size in zip(items, sizes or [0] * len(items), strict=True)]
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(run())


def test_calls_become_batches_in_one_thread():
    run = Doubler()
    assert submit_all(Batcher(run, batch_size=3), range(6)) == [0, 2, 4, 6, 8, 10]
    assert [len(batch) for batch in run.batches] == [3, 3]
    assert len(run.threads) == 1
    assert threading.get_ident() not in run.threads


def test_a_batch_holds_calls_of_like_size_and_the_oldest_does_not_wait():
    run = Doubler()
    submit_all(Batcher(run, batch_size=2), [1, 2, 3, 4, 5, 6], [50, 1, 900, 2, 51, 901])
    assert 1 in run.batches[0]
    assert sorted(sorted(batch) for batch in run.batches) == [[1, 5], [2, 4], [3, 6]]


def test_a_failing_batch_fails_no_other():
    run = Doubler()
    results = submit_all(Batcher(run, batch_size=2), [13, 1, 2, 3], [1, 1, 9, 9])
    assert isinstance(results[0], EngineError)
    assert isinstance(results[1], EngineError)
    assert "ValueError: unlucky" in str(results[0])
    assert results[2:] == [4, 6]


def test_an_exception_for_one_call_is_raised_there_only():
    results = submit_all(Batcher(Doubler(), batch_size=4), [1, 7, 3])
    assert (results[0], str(results[1]), results[2]) == (2, "odd one", 6)


def test_a_cancelled_call_is_not_run_and_a_running_one_is_told():
    entered, told = threading.Event(), threading.Event()
    batches = []

    def run(tickets):
        batches.append([ticket.item for ticket in tickets])
        if tickets[0].item == 0:
            entered.set()
            assert told.wait(5)
            assert tickets[0].abandoned
        return [ticket.item for ticket in tickets]

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(run, batch_size=1, linger=0)
        running = asyncio.create_task(batcher.submit(0))
        await asyncio.to_thread(entered.wait, 5)
        waiting, kept = asyncio.create_task(batcher.submit(1)), asyncio.create_task(batcher.submit(2))
        await asyncio.sleep(0)
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        told.set()
        assert await kept == 2

    asyncio.run(scenario())
    assert batches == [[0], [2]]


def test_closing_fails_what_waits_and_hangs_nothing():
    entered, release = threading.Event(), threading.Event()

    def run(tickets):
        entered.set()
        assert release.wait(5)
        return [ticket.item for ticket in tickets]

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(run, batch_size=1, linger=0)
        running = asyncio.create_task(batcher.submit(0))
        await asyncio.to_thread(entered.wait, 5)
        waiting = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0)
        batcher.close()
        release.set()
        assert await running == 0
        with pytest.raises(EngineError, match="closed"):
            await waiting
        assert await batcher.submit(5) == 5

    asyncio.run(scenario())


def test_it_serves_one_event_loop_after_another_and_pickles():
    batcher = Batcher(Doubler(), batch_size=2)
    assert submit_all(batcher, [1]) == [2]
    assert submit_all(batcher, [2]) == [4]
    assert submit_all(pickle.loads(pickle.dumps(batcher)), [3]) == [6]
