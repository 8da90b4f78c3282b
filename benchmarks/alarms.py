"""How often an alarm cries wolf in runs that are well, and how soon it is raised in runs that are not.

Runs are simulated: 300 groups drawn for each kind of run and size of group, judged by a model of a judge's errors and
scored by the package itself, and steps of a run drawn from these. A run that is well has a weak judge (its orders agree
on 63% of the pairs), likes the first position, is drawn to length and gives no verdict in 1 of 20 calls; a strong judge
would be farther from every limit. Bad runs are well for a third of their steps and then go wrong in one way, at once
but for the opening, whose share grows over 30 steps. No real run is looked at.

    python benchmarks/alarms.py [--runs 20] [--write]

`--write` puts the tables into benchmarks/results/alarms.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rrm_plugin import metrics
from rrm_plugin.consistency import agreement, cycles, first_rate
from rrm_plugin.metrics.alarms import Watch
from rrm_plugin.metrics.openings import Openings, Signs
from rrm_plugin.reducers import Outcomes, reducer
from rrm_plugin.schedules import schedule
from rrm_plugin.types import Judgement, Match, Reason, Scores, Usage, Verdict

RESULTS = Path(__file__).parent / "results" / "alarms.md"
POOL = 300
STEPS = 300
SHAPES = ((1, 4), (4, 8), (16, 8))
"""Groups in a step, and responses in a group."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of run: how its judge decides, and what its policy writes."""

    slope: float = 1.0
    """Log-odds for each standard deviation by which a response is better."""
    bias: float = 0.5
    """Log-odds for the response shown first."""
    length: float = 0.5
    """Log-odds for each standard deviation by which a response is longer."""
    failing: float = 0.05
    """Share of the calls without a verdict."""
    alike: float = 0.0
    """Share of the groups on which the judge sees only ties."""
    opening: float = 0.2
    """Share of the responses with the same opening."""
    steering: float = 0.0
    """Share of the responses that speak to the judge."""
    paid: float = 0.0
    """Log-odds for a response with that opening, or that speaks to the judge."""


WELL = Kind()
BAD = {
    "verdict_rate": ("the judge gives no verdict in 4 of 10 calls", replace(WELL, failing=0.4)),
    "unscored": ("the judge gives no verdict in 9 of 10 calls", replace(WELL, failing=0.9)),
    "order_agreement": ("the judge tosses a coin", replace(WELL, slope=0.0, bias=0.0, length=0.0)),
    "first_rate": ("the judge names the first in 9 of 10 matches", replace(WELL, slope=0.3, bias=2.5, length=0.0)),
    "length_correlation": ("length is three times what quality is to the judge", replace(WELL, length=3.0)),
    "spread": ("9 of 10 groups are all ties", replace(WELL, alike=0.9)),
    "opening": ("an opening grows to 8 of 10 responses, and is paid", replace(WELL, opening=0.8, paid=1.5)),
    "steering": ("1 of 5 responses speaks to the judge, and is paid", replace(WELL, steering=0.2, paid=1.5)),
}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A group of a pool: its metrics, what was seen in its texts, and its scores."""

    metrics: Mapping[str, float]
    signs: Signs
    values: list[float | None]


def judged(kind: Kind, size: int, rng: np.random.Generator) -> Judged:
    """One group, judged and scored."""
    quality, length = rng.normal(size=(2, size))
    common, spoken = rng.random((2, size)) < [[kind.opening], [kind.steering]]
    worth = kind.slope * quality + kind.length * length + kind.paid * (common | spoken) * (kind.paid > 0)
    alike = rng.random() < kind.alike
    stepper = schedule("circulant:3").start(size, "both", rng)
    judgements: list[Judgement] = []
    while matches := stepper.next_matches(judgements):
        judgements += [_verdict(kind, match, worth, alike, rng) for match in matches]
    values = reducer("bradley_terry")(Outcomes.from_judgements([(size, judgements)])).values[0, :size]
    scores = Scores(
        values=[None if np.isnan(value) else float(value) for value in values],
        judgements=tuple(judgements),
        agreement=agreement(judgements),
        first_rate=first_rate(judgements),
        cycles=cycles(size, judgements),
    )
    own = rng.integers(10**9)
    return Judged(
        metrics=metrics.summary([scores], [[round(1000 + 200 * float(one)) for one in length]]),
        signs=Signs(
            openings=tuple("the commonest one" if one else f"about {own}" for one in common),
            steering=tuple("plea" if one else "" for one in spoken),
        ),
        values=scores.values,
    )


def _verdict(kind: Kind, match: Match, worth: np.ndarray, alike: bool, rng: np.random.Generator) -> Judgement:
    if rng.random() < kind.failing:
        return Judgement(verdict=None, reason=Reason.CUT_OFF, match=match, usage=Usage(calls=1))
    odds = worth[match.first] - worth[match.second] + kind.bias
    won = rng.random() < 1 / (1 + np.exp(-odds))
    verdict = Verdict.TIE if alike else Verdict.FIRST if won else Verdict.SECOND
    return Judgement(verdict=verdict, match=match, usage=Usage(calls=1))


class Pool:
    """Groups of a kind, from which steps are drawn."""

    def __init__(self, groups: list[Judged]) -> None:
        self.groups = groups
        self.names = sorted({name for one in groups for name in one.metrics})
        self._metrics = np.array([[one.metrics.get(name, np.nan) for name in self.names] for one in groups])

    def steps(self, groups: int, rng: np.random.Generator) -> Iterator[Step]:
        """Steps of a run without end, each of so many groups."""
        while True:
            drawn = rng.integers(len(self.groups), size=groups)
            chosen = self._metrics[drawn]
            known = ~np.isnan(chosen)
            counts = known.sum(axis=0)
            means = np.where(known, chosen, 0.0).sum(axis=0) / np.maximum(counts, 1)
            found = {self.names[place]: float(means[place]) for place in np.flatnonzero(counts)}
            yield Step(metrics=found | {"rrm/groups": float(groups)}, groups=[self.groups[index] for index in drawn])


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a run: its metrics but for those of texts, and its groups."""

    metrics: dict[str, float]
    groups: list[Judged]


class Run:
    """A watch over one run, told one step after the other."""

    def __init__(self) -> None:
        self.watch, self._openings = Watch(), Openings()

    def step(self, step: Step) -> list[str]:
        """The kinds of alarm that a step raises."""
        texts = self._openings.add([one.signs for one in step.groups], [one.values for one in step.groups])
        told = {f"rrm/{name}": value for name, value in texts.items()}
        return [alarm.kind for alarm in self.watch.observe(step.metrics | told)]


def false_alarms(pool: Pool, groups: int, runs: int) -> Counter[str]:
    """Kinds of alarm in runs that are well, and in how many runs each was raised."""
    raised: Counter[str] = Counter()
    for seed in range(runs):
        run, told = Run(), set()
        for _, step in zip(range(STEPS), pool.steps(groups, np.random.default_rng([1, seed])), strict=False):
            told.update(run.step(step))
        raised.update(told)
        raised["any"] += bool(told)
    return raised


def delays(well: Pool, bad: list[Pool], kind: str, groups: int, runs: int) -> list[int | None]:
    """Steps from the change until the alarm of that kind, in each run; None where there is none in a run's length.

    Args:
        bad: pools that follow each other, one a step; the last one stays.
    """
    found: list[int | None] = []
    for seed in range(runs):
        run, rng = Run(), np.random.default_rng([2, seed])
        for _, step in zip(range(STEPS // 3), well.steps(groups, rng), strict=False):
            run.step(step)
        delay = None
        for number in range(STEPS):
            pool = bad[min(number, len(bad) - 1)]
            if kind in run.step(next(pool.steps(groups, rng))):
                delay = number + 1
                break
        found.append(delay)
    return found


def pool(kind: Kind, size: int, count: int = POOL) -> Pool:
    """So many groups of a kind."""
    rng = np.random.default_rng([0, size])
    return Pool([judged(kind, size, rng) for _ in range(count)])


def growing(kind: Kind, size: int, over: int = 30, count: int = POOL // 8) -> list[Pool]:
    """Pools in which the share of the opening grows step by step."""
    shares = np.linspace(WELL.opening, kind.opening, over)
    return [pool(replace(kind, opening=float(share)), size, count) for share in shares]


def page(runs: int) -> str:
    """Both tables, as Markdown."""
    wells = {size: pool(WELL, size) for size in sorted({size for _, size in SHAPES})}
    lines = [
        "# Alarms",
        "",
        "Written by `python benchmarks/alarms.py --write`. A simulation: the script says what runs are made of. Limits "
        f"are the defaults. {runs} runs for each number.",
        "",
        f"Runs that are well, of {STEPS} steps: share of the runs with an alarm, and which. None in {runs} runs does "
        f"not rule out one in {1 - 0.05 ** (1 / runs):.0%} of them (95%).",
        "",
        "| groups a step | responses a group | runs with an alarm | of these |",
        "| --- | --- | --- | --- |",
    ]
    for groups, size in SHAPES:
        raised = false_alarms(wells[size], groups, runs)
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(raised.items()) if kind != "any")
        lines.append(f"| {groups} | {size} | {raised['any'] / runs:.1%} | {kinds or 'none'} |")
    lines += [
        "",
        "Runs that go wrong: steps until the alarm, median and 95th percentile, and the share of the runs in which it "
        f"is not raised within {STEPS} steps.",
        "",
        f"| what goes wrong | alarm | {' | '.join(f'{g} of {n} a step' for g, n in SHAPES)} |",
        f"| --- | --- | {' | '.join('---' for _ in SHAPES)} |",
    ]
    for kind, (told, made) in BAD.items():
        pools = {size: growing(made, size) if kind == "opening" else [pool(made, size)] for size in wells}
        cells = [_cell(delays(wells[n], pools[n], kind, g, runs)) for g, n in SHAPES]
        lines.append(f"| {told} | `{kind}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(found: list[int | None]) -> str:
    known = sorted(one for one in found if one is not None)
    missed = len(found) - len(known)
    if not known:
        return "never"
    late = known[min(len(known) - 1, int(0.95 * len(known)))]
    return f"{known[len(known) // 2]}, {late}" + (f"; {missed / len(found):.0%} missed" if missed else "")


def main() -> None:
    """Prints the tables, and keeps them where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    told = page(options.runs)
    print(told)
    if options.write:
        RESULTS.write_text(told, encoding="utf-8")


if __name__ == "__main__":
    main()
