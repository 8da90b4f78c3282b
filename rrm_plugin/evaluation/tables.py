"""Reports as text: for a terminal, as Markdown, and as one HTML page that needs nothing else.

Left out: what stands in a report (`judge_reports.py`, `best_of_n.py`), and pictures (`plots.py`).
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Table",
    "as_html",
    "as_markdown",
    "as_text",
    "comparison_told",
    "judge_tables",
    "percent",
    "run_tables",
    "strategy_tables",
]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a header; the first column names a row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=tuple)


def percent(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A share in percent, with its interval; a dash where there is none."""
    if value is None:
        return "-"
    ends = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{100 * value:.1f}{ends}"


def judge_tables(report: Mapping[str, Any]) -> list[Table]:
    """The tables of a report on a judge."""
    tables = [_figures(report), _published(report), _subsets(report), _failures(report), _cost(report)]
    for name, points in report["scaling"].items():
        if points:
            tables.append(_curve(name, points))
    return [table for table in tables if table.rows]


def _figures(report: Mapping[str, Any]) -> Table:
    figure = report["figure"]
    values = {figure["name"]: figure["value"], **figure["parts"]}
    by_source = report.get("by_source")
    theirs = {by_source["name"]: by_source["value"], **by_source["parts"]} if by_source else {}
    header = ["figure", "%", *(["by the source's reading"] if theirs else [])]
    rows = [
        [
            name,
            percent(value, figure["interval"] if name == figure["name"] else None),
            *([percent(theirs.get(name))] if theirs else []),
        ]
        for name, value in values.items()
    ]
    lacking = ("A dash: some of its pairs or subsets were not judged, and a mean of the rest would be another figure.",)
    notes = lacking if any(value is None for value in values.values()) else ()
    return Table(title=f"{report['benchmark']}: {figure['metric']}", header=header, rows=rows, notes=notes)


def _published(report: Mapping[str, Any]) -> Table:
    """Figures of others, with their sources as numbered notes."""
    sources = {one["source"]: place for place, one in reversed(list(enumerate(report["published"])))}
    numbers = {source: f"[{n}]" for n, source in enumerate(sorted(sources, key=lambda name: sources[name]), start=1)}
    rows = [[one["figure"], one["judge"], f"{one['value']:.1f}", numbers[one["source"]]] for one in report["published"]]
    notes = [f"{number} {source}" for source, number in numbers.items()]
    return Table(title="Published by others", header=["figure", "judge", "%", "source"], rows=rows, notes=notes)


_COLUMNS = (
    ("both", "both right"),
    ("together", "together"),
    ("agreement", "agreement"),
    ("first_rate", "first"),
    ("failed", "failed"),
)


def _subsets(report: Mapping[str, Any]) -> Table:
    everything = {**report["overall"], "subset": "all"}
    rows = [
        [
            row["subset"],
            str(row["n"]),
            percent(row["accuracy"], row["interval"]),
            *(percent(row[name]) for name, _ in _COLUMNS),
        ]
        for row in [*report["rows"], everything]
    ]
    header = ["subset", "pairs", "accuracy", *(title for _, title in _COLUMNS)]
    return Table(title="By subset, in percent", header=header, rows=rows)


def _failures(report: Mapping[str, Any]) -> Table:
    calls = report["overall"]["cost"]["calls"]
    rows = [
        [reason, str(count), percent(count / calls)] for reason, count in report["overall"]["failures"].items() if calls
    ]
    return Table(title="Calls without a verdict; they count as wrong", header=["reason", "calls", "%"], rows=rows)


_COSTS = {
    "paid": "calls answered now",
    "completion_tokens": "reply tokens",
    "tokens_per_call": "tokens per call, prompt and reply",
    "completion_tokens_per_call": "reply tokens per call",
}
"""Names of costs for a person, where those of the report would be taken for something else."""


def _cost(report: Mapping[str, Any]) -> Table:
    cost = report["overall"]["cost"]
    rows = [[_COSTS.get(name, name.replace("_", " ")), _plain(value)] for name, value in cost.items() if value]
    return Table(title="What it took", header=["", ""], rows=rows)


def _curve(name: str, points: Sequence[Mapping[str, Any]]) -> Table:
    first = next(iter(points[0]))
    rows = [
        [str(point[first]), percent(point["accuracy"], point["interval"]), _plain(point["tokens_per_pair"])]
        for point in points
    ]
    title = "Votes for each pair and order" if name == "votes" else "If longer replies had been cut off"
    return Table(title=title, header=[first.replace("_", " "), "accuracy", "reply tokens a pair"], rows=rows)


def strategy_tables(report: Mapping[str, Any]) -> list[Table]:
    """The table of a report on best of n."""
    baselines = [
        [name, percent(value["accuracy"], value["interval"]), "0", "", ""]
        for name, value in report["baselines"].items()
    ]
    rows = [
        [
            row["strategy"],
            percent(row["accuracy"], row["interval"]),
            f"{row['calls_per_group']:.1f}",
            percent(row["gained"]),
            percent(row["unpicked"]),
        ]
        for row in report["strategies"]
    ]
    title = f"Best of n: {report['groups']} groups, {report['mean_size']:.1f} responses each"
    header = ["picked by", "right, %", "calls a group", "gained, %", "unpicked, %"]
    notes = ("Gained: of the way from random to oracle. Unpicked: groups without any verdict, which count as wrong.",)
    return [Table(title=title, header=header, rows=[*baselines, *rows], notes=notes)]


def run_tables(runs: Mapping[str, Any]) -> list[Table]:
    """The table of several runs of one benchmark."""
    rows = [
        [
            point["run"],
            *("-" if point[name] is None else str(point[name]) for name in ("max_tokens", "votes")),
            _plain(point["tokens_per_pair"]),
            percent(point["accuracy"], point["interval"]),
            *(percent(point[name]) for name in ("agreement", "forced", "failed")),
        ]
        for point in runs["points"]
    ]
    header = ["run", "max tokens", "votes", "reply tokens a pair", "accuracy", "agreement", "forced", "failed"]
    return [Table(title=f"Runs on {runs['benchmark']}, in percent", header=header, rows=rows)]


def _plain(value: float | int) -> str:
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.2f}"


def comparison_told(difference: Mapping[str, Any], first: str = "first", second: str = "second") -> str:
    """What two reports differ by, for a person.

    Args:
        difference: of the first report over the second, from `judge_reports.compared`.
        first, second: what to call the two.
    """
    ends = difference["interval"]
    within = f" [{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]" if ends else ""
    lines = [
        f"accuracy of {first} over {second}: {100 * difference['difference']:+.1f} points{within}",
        f"of {difference['questions']} questions {first} does better on {difference['better']} and worse on "
        f"{difference['worse']}; sign test p = {difference['p_value']:.3g}",
    ]
    here, there = difference["only_in_one"]
    if here or there:
        lines.append(f"left out: {here} questions of {first} and {there} of {second} that the other lacks")
    if difference["differs"]:
        named = ", ".join(f"{name} {old!r} -> {new!r}" for name, (old, new) in difference["differs"].items())
        lines.append(f"the runs were not made alike ({second} -> {first}): {named}")
    return "\n".join(lines)


def as_text(tables: Sequence[Table], width: int | None = None) -> str:
    """For a terminal: columns in line, a blank line between tables.

    Args:
        width: of the terminal; a wider table is shown in parts, each with the first column. None shows it whole.
    """
    return "\n\n".join(_aligned(table, width) for table in tables)


def _aligned(table: Table, width: int | None) -> str:
    lines = [list(table.header), *map(list, table.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.header))]
    words = [any(line[place][:1].isalpha() for line in lines[1:]) for place in range(len(table.header))]

    def told(line: Sequence[str], places: Sequence[int]) -> str:
        cells = [line[at].ljust(widths[at]) if words[at] or not at else line[at].rjust(widths[at]) for at in places]
        return "  ".join(cells).rstrip()

    parts = ["\n".join(told(line, places) for line in lines if any(line)) for places in _parts(widths, width)]
    title, *notes = (_folded(text, width) for text in (table.title, *table.notes))
    return "\n".join([title, "\n\n".join(parts), *notes])


def _parts(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """The columns of each part of a table: the first one, and as many others as there is room for."""
    parts: list[list[int]] = [[0]]
    for place in range(1, len(widths)):
        taken = sum(widths[at] + 2 for at in parts[-1]) + widths[place]
        if width is not None and taken > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(place)
    return parts


def _folded(text: str, width: int | None) -> str:
    return text if width is None else textwrap.fill(text, width)


def as_markdown(tables: Sequence[Table]) -> str:
    """One section a table."""
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    body = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return f"## {table.title}\n\n{body}\n{notes}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1b1b; }}
table {{ border-collapse: collapse; margin: 0.5rem 0 2rem; }}
th, td {{ border-bottom: 1px solid #d5d5d5; padding: 0.25rem 0.7rem; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
pre {{ background: #f5f5f5; padding: 1rem; overflow: auto; }}
</style></head><body>
<h1>{title}</h1>
{tables}
<h2>Settings</h2>
<pre>{settings}</pre>
</body></html>
"""


def as_html(title: str, tables: Sequence[Table], settings: str) -> str:
    """A page with nothing to load.

    Args:
        title: of the page.
        tables: in order.
        settings: shown below them, as they are.
    """
    return _PAGE.format(title=html.escape(title), tables="\n".join(map(_html, tables)), settings=html.escape(settings))


def _html(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    return f"<h2>{html.escape(table.title)}</h2>\n<table><tr>{head}</tr>\n{rows}</table>{notes}"
