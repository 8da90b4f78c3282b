"""Rounds between candidates near in points. A round pairs everybody by all verdicts before it, so it waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from rrm_plugin.schedules._base import Stepper, at_least
from rrm_plugin.schedules._orders import Orders, Pair, RunningBalance, coin, per_pair, seated
from rrm_plugin.schedules._standing import points
from rrm_plugin.types import Judgement, Match

__all__ = ["Swiss"]

Distance = Callable[[int, int], tuple[float, int, int]]
"""How far apart two candidates stand; the nearest meet."""


@dataclass(frozen=True, kw_only=True)
class Swiss:
    """`rounds` rounds between candidates that are near in points; nobody meets the same candidate twice."""

    rounds: int = 3

    def __post_init__(self) -> None:
        at_least(1, "swiss rounds", self.rounds)

    @property
    def name(self) -> str:
        return f"swiss:{self.rounds}"

    @property
    def needs_reference(self) -> bool:
        return False

    def start(self, n: int, orders: Orders, rng: np.random.Generator) -> Stepper:
        return _SwissStepper(self.rounds, n, orders, rng)

    def calls(self, n: int, orders: Orders) -> int:
        return per_pair(orders) * min(self.rounds * (n // 2), n * (n - 1) // 2)


class _SwissStepper:
    def __init__(self, rounds: int, n: int, orders: Orders, rng: np.random.Generator) -> None:
        per_pair(orders)
        self._rounds_left = rounds
        self._round = 0
        self._n = n
        self._orders: Orders = orders
        self._toss = coin(rng)
        self._lots = rng.permutation(n).tolist()
        self._met: set[Pair] = set()
        self._byes = [0] * n
        self._balance = RunningBalance(n)

    def next_matches(self, judgements: Sequence[Judgement]) -> list[Match]:
        pairs = self._pairs(points(judgements, self._n)) if self._rounds_left else []
        if not pairs:
            self._rounds_left = 0
            return []
        self._met.update((min(pair), max(pair)) for pair in pairs)
        for index in set(range(self._n)).difference(*pairs):
            self._byes[index] += 1
        matches = seated(pairs, self._orders, self._toss, balance=self._balance, round=self._round)
        self._rounds_left -= 1
        self._round += 1
        return matches

    def _pairs(self, points: list[float]) -> list[Pair]:
        standing = sorted(range(self._n), key=lambda index: (-points[index], self._lots[index]))
        if self._n % 2:
            # The last one in the standing among those who sat out least.
            standing.remove(min(reversed(standing), key=lambda index: self._byes[index]))
        place = {index: position for position, index in enumerate(standing)}
        lead = self._balance.lead

        def distance(one: int, other: int) -> tuple[float, int, int]:
            # Points count first; then, under balanced orders, who is due to be first meets who is due to be second.
            return abs(points[one] - points[other]), abs(lead[one] + lead[other]), abs(place[one] - place[other])

        return _round_without_rematch(standing, distance, self._met)


def _round_without_rematch(standing: list[int], distance: Distance, met: set[Pair]) -> list[Pair]:
    """Pair the candidates, the nearest first from the top; who can only meet old opponents is left out.

    Nobody is left out while everybody has at least half of the group still to meet: two left over then always find a
    pair whose members can be given to them.
    """
    pairs: list[Pair] = []
    left: list[int] = []
    waiting = list(standing)
    while waiting:
        head = waiting.pop(0)
        rival = min((other for other in waiting if _new(head, other, met)), key=partial(distance, head), default=None)
        if rival is None:
            left.append(head)
        else:
            waiting.remove(rival)
            pairs.append((head, rival))
    for one, other in combinations(left, 2):
        if one in left and other in left and _taken_in(one, other, pairs, distance, met):
            left = [index for index in left if index not in (one, other)]
    return pairs


def _taken_in(one: int, other: int, pairs: list[Pair], distance: Distance, met: set[Pair]) -> bool:
    """Break up the pair whose members suit these two best, and pair them anew; False where there is none."""
    swaps = [
        (distance(one, a)[0] + distance(other, b)[0], place, a, b)
        for place, pair in enumerate(pairs)
        for a, b in (pair, pair[::-1])
        if _new(one, a, met) and _new(other, b, met)
    ]
    if not swaps:
        return False
    _, place, a, b = min(swaps)
    pairs[place : place + 1] = [(one, a), (other, b)]
    return True


def _new(one: int, other: int, met: set[Pair]) -> bool:
    return (min(one, other), max(one, other)) not in met
