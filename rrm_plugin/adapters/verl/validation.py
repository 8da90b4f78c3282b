"""Which prompts are of a validation, where a group may have another size than in training, mostly one.

verl does not tell its rewards. But its trainer notes each prompt of a validation in its transfer queue, in a partition
of that name, before anything is generated for it; so there it can be looked up. What a row says itself
(`extra_info.split` is "test") is only believed where there is no such queue (the trainer before v1): training data may
well come from a split of that name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

__all__ = ["ValidationPrompts", "noted_in_queue"]

logger = logging.getLogger(__name__)

PARTITION = "val"
PATIENCE = 20.0
"""Seconds for which a sample waits to be looked up."""

PAUSE = 30.0
"""Seconds without a look after one that failed."""

Noted = Collection[str] | None


def noted_in_queue() -> Noted:
    """The prompts of the validation that is under way, by uid; None where there is no queue."""
    import ray

    try:
        ray.get_actor("TransferQueueController", namespace="transfer_queue")
    except ValueError:
        return None
    import transfer_queue

    transfer_queue.init()
    return transfer_queue.kv_list(PARTITION).get(PARTITION, {}).keys()


class ValidationPrompts:
    """Says of a prompt whether it is one of a validation; belongs to one event loop.

    A look tells of all prompts, so those that come together share one, and there is one at a time: a queue that is slow
    is not asked more for it.

    Args:
        noted: the uids of the validation under way.
        remember: prompts that are kept, so that each is looked up once, and all of its samples are told the same.
        patience: seconds for which a sample waits.
        pause: seconds without a look after one that failed.
    """

    def __init__(
        self,
        noted: Callable[[], Noted] = noted_in_queue,
        remember: int = 65_536,
        patience: float = PATIENCE,
        pause: float = PAUSE,
    ) -> None:
        self._noted = noted
        self._remember = remember
        self._patience = patience
        self._pause = pause
        self._known: OrderedDict[str, asyncio.Future[bool | None]] = OrderedDict()
        self._look: asyncio.Future[Noted] | None = None
        self._next: asyncio.Future[Noted] | None = None
        self._again_at = 0.0
        self._warned = False

    async def includes(self, uid: str) -> bool | None:
        """Whether a prompt is of a validation; None where that cannot be found out."""
        answer = self._known.get(uid)
        if answer is None:
            answer = self._known[uid] = asyncio.ensure_future(self._find(uid))
            while len(self._known) > self._remember:
                self._known.popitem(last=False)
        return await asyncio.shield(answer)

    async def _find(self, uid: str) -> bool | None:
        if time.monotonic() < self._again_at:
            return None
        try:
            found = await asyncio.wait_for(asyncio.shield(self._look_from_now_on()), self._patience)
        except Exception as error:
            self._again_at = time.monotonic() + self._pause
            self._warn(error)
            return None
        self._warned = False
        return None if found is None else uid in found

    def _look_from_now_on(self) -> asyncio.Future[Noted]:
        """A look that begins now or later: one under way may have begun before a prompt was noted."""
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(asyncio.to_thread(self._noted))
            return self._look
        if self._next is None:
            self._next = asyncio.ensure_future(self._look_after(self._look))
        return self._next

    async def _look_after(self, look: asyncio.Future[Noted]) -> Noted:
        await asyncio.wait([look])
        self._look, self._next = self._next, None
        return await asyncio.to_thread(self._noted)

    def _warn(self, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        said = str(error) or f"no answer within {self._patience:g} s"
        logger.warning(
            "verl's transfer queue cannot be asked which prompts are of a validation (%s: %s), and is asked again in "
            "%g s; meanwhile single samples of a validation wait for their group until the deadline, unless their rows "
            'say extra_info.split: "test"',
            type(error).__name__,
            said,
            self._pause,
        )
