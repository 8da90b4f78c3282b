"""What it takes to score recorded calls: 100,000 verdicts, and 100,000 texts of a thinking judge.

Made-up pairs in five subsets, each in both orders; a text has 200 words of thinking. Time is that of the processor,
from the files on disk to the finished report with all its intervals; memory is the peak of the process.

    python benchmarks/replay.py [--pairs 50000] [--write]

`--write` puts the table into benchmarks/results/replay.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rrm_plugin.evaluation.benchmarks import pairs_file, read_pairs
from rrm_plugin.evaluation.judge_reports import judge_report
from rrm_plugin.evaluation.recorded import replay
from rrm_plugin.verdicts import grammar

RESULTS = Path(__file__).parent / "results" / "replay.md"
KINDS = ("verdicts", "texts")


def make(folder: Path, pairs: int) -> None:
    """The pairs, and a file of calls of each kind."""
    draw = random.Random(0)
    with (
        (folder / "pairs.jsonl").open("w") as file,
        (folder / "verdicts.jsonl").open("w") as verdicts,
        (folder / "texts.jsonl").open("w") as texts,
    ):
        for name in range(pairs):
            about: dict[str, Any] = {"id": str(name), "subset": f"subset {name % 5}"}
            _put(file, {**about, "prompt": f"question {name}", "chosen": f"good {name}", "rejected": f"bad {name}"})
            for swapped in (False, True):
                number = draw.choice((1, 2))
                thought = "<think>\n" + "word " * 200 + f"\n</think>\n\\boxed{{Assistant {number}}}"
                _put(verdicts, {**about, "swapped": swapped, "verdict": "first" if number == 1 else "second"})
                _put(texts, {**about, "swapped": swapped, "text": thought})


def _put(file: Any, row: dict[str, Any]) -> None:
    file.write(json.dumps(row) + "\n")


def score(folder: Path, kind: str) -> tuple[float, float]:
    """Seconds of the processor, and megabytes at the peak, in this process."""
    began = time.process_time()
    benchmark = pairs_file()
    result = replay(read_pairs(benchmark, folder / "pairs.jsonl"), folder / f"{kind}.jsonl", grammar("rrm"))
    json.dumps(judge_report(benchmark, result.judged, {}))
    scale = 1e6 if platform.system() == "Darwin" else 1e3
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, and keeps it if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--write", action="store_true", help=f"put the table into {RESULTS.name}")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(score(Path(options.one[0]), options.one[1])))
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.pairs)
        for kind in KINDS:
            # A process of its own, so that the peak is this kind's.
            done = subprocess.run(
                [sys.executable, __file__, "--one", folder, kind], check=True, capture_output=True, text=True
            )
            seconds, megabytes = json.loads(done.stdout)
            rows.append(f"| {2 * options.pairs:,} {kind} | {seconds:.1f} | {megabytes:.0f} |\n")
    table = "| scored | seconds of the processor | MB at the peak |\n| --- | --- | --- |\n" + "".join(rows)
    print(table)
    if options.write:
        head = "# Scoring recorded calls\n\nWritten by `python benchmarks/replay.py --write`; the script says what.\n\n"
        RESULTS.write_text(head + table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
