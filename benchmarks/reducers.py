"""How long the reducers take for many groups at once, and what a loop over groups with a ranking library takes.

The data: groups of 16 candidates and of 64, all pairs judged in both orders, verdicts drawn from a Bradley-Terry model
with one tie in ten; the verdicts as columns are given, counting them is part of the time. evalica and choix rate one
list of verdicts per call, so they are called for a sample of the groups of 16, with their lists made beforehand, and
their time is scaled to all groups. Contestants take turns in each run, so that whatever else the machine does falls on
all of them, and seconds are those of a processor, which other work does not lengthen as it does those of a clock.

    python benchmarks/reducers.py [--groups 10000] [--large 1000] [--runs 5] [--write]

`--write` puts the table into benchmarks/results/reducers.md.
"""

from __future__ import annotations

import os

# Before NumPy is imported: one core is what is measured.
os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import choix
import evalica
import numpy as np

from rrm_plugin.reducers import Outcomes, reducer

RESULTS = Path(__file__).parent / "results" / "reducers.md"
SIZE, LARGE = 16, 64
SAMPLE = 100
"""Groups that the libraries rate in each run."""

Loop = Callable[[Sequence[Any]], object]


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A reducer, and the loop over groups that comes nearest to it, if there is one."""

    reducer: str
    library: str = ""
    rate: Loop | None = None
    for_choix: bool = False


def evalica_elo(rows: Sequence[Any]) -> object:
    return evalica.elo(*rows, initial=1500, k=32)


def evalica_bradley_terry(rows: Sequence[Any]) -> object:
    return evalica.bradley_terry(*rows, tolerance=1e-8, limit=1000)


def evalica_win_rate(rows: Sequence[Any]) -> object:
    return evalica.average_win_rate(*rows)


def choix_pairwise(rows: Sequence[Any]) -> object:
    return choix.opt_pairwise(SIZE, rows, alpha=0.5)


CONTESTANTS = (
    Contestant(reducer="win_rate", library="evalica.average_win_rate", rate=evalica_win_rate),
    Contestant(reducer="majority"),
    Contestant(reducer="elo:32"),
    Contestant(reducer="elo:32:sequential", library="evalica.elo", rate=evalica_elo),
    Contestant(reducer="bradley_terry:1", library="choix.opt_pairwise", rate=choix_pairwise, for_choix=True),
    Contestant(reducer="bradley_terry:0", library="evalica.bradley_terry", rate=evalica_bradley_terry),
    Contestant(reducer="bradley_terry:1:position_bias"),
    Contestant(reducer="knockout_rank"),
)


def verdicts(groups: int, size: int) -> Outcomes:
    """All pairs of each group in both orders."""
    rng = np.random.default_rng(0)
    first, second = np.nonzero(~np.eye(size, dtype=bool))
    strength = rng.normal(scale=1.5, size=(groups, size))
    wins = rng.random((groups, len(first))) < 1.0 / (1.0 + np.exp(strength[:, second] - strength[:, first]))
    points = np.where(rng.random(wins.shape) < 0.1, 0.5, wins)
    return Outcomes(
        sizes=np.full(groups, size),
        group=np.repeat(np.arange(groups), len(first)),
        first=np.tile(first, groups),
        second=np.tile(second, groups),
        round=np.zeros(points.size, dtype=np.intp),
        points=points.ravel(),
    )


def library_rows(outcomes: Outcomes, for_choix: bool) -> list[Any]:
    """The verdicts of the sampled groups as a library takes them; choix knows no ties and gets a win for each side."""
    winners = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    sampled: list[Any] = []
    for group in range(min(SAMPLE, outcomes.groups)):
        mine = outcomes.group == group
        rows = list(
            zip(
                outcomes.first[mine].tolist(),
                outcomes.second[mine].tolist(),
                outcomes.points[mine].tolist(),
                strict=True,
            )
        )
        if for_choix:
            sampled.append(
                [(i, j) for i, j, points in rows if points > 0] + [(j, i) for i, j, points in rows if points < 1]
            )
        else:
            sampled.append(([i for i, _, _ in rows], [j for _, j, _ in rows], [winners[points] for *_, points in rows]))
    return sampled


def seconds(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def measured(outcomes: Outcomes, runs: int, loops: bool = True) -> dict[str, tuple[list[float], list[float]]]:
    """For each reducer, the seconds of each run, and those of the library's loop scaled to all groups."""
    rows = {for_choix: library_rows(outcomes, for_choix) for for_choix in (False, True) if loops}
    times: dict[str, tuple[list[float], list[float]]] = {one.reducer: ([], []) for one in CONTESTANTS}
    for run in range(runs + 1):
        for one in CONTESTANTS:
            # Made anew: an Outcomes keeps its order by group, which belongs to the time.
            fresh = Outcomes(**{name: getattr(outcomes, name) for name in Outcomes.__dataclass_fields__})
            own = seconds(lambda one=one, fresh=fresh: reducer(one.reducer)(fresh))
            loop = 0.0
            if one.rate is not None and loops:
                sample = rows[one.for_choix]
                loop = seconds(lambda one=one, sample=sample: [one.rate(group) for group in sample if one.rate])
                loop *= outcomes.groups / len(sample)
            if run:
                # The first run warms up and is not counted.
                times[one.reducer][0].append(own)
                times[one.reducer][1].append(loop)
    return times


def table(outcomes: Outcomes, times: dict[str, tuple[list[float], list[float]]]) -> str:
    lines = [
        "| reducer | seconds, median (least to most) | a group | loop over groups | its seconds | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for one in CONTESTANTS:
        own, loop = times[one.reducer]
        cells = [
            one.reducer,
            spread(own),
            f"{statistics.median(own) / outcomes.groups * 1e6:.1f} us",
            one.library,
            f"{statistics.median(loop):.1f}" if one.rate else "",
            spread([theirs / ours for ours, theirs in zip(own, loop, strict=True)], digits=0) if one.rate else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def large_table(outcomes: Outcomes, times: dict[str, tuple[list[float], list[float]]]) -> str:
    lines = ["| reducer | seconds, median (least to most) | a group |", "|---|---|---|"]
    for one in CONTESTANTS:
        own, _ = times[one.reducer]
        a_group = f"{statistics.median(own) / outcomes.groups * 1e6:.0f} us"
        lines.append(f"| {one.reducer} | {spread(own)} | {a_group} |")
    return "\n".join(lines)


def spread(numbers: Sequence[float], digits: int = 3) -> str:
    return f"{statistics.median(numbers):.{digits}f} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1000, help=f"groups of {LARGE}")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/results/reducers.md")
    options = parser.parse_args()
    outcomes, large = verdicts(options.groups, SIZE), verdicts(options.large, LARGE)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "evalica", "choix"))
    text = (
        "Processor seconds on one thread. "
        f"{outcomes.groups:,} groups of {SIZE}, all pairs in both orders ({len(outcomes.group):,} verdicts); "
        f"{options.runs} runs on one thread; {min(SAMPLE, outcomes.groups)} groups sampled for the loops.\n"
        f"Python {platform.python_version()}, {libraries}, {platform.machine()}, {os.cpu_count()} cores, "
        f"load before the start {os.getloadavg()[0]:.1f}.\n\n"
        f"{table(outcomes, measured(outcomes, options.runs))}\n\n"
        f"## {large.groups:,} groups of {LARGE}, {len(large.group):,} verdicts\n\n"
        f"{large_table(large, measured(large, options.runs, loops=False))}\n"
    )
    print(text)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(
            f"# Reducers\n\nMade by `python benchmarks/reducers.py --write`.\n\n{text}", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
