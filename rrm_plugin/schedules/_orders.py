"""Who of a pair is shown first.

A judge may favour a position, so this is never left to the order in which responses happened to arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from rrm_plugin.errors import ConfigError
from rrm_plugin.types import Match

__all__ = ["Coin", "Orders", "Pair", "RunningBalance", "balanced_orientation", "coin", "per_pair", "seated"]

Orders = Literal["both", "balanced", "random", "fixed"]
"""How the pairs of a schedule are shown.

    both      every pair twice, once in each order
    balanced  every pair once, each candidate first as often as second (a difference of 1 where its pairs are odd)
    random    every pair once, a coin decides
    fixed     every pair once, the lower index first
"""

Pair = tuple[int, int]

Coin = Callable[[], bool]
"""Tossed where chance decides who of a pair is shown first: True turns the pair round."""


def coin(rng: np.random.Generator) -> Coin:
    """A fair one; each toss is the generator's next number."""
    return lambda: bool(rng.random() < 0.5)


def per_pair(orders: Orders) -> int:
    """Matches that a pair takes.

    Raises:
        ConfigError: `orders` is none of the known ones.
    """
    if orders not in get_args(Orders):
        raise ConfigError(f"orders={orders!r} is not known; write one of: {', '.join(get_args(Orders))}")
    return 2 if orders == "both" else 1


def seated(
    pairs: Sequence[Pair],
    orders: Orders,
    toss: Coin,
    balance: Callable[[Sequence[Pair], Coin], list[Pair]],
    round: int = 0,
) -> list[Match]:
    """The matches of pairs of one round; `balance` orients them where `orders` is "balanced"."""
    if per_pair(orders) == 2:
        shown = [order for first, second in pairs for order in ((first, second), (second, first))]
    elif orders == "balanced":
        shown = balance(pairs, toss)
    elif orders == "random":
        shown = [pair[::-1] if toss() else pair for pair in pairs]
    else:
        shown = [(min(pair), max(pair)) for pair in pairs]
    return [Match(first=first, second=second, round=round) for first, second in shown]


def balanced_orientation(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Pair]:
    """Turn each pair so that every candidate is first as often as second, up to 1 where it has an odd number of pairs.

    Pairs are the edges of a graph. An extra vertex tied to all vertices of odd degree makes every degree even, so that
    a walk along unused edges can only end where it began: it enters each vertex as often as it leaves it. `rng` decides
    which candidates get the odd first place.
    """
    extra = 1 + max((max(pair) for pair in pairs), default=-1)
    edges = [*pairs, *((extra, vertex) for vertex in _odd_vertices(pairs))]
    unused: list[list[int]] = [[] for _ in range(extra + 1)]
    for edge in rng.permutation(len(edges)).tolist():
        for vertex in edges[edge]:
            unused[vertex].append(edge)
    oriented: list[Pair | None] = [None] * len(edges)
    for start in rng.permutation(extra + 1).tolist():
        vertex = start
        while unused[vertex]:
            edge = unused[vertex].pop()
            if oriented[edge] is None:
                other = edges[edge][0] + edges[edge][1] - vertex
                oriented[edge] = (vertex, other)
                vertex = other
    return [pair for pair in oriented[: len(pairs)] if pair is not None]


def _odd_vertices(pairs: Sequence[Pair]) -> list[int]:
    odd: set[int] = set()
    for pair in pairs:
        odd.symmetric_difference_update(pair)
    return sorted(odd)


class RunningBalance:
    """Orients the pairs of one round after another: who has been first less often so far is first, or by coin.

    Later rounds depend on verdicts, so two candidates that both have been first more often may have to meet; a
    difference above 1 is then unavoidable.
    """

    def __init__(self, n: int) -> None:
        self.lead = [0] * n
        """Times shown first minus times shown second, per candidate."""

    def __call__(self, pairs: Sequence[Pair], toss: Coin) -> list[Pair]:
        return [self._turned(*pair, toss) for pair in pairs]

    def _turned(self, one: int, other: int, toss: Coin) -> Pair:
        ahead = self.lead[one] - self.lead[other]
        if ahead > 0 or (ahead == 0 and toss()):
            one, other = other, one
        self.lead[one] += 1
        self.lead[other] -= 1
        return one, other
