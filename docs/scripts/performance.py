"""docs/performance.md, from what the benchmarks left in benchmarks/results: a table of what was aimed for and what was
measured, and of each page its command, its machine, its picture if it has one, and one table or two with what stands
above them there.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from performance_pictures import PICTURES, can_draw

__all__ = ["page"]

RESULTS = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "results"
CHOSEN = {
    "alarms": [("", "groups a step"), ("", "what goes wrong")],
    "best_of_n": [("GSM8K, 15 or 16 answers", "picked by"), ("MMLU-Pro, 28 or 29 answers", "picked by")],
    "reward_per_call": [("Adaptive against the rest at equal calls", "n = 16")],
}
"""Tables that are repeated here, by their heading and first cell, where that is not the first one of the page."""
SPEED = (
    "engine_load",
    "http_overhead",
    "http_memory",
    "vllm_engine",
    "prefix_order",
    "endpoints",
    "reducers",
    "service",
    "replay",
)
"""Pages in this order come first."""
HEAD = """# What it costs, and how fast it is

<!-- not run: the benchmarks take hours -->
```bash
make bench ARGS=--write
make docs
```

The first runs each benchmark and keeps its result, the second writes this page from them. What needs vLLM runs in an
environment of its own, by the command that stands with it. All figures are of a small machine without a GPU that had
other work too, and ratios within one run wherever they can be; each page says how busy the machine was.
"""


def page() -> str:
    """The whole page."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in sorted(RESULTS.glob("*.md"))}
    names = [*(name for name in SPEED if name in found), *(name for name in found if name not in SPEED)]
    parts = [HEAD, *_aims(found)]
    parts += [_section(name, found[name]) for name in names]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _aims(found: Mapping[str, str]) -> Iterator[str]:
    rows = [[*row, "" if row[1] == "reported" else "yes" if met else "**no**"] for row, met in _measured()]
    if rows:
        yield "## What was aimed for\n\n" + _table(["figure", "aimed for", "measured", "met"], rows)
    told = [line for text in found.values() for line in text.splitlines() if re.search(r"\*\*(Met|Not met)\*\*", line)]
    if told:
        yield "Of the simulations, in their own words:\n\n" + "\n".join(_bullet(line) for line in told)


def _bullet(line: str) -> str:
    return line if line.startswith("- ") else f"- {line}"


def _measured() -> Iterator[tuple[list[str], bool]]:
    for name, rows in _AIMS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            yield from rows(json.loads(path.read_text(encoding="utf-8"))["figures"])


def _load(figures: Mapping[str, Any]) -> Iterator[tuple[list[str], bool]]:
    batch = f"{figures['groups']} groups of {figures['size']}"
    cases = {(row["slots"], row["orders"]) for row in figures["rows"]}
    for slots, orders in sorted(cases, key=str):
        rows = [row for row in figures["rows"] if (row["slots"], row["orders"]) == (slots, orders)]
        medians = {row["schedule"]: statistics.median(row["ratios"]) for row in rows}
        yield _makespan(f"{batch}, {orders}, {slots} slots, in simulated time", medians)
    if figures["real"]:
        medians = {row["schedule"]: statistics.median(row["ratios"]) for row in figures["real"]}
        yield _makespan(f"{batch}, both, {figures['real_slots']} slots, over HTTP", medians)


def _makespan(what: str, medians: Mapping[str, float]) -> tuple[list[str], bool]:
    over = [f"{name} {ratio:.2f}" for name, ratio in medians.items() if round(ratio, 2) > 1.10]
    least, most = min(medians.values()), max(medians.values())
    told = f"{least:.2f} to {most:.2f}, by schedule" + (f"; over: {', '.join(over)}" if over else "")
    return [f"makespan over its bound: {what}", "at most 1.10 under every schedule", told], not over


def _http(figures: Mapping[str, Any]) -> Iterator[tuple[list[str], bool]]:
    at = figures["concurrency"]
    for name in ("engine", "judge"):
        share, busy = figures["shares"][name], figures["processor"][name]
        told = f"{share:.2f}; {busy:.0f} µs of processor time a call, bare {figures['processor']['bare']:.0f}"
        aimed = "at least 0.95" if name == "engine" else "reported"
        yield [f"calls/s over a bare client's, {at:,} under way: {name}", aimed, told], name == "judge" or share >= 0.95


def _memory(figures: Mapping[str, Any]) -> Iterator[tuple[list[str], bool]]:
    held = {name: statistics.median(values) for name, values in figures["held"].items()}
    told = f"{held['judge']:.0f} KiB, of which a bare client takes {held['bare']:.0f}"
    yield ["memory of a judge call under way", "reported", told], True
    start = {name: statistics.median(values) for name, values in figures["starts"].items()}
    yield ["from the start of Python to a judge", "reported", f"{start['RRMJudge made']:.2f} s of processor time"], True
    told = f"{figures['slope']:+.1f} KiB for each 1,000 in the second half"
    flat = abs(figures["slope"]) < 10.0
    yield [f"memory over {figures['judgements']:,} judgements", "flat: below 10 KiB for each 1,000", told], flat


def _vllm(figures: Mapping[str, Any]) -> Iterator[tuple[list[str], bool]]:
    told = f"{figures['share']:.2f} in {figures['rounds']} rounds, at {figures['processor']:.2f} of the processor time"
    yield ["tokens/s of vLLM in process over `LLM.chat`'s", "at least 0.95", told], figures["share"] >= 0.95


def _prefix(figures: Mapping[str, Any]) -> Iterator[tuple[list[str], bool]]:
    hits = {name: statistics.median(run["hit"] for run in runs) for name, runs in figures["found"].items()}
    gain = figures["gains"]["ours"]
    told = f"{hits['ours']:.0%} of prompt tokens found, random {hits['random']:.0%}; calls/s times {gain:.2f}"
    yield ["order of calls for the prefix cache, against random", "reported", told], True


_AIMS: dict[str, Callable[[Mapping[str, Any]], Iterator[tuple[list[str], bool]]]] = {
    "engine_load": _load,
    "http_overhead": _http,
    "http_memory": _memory,
    "vllm_engine": _vllm,
    "prefix_order": _prefix,
}


class _Shown(NamedTuple):
    """A table of a page, with what stands directly above it there."""

    heading: str
    """Empty above the first heading."""
    about: tuple[str, ...]
    """Paragraphs."""
    table: str

    @property
    def key(self) -> tuple[str, str]:
        return self.heading, self.table.split("|")[1].strip()


def _section(name: str, text: str) -> str:
    title, *rest = re.split(r"\n{2,}", text.strip())
    shown = list(_tables(rest))
    chosen = CHOSEN.get(name) or [each.key for each in shown[:1]]
    missing = set(chosen) - {each.key for each in shown}
    if missing:
        raise ValueError(f"benchmarks/results/{name}.md has no table {sorted(missing)[0]}: mend CHOSEN")
    parts = [f"## {title.removeprefix('# ')}", *_opening(rest)]
    if can_draw(name):
        parts.append(f"![{PICTURES[name].about}](performance/{name}.png)")
    for each in shown:
        if each.key in chosen:
            parts += [*([f"### {each.heading}"] if each.heading else []), *each.about, each.table]
    return "\n\n".join([*parts, f"[Whole](../benchmarks/results/{name}.md)."])


def _opening(blocks: Sequence[str]) -> Iterator[str]:
    """The paragraphs above the first heading that are no table's own: what was run, and on which machine."""
    before = list(itertools.takewhile(lambda each: not each.startswith("#"), blocks))
    tables = [index for index, each in enumerate(before) if each.startswith("|")]
    yield from before[: tables[0] - 1 if tables else None]


def _tables(blocks: Sequence[str]) -> Iterator[_Shown]:
    """All of a page; one without a paragraph has those of the table before it under the same heading."""
    heading, about, fresh = "", list[str](), True
    for index, block in enumerate(blocks):
        if block.startswith("#"):
            heading, about, fresh = block.lstrip("# "), [], True
        elif block.startswith("|"):
            yield _Shown(heading, tuple(about if heading else blocks[max(index - 1, 0) : index]), block)
            fresh = False
        else:
            about, fresh = [*(about if fresh else []), block], True


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
