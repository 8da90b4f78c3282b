"""Reports as text: for a terminal, as Markdown, and as one HTML page that needs nothing else.

Left out: what stands in a report (`judge_reports.py`, `best_of_n.py`), and pictures (`plots.py`).
"""

from __future__ import annotations

import html
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
    tables = [_figures(report), _subsets(report), _failures(report), _cost(report)]
    for name, points in report["scaling"].items():
        if points:
            tables.append(_curve(name, points))
    return [table for table in tables if table.rows]


def _figures(report: Mapping[str, Any]) -> Table:
    figure = report["figure"]
    values = {figure["name"]: figure["value"], **figure["parts"]}
    by_source = report.get("by_source")
    theirs = {by_source["name"]: by_source["value"], **by_source["parts"]} if by_source else {}
    published: dict[str, list[str]] = {}
    for one in report["published"]:
        published.setdefault(one["figure"], []).append(f"{one['judge']} {one['value']:.1f} ({one['source']})")
    header = ["figure", "%", *(["by the source's reading"] if theirs else []), *(["published"] if published else [])]
    rows = [
        [
            name,
            percent(value, figure["interval"] if name == figure["name"] else None),
            *([percent(theirs.get(name))] if theirs else []),
            *(["; ".join(published.get(name, []))] if published else []),
        ]
        for name, value in values.items()
    ]
    return Table(title=f"{report['benchmark']}: {figure['metric']}", header=header, rows=rows)


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


def _cost(report: Mapping[str, Any]) -> Table:
    cost = report["overall"]["cost"]
    rows = [[name.replace("_", " "), _plain(value)] for name, value in cost.items() if value]
    return Table(title="What it took", header=["", ""], rows=rows)


def _curve(name: str, points: Sequence[Mapping[str, Any]]) -> Table:
    first = next(iter(points[0]))
    rows = [
        [str(point[first]), percent(point["accuracy"], point["interval"]), _plain(point["tokens_per_pair"])]
        for point in points
    ]
    title = "Votes for each pair and order" if name == "votes" else "If longer replies had been cut off"
    return Table(title=title, header=[first.replace("_", " "), "accuracy", "tokens a pair"], rows=rows)


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
    header = ["picked by", "right, %", "calls a group", "of the way from random to oracle, %", "nothing picked, %"]
    return [Table(title=title, header=header, rows=[*baselines, *rows])]


def _plain(value: float | int) -> str:
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.2f}"


def comparison_told(difference: Mapping[str, Any]) -> str:
    """What two reports differ by, for a person."""
    ends = difference["interval"]
    within = f" [{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]" if ends else ""
    lines = [
        f"{100 * difference['difference']:+.1f} points{within} on {difference['questions']} questions: "
        f"{difference['better']} better, {difference['worse']} worse; sign test p = {difference['p_value']:.3g}"
    ]
    here, there = difference["only_in_one"]
    if here or there:
        lines.append(f"left out: {here} questions of the first report and {there} of the second that the other lacks")
    if difference["differs"]:
        named = ", ".join(f"{name} {old!r} -> {new!r}" for name, (old, new) in difference["differs"].items())
        lines.append(f"the runs were not made alike (second -> first): {named}")
    return "\n".join(lines)


def as_text(tables: Sequence[Table]) -> str:
    """For a terminal: columns in line, a blank line between tables."""
    return "\n\n".join(_aligned(table) for table in tables)


def _aligned(table: Table) -> str:
    lines = [list(table.header), *map(list, table.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.header))]
    told = [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
        if any(line)
    ]
    return "\n".join([table.title, *told, *table.notes])


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
