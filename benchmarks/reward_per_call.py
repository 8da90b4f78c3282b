"""What a reward is worth for the judge calls that it took: adaptive, other schedules and other projects' ways.

Groups have a known truth and judges err in a known way (`simulated/judges.py`); each ordered pair has one verdict, so
that all contestants ask the same judge about the same groups and differences are paired. The judges:

    slope 4      quality is N(0, 1); log-odds 4 * difference + 0.8 for the first shown
    slope 1.5    the same, noisier
    correctness  responses are right or wrong, right beats wrong in 85%, like meets like by a hidden taste of slope 1.5;
                 the share of right ones differs by group, no group is all right or all wrong; truth is correctness
    GPT-4, ChatGPT  fitted to their recorded verdicts in both orders (`simulated/fitting.py`): part of their error
                 belongs to the pair and is repeated in the other order; without the data these two are left out

Measured: Pearson's correlation of rewards with the truth within a group, and the truth of the response with the highest
reward. Verdicts have neither grades nor ties. No real judge is asked.

    python benchmarks/reward_per_call.py [--groups 1000] [--sizes 16,8,4,32,64] [--jobs 1] [--write]

Reads ../shared/data beside the checkout, or the folder in RRM_SHARED_DATA. Groups of 32 are half as many, of 64 a
fifth. `--write` puts the tables into benchmarks/results/reward_per_call.md after each size, and what the picture in
docs/performance.md shows beside it.
"""

from __future__ import annotations

import os

# Before NumPy is imported: matrices are small, and threads would only wait for each other.
os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from measured.keeping import keep, machine
from simulated.cells import Cell, Row, measure
from simulated.fitting import Fit, fit, tables
from simulated.judges import Judge
from simulated.pages import bars, curve, details, differences, fits, growth, reducers

ROOT = Path(__file__).parents[1]
FEWER = {32: 2, 64: 5}
"""Groups of these sizes are so many times fewer."""
JUDGES = (
    Judge(name="slope 4", slope=4.0),
    Judge(name="slope 1.5", slope=1.5),
    Judge(name="correctness", slope=1.5, truth="correct"),
)


def fitted() -> list[Fit]:
    """Judges made of recorded verdicts; none where the data is absent."""
    folder = Path(os.environ.get("RRM_SHARED_DATA") or ROOT.parent / "shared" / "data")
    path = folder / "llmbar" / "evaluator_verdicts_all.jsonl.gz"
    if not path.exists():
        print(f"no fitted judges: {path.name} of LLMBar is not in {folder}", file=sys.stderr)
        return []
    return [fit(name, cells) for name, cells in tables(path).items()]


def page(cells: list[Cell], found: list[Fit]) -> str:
    """All tables, as Markdown."""
    parts = [
        "A simulation: the script says which judges, what is measured and how. Rewards of adaptive are "
        '`bradley_terry:0.5` of its verdicts, with `orders="balanced"`; ± and brackets are one standard error over '
        "groups.",
        "## What was aimed for\n\n" + bars(cells),
        "## Adaptive against the rest at equal calls\n\n" + differences(cells),
        "## Reward against calls\n\n" + curve(cells),
        "## Calls for 95% of the full tournament\n\n" + growth(cells),
        "## Settings of adaptive\n\n" + reducers(cells),
        "## Every contestant\n\n" + details(cells),
    ]
    return "\n\n".join([*parts, *(["## The fitted judges\n\n" + fits(found)] if found else [])]).rstrip()


def figures(cells: list[Cell]) -> list[dict[str, Any]]:
    """Correlation with the truth by calls, as plain values."""

    def points(rows: list[Row]) -> list[dict[str, Any]]:
        return [{"name": row.name, "calls": row.calls, "correlation": row.correlation.value} for row in rows]

    return [
        {
            "judge": cell.judge.name,
            "size": cell.size,
            "adaptive": [{"calls": calls, "correlation": one.value} for calls, (one, _) in cell.curve.items()],
            "full": cell.full.correlation.value,
            "rivals": points(cell.rivals),
            "own": points(cell.own),
        }
        for cell in cells
    ]


def write(cells: list[Cell], found: list[Fit], seconds: float) -> None:
    """Into benchmarks/results."""
    sizes = sorted({cell.size for cell in cells})
    counts = ", ".join(f"{next(cell.groups for cell in cells if cell.size == n):,} of {n}" for n in sizes)
    keep(
        "reward_per_call",
        title="Reward for each judge call",
        command="python benchmarks/reward_per_call.py --write",
        body=page(cells, found),
        on=f"Groups: {counts}. {machine('numpy')}; it took {seconds / 60:.0f} minutes",
        figures={"cells": figures(cells)},
    )


def main() -> None:
    """Measures, prints, and writes where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--sizes", default="16,8,4,32,64")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--write", action="store_true", help="keep them")
    options = parser.parse_args()
    begin = time.time()
    found = fitted()
    cells: list[Cell] = []
    judges = [*JUDGES, *(one.judge for one in found)]
    wanted = [(judge, size) for size in map(int, options.sizes.split(",")) for judge in judges]
    with ProcessPoolExecutor(options.jobs) as pool:
        counts = (max(2, options.groups // FEWER.get(size, 1)) for _, size in wanted)
        for cell in pool.map(measure, *zip(*wanted, strict=True), counts):
            cells.append(cell)
            print(f"{cell.judge.name}, groups of {cell.size}: {time.time() - begin:.0f} s", file=sys.stderr, flush=True)
            # Sizes that are through are kept should the rest not come to an end.
            if options.write and len(cells) % len(judges) == 0:
                write(cells, found, time.time() - begin)
    print(page(cells, found))


if __name__ == "__main__":
    main()
