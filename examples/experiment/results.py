"""From the stages' files to two files that the page and the charts are made of.

results.json   a row a seed: how well the judge judged before and after, how often the policy was right before and
               after training by each reward (percent), and the seconds of each stage
run.json       what the page needs beside it: the curves, what the judge wrote, versions, and the time of a
                   run that was not interrupted
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from examples.experiment.stages import REWARDS, STAGES, Run

__all__ = ["Target", "collect", "lift", "read", "share_of_labels", "targets", "write"]

Row = Mapping[str, Any]

JUDGE_FIGURES = ("first_order", "swapped_order", "agreement", "computes", "sum_right", "thinking_tokens", "pairs")
PAPER_LIFT = 14.1
"""Points by which the RRM paper's policy rose on GPQA without labels, from 26.8 to 40.9, as was reported to us."""


def collect(folder: Path, seeds: Sequence[int]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows and the details of a run.

    Raises:
        SystemExit: a stage is missing.
    """
    rows, curves, samples = [], [], []
    for seed in seeds:
        found = {name: _found(Run(folder=folder, seed=seed), name) for name in STAGES}
        rows.append(_row(seed, found))
        policy = {reward: found[f"policy-{reward}"]["curve"] for reward in REWARDS}
        curves.append({"seed": seed, "judge": found["judge"]["curve"], "policy": policy})
        samples += [{"seed": seed, **sample} for sample in found["judge"].get("samples", [])[:2]]
    versions = {name: version(name) for name in ("torch", "transformers", "trl")}
    file = folder / "time.json"
    time = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    return rows, {"time": time, "versions": versions, "curves": curves, "samples": samples}


def write(folder: Path, rows: Sequence[Row], details: Mapping[str, Any]) -> None:
    """Writes both files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("results", rows), ("run", details)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Reads both files."""
    rows, details = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("results", "run"))
    return rows, details


def _found(run: Run, name: str) -> dict[str, Any]:
    found = run.results(name)
    if found is None:
        raise SystemExit(f"seed {run.seed}: the stage {name} is not done")
    return found


def _row(seed: int, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    trained = {reward: found[f"policy-{reward}"] for reward in REWARDS}
    judge = {f"judge_{when}": found["judge"][when] for when in ("before", "after")}
    return {
        "seed": seed,
        **judge,
        "policy_before": next(iter(trained.values()))["before"],
        "policy_after": {reward: one["after"] for reward, one in trained.items()},
        "seconds": {name: one["seconds"] for name, one in found.items()},
        "cpu_seconds": {name: one["cpu_seconds"] for name, one in found.items()},
    }


def lift(row: Row, reward: str) -> float:
    """Points of pass@1 by which a reward raised the policy of a seed."""
    return row["policy_after"][reward] - row["policy_before"]


def share_of_labels(row: Row) -> float:
    """The judge's lift, in percent of what the true labels gave."""
    return 100 * lift(row, "rrm") / lift(row, "labels")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A figure that was asked for before the run, and what came of it."""

    what: str
    wanted: str
    reached: str
    met: bool


def targets(rows: Sequence[Row]) -> list[Target]:
    """What the experiment was to show, on every seed unless it says average."""
    before = [max(row["judge_before"]["first_order"], row["judge_before"]["swapped_order"]) for row in rows]
    after = [min(row["judge_after"]["first_order"], row["judge_after"]["swapped_order"]) for row in rows]
    agreement = [row["judge_after"]["agreement"] for row in rows]
    lifts = [lift(row, "rrm") for row in rows]
    share = fmean(map(share_of_labels, rows))
    chance = [abs(lift(row, "random")) for row in rows]
    cold = [100 * lift(row, "cold_start") / lift(row, "rrm") for row in rows]
    return [
        _target("judge before its training, better order", "at most 65%", before, [v <= 65 for v in before], "%"),
        _target("judge after it, worse order", "at least 95%", after, [v >= 95 for v in after], "%"),
        _target("agreement of the orders after it", "at least 93%", agreement, [v >= 93 for v in agreement], "%"),
        _target(
            "lift of the policy by the judge", f"at least {PAPER_LIFT} points", lifts, [v >= PAPER_LIFT for v in lifts]
        ),
        _target("that lift as share of the labels', average", "at least 90%", [share], [share >= 90], "%"),
        _target("change by random rewards", "within 3 points", chance, [v <= 3 for v in chance]),
        _target("lift by the untrained judge, as share of that", "at most half", cold, [v <= 50 for v in cold], "%"),
    ]


def _target(what: str, wanted: str, values: Sequence[float], met: Sequence[bool], unit: str = "") -> Target:
    return Target(what=what, wanted=wanted, reached=", ".join(f"{value:.1f}{unit}" for value in values), met=all(met))
