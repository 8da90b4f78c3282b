"""One judge and one size of group: what each contestant's reward is worth, and adaptive's at the same calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from simulated.judges import FloatArray, Judge, groups
from simulated.plays import Measured, measured, play
from simulated.rivals import OWN, RIVALS

__all__ = ["ADAPTIVE_REDUCER", "AIMS", "REDUCERS", "Cell", "Mean", "Row", "measure"]

ADAPTIVE_REDUCER = "bradley_terry:0.5"
REDUCERS = (
    "bradley_terry:0.25",
    "bradley_terry:0.5",
    "bradley_terry:1",
    "bradley_terry:0.5:position_bias",
    "elo",
    "win_rate",
)
FULL = ("bradley_terry:1", "bradley_terry:0.5", "win_rate", "elo")
"""The full tournament is given the best of these."""
SHARE = 0.95
AIMS = (0.7, 0.8, 0.9)
"""Correlations that do not depend on the size of the group, as those of the full tournament do."""
MOST_CALLS = {32: 496, 64: 2016}
"""What adaptive is played to in large groups: all pairs in one order, the most that anybody asks short of all."""
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over groups and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: FloatArray) -> Mean:
        """Of one number for each group."""
        return cls(value=float(np.mean(values)), error=float(np.std(values, ddof=1) / np.sqrt(len(values))))

    @property
    def z(self) -> float:
        """How many standard errors from 0; 0 where nothing varies."""
        return self.value / self.error if self.error > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """A contestant, and what adaptive has more of it at the same calls."""

    name: str
    calls: float
    correlation: Mean
    best: Mean
    correlation_more: Mean
    best_more: Mean


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All that was measured of one judge and size."""

    judge: Judge
    size: int
    groups: int
    full: Row
    rivals: list[Row]
    own: list[Row]
    curve: dict[int, tuple[Mean, Mean]]
    """Correlation and truth of the best, by calls."""
    enough: int | None
    """Calls at which adaptive has 95% of the full tournament's correlation; None where it was not played so far."""
    reached: dict[float, int | None]
    """Calls at which adaptive has a correlation of `AIMS`; None where it never had."""
    reducers: dict[str, Mean]
    """Correlation at three calls for each response."""
    both_orders: tuple[Mean, Mean]
    """Correlation of adaptive with orders="both", and how much more "balanced" has, at six calls for each response."""
    milliseconds: float
    """Of a processor, for one group's choice of matches and estimates, up to three calls for each response."""


def measure(judge: Judge, size: int, count: int) -> Cell:
    """Plays and compares everything."""
    drawn = groups(judge, count, size, SEED)
    worth = partial(measured, groups=drawn)
    most = MOST_CALLS.get(size, size * (size - 1))
    adaptive = play(f"adaptive:{most},0", "balanced", drawn)
    full = play("round_robin", "both", drawn)
    best_full = max((worth(full.values(each)) for each in FULL), key=lambda one: float(np.mean(one.correlation)))

    def at(calls: int) -> Measured:
        return worth((full if calls >= size * (size - 1) else adaptive).values(ADAPTIVE_REDUCER, calls))

    def row(name: str, calls: float, own: Measured) -> Row:
        ours = at(round(calls))
        return Row(
            name=name,
            calls=calls,
            correlation=Mean.of(own.correlation),
            best=Mean.of(own.best),
            correlation_more=Mean.of(ours.correlation - own.correlation),
            best_more=Mean.of(ours.best - own.best),
        )

    rows = {
        kind: [row(one.name, calls, worth(values)) for one in each for values, calls in [one.reward(drawn)]]
        for kind, each in (("rivals", RIVALS), ("own", OWN))
    }
    some = play(f"adaptive:{6 * size},0", "both", drawn)
    twice = worth(some.values(ADAPTIVE_REDUCER))
    reached = at(min(6 * size, most))
    return Cell(
        judge=judge,
        size=size,
        groups=count,
        full=row("full tournament", full.calls, best_full),
        rivals=rows["rivals"],
        own=rows["own"],
        curve={calls: (Mean.of(one.correlation), Mean.of(one.best)) for calls, one in _curve(at, size, most)},
        enough=_enough(at, size, most, SHARE * float(np.mean(best_full.correlation))),
        reached={aim: _enough(at, size, most, aim) for aim in AIMS},
        reducers={each: Mean.of(worth(adaptive.values(each, 3 * size)).correlation) for each in REDUCERS},
        both_orders=(Mean.of(twice.correlation), Mean.of(reached.correlation - twice.correlation)),
        milliseconds=_milliseconds(judge, size),
    )


def _curve(at: Callable[[int], Measured], size: int, most: int) -> list[tuple[int, Measured]]:
    every = size * (size - 1)
    calls = {size // 2, size - 1, *(int(share * size) for share in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12))}
    return [(each, at(each)) for each in sorted({*(one for one in calls if one <= min(most, every)), every})]


def _enough(at: Callable[[int], Measured], size: int, most: int, aim: float) -> int | None:
    """By bisection, since the mean correlation grows with the calls but for noise."""

    def reaches(calls: int) -> bool:
        return float(np.mean(at(calls).correlation)) >= aim

    low, high = 1, min(most, size * (size - 1))
    if not reaches(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def _milliseconds(judge: Judge, size: int) -> float:
    drawn = groups(judge, 10, size, SEED)
    begin = time.process_time()
    play(f"adaptive:{3 * size},0", "balanced", drawn)
    return (time.process_time() - begin) / drawn.count * 1e3
