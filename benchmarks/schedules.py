"""How well each schedule and reducer finds the true order of a group, with a judge that errs and favours a position.

Nothing here is a real judge. Each response of a group of 8 has a true quality, drawn from a normal distribution; the
judge names response i, shown first, with the probability 1 / (1 + exp(-(SHARPNESS * (q_i - q_j) + bias))). A bias of 0
is a judge without a favourite position. What is compared are schedules under one and the same model of error, so the
figures rank them against each other and predict no accuracy of any real judge.

    agreement   mean over groups of the rank correlation (Spearman's) of scores with true quality
    best found  share of the groups whose best response got the highest score; equals share it

    python benchmarks/schedules.py [--groups 2000] [--write]

`--write` puts the table into benchmarks/results/schedules.md. The draws have fixed seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rrm_plugin.reducers import Outcomes, reducer
from rrm_plugin.schedules import Orders, schedule
from rrm_plugin.types import Judgement, Match, Verdict

RESULTS = Path(__file__).parent / "results" / "schedules.md"
SIZE = 8
SHARPNESS = 1.5
BIASES = (0.0, 1.0)
CONTESTANTS: tuple[tuple[str, Orders, str], ...] = (
    ("round_robin", "both", "bradley_terry"),
    ("round_robin", "both", "win_rate"),
    ("round_robin", "both", "elo"),
    ("round_robin", "balanced", "bradley_terry"),
    ("round_robin", "balanced", "bradley_terry:1:position_bias"),
    ("round_robin", "fixed", "bradley_terry"),
    ("circulant:3", "both", "bradley_terry"),
    ("circulant:3", "balanced", "bradley_terry"),
    ("circulant:2", "both", "bradley_terry"),
    ("circulant:2", "balanced", "bradley_terry"),
    ("random:3", "balanced", "bradley_terry"),
    ("random:3", "random", "bradley_terry"),
    ("swiss:3", "both", "bradley_terry"),
    ("swiss:3", "balanced", "bradley_terry"),
    ("circulant:1", "both", "bradley_terry"),
    ("reference:random", "both", "bradley_terry"),
    ("knockout", "both", "knockout_rank"),
)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of one setting over all groups."""

    calls: float
    agreement: FloatArray
    best: FloatArray

    def cells(self) -> list[str]:
        """Agreement and share of best found, each with its standard error."""
        return [f"{np.mean(each):.3f} ± {_error(each):.3f}" for each in (self.agreement, self.best)]


def _error(values: FloatArray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def judged(match: Match, quality: FloatArray, bias: float, rng: np.random.Generator) -> Judgement:
    """What the modelled judge says of one match."""
    log_odds = SHARPNESS * (quality[match.first] - quality[match.second]) + bias
    first = rng.random() < 1.0 / (1.0 + np.exp(-log_odds))
    return Judgement(verdict=Verdict.FIRST if first else Verdict.SECOND, match=match)


def played(spec: str, orders: Orders, quality: FloatArray, bias: float, seed: Sequence[int]) -> list[Judgement]:
    """All judgements of one group."""
    draws, errors = (np.random.default_rng([*seed, stream]) for stream in (0, 1))
    stepper = schedule(spec).start(len(quality), orders, draws)
    judgements: list[Judgement] = []
    while matches := stepper.next_matches(judgements):
        judgements += [judged(match, quality, bias, errors) for match in matches]
    return judgements


def ranks(values: FloatArray) -> FloatArray:
    """Places from 0, equals sharing the mean of theirs; (B, n) from (B, n)."""
    above = (values[:, :, None] > values[:, None, :]).sum(axis=2)
    equal = (values[:, :, None] == values[:, None, :]).sum(axis=2)
    return above + 0.5 * (equal - 1)


def compared(values: FloatArray, quality: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rank correlation and share of best found, of each group."""
    # Scores that differ by rounding alone are equal.
    places, truth = ranks(np.round(values, 9)), ranks(quality)
    places, truth = (each - each.mean(axis=1, keepdims=True) for each in (places, truth))
    scale = np.sqrt((places**2).sum(axis=1) * (truth**2).sum(axis=1))
    agreement = (places * truth).sum(axis=1) / np.where(scale > 0, scale, 1.0)
    top = places == places.max(axis=1, keepdims=True)
    best = np.take_along_axis(top, truth.argmax(axis=1)[:, None], axis=1)[:, 0] / top.sum(axis=1)
    return agreement, best


def measured(spec: str, orders: Orders, reducing: str, bias: float, groups: int) -> Found:
    """One setting, over the same groups as every other."""
    quality = np.random.default_rng(0).normal(size=(groups, SIZE))
    plays = [played(spec, orders, quality[index], bias, (1, index)) for index in range(groups)]
    ratings = reducer(reducing)(Outcomes.from_judgements((SIZE, judgements) for judgements in plays))
    agreement, best = compared(ratings.values, quality)
    return Found(calls=float(np.mean([len(judgements) for judgements in plays])), agreement=agreement, best=best)


def report(groups: int) -> str:
    """The table, as Markdown."""
    header = ["schedule", "orders", "reducer", "calls"]
    header += [f"{what}, bias {bias:g}" for bias in BIASES for what in ("agreement", "best found")]
    lines = [header, ["---"] * len(header)]
    for spec, orders, reducing in CONTESTANTS:
        found = [measured(spec, orders, reducing, bias, groups) for bias in BIASES]
        cells = [cell for each in found for cell in each.cells()]
        lines.append([f"`{spec}`", f"`{orders}`", f"`{reducing}`", f"{found[0].calls:.4g}", *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Measures, prints, and writes where asked to."""
    parser = argparse.ArgumentParser(description="Schedules and reducers under one model of a judge's errors.")
    parser.add_argument("--groups", type=int, default=2000)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    table = report(options.groups)
    print(table)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(
            "# Schedules under one model of a judge's errors\n\n"
            "Written by `python benchmarks/schedules.py --write`. A simulation, with no real judge; the script says "
            f"which model. {options.groups} groups of {SIZE}, sharpness {SHARPNESS:g}; ± is one standard error; `bias` "
            "is in log-odds for the response shown first.\n\n" + table,
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
