"""Deadlines for many tasks with one timer.

A timer for each request is, at some thousand requests a second, a tenth of all that a client does. Nearly no deadline
is ever reached, so here a task's deadline is one entry of a dict, and the loop's timer waits for the earliest.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

__all__ = ["Deadlines"]

Task = asyncio.Task[Any]


class Deadlines:
    """Cancels the tasks of one event loop whose time is up.

    The task has to tell such a cancellation from one that somebody else asked for:

        before = task.cancelling()
        deadlines.enter(task, seconds)
        try:
            ...
        except asyncio.CancelledError:
            if deadlines.leave(task) and task.uncancel() <= before:
                ...  # the deadline
            raise
        finally:
            deadlines.leave(task)
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[Task, float] = {}
        self._expired: set[Task] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = math.inf

    def enter(self, task: Task, seconds: float) -> None:
        """Cancel the task in `seconds`, unless it leaves before. A task has one deadline at a time."""
        due = self._loop.time() + seconds
        self._due[task] = due
        if due < self._wakes:
            self._wake_at(due)

    def leave(self, task: Task) -> bool:
        """Forget the task's deadline; returns whether it was reached, once."""
        self._due.pop(task, None)
        if task in self._expired:
            self._expired.discard(task)
            return True
        return False

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = due
        self._timer = None if due == math.inf else self._loop.call_at(due, self._wake)

    def _wake(self) -> None:
        now = self._loop.time()
        for task in [task for task, due in self._due.items() if due <= now]:
            del self._due[task]
            self._expired.add(task)
            task.cancel()
        self._timer = None
        self._wake_at(min(self._due.values(), default=math.inf))
