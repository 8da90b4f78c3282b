"""The background loop serves scripts, running loops, threads, pickled copies and forked children alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import threading

import pytest

from rrm_plugin.background import BackgroundLoop


async def _where() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


@pytest.fixture
def loop():
    loop = BackgroundLoop("test")
    yield loop
    loop.close()


def test_runs_from_a_plain_script(loop):
    assert loop.run(_where()) == "test-loop"


def test_runs_inside_a_running_loop(loop):
    async def notebook():
        return loop.run(_where())

    assert asyncio.run(notebook()) == "test-loop"


def test_awaited_from_two_loops_in_turn(loop):
    async def other():
        return await loop.run_async(_where())

    assert asyncio.run(other()) == asyncio.run(other()) == "test-loop"


def test_waiting_on_itself_is_an_error_not_a_deadlock(loop):
    async def inner():
        loop.run(_where())

    with pytest.raises(RuntimeError, match="own event loop"):
        loop.run(inner())


def test_errors_reach_the_caller(loop):
    async def fail():
        raise KeyError("this one")

    with pytest.raises(KeyError, match="this one"):
        loop.run(fail())


def test_cancelling_the_caller_cancels_the_work(loop):
    started, cancelled = threading.Event(), threading.Event()

    async def work():
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def caller():
        task = asyncio.create_task(loop.run_async(work()))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(caller())
    assert cancelled.wait(5)


def test_close_runs_the_last_work_and_a_later_call_starts_anew(loop):
    closed = []

    async def last():
        closed.append(threading.current_thread().name)

    loop.run(_where())
    loop.close(last())
    assert closed == ["test-loop"]
    assert loop.run(_where()) == "test-loop"


def test_close_ends_what_others_wait_for(loop):
    started, outcome = threading.Event(), []

    async def deep(level):
        started.set()
        await asyncio.gather(deep(level - 1) if level else asyncio.Event().wait())

    def wait():
        try:
            loop.run(deep(20))
        except RuntimeError as error:
            outcome.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert started.wait(5)
    loop.close()
    waiting.join(5)
    assert outcome == ["the judge was closed while it was at work"]


def test_calls_and_closings_from_many_threads_all_come_to_an_end(loop):
    def use():
        for _ in range(200):
            try:
                loop.run(_where())
            except RuntimeError:
                continue

    def close():
        for _ in range(200):
            loop.close()

    threads = [threading.Thread(target=work) for work in (use, use, use, close)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_close_without_use_is_harmless():
    BackgroundLoop().close(_where())


def test_a_pickled_copy_has_a_loop_of_its_own(loop):
    loop.run(_where())
    copy = pickle.loads(pickle.dumps(loop))
    assert copy.run(_where()) == "test-loop"
    copy.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_loop_of_its_own(loop):
    loop.run(_where())
    child = os.fork()
    if child == 0:
        os._exit(0 if loop.run(_where()) == "test-loop" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_a_call_can_close(loop):
    loop.run(_where())
    with loop._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            loop.close()
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_closed_from_its_own_thread_it_ends_without_waiting_for_itself(loop):
    # As where the last reference to a judge goes in a callback on its loop.
    ended = threading.Event()

    async def last():
        ended.set()

    async def inner():
        thread = threading.current_thread()
        loop.close(last(), patience=60)
        return thread

    thread = None
    with contextlib.suppress(RuntimeError):
        thread = loop.run(inner())
    assert ended.wait(10)
    if thread is not None:
        thread.join(10)
        assert not thread.is_alive()
    assert loop.run(_where()) == "test-loop"
