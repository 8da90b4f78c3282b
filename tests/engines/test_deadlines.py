from __future__ import annotations

import asyncio

import pytest

from rrm_plugin.engines.deadlines import Deadlines


async def limited(deadlines: Deadlines, seconds: float, body) -> str:
    """What `body` returns, or "late"."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    deadlines.enter(task, seconds)
    try:
        return await body
    except asyncio.CancelledError:
        if deadlines.leave(task) and task.uncancel() <= before:
            return "late"
        raise
    finally:
        deadlines.leave(task)


async def value(text: str) -> str:
    await asyncio.sleep(0)
    return text


def test_only_the_late_ones_are_cancelled_each_at_its_time():
    async def run() -> list[str]:
        deadlines = Deadlines(asyncio.get_running_loop())
        never = asyncio.Event().wait
        calls = [
            limited(deadlines, 60, value("a")),
            limited(deadlines, 0.03, never()),
            limited(deadlines, 0.01, never()),
        ]
        results = await asyncio.wait_for(asyncio.gather(*calls), 5)
        assert not deadlines._due
        assert not deadlines._expired
        assert deadlines._timer is None
        return results

    assert asyncio.run(run()) == ["a", "late", "late"]


def test_somebody_elses_cancellation_stays_one():
    async def run() -> None:
        deadlines = Deadlines(asyncio.get_running_loop())
        task = asyncio.create_task(limited(deadlines, 60, asyncio.Event().wait()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not deadlines._due

    asyncio.run(run())


def test_a_cancellation_that_comes_with_the_deadline_wins():
    async def run() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(loop)
        task = asyncio.create_task(limited(deadlines, 60, asyncio.Event().wait()))
        await asyncio.sleep(0)
        deadlines._due[task] = loop.time()
        deadlines._wake()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_task_goes_on_after_its_deadline():
    async def run() -> str:
        deadlines = Deadlines(asyncio.get_running_loop())
        first = await limited(deadlines, 0.01, asyncio.Event().wait())
        return first + await limited(deadlines, 60, value(", then fine"))

    assert asyncio.run(run()) == "late, then fine"


def test_one_timer_serves_many():
    async def run() -> None:
        loop = asyncio.get_running_loop()
        timers = []
        call_at = loop.call_at

        def counted(*arguments, **options):
            timers.append(arguments)
            return call_at(*arguments, **options)

        loop.call_at = counted  # type: ignore[method-assign]
        deadlines = Deadlines(loop)
        await asyncio.gather(*(limited(deadlines, 600, value("x")) for _ in range(500)))
        assert len(timers) == 1

    asyncio.run(run())
