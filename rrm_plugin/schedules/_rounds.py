"""Schedules whose next round depends on the verdicts of the last: fewer matches, but rounds wait for each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from rrm_plugin.errors import ConfigError, GroupError
from rrm_plugin.schedules._base import Stepper, at_least
from rrm_plugin.schedules._orders import Orders, Pair, RunningBalance, per_pair, seated
from rrm_plugin.types import Judgement, Match, Verdict

__all__ = ["Knockout", "Swiss"]

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


@dataclass(frozen=True, kw_only=True)
class Knockout:
    """Losers leave until one candidate is left: n - 1 pairs in log2(n) rounds."""

    seeds: tuple[int, ...] | None = None
    """All candidates, best first; None draws them by lot."""

    def __post_init__(self) -> None:
        if self.seeds is not None and sorted(self.seeds) != list(range(len(self.seeds))):
            last = len(self.seeds) - 1
            raise ConfigError(f"knockout seeds={self.seeds!r} must name each of 0 to {last} once, best first")

    @property
    def name(self) -> str:
        return "knockout" if self.seeds is None else "knockout:" + ",".join(map(str, self.seeds))

    @property
    def needs_reference(self) -> bool:
        return False

    def start(self, n: int, orders: Orders, rng: np.random.Generator) -> Stepper:
        if self.seeds is not None and len(self.seeds) != n:
            raise _wrong_size(self.seeds, n)
        seeds = rng.permutation(n).tolist() if self.seeds is None else list(self.seeds)
        return _KnockoutStepper(seeds, orders, rng)

    def calls(self, n: int, orders: Orders) -> int:
        return per_pair(orders) * max(n - 1, 0)

    def among(self, player_of: Sequence[int]) -> Knockout:
        """The same seeding of the players: each has the best seed among those it stands for."""
        if self.seeds is None:
            return self
        if len(self.seeds) != len(player_of):
            raise _wrong_size(self.seeds, len(player_of))
        return Knockout(seeds=tuple(dict.fromkeys(player_of[member] for member in self.seeds)))


def _wrong_size(seeds: Sequence[int], n: int) -> GroupError:
    return GroupError(f"knockout seeds={tuple(seeds)!r} names {len(seeds)} candidates, the group has {n}")


class _SwissStepper:
    def __init__(self, rounds: int, n: int, orders: Orders, rng: np.random.Generator) -> None:
        per_pair(orders)
        self._rounds_left = rounds
        self._round = 0
        self._n = n
        self._orders: Orders = orders
        self._rng = rng
        self._lots = rng.permutation(n).tolist()
        self._met: set[Pair] = set()
        self._byes = [0] * n
        self._balance = RunningBalance(n, rng)

    def next_matches(self, judgements: Sequence[Judgement]) -> list[Match]:
        pairs = self._pairs(_points(judgements, self._n)) if self._rounds_left else []
        if not pairs:
            self._rounds_left = 0
            return []
        self._met.update((min(pair), max(pair)) for pair in pairs)
        for index in set(range(self._n)).difference(*pairs):
            self._byes[index] += 1
        matches = seated(pairs, self._orders, self._rng, balance=self._balance, round=self._round)
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


class _KnockoutStepper:
    def __init__(self, seeds: list[int], orders: Orders, rng: np.random.Generator) -> None:
        per_pair(orders)
        self._orders: Orders = orders
        self._rng = rng
        self._rank = {index: place for place, index in enumerate(seeds)}
        self._line = _bracket(seeds)
        self._balance = RunningBalance(len(seeds), rng)
        self._round = 0

    def next_matches(self, judgements: Sequence[Judgement]) -> list[Match]:
        if self._round:
            net = _net(judgements)
            self._line = [self._winner(one, other, net) for one, other in _neighbours(self._line)]
        pairs = [(one, other) for one, other in _neighbours(self._line) if one is not None and other is not None]
        matches = seated(pairs, self._orders, self._rng, balance=self._balance, round=self._round)
        self._round += 1
        return matches

    def _winner(self, one: int | None, other: int | None, net: dict[Pair, float]) -> int | None:
        if one is None or other is None:
            return other if one is None else one
        result = net.get((min(one, other), max(one, other)), 0.0)
        if result == 0.0:
            # By seed, which is drawn by lot: to decide by position or index would pay for something else than quality.
            return min(one, other, key=lambda index: self._rank[index])
        return min(one, other) if result > 0 else max(one, other)


def _bracket(seeds: list[int]) -> list[int | None]:
    """The first round's line: the two best can only meet in the final, and places without a candidate face the best."""
    places = [0]
    while len(places) < len(seeds):
        last = 2 * len(places) - 1
        places = [place for one in places for place in (one, last - one)]
    return [seeds[place] if place < len(seeds) else None for place in places]


def _neighbours(line: list[int | None]) -> list[tuple[int | None, int | None]]:
    return [(line[i], line[i + 1] if i + 1 < len(line) else None) for i in range(0, len(line), 2)]


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


def _net(judgements: Sequence[Judgement]) -> dict[Pair, float]:
    """Mean result of each pair with a verdict, in [-1, 1]: above 0 the lower index won more."""
    results: dict[Pair, list[float]] = {}
    for judgement in judgements:
        if judgement.verdict is None or judgement.match is None:
            continue
        winner = {Verdict.FIRST: 1.0, Verdict.SECOND: -1.0, Verdict.TIE: 0.0}[judgement.verdict]
        straight = judgement.match.first < judgement.match.second
        results.setdefault(judgement.match.pair, []).append(winner if straight else -winner)
    return {pair: sum(values) / len(values) for pair, values in results.items()}


def _points(judgements: Sequence[Judgement], n: int) -> list[float]:
    """Points of each candidate: 1 for a pair won, -1 for one lost, less for a split; a bye and no verdict give 0."""
    points = [0.0] * n
    for (low, high), result in _net(judgements).items():
        points[low] += result
        points[high] -= result
    return points
