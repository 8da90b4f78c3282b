"""The table for the terminal and the files of a run; with them, `docs/experiment.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.experiment.charts import write_html, write_png
from examples.experiment.page import page
from examples.experiment.results import Row, collect, read, share_of_labels, targets, write

__all__ = ["table", "write_page", "write_report"]

_REWARDS = {
    "rrm": "the trained judge",
    "labels": "true labels",
    "cold_start": "the judge before its training",
    "random": "chance",
}
_COLUMN = 54
"""Where the figures of a policy begin; with them a line keeps to 80 columns."""


def write_report(folder: Path, docs: Path, seeds: Sequence[int], *, with_page: bool) -> str:
    """Writes results, charts and, if asked for, the page, and returns the table.

    Args:
        folder: where the stages lie.
        docs: the files go into `docs/experiment`, the page beside that folder.
    """
    rows, details = collect(folder, seeds)
    place = docs / "experiment" if with_page else docs
    write(place, rows, details)
    write_png(place / "curves.png", details)
    shown = _write_curves(place, rows, details)
    if with_page:
        write_page(docs)
    return f"{shown}\nwritten: {place}/results.json, run.json, curves.png, curves.html"


def write_page(docs: Path) -> None:
    """Writes `experiment.md`, and the page of its curves, from the figures that lie in `experiment`."""
    rows, details = read(docs / "experiment")
    _write_curves(docs / "experiment", rows, details)
    (docs / "experiment.md").write_text(page(rows, details), encoding="utf-8")


def _write_curves(place: Path, rows: Sequence[Row], details: Mapping[str, Any]) -> str:
    shown = table(rows)
    write_html(place / "curves.html", shown, details)
    return shown


def table(rows: Sequence[Row]) -> str:
    """What came of each seed, in plain text."""
    lines = [line for row in rows for line in _lines(row)]
    lines += ["", "asked for in advance"]
    for target in targets(rows):
        mark = "met" if target.met else "NOT MET"
        lines += [f"  {target.what}", f"      {target.wanted}: {target.reached}  {mark}"]
    return "\n".join(lines)


def _lines(row: Row) -> list[str]:
    lines = [f"seed {row['seed']}"]
    for when in ("before", "after"):
        lines += [f"  judge {when} GRPO", *_judge(row[f"judge_{when}"])]
    lines.append("  policy before".ljust(_COLUMN) + f"pass@1 {row['policy_before']:.1f}%")
    for reward, after in row["policy_after"].items():
        told = f"  policy, rewarded by {_REWARDS.get(reward, reward)}".ljust(_COLUMN)
        lines.append(f"{told}pass@1 {after:.1f}%  {after - row['policy_before']:+.1f}")
        if reward == "rrm":
            lines.append(f"      that is {share_of_labels(row):.0f}% of what the labels give")
    return lines


def _judge(figures: Mapping[str, Any]) -> list[str]:
    return [
        f"      right {figures['first_order']}% / {figures['swapped_order']}% (swapped)",
        f"      orders agree {figures['agreement']}%, computes {figures['computes']}%",
    ]
