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
        self._start_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Runs `work` to its end and returns what it returns; an interrupt here cancels it there.

        Raises:
            RuntimeError: when called from this very loop, where waiting could never end.
        """
        future = self._submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def run_async(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The same for a caller with a loop of its own; cancelling the caller cancels the work."""
        return await asyncio.wrap_future(self._submit(work))

    def close(self, last: Coroutine[Any, Any, Any] | None = None, patience: float = 5.0) -> None:
        """Runs `last` on the loop, then ends loop and thread. Harmless when nothing was started."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or self._pid != os.getpid() or not thread.is_alive():
            if last is not None:
                last.close()
            return
        if last is not None:
            future = asyncio.run_coroutine_threadsafe(last, loop)
            concurrent.futures.wait([future], timeout=patience)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(patience)
        self._loop = self._thread = None

    def _submit(self, work: Coroutine[Any, Any, Result]) -> concurrent.futures.Future[Result]:
        loop = self._running()
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError(
                "a synchronous call was made from inside the judge's own event loop; await the async method"
            )
        return asyncio.run_coroutine_threadsafe(work, loop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._start_lock:
            # A fork copies the object, but no thread: the child needs a loop of its own.
            if self._loop is None or self._pid != os.getpid():
                self._loop = asyncio.new_event_loop()
                self._pid = os.getpid()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name=f"{self._name}-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    def __getstate__(self) -> dict[str, Any]:
        return {"_name": self._name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_name"])


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
