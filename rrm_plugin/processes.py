"""Talking to the other ranks of a distributed run, where there are any.

Trainers split a batch over ranks without regard to groups, so whole groups have to be put together across processes.
Collectives must be called by every rank or by none; whoever calls `gather` here has to see to that. torch is used only
where the process has loaded and initialised it; nothing here imports it. With NCCL the objects travel through the
current CUDA device, which trainers set for the main thread alone: gather from there (not run on a GPU).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

__all__ = ["Alone", "Ranks", "TorchRanks", "ranks"]

Item = TypeVar("Item")


class Ranks(Protocol):
    """The processes that run the same trainer together."""

    @property
    def rank(self) -> int:
        """This process among them, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def gather(self, item: Item) -> list[Item]:
        """What each rank passed, in rank order. Every rank must call it."""
        ...


@dataclass(frozen=True)
class Alone:
    """One process."""

    rank: int = 0
    size: int = 1

    def gather(self, item: Item) -> list[Item]:
        """The item itself."""
        return [item]


@dataclass(frozen=True)
class TorchRanks:
    """The default process group of torch.distributed."""

    rank: int
    size: int

    def gather(self, item: Item) -> list[Item]:
        """What each rank passed, in rank order, pickled on the way."""
        from torch import distributed

        gathered: list[Any] = [None] * self.size
        distributed.all_gather_object(gathered, item)
        return gathered


def ranks() -> Ranks:
    """The ranks that this process belongs to."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return Alone()
    size = distributed.get_world_size()
    return TorchRanks(distributed.get_rank(), size) if size > 1 else Alone()
