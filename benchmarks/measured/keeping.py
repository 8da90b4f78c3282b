"""Where and on what a figure was measured, how it is spread, and how it is kept.

A benchmark keeps a page for people, `results/NAME.md`, and the figures of it that docs/performance.md tells,
`results/NAME.json`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "busy_seconds", "keep", "machine", "spread", "table"]

RESULTS = Path(__file__).parent.parent / "results"


def machine(*packages: str) -> str:
    """One sentence: interpreter, packages, cores, how busy the machine was with other work, and the day."""
    versions = [f"{name} {found}" for name in packages if (found := _version(name))]
    named = ", ".join([f"Python {platform.python_version()}", *versions, f"{os.cpu_count()} CPU cores"])
    busy = os.getloadavg()[1]
    return f"{named}, {platform.system()} {platform.machine()}, load average {busy:.1f}, {time.strftime('%Y-%m-%d')}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (lowest to highest)."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def keep(name: str, *, title: str, command: str, body: str, on: str, figures: Mapping[str, Any]) -> None:
    """Write the page and the figures of a benchmark.

    Args:
        name: of the files.
        title: of the page.
        command: that writes it.
        body: Markdown.
        on: where it was measured, see `machine`.
        figures: for docs/performance.md, as plain values.
    """
    RESULTS.mkdir(exist_ok=True)
    page = f"# {title}\n\nWritten by `{command}`.\n\n{on}.\n\n{body}\n"
    (RESULTS / f"{name}.md").write_text(page, encoding="utf-8")
    record = {"title": title, "command": command, "on": on, "figures": figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def busy_seconds(pids: Sequence[int]) -> float:
    """Processor time of processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
