"""Numbers over the steps of a run, from sums that grow as the ledger does.

A ledger may hold hundreds of thousands of groups, and is read from its start once; afterwards only what came since.
Where a run knows no steps, consecutive groups stand in for one: sixteen, and twice as many whenever there are too many
of these batches. Metrics carry the names of a trainer's log.
Left out: single groups.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rrm_plugin.viewer.reading import LedgerReader

__all__ = ["METRICS", "Metric", "Point", "Summary"]

MOST_POINTS = 500
"""Points of a curve; beyond that neighbours are taken together."""
BATCH = 16
"""Groups that stand in for a step, at first."""

_SUMS = (
    "groups",
    "size",
    "ballots",
    "verdicts",
    "calls",
    "tokens",
    "seconds",
    "agreement",
    "agreement_known",
    "first_rate",
    "first_rate_known",
    "cycles",
    "spread",
    "spread_known",
    "length_correlation",
    "length_correlation_known",
    "unscored",
    "duplicates",
    "failed",
    "steering",
    "disagreements",
)
_AGGREGATES = """min(id), max(id), count(*), sum(size), sum(ballots), sum(verdicts), sum(calls),
    sum(prompt_tokens + completion_tokens), total(seconds), total(agreement), count(agreement), total(first_rate),
    count(first_rate), sum(cycles), total(spread), count(spread), total(length_correlation), count(length_correlation),
    sum(unscored), sum(duplicates), sum(failed), sum(steering), sum(disagreements)"""
# A plus keeps SQLite from walking an index whose order would scatter the reading.
_OF_STEPS = (
    f"SELECT step, {_AGGREGATES} FROM group_numbers WHERE id > ? AND id <= ? AND +step IS NOT NULL GROUP BY +step"
)
_OF_BATCH = f"SELECT {_AGGREGATES} FROM group_numbers WHERE id > ? AND id <= ? AND +step IS NULL"


class Point:
    """Groups that are taken together: those of a step, of several steps, or of the whole run."""

    __slots__ = ("first_id", "last_id", "place", "sums", "until")

    def __init__(self, place: int, first_id: int, last_id: int, sums: Sequence[float]) -> None:
        self.place = self.until = place
        """The first and the last step, or number of a batch."""
        self.first_id, self.last_id = first_id, last_id
        self.sums: dict[str, float] = dict(zip(_SUMS, sums, strict=True))

    def take(self, other: Point) -> None:
        """Adds another one."""
        self.place, self.until = min(self.place, other.place), max(self.until, other.until)
        self.first_id, self.last_id = min(self.first_id, other.first_id), max(self.last_id, other.last_id)
        for name, value in other.sums.items():
            self.sums[name] += value

    def copy(self) -> Point:
        """Another one with the same groups."""
        made = Point(self.place, self.first_id, self.last_id, tuple(self.sums.values()))
        made.until = self.until
        return made

    def metrics(self, name: str = "rrm") -> dict[str, float]:
        """All that is known, by the names of a trainer's log, and how many groups it is of."""
        known = {metric.name: metric.of(self.sums) for metric in METRICS}
        told = {f"{name}/{metric}": value for metric, value in known.items() if value is not None}
        return told | {f"{name}/groups": float(self.sums["groups"])}

    def mean(self, metric: str) -> float | None:
        """A metric of `METRICS`; None where nothing is known of it."""
        return _BY_NAME[metric].of(self.sums)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A curve."""

    name: str
    """As in a trainer's log, behind the name of the judge."""
    title: str
    meaning: str
    of: Callable[[dict[str, float]], float | None]
    share: bool = False
    """Whether it lies between 0 and 1."""


def _ratio(above: str, below: str, complement: bool = False) -> Callable[[dict[str, float]], float | None]:
    def of(sums: dict[str, float]) -> float | None:
        if not sums[below]:
            return None
        share = sums[above] / sums[below]
        return 1 - share if complement else share

    return of


def _known(name: str) -> Callable[[dict[str, float]], float | None]:
    return _ratio(name, f"{name}_known")


METRICS = (
    Metric(
        name="spread",
        title="Score spread",
        meaning="Standard deviation of the scores in a group; 0 teaches nothing.",
        of=_known("spread"),
    ),
    Metric(
        name="order_agreement",
        title="Agreement of orders",
        meaning="Share of the pairs on which both orders agree; a coin gets 0.5.",
        of=_known("agreement"),
        share=True,
    ),
    Metric(
        name="verdict_rate",
        title="Verdict rate",
        meaning="Share of the calls that ended in a verdict; below 0.8 rewards rest on little.",
        of=_ratio("verdicts", "ballots"),
        share=True,
    ),
    Metric(
        name="length_correlation",
        title="Score with length",
        meaning="Correlation of score with length in a group; near 1 the judge pays for length.",
        of=_known("length_correlation"),
    ),
    Metric(
        name="first_rate",
        title="First shown wins",
        meaning="Share of decided matches won by the response shown first; 0.5 is unbiased.",
        of=_known("first_rate"),
        share=True,
    ),
    Metric(
        name="cycles",
        title="Cycles a group",
        meaning="Triples of responses that beat each other in a circle, mean of a group.",
        of=_ratio("cycles", "groups"),
    ),
    Metric(
        name="unscored",
        title="Unscored responses",
        meaning="Share of the responses without a score.",
        of=_ratio("unscored", "size"),
        share=True,
    ),
    Metric(
        name="tokens",
        title="Tokens a group",
        meaning="Tokens paid for judging a group, prompts and replies.",
        of=_ratio("tokens", "groups"),
    ),
)
"""The curves, in the order in which they are shown."""

_BY_NAME = {metric.name: metric for metric in METRICS}


class Summary:
    """Sums over the groups of a ledger; `refresh` takes in what came since. Threads may share it."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._seen = 0
        self._steps: dict[int, Point] = {}
        self._batches: dict[int, Point] = {}
        self._width = BATCH

    @property
    def stepped(self) -> bool:
        """Whether the run knows steps."""
        return bool(self._steps)

    def refresh(self) -> None:
        """Takes in the groups that were recorded since the last time.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        with self._lock, self._reader.connection() as connection:
            (last,) = connection.execute("SELECT max(id) FROM group_numbers").fetchone()
            if not last or last <= self._seen:
                return
            if connection.execute("SELECT max(step) FROM group_numbers").fetchone()[0] is not None:
                for row in connection.execute(_OF_STEPS, (self._seen, last)):
                    _put(self._steps, Point(row[0], row[1], row[2], row[3:]))
            if connection.execute("SELECT 1 FROM group_numbers WHERE step IS NULL LIMIT 1").fetchone():
                self._read_batches(connection, last)
            self._seen = last

    def _read_batches(self, connection: sqlite3.Connection, last: int) -> None:
        """Range by range, which needs no sorting: a GROUP BY over all of them takes several times as long."""
        while last > 2 * MOST_POINTS * self._width:
            self._width *= 2
            batches, self._batches = self._batches, {}
            for number, point in batches.items():
                point.place = point.until = number // 2
                _put(self._batches, point)
        for number in range(self._seen // self._width, (last - 1) // self._width + 1):
            begin, end = max(self._seen, number * self._width), min(last, (number + 1) * self._width)
            row = connection.execute(_OF_BATCH, (begin, end)).fetchone()
            if row[0] is not None:
                _put(self._batches, Point(number, row[0], row[1], row[2:]))

    def whole(self) -> Point | None:
        """All groups together; None where there are none."""
        with self._lock:
            points = [*self._steps.values(), *self._batches.values()]
            return _together(points) if points else None

    def step(self, step: int) -> Point | None:
        """The groups of a step."""
        with self._lock:
            found = self._steps.get(step)
            return found.copy() if found else None

    def neighbours(self, step: int) -> tuple[int | None, int | None]:
        """The steps before and after one, of those that have groups."""
        with self._lock:
            before = max((other for other in self._steps if other < step), default=None)
            return before, min((other for other in self._steps if other > step), default=None)

    def points(self, most: int = MOST_POINTS) -> list[Point]:
        """The points of a curve in order, at most so many; steps, or batches where the run knows no steps."""
        with self._lock:
            bins = self._steps or self._batches
            every = [bins[place] for place in sorted(bins)]
            width = -(-len(every) // most) or 1
            return [_together(every[start : start + width]) for start in range(0, len(every), width)]

    def without_step(self) -> int:
        """Groups that are in no curve, since the others know their steps and they do not."""
        with self._lock:
            return int(sum(point.sums["groups"] for point in self._batches.values())) if self._steps else 0


def _put(bins: dict[int, Point], point: Point) -> None:
    if point.place in bins:
        bins[point.place].take(point)
    else:
        bins[point.place] = point


def _together(points: Sequence[Point]) -> Point:
    whole = points[0].copy()
    for point in points[1:]:
        whole.take(point)
    return whole
