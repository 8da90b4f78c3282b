"""Schedules whose pairs are known before the first verdict: all matches of a group can be judged at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from rrm_plugin.errors import GroupError
from rrm_plugin.schedules._base import OneRound, Stepper, at_least
from rrm_plugin.schedules._orders import Orders, Pair, balanced_orientation, coin, per_pair, seated

__all__ = ["Circulant", "RandomRivals", "Reference", "RoundRobin", "offsets"]


@dataclass(frozen=True, kw_only=True)
class RoundRobin:
    """Every candidate meets every other."""

    @property
    def name(self) -> str:
        return "round_robin"

    @property
    def needs_reference(self) -> bool:
        return False

    def start(self, n: int, orders: Orders, rng: np.random.Generator) -> Stepper:
        # Ring order, not row order: a reducer that reads verdicts in turn does not see all of one candidate first.
        return _one_round(_ring(n, range(1, n // 2 + 1)), orders, rng)

    def calls(self, n: int, orders: Orders) -> int:
        return per_pair(orders) * (n * (n - 1) // 2)


@dataclass(frozen=True, kw_only=True)
class Circulant:
    """Candidate i meets i + o, counted round the ring, for `k` offsets o."""

    k: int = 3

    def __post_init__(self) -> None:
        at_least(1, "circulant k", self.k)

    @property
    def name(self) -> str:
        return f"circulant:{self.k}"

    @property
    def needs_reference(self) -> bool:
        return False

    def start(self, n: int, orders: Orders, rng: np.random.Generator) -> Stepper:
        steps = offsets(n, self.k)
        natural = [(i, (i + step) % n) for step in steps for i in range(n)]
        return OneRound(seated(_ring(n, steps), orders, coin(rng), balance=lambda *_: natural))

    def calls(self, n: int, orders: Orders) -> int:
        steps = offsets(n, self.k)
        if orders == "balanced":
            return n * len(steps)
        return per_pair(orders) * len(_ring(n, steps))


@dataclass(frozen=True, kw_only=True)
class RandomRivals:
    """Every candidate draws `k` distinct opponents; two that draw each other meet once."""

    k: int = 4

    def __post_init__(self) -> None:
        at_least(1, "random k", self.k)

    @property
    def name(self) -> str:
        return f"random:{self.k}"

    @property
    def needs_reference(self) -> bool:
        return False

    def start(self, n: int, orders: Orders, rng: np.random.Generator) -> Stepper:
        pairs: dict[Pair, None] = {}
        for one in range(n):
            for draw in rng.permutation(n - 1)[: self.k].tolist():
                other = draw + (draw >= one)
                pairs[min(one, other), max(one, other)] = None
        return _one_round(list(pairs), orders, rng)

    def calls(self, n: int, orders: Orders) -> int:
        return per_pair(orders) * min(n * self.k, n * (n - 1) // 2)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Every candidate meets one reference: a given answer, a member of the group, or a member drawn by lot."""

    member: int | Literal["random"] | None = None
    """None for a given answer, which is then the last candidate."""

    def __post_init__(self) -> None:
        if self.member is not None and self.member != "random":
            at_least(0, "reference member", self.member)

    @property
    def name(self) -> str:
        return "reference" if self.member is None else f"reference:{self.member}"

    @property
    def needs_reference(self) -> bool:
        return self.member is None

    def start(self, n: int, orders: Orders, rng: np.random.Generator) -> Stepper:
        if n < 2:
            return _one_round([], orders, rng)
        given = n - 1 if self.member is None else self.member
        centre = int(rng.integers(n)) if given == "random" else given
        if centre >= n:
            raise _no_member(centre, n)
        return _one_round([(other, centre) for other in range(n) if other != centre], orders, rng)

    def calls(self, n: int, orders: Orders) -> int:
        return per_pair(orders) * max(n - 1, 0)

    def among(self, player_of: Sequence[int]) -> Reference:
        """The same reference, as the player that stands for it."""
        if not isinstance(self.member, int):
            return self
        if self.member >= len(player_of):
            raise _no_member(self.member, len(player_of))
        return Reference(member=player_of[self.member])


def _no_member(member: int, n: int) -> GroupError:
    return GroupError(f"reference member={member} is no index of a group of {n}; write 0 to {n - 1}")


@lru_cache(maxsize=1024)
def offsets(n: int, k: int) -> tuple[int, ...]:
    """The ring offsets by which `n` candidates meet, at most n // 2 of them, in the order chosen.

    Each offset is the one that, added to those before, makes the sum of the inverse eigenvalues of the comparison
    graph's Laplacian smallest. That sum is proportional to the mean variance of an estimated difference between two
    candidates (A-optimality), and a circulant graph has its eigenvalues in closed form. Equals go to the smaller
    offset. Chosen one by one, a larger k only adds matches, so verdicts already on record stay of use; the sum is
    within 3% of the best choice for n up to 64 and k up to 3. Offset n / 2 has half as many pairs, and comes last.
    """
    steps = np.arange(1, n // 2 + 1)
    weights = np.where(2 * steps == n, 1.0, 2.0)
    spectra = weights[:, None] * (1.0 - np.cos(2.0 * np.pi * np.outer(steps, np.arange(1, n)) / max(n, 1)))
    chosen: list[int] = []
    total = np.zeros(max(n - 1, 0))
    while len(chosen) < min(k, n // 2):
        # Below 1e-9 an eigenvalue is 0 and rounding; the graph is not connected.
        spread = np.sum(1.0 / np.maximum(total + spectra, 1e-9), axis=1)
        free = [step for step in steps.tolist() if step not in chosen]
        regular = [step for step in free if 2 * step != n] or free
        best = min(regular, key=lambda step: (float(f"{spread[step - 1]:.9g}"), step))
        chosen.append(best)
        total = total + spectra[best - 1]
    return tuple(chosen)


def _ring(n: int, steps: Sequence[int]) -> list[Pair]:
    return [(i, (i + step) % n) for step in steps for i in range(n // 2 if 2 * step == n else n)]


def _one_round(pairs: Sequence[Pair], orders: Orders, rng: np.random.Generator) -> OneRound:
    return OneRound(seated(pairs, orders, coin(rng), balance=lambda pairs, _: balanced_orientation(pairs, rng)))
