"""Losers leave. A match needs the winners of two others and no more, so each branch of the bracket goes on by itself.

What chance decides of a match, who meets and who is shown first, belongs to its place in the bracket: a tournament is
the same in whatever order its verdicts come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rrm_plugin.errors import ConfigError, GroupError
from rrm_plugin.schedules._base import Stepper
from rrm_plugin.schedules._orders import Orders, Pair, RunningBalance, per_pair, seated
from rrm_plugin.schedules._standing import net
from rrm_plugin.types import Judgement, Match

__all__ = ["Knockout"]

Line = list[int | None]
"""Who stands where in a round. None is nobody in the first round, and in a later one nobody yet."""
Place = tuple[int, int]
"""Of a pair in the bracket: its round, and how many places are above it there."""


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


@dataclass(frozen=True, kw_only=True)
class _Meeting:
    """A pair that was handed out, and what is known of its matches."""

    place: Place
    heard: dict[Match, Judgement] = field(default_factory=dict)


class _KnockoutStepper:
    def __init__(self, seeds: list[int], orders: Orders, rng: np.random.Generator) -> None:
        self._per_pair = per_pair(orders)
        self._orders: Orders = orders
        self._rank = {index: place for place, index in enumerate(seeds)}
        self._balance = RunningBalance(len(seeds))
        self._lines = _lines(seeds)
        self._number = {place: number for number, place in enumerate(_places(self._lines))}
        """In the order of play, of each pair that will meet."""
        # One for each pair beforehand, needed or not: drawn when it meets, it would hang on who met before.
        self._turned = (rng.random(len(self._number)) < 0.5).tolist() if orders in ("balanced", "random") else []
        self._ready: set[Place] = {place for place in self._number if None not in self._players(place)}
        """Pairs whose two are known, and that were not handed out."""
        self._under_way: dict[Pair, _Meeting] = {}

    def next_matches(self, judgements: Sequence[Judgement]) -> list[Match]:
        self._hear(judgements)
        # All that was handed out is over, so what was not heard of has no verdict.
        for pair in list(self._under_way):
            self._settle(pair)
        first = min(self._ready, default=(0, 0))[0]
        return list(self._hand_out({place for place in self._ready if place[0] == first}).values())

    def matches_after(self, judgements: Mapping[int, Judgement]) -> dict[int, Match]:
        for pair in self._hear(judgements.values()):
            if len(self._under_way[pair].heard) == self._per_pair:
                self._settle(pair)
        return self._hand_out(self._ready)

    def _hear(self, judgements: Iterable[Judgement]) -> list[Pair]:
        """Notes what is new, and says of which pairs that is."""
        told = [(one.match, one) for one in judgements if one.match is not None and one.match.pair in self._under_way]
        for match, judgement in told:
            self._under_way[match.pair].heard[match] = judgement
        return list(dict.fromkeys(match.pair for match, _ in told))

    def _settle(self, pair: Pair) -> None:
        """The winner goes on, and is ready to play where it is known against whom."""
        meeting = self._under_way.pop(pair)
        round, index = meeting.place[0] + 1, meeting.place[1]
        self._lines[round][index] = self._winner(pair, net(meeting.heard.values()).get(pair, 0.0))
        following = (round, index // 2)
        if following in self._number and None not in self._players(following):
            self._ready.add(following)

    def _winner(self, pair: Pair, result: float) -> int:
        if result == 0.0:
            # By seed, which is drawn by lot: to decide by position or index would pay for something else than quality.
            return min(pair, key=lambda index: self._rank[index])
        return pair[0] if result > 0 else pair[1]

    def _hand_out(self, places: set[Place]) -> dict[int, Match]:
        self._ready = self._ready - places
        return {number: match for place in sorted(places) for number, match in self._shown(place)}

    def _shown(self, place: Place) -> Iterable[tuple[int, Match]]:
        """The matches of a pair, each with its place in the order of play."""
        one, other = self._players(place)
        assert one is not None and other is not None
        number = self._number[place]
        matches = seated(
            [(one, other)], self._orders, lambda: self._turned[number], balance=self._balance, round=place[0]
        )
        self._under_way[matches[0].pair] = _Meeting(place=place)
        return enumerate(matches, start=number * self._per_pair)

    def _players(self, place: Place) -> tuple[int | None, int | None]:
        line = self._lines[place[0]]
        return line[2 * place[1]], line[2 * place[1] + 1]


def _lines(seeds: list[int]) -> list[Line]:
    """The bracket before its first match: whoever has no rival in the first round stands in the second as well."""
    first = _bracket(seeds)
    lines = [first, [one if other is None else None for one, other in zip(first[::2], first[1::2], strict=False)]]
    while len(lines[-1]) > 1:
        lines.append([None] * (len(lines[-1]) // 2))
    return lines


def _bracket(seeds: list[int]) -> Line:
    """The first round's line: the two best can only meet in the final, and places without a candidate face the best."""
    places = [0]
    while len(places) < len(seeds):
        last = 2 * len(places) - 1
        places = [place for one in places for place in (one, last - one)]
    return [seeds[place] if place < len(seeds) else None for place in places]


def _places(lines: list[Line]) -> list[Place]:
    """Where pairs will meet, round by round from the top."""
    alone = {index // 2 for index, player in enumerate(lines[0]) if player is None}
    return [
        (round, index)
        for round, line in enumerate(lines)
        for index in range(len(line) // 2)
        if round or index not in alone
    ]
