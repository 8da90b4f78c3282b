"""Which prompts are of a validation, where a group may have another size than in training, mostly one.

verl does not tell its rewards. But its trainer notes each prompt of a validation in its transfer queue, in a partition
of that name, before anything is generated for it; so there it can be looked up. Where there is no such queue (the
trainer before v1) a row can say so itself, as the data sets that verl's scripts prepare do: `extra_info.split` is
"test".
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection

__all__ = ["ValidationPrompts", "noted_in_queue"]

logger = logging.getLogger(__name__)

PARTITION = "val"
PATIENCE = 20.0
"""Seconds for one look into the queue."""


def noted_in_queue() -> Collection[str]:
    """The prompts of the validation that is under way, by uid; none where there is no queue."""
    import ray

    try:
        ray.get_actor("TransferQueueController", namespace="transfer_queue")
    except ValueError:
        return ()
    import transfer_queue

    transfer_queue.init()
    return transfer_queue.kv_list(PARTITION).get(PARTITION, {}).keys()


class ValidationPrompts:
    """Says of a prompt whether it is one of a validation; belongs to one event loop.

    Args:
        noted: the uids of the validation under way.
        remember: prompts that are kept, so that each is looked up once.
    """

    def __init__(self, noted: Callable[[], Collection[str]] = noted_in_queue, remember: int = 65_536) -> None:
        self._noted = noted
        self._remember = remember
        self._known: OrderedDict[str, asyncio.Future[bool]] = OrderedDict()
        self._failed = False

    async def includes(self, uid: str) -> bool:
        """Whether a prompt is of a validation; False where that cannot be found out."""
        answer = self._known.get(uid)
        if answer is None:
            answer = self._known[uid] = asyncio.ensure_future(self._look(uid))
            while len(self._known) > self._remember:
                self._known.popitem(last=False)
        return await asyncio.shield(answer)

    async def _look(self, uid: str) -> bool:
        if self._failed:
            return False
        try:
            return uid in await asyncio.wait_for(asyncio.to_thread(self._noted), PATIENCE)
        except Exception as error:
            self._failed = True
            logger.warning(
                "verl's transfer queue cannot be asked which prompts are of a validation (%s: %s): single samples of a "
                'validation wait for their group until the deadline, unless their rows say extra_info.split: "test"',
                type(error).__name__,
                error,
            )
            return False
