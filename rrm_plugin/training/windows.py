"""Many judge calls under way at a time, their results in the order of the questions: for streams of any length."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from rrm_plugin.background import BackgroundLoop
from rrm_plugin.engines.base import Engine
from rrm_plugin.errors import BudgetSpentError, EngineUnavailableError
from rrm_plugin.types import Judgement, Reason

__all__ = ["Answered", "in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW = 256
"""Items under way: enough to keep an engine full while the oldest of them is waited for."""


def in_order(
    loop: BackgroundLoop,
    items: Iterable[Item],
    work: Callable[[Item], Coroutine[Any, Any, Result]],
    window: int = WINDOW,
) -> Iterator[Result]:
    """The results of `work`, in the order of the items.

    Args:
        loop: where the work is done; several streams over the same engine have to share one.
        items: read as far ahead as the window is wide.
        work: what is done with an item; an exception ends the iteration.
        window: most items under way.
    """
    pending: deque[asyncio.Task[Result]] = deque()
    try:
        for item in items:
            pending.append(loop.run(_started(work(item))))
            if len(pending) >= window:
                yield loop.run(_ended(pending.popleft()))
        while pending:
            yield loop.run(_ended(pending.popleft()))
    except BudgetSpentError:
        # What is under way is paid, and no more will be: a ledger has it when it is through.
        loop.run(_finished(pending))
        raise
    finally:
        if pending:
            loop.run(_cancelled(pending))


async def _started(work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    return asyncio.get_running_loop().create_task(work)


async def _ended(task: asyncio.Task[Result]) -> Result:
    return await task


async def _finished(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Answered:
    """Sees to it that a run ends where its engine never answers.

    Args:
        engine: named in the error.
        patience: failed calls before the run is given up.
    """

    def __init__(self, engine: Engine, patience: int = 20) -> None:
        self._engine = engine
        self._patience = patience
        self._failed = 0
        self._ever = False

    def note(self, judgement: Judgement) -> bool:
        """Whether the model itself answered this call.

        Raises:
            EngineUnavailableError: it has answered none of many calls.
            BudgetSpentError: the budget is spent, and no later call will be answered either.
        """
        if judgement.reason is Reason.OVER_BUDGET:
            raise BudgetSpentError(judgement.detail)
        answered = judgement.reason is None or not judgement.reason.of_engine
        self._ever = self._ever or answered
        self._failed += not answered
        if not self._ever and self._failed >= self._patience:
            raise EngineUnavailableError(
                f"the engine {self._engine.name!r} has answered none of {self._failed} calls; "
                f"the last failed with: {judgement.detail}"
            )
        return answered
