"""Pictures of reports, as PNG: accuracy by subset, and accuracy against what it takes.

matplotlib is imported where it is used. Left out: what the numbers are (`judge_reports.py`, `best_of_n.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rrm_plugin.errors import MissingExtraError

__all__ = ["check_plots", "plot_judge", "plot_runs", "plot_strategies"]


def check_plots() -> None:
    """For before a long run whose picture is wanted.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise MissingExtraError("writing a PNG", "plots") from None


def _figure(panels: int, rows: int = 0) -> Any:
    check_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot, which would choose a window system and keep every figure.
    figure = Figure(figsize=(6.4 * panels, max(4.4, 0.25 * rows)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plot_judge(report: Mapping[str, Any], path: Path) -> None:
    """Accuracy by subset with intervals, and the scaling curves that the report has.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    curves = {name: points for name, points in report["scaling"].items() if points}
    figure = _figure(1 + len(curves), len(report["rows"]))
    axes = figure.subplots(1, 1 + len(curves), squeeze=False)[0]
    _subsets(axes[0], report)
    for axis, (name, points) in zip(axes[1:], curves.items(), strict=True):
        _curve(axis, name, points)
    figure.savefig(path, dpi=120)


def _subsets(axis: Any, report: Mapping[str, Any]) -> None:
    rows = report["rows"][::-1]
    values = [100 * row["accuracy"] for row in rows]
    axis.barh([row["subset"] for row in rows], values, color="#8fb3d9")
    for place, row in enumerate(rows):
        if row["interval"]:
            axis.plot([100 * end for end in row["interval"]], [place, place], color="#1f3b57", linewidth=2)
    axis.axvline(50, color="#999999", linestyle=":")
    axis.set(xlim=(0, 100), xlabel="accuracy, both orders, %", title=report["benchmark"])


def _curve(axis: Any, name: str, points: Sequence[Mapping[str, Any]]) -> None:
    label = "votes" if name == "votes" else "max_tokens"
    # An engine that counts no tokens leaves nothing to plot against but the votes themselves.
    against = "tokens_per_pair" if points[-1]["tokens_per_pair"] else label
    _line(axis, [point[against] for point in points], points, label)
    if against == "votes":
        axis.set_xticks([point["votes"] for point in points])
    title = "votes" if name == "votes" else "length of replies"
    axis.set(xlabel=against.replace("_", " ").replace(" per ", " a "), ylabel="accuracy, %", title=title)


def _line(axis: Any, places: Sequence[float], points: Sequence[Mapping[str, Any]], label: str) -> None:
    values = [100 * point["accuracy"] for point in points]
    axis.plot(places, values, marker="o", color="#1f3b57")
    ends = [point["interval"] or (point["accuracy"], point["accuracy"]) for point in points]
    axis.fill_between(places, [100 * low for low, _ in ends], [100 * high for _, high in ends], alpha=0.2)
    for place, value, point in zip(places, values, points, strict=True):
        axis.annotate(str(point[label]), (place, value), textcoords="offset points", xytext=(4, 6), fontsize=8)


def plot_runs(runs: Mapping[str, Any], path: Path) -> None:
    """Accuracy against tokens over several runs, each with its limit of tokens, or its name where it has none.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = _figure(1)
    axis = figure.subplots()
    points = [{**point, "label": point["max_tokens"] or Path(point["run"]).stem} for point in runs["points"]]
    _line(axis, [point["tokens_per_pair"] for point in points], points, "label")
    axis.set(xlabel="reply tokens a pair", ylabel="accuracy, %", title=runs["benchmark"])
    figure.savefig(path, dpi=120)


def plot_strategies(report: Mapping[str, Any], path: Path) -> None:
    """Accuracy of each way to pick against its calls, between random and oracle.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = _figure(1)
    axis = figure.subplots()
    places: dict[tuple[float, float], list[str]] = {}
    for row in report["strategies"]:
        low, high = row["interval"] or (row["accuracy"], row["accuracy"])
        calls, value = row["calls_per_group"], 100 * row["accuracy"]
        axis.plot([calls] * 2, [100 * low, 100 * high], color="#8fb3d9", linewidth=2)
        axis.plot([calls], [value], marker="o", color="#1f3b57")
        places.setdefault((round(calls, 1), round(value, 1)), []).append(row["strategy"])
    for place, names in places.items():
        axis.annotate("\n".join(names), place, textcoords="offset points", xytext=(3, 5), fontsize=8, rotation=30)
    calls = [place[0] for place in places]
    if calls and 0 < 4 * min(calls) < max(calls):
        # Ways to pick differ by factors in what they cost.
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.xaxis.set_minor_formatter("{x:.0f}")
    axis.margins(x=0.18)
    _levels(axis, report["baselines"])
    axis.set(xlabel="judge calls a group", ylabel="right, %", title=f"best of {report['mean_size']:.0f}")
    figure.savefig(path, dpi=120)


def _levels(axis: Any, baselines: Mapping[str, Any]) -> None:
    """A dotted line for each height, with all names that stand there."""
    heights: dict[float, list[str]] = {}
    for name, value in baselines.items():
        heights.setdefault(round(100 * value["accuracy"], 1), []).append(name)
    for height, names in heights.items():
        axis.axhline(height, linestyle=":", color="#999999")
        axis.text(axis.get_xlim()[0], height, f" {', '.join(names)}", fontsize=8, va="bottom")
