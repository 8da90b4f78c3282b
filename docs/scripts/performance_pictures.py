"""The pictures of docs/performance.md, from the figures that the benchmarks left in benchmarks/results.

    python docs/scripts/performance_pictures.py        draws them into docs/performance

`make docs` draws those whose figures have changed; which figures a picture was made of stands in the picture.
"""

from __future__ import annotations

import json
import statistics
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["PICTURES", "Picture", "can_draw", "draw", "outdated"]

DOCS = Path(__file__).resolve().parent.parent
RESULTS = DOCS.parent / "benchmarks" / "results"
FOLDER = DOCS / "performance"
SIZE = 16
"""Responses in a group, of the picture of rewards."""
OURS, THEIRS, PLAIN = "#1f3b57", "#c8553d", "#8fb3d9"
MARKS = "osD^v<>ph*XP"


def rewards(figures: Mapping[str, Any]) -> Any:
    """Correlation of rewards with the truth against judge calls, a panel for each judge."""
    cells = [cell for cell in figures["cells"] if cell["size"] == SIZE]
    columns = 3
    rows = -(-(len(cells) + 1) // columns)
    figure = _figure(4.4 * columns, 3.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, cell in zip(panels, cells, strict=False):
        points = cell["adaptive"]
        axis.plot([point["calls"] for point in points], [point["correlation"] for point in points], color=OURS)
        axis.axhline(0.95 * cell["full"], color="#999999", linestyle=":")
        for mark, rival in zip(MARKS, cell["rivals"], strict=False):
            axis.plot([rival["calls"]], [rival["correlation"]], mark, color=THEIRS, label=rival["name"], alpha=0.8)
        ticks = (8, 16, 32, 64, 120, 240)
        axis.set(title=cell["judge"], xscale="log", xlabel="judge calls a group", ylabel="correlation with the truth")
        axis.set_xticks(ticks, map(str, ticks), minor=False)
        axis.minorticks_off()
    for axis in panels[len(cells) :]:
        axis.axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    curves = [panels[0].lines[0], panels[0].lines[1]]
    names = ["adaptive, by its budget", "95% of all pairs in both orders"]
    panels[len(cells)].legend([*curves, *handles], [*names, *labels], loc="center", frameon=False, fontsize=9)
    return figure


def makespans(figures: Mapping[str, Any]) -> Any:
    """Makespan over its bound by schedule, with both orders, a panel for each number of slots."""
    from matplotlib.patches import Patch

    rows = [row for row in figures["rows"] if row["orders"] == "both"]
    cases = sorted({row["slots"] for row in rows})
    figure = _figure(5.2 * len(cases), 3.6)
    for axis, slots in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        own = [row for row in rows if row["slots"] == slots][::-1]
        for place, row in enumerate(own):
            for shift, key, color in ((0.18, "ratios", OURS), (-0.18, "lock_step", PLAIN)):
                if row[key]:
                    middle = statistics.median(row[key])
                    axis.barh(place + shift, middle - 1, height=0.34, left=1, color=color)
                    axis.plot([min(row[key]), max(row[key])], [place + shift] * 2, color="#333333", linewidth=1)
        axis.axvline(1.1, color="#999999", linestyle=":")
        axis.set_yticks(range(len(own)), [row["schedule"] for row in own])
        axis.set(title=f"{slots} slots", xlabel="makespan over the bound", xlim=(1, None))
    handles = [Patch(color=color, label=label) for color, label in ((OURS, "ours"), (PLAIN, "lock-step rounds"))]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def memory(figures: Mapping[str, Any]) -> Any:
    """Memory of the process against judgements."""
    figure = _figure(5.2, 3.0)
    axis = figure.subplots()
    curve: Sequence[float] = figures["curve"]
    step = figures["judgements"] / len(curve)
    axis.plot([step * (place + 1) for place in range(len(curve))], curve, color=OURS)
    axis.set(xlabel="judgements", ylabel="MiB", ylim=(0, 1.2 * max(curve)), title="memory of the process")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    return figure


class Picture(NamedTuple):
    """A picture in docs/performance, under the name of its benchmark."""

    about: str
    """What can be seen on it, for who cannot."""
    made: Callable[[Mapping[str, Any]], Any]


PICTURES: dict[str, Picture] = {
    "reward_per_call": Picture(f"Correlation with the truth against judge calls, groups of {SIZE}", rewards),
    "engine_load": Picture("Makespan over its bound, by schedule", makespans),
    "http_memory": Picture("Memory over a hundred thousand judgements", memory),
}


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _mark(name: str) -> str:
    """Of the figures a picture is made of, and of how it is drawn."""
    return f"{zlib.crc32((RESULTS / f'{name}.json').read_bytes() + Path(__file__).read_bytes()):08x}"


def can_draw(name: str) -> bool:
    """Whether there is a picture of this benchmark, and figures for it."""
    return name in PICTURES and (RESULTS / f"{name}.json").exists()


def outdated() -> list[str]:
    """The pictures that are not of the figures there are."""
    return [name for name in filter(can_draw, PICTURES) if _mark(name) not in _comment(FOLDER / f"{name}.png")]


def _comment(path: Path) -> str:
    if not path.exists():
        return ""
    from PIL import Image

    with Image.open(path) as image:
        return str(image.info.get("Comment", ""))


def draw(name: str) -> None:
    """One of them."""
    figures = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["figures"]
    FOLDER.mkdir(exist_ok=True)
    made = PICTURES[name].made(figures)
    made.savefig(FOLDER / f"{name}.png", dpi=80, metadata={"Comment": f"figures {_mark(name)}", "Software": None})


if __name__ == "__main__":
    for each in filter(can_draw, PICTURES):
        draw(each)
