"""What groups could give each other: calls, from those whose order is clear, and what was learnt of a judge's bias.

Both would break what makes a group's rewards reproducible: that what comes out of a group depends on no other. So it is
measured what they are worth.

Calls: groups of 16 whose qualities spread differently, which the slope of the judge stands for. Beside adaptive with
the same calls for every group: its least gain, a price that is the same for all groups and needs no word between them;
and an oracle that knows each group's slope, and the mean curve of such groups, and gives the calls of the whole batch
where they add most. Two measures: the mean correlation within groups, and the share of the variance of all groups
together that rewards explain, in which groups of little spread count little.

Bias: Bradley-Terry strengths without a bias, with one estimated in each group, and with the true one, which is the most
that other groups of the same judge could teach.

    python benchmarks/between_groups.py [--groups 120] [--write]

`--write` puts the tables into benchmarks/results/between_groups.md. No real judge is asked.
"""

from __future__ import annotations

import os

# Before NumPy is imported: matrices are small, and threads would only wait for each other.
os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})

import argparse
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from reward_per_call import JUDGES, fitted
from simulated.cells import ADAPTIVE_REDUCER, Mean
from simulated.judges import FloatArray, Groups, Judge, groups
from simulated.plays import Play, measured, play

RESULTS = Path(__file__).parent / "results" / "between_groups.md"
SIZE = 16
MOST = SIZE * (SIZE - 1)
MIXES: Mapping[str, Sequence[float]] = {
    "1.5": (1.5,),
    "1.5 and 4": (1.5, 4.0),
    "0.5, 1, 2, 4 and 8": (0.5, 1.0, 2.0, 4.0, 8.0),
}
LEAST_GAINS = (0.03, 0.01)
PRIOR = 0.5
"""Precision of strengths, and of the bias where it is estimated."""
GRID = np.arange(SIZE, MOST + 1, 4)


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Groups of several slopes, and what adaptive makes of them with all calls."""

    slopes: FloatArray
    """(B,)"""
    groups: Groups
    full: Play

    @classmethod
    def of(cls, slopes: Sequence[float], count: int) -> Mix:
        """As many of each slope."""
        kinds = [groups(Judge(name=f"{slope:g}", slope=slope), count // len(slopes), SIZE, 0) for slope in slopes]
        # A slope is a spread: the same judge, of slope 1, sees groups that differ so much more or less.
        truth = np.concatenate([kind.truth * slope for kind, slope in zip(kinds, slopes, strict=True)])
        mixed = Groups(truth=truth, wins=np.concatenate([kind.wins for kind in kinds]))
        return cls(
            slopes=np.repeat(np.array(slopes), count // len(slopes)),
            groups=mixed,
            full=play(f"adaptive:{MOST},0", "balanced", mixed),
        )

    def correlations(self, calls: int) -> FloatArray:
        """(B,) With the first so many calls of each group."""
        return measured(self.full.values(ADAPTIVE_REDUCER, calls), self.groups).correlation


def explained(correlation: FloatArray, truth: FloatArray) -> float:
    """Share of the variance within all groups together."""
    variance = truth.var(axis=1)
    return float((np.clip(correlation, 0.0, None) ** 2 * variance).sum() / variance.sum())


def oracle(mix: Mix, mean: float, curves: FloatArray) -> FloatArray:
    """(B,) Correlations where the batch's calls go where they add most, by the mean curves (slopes, GRID) of the kinds.

    Step by step to the kind whose curve rises most, along the concave hull of each, which is the best there is.
    """
    kinds = np.unique(mix.slopes)
    rises = np.diff(np.stack([_hull(curve) for curve in curves]), axis=1)
    rises = np.append(rises, np.full((len(kinds), 1), -np.inf), axis=1)
    places = np.zeros(len(kinds), dtype=int)
    while GRID[places].mean() < mean:
        places[np.argmax(rises[np.arange(len(kinds)), places])] += 1
    found = np.zeros(len(mix.slopes))
    for kind, place in zip(kinds, places, strict=True):
        mine = mix.slopes == kind
        found[mine] = mix.correlations(int(GRID[place]))[mine]
    return found


def _hull(curve: FloatArray) -> FloatArray:
    points: list[tuple[float, float]] = []
    for x, y in zip(GRID.tolist(), curve.tolist(), strict=True):
        while len(points) > 1 and _below(points[-2], points[-1], (x, y)):
            points.pop()
        points.append((x, y))
    xs, ys = zip(*points, strict=True)
    return np.interp(GRID, xs, ys)


def _below(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    rise = (middle[1] - first[1]) * (last[0] - first[0])
    return rise <= (last[1] - first[1]) * (middle[0] - first[0])


def calls_table(count: int) -> str:
    """What it gains to take calls from one group for another."""
    rows = []
    for name, slopes in MIXES.items():
        mix = Mix.of(slopes, count)
        curves = np.array([mix.correlations(int(calls)) for calls in GRID]).T
        kinds = np.stack([curves[mix.slopes == kind].mean(axis=0) for kind in np.unique(mix.slopes)])
        for gain in LEAST_GAINS:
            played = play(f"adaptive:{MOST},{gain}", "balanced", mix.groups)
            own = measured(played.values(ADAPTIVE_REDUCER), mix.groups).correlation
            each = np.array([len(judgements) for judgements in played.judgements])
            same = mix.correlations(round(played.calls))
            best = oracle(mix, played.calls, kinds)
            rows.append(
                [
                    name,
                    f"{gain:g}",
                    f"{played.calls:.0f} ({np.quantile(each, 0.1):.0f} to {np.quantile(each, 0.9):.0f})",
                    f"{same.mean():.3f}",
                    _signed(Mean.of(own - same)),
                    _signed(Mean.of(best - same)),
                    f"{explained(own, mix.groups.truth) - explained(same, mix.groups.truth):+.4f}",
                    f"{explained(best, mix.groups.truth) - explained(same, mix.groups.truth):+.4f}",
                ]
            )
    header = ["slopes", "least gain", "calls (10% to 90%)", "correlation, same calls for all"]
    header += ["least gain has more", "oracle has more", "variance explained: least gain has more", "oracle has more"]
    return _table(header, rows)


def strengths(played: Play, calls: int, bias: float | None) -> FloatArray:
    """(B, n) Bradley-Terry strengths of the first calls of each group, under a bias that is given, or estimated."""
    n = played.groups.size
    values = np.zeros((played.groups.count, n))
    for index, judgements in enumerate(played.judgements):
        rows = np.zeros((min(calls, len(judgements)), n + 1))
        points = np.zeros(len(rows))
        for row, judgement in enumerate(judgements[:calls]):
            assert judgement.match is not None and judgement.verdict is not None
            rows[row, [judgement.match.first, judgement.match.second, n]] = 1.0, -1.0, 1.0
            points[row] = judgement.verdict.value == "first"
        values[index] = _most_probable(rows, points, bias)[:n]
    return values


def _most_probable(rows: FloatArray, points: FloatArray, bias: float | None) -> FloatArray:
    center, precision = np.zeros(rows.shape[1]), np.full(rows.shape[1], PRIOR)
    if bias is not None:
        center[-1], precision[-1] = bias, 1e9
    found = center.copy()
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-rows @ found))
        slope = rows.T @ (points - chance) - precision * (found - center)
        curvature = (rows.T * (chance * (1.0 - chance))) @ rows + np.diag(precision)
        step = np.linalg.solve(curvature, slope)
        size = float(np.abs(step).max())
        found = found + step * (np.log1p(size) / max(size, 1e-300))
        if size < 1e-8:
            break
    return found


def bias_table(judges: Sequence[Judge], count: int) -> str:
    """What the true bias of a judge is worth to a group."""
    rows = []
    for size in (8, 16):
        for judge in judges:
            drawn = groups(judge, count, size, 0)
            adaptive = play(f"adaptive:{3 * size},0", "balanced", drawn)
            ring = play("circulant:3", "balanced", drawn)
            twice = play("circulant:3", "both", drawn)
            ways = (("adaptive", adaptive, size), ("adaptive", adaptive, 3 * size))
            for name, played, calls in (*ways, ("circulant:3", ring, 3 * size), ("circulant:3 both", twice, 6 * size)):
                none, own, true = (
                    measured(strengths(played, calls, bias), drawn).correlation for bias in (0.0, None, judge.bias)
                )
                cells = [f"{none.mean():.3f}", _signed(Mean.of(own - none)), _signed(Mean.of(true - own))]
                made = min(calls, round(played.calls))
                rows.append([judge.name, str(size), f"{judge.bias:.2f}", name, str(made), *cells])
    header = ["judge", "n", "bias", "schedule", "calls", "no bias", "estimated has more", "true one has more still"]
    return _table(header, rows)


def _signed(mean: Mean) -> str:
    return f"{mean.value:+.3f} ± {mean.error:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [header, ["---"] * len(header), *rows])


def main() -> None:
    """Measures, prints, and writes where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=120)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    judges = [*JUDGES, *(replace(one.judge) for one in fitted())]
    text = (
        "# What groups could give each other\n\nWritten by `python benchmarks/between_groups.py --write`. A "
        f"simulation: the script says of what. {options.groups} groups each; ± is one standard error over groups. "
        f"Python {platform.python_version()}, NumPy {np.__version__}.\n\n## Calls\n\n{calls_table(options.groups)}\n"
        f"## Position bias\n\n{bias_table(judges, options.groups)}"
    )
    print(text)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
