"""One event loop in a daemon thread, so that sync and async callers share one long-lived engine client.

An HTTP client belongs to the loop that made it. Trainers call a reward from a plain script, from a notebook whose loop
is already running, from a loop in a thread of their own, and from spawned children: in each case the work goes to this
loop, and the caller waits for a future. The thread starts at first use, and anew in a forked or unpickled copy.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["BackgroundLoop"]

Result = TypeVar("Result")


class BackgroundLoop:
    """Runs coroutines on an event loop of its own, for callers in any thread or loop."""

    def __init__(self, name: str = "rrm") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Runs `work` to its end and returns what it returns; an interrupt here cancels it there.

        Raises:
            RuntimeError: when called from this very loop, where waiting could never end; or closed meanwhile.
        """
        future = self._submit(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError as error:
            raise RuntimeError("the judge was closed while it was at work") from error
        except BaseException:
            future.cancel()
            raise

    async def run_async(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The same for a caller with a loop of its own, or on this one; cancelling the caller cancels the work."""
        if threading.current_thread() is self._thread and self._pid == os.getpid():
            return await work
        try:
            return await asyncio.wrap_future(self._submit(work))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled the caller: the loop that did the work has ended.
            raise RuntimeError("the judge was closed while it was at work") from None

    def close(self, last: Coroutine[Any, Any, Any] | None = None, patience: float = 5.0) -> None:
        """Cancels what is under way, runs `last`, then ends loop and thread. Harmless when nothing was started.

        From the loop's own thread, where garbage collection may happen to call it, all that is begun and not awaited.
        """
        self._begin_anew_after_fork()
        with self._lock:
            # What is submitted from here on goes to a new loop, and what was submitted before is cancelled below.
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None or not thread.is_alive():
            if last is not None:
                last.close()
            return
        ending = asyncio.run_coroutine_threadsafe(_end(last), loop)
        if thread is threading.current_thread():
            ending.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
            return
        concurrent.futures.wait([ending], timeout=patience)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(patience)

    def _submit(self, work: Coroutine[Any, Any, Result]) -> concurrent.futures.Future[Result]:
        self._begin_anew_after_fork()
        with self._lock:
            if threading.current_thread() is self._thread:
                work.close()
                raise RuntimeError(
                    "a synchronous call was made from inside the judge's own event loop; await the async method"
                )
            return asyncio.run_coroutine_threadsafe(work, self._running())

    def _begin_anew_after_fork(self) -> None:
        if self._pid != os.getpid():
            # A fork copies the object, perhaps with its lock held, but no thread: the child needs its own of both.
            self.__init__(self._name)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(self._loop,), name=f"{self._name}-loop", daemon=True)
            self._thread.start()
        return self._loop

    def __getstate__(self) -> dict[str, Any]:
        return {"_name": self._name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_name"])


async def _end(last: Coroutine[Any, Any, Any] | None) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if last is not None:
        await last


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
