"""The curves of a run, as a PNG and as a page of HTML that needs nothing beside it."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["draw", "write_html", "write_png"]

INK, GRID = "#333333", "#dddddd"
JUDGE_LINES = {"first_order": ("first order", "#0072b2"), "swapped_order": ("swapped order", "#56b4e9")}
POLICY_LINES = {
    "labels": ("true labels (upper bound)", "#666666"),
    "rrm": ("trained judge, no label", "#0072b2"),
    "cold_start": ("judge before its training", "#e69f00"),
    "random": ("random rewards", "#cc3311"),
}
Curve = Sequence[Mapping[str, float]]


def draw(details: Mapping[str, Any]) -> Figure:
    """Judge accuracy in both orders, its thinking, and the policy by reward; thin lines are seeds, thick their mean."""
    curves = details["curves"]
    with_judge = [one["judge"] for one in curves if one["judge"]]
    figure = Figure(figsize=(13, 4.2) if with_judge else (6, 4.2), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=[1, 0.8, 1.3]) if with_judge else [figure.subplots()]
    if with_judge:
        for key, (label, colour) in JUDGE_LINES.items():
            _lines(axes[0], with_judge, key, label, colour)
        _dress(axes[0], "Judge: right verdicts on held-out pairs", "percent", "GRPO step of the judge", (40, 102))
        axes[0].axhline(50, color=INK, linewidth=0.8, linestyle=":")
        _lines(axes[1], with_judge, "thinking_tokens", "tokens", "#009e73")
        _dress(axes[1], "Judge: length of its thinking", "tokens", "GRPO step of the judge", (0, None))
    for key, (label, colour) in POLICY_LINES.items():
        _lines(axes[-1], [one["policy"][key] for one in curves if key in one["policy"]], "pass_at_1", label, colour)
    _dress(
        axes[-1], "Policy: pass@1 on held-out questions, by reward", "percent", "GRPO step of the policy", (10, None)
    )
    return figure


def _lines(axes: Axes, curves: Sequence[Curve], key: str, label: str, colour: str) -> None:
    if not curves:
        return
    for curve in curves:
        axes.plot([p["step"] for p in curve], [p[key] for p in curve], color=colour, linewidth=0.8, alpha=0.45)
    points = list(zip(*curves, strict=False))
    means = [sum(point[key] for point in column) / len(column) for column in points]
    axes.plot([column[0]["step"] for column in points], means, color=colour, linewidth=2.4, label=label)


def _dress(axes: Axes, title: str, unit: str, step: str, limits: tuple[float, float | None]) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    axes.set_ylabel(unit, color=INK)
    axes.set_xlabel(step, color=INK)
    axes.set_ylim(*limits)
    axes.margins(x=0.02)
    axes.grid(color=GRID, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(frameon=False, fontsize=8, loc="lower right")


def write_png(file: Path, details: Mapping[str, Any]) -> None:
    """Writes the curves as a picture."""
    draw(details).savefig(file, dpi=110)


def write_html(file: Path, table: str, details: Mapping[str, Any]) -> None:
    """Writes curves, table and what the judge wrote as one page.

    Args:
        table: plain text.
    """
    picture = io.StringIO()
    # A fixed salt and no date: the same run gives the same file.
    with mpl.rc_context({"svg.hashsalt": "rrm", "svg.fonttype": "none"}):
        draw(details).savefig(picture, format="svg", metadata={"Date": None})
    svg = picture.getvalue()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>The experiment in miniature</title>",
        f"<style>{_STYLE}</style><h1>The experiment in miniature</h1>",
        f"<figure>{svg[svg.index('<svg') :]}</figure><p>Thin lines are seeds, thick lines their mean.</p>",
        f"<pre>{html.escape(table)}</pre>",
        *([_samples(details["samples"])] if details["samples"] else []),
        "</html>\n",
    ]
    file.write_text("\n".join(parts), encoding="utf-8")


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#222;max-width:75rem;margin:2rem auto;padding:0 1rem}"
    "svg{width:100%;height:auto}pre{background:#f5f5f5;padding:1rem;overflow-x:auto}figure{margin:0}"
    "table{border-collapse:collapse}td,th{border-top:1px solid #ddd;padding:.4rem .8rem;text-align:left;"
    "vertical-align:top}code{white-space:pre-wrap}"
)


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(sample['question'])}<td>{html.escape(sample['first'])}<td>{html.escape(sample['second'])}"
        f"<td><code>{html.escape(sample['before'])}</code><td><code>{html.escape(sample['after'])}</code></tr>"
        for sample in samples
    )
    return (
        "<h2>What the judge wrote</h2><table><tr><th>question<th>Assistant 1<th>Assistant 2"
        f"<th>before its training<th>after it</tr>{rows}</table>"
    )
