"""docs/performance.md, from what the benchmarks left in benchmarks/results: a table of what was aimed for and what was
measured, and of each page its command, its machine and its first table.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["page"]

RESULTS = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "results"
LONGEST = 24
"""Rows of a table that is repeated here; of a longer one the page itself is enough."""
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


def _section(name: str, text: str) -> str:
    title = text.splitlines()[0].removeprefix("# ")
    about = [each for each in text.split("\n\n")[1:] if not each.startswith(("|", "#"))][:3]
    found = re.search(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE)
    small = found is not None and found[0].count("\n") <= LONGEST
    parts = [
        f"## {title}",
        *about,
        found[0] if found is not None and small else "",
        f"[Whole](../benchmarks/results/{name}.md).",
    ]
    return "\n\n".join(part.strip() for part in parts if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
