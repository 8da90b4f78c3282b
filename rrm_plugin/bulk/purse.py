"""A budget of judge calls that replicas on several machines share: an actor, from which each takes some at a time.

Left out: calls that a replica took and did not make before it died; they are not made by another one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from rrm_plugin.engines.limits import Lease

__all__ = ["purse"]


class _Purse:
    """Judge calls that are left; an actor, so that all replicas take from the same ones."""

    def __init__(self, calls: int, takers: int) -> None:
        self._left = calls
        self._takers = takers

    async def take(self, most: int) -> int:
        """So many at most, and fewer towards the end, so that none lie unused with one replica while others stop."""
        taken = min(most, self._left, max(1, self._left // (4 * self._takers)))
        self._left -= taken
        return taken


class _RemotePurse:
    """The purse, as a replica sees it: from whatever event loop its judge has."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def __call__(self, most: int) -> int:
        return await asyncio.wrap_future(self._actor.take.remote(most).future())


def purse(ray: Any, calls: int, *, takers: int) -> Lease:
    """A purse with so many calls, in a process beside this one; it may be pickled.

    Args:
        ray: the module, connected.
        calls: that may be made in all.
        takers: how many replicas take from it.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # With this process, so that no other machine takes it along.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(_Purse).options(num_cpus=0, scheduling_strategy=here)
    return _RemotePurse(actor.remote(calls, takers))
