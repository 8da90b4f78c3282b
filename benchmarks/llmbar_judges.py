"""LLMBar's published judges re-scored: accuracy and agreement by this package's reading beside the source's.

The texts of six judges on the five subsets of LLMBar, each pair in both orders, with the verdicts that the authors'
own script took. Where the two readings differ, the number of texts and the reasons are told.

    python benchmarks/llmbar_judges.py [--write]

Reads ../shared/data beside the checkout, or the folder in RRM_SHARED_DATA; without it nothing is done. `--write` puts
the table into benchmarks/results/llmbar_judges.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rrm_plugin.evaluation.benchmarks import BENCHMARKS, read_pairs
from rrm_plugin.evaluation.judge_reports import judge_report
from rrm_plugin.evaluation.recorded import replay
from rrm_plugin.evaluation.tables import percent
from rrm_plugin.verdicts import grammar

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "llmbar_judges.md"
JUDGES = [(name, method) for name in ("GPT-4", "ChatGPT", "PaLM2", "LLaMA2") for method in ("CoT", "Vanilla")]
HEADER = ["judge", "subset", "accuracy", "by the source", "agreement", "by the source", "read otherwise"]


def rows(folder: Path) -> list[list[str]]:
    """A row for each judge and subset."""
    benchmark = BENCHMARKS["llmbar"]
    pairs = read_pairs(benchmark, folder)
    found = []
    for name, method in JUDGES:
        where = {"evaluator": name, "method": method}
        result = replay(pairs, folder / "evaluator_verdicts_all.jsonl.gz", grammar("llmbar"), where=where)
        report = judge_report(benchmark, result.judged, where, source=result.source)
        for row in report["rows"]:
            reasons = Counter(one.reason for one in result.differences if one.subset == row["subset"])
            theirs = row["by_source"]
            found.append(
                [
                    f"{name} {method}",
                    row["subset"].removeprefix("LLMBar/"),
                    percent(row["accuracy"]),
                    percent(theirs["accuracy"]),
                    percent(row["agreement"]),
                    percent(theirs["agreement"]),
                    ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "0",
                ]
            )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, and keeps it if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help=f"put the table into {RESULTS.name}")
    options = parser.parse_args(arguments)
    folder = Path(os.environ.get("RRM_SHARED_DATA") or ROOT.parent / "shared" / "data") / "llmbar"
    if not folder.is_dir():
        print(f"no recorded texts in {folder}: nothing to do")
        return 0
    told = "".join(f"| {' | '.join(line)} |\n" for line in [HEADER, ["---"] * len(HEADER), *rows(folder)])
    print(told)
    if options.write:
        head = (
            "# LLMBar's published judges, re-scored\n\nWritten by `python benchmarks/llmbar_judges.py --write`. In "
            "percent; `other_verdict` is a text that names one output as better where the source recorded the other "
            "one.\n\n"
        )
        RESULTS.write_text(head + told, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
