"""How fast `rrm train-data` works, and how much memory it needs as its input grows.

The data: pairs of made-up texts, a prompt of 40 words and two responses of 150 (about 1.9 kB a row), de-duplicated and
checked against a thousand benchmark prompts. Each size runs in a process of its own; its memory is the most that the
process ever held, less what it held before the first row.

    python benchmarks/train_data.py [--rows 10000 100000] [--write]

`--write` puts the table into benchmarks/results/train_data.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rrm_plugin.training.builder import write_training_data
from rrm_plugin.training.candidates import Preparation
from rrm_plugin.training.checks import Benchmarks
from rrm_plugin.training.sources import source

RESULTS = Path(__file__).parent / "results" / "train_data.md"
WORDS = [f"{head}{tail}" for head in "bcdfghklmnprst" for tail in ("anon", "elta", "ibor", "osum", "urry", "ate", "y")]


def made_up(draw: random.Random, words: int) -> str:
    """A text of so many words."""
    return " ".join(draw.choices(WORDS, k=words))


def write_input(path: Path, rows: int) -> None:
    """A file of so many pairs."""
    draw = random.Random(rows)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            row = {"prompt": made_up(draw, 40), "chosen": made_up(draw, 150), "rejected": made_up(draw, 150)}
            file.write(json.dumps(row) + "\n")


def most_memory() -> float:
    """Megabytes that this process has held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def measure(folder: Path) -> dict[str, float]:
    """Time and memory of one run over `folder`/in.jsonl."""
    benchmarks = Benchmarks()
    benchmarks.add(source(str(folder / "bench.jsonl")))
    before, began = most_memory(), time.perf_counter()
    summary = write_training_data(
        [source(str(folder / "in.jsonl"))], folder / "out.jsonl", Preparation(benchmarks=benchmarks)
    )
    return {"seconds": time.perf_counter() - began, "memory": most_memory() - before, "pairs": summary.pairs}


def run(rows: int) -> dict[str, float]:
    """The measurement for one size, made in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_input(folder / "in.jsonl", rows)
        write_input(folder / "bench.jsonl", 1000)
        child = [sys.executable, __file__, "--child", name]
        done = subprocess.run(child, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/results/train_data.md")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)))
        return
    load = os.getloadavg()[0]
    lines = ["| rows | seconds | rows a second | memory beyond the start, MB |", "|---|---|---|---|"]
    for rows in options.rows:
        found = run(rows)
        cells = (f"{rows:,}", f"{found['seconds']:.1f}", f"{rows / found['seconds']:,.0f}", f"{found['memory']:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    text = (
        f"One process. Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"load before the start {load:.1f}.\n\n" + "\n".join(lines) + "\n"
    )
    print(text)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(
            f"# Training data\n\nMade by `python benchmarks/train_data.py --write`.\n\n{text}", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
