"""Best of n on real answers: ways to pick side by side, with a simulated judge of stated accuracy.

The answers and their correctness are real: models' answers to GSM8K, MATH and MMLU-Pro. The judge is none: it knows
which answers are right, prefers a right one to a wrong one with the chance given, errs in each call on its own, and
tosses a coin between two right or two wrong ones. A real judge repeats some of its errors, which costs the ways that
ask it often most. What is compared is what each way makes of the same judge, and for how many calls.

    python benchmarks/best_of_n.py [--write]

Reads ../shared/data beside the checkout, or the folder in RRM_SHARED_DATA; without it nothing is done. `--write` puts
the tables into benchmarks/results/best_of_n.md and their numbers into best_of_n.json, from which docs/evaluation.md has
its own. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rrm_plugin.evaluation.best_of_n import Pick, best_of_n, picked, strategy, truth_of_groups
from rrm_plugin.evaluation.judging import chosen
from rrm_plugin.evaluation.response_groups import ResponseGroup, group_source, read_groups
from rrm_plugin.evaluation.simulated import simulated_judge
from rrm_plugin.evaluation.tables import percent
from rrm_plugin.prompts import load_prompt
from rrm_plugin.tournament import Tournament
from rrm_plugin.types import Group

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "best_of_n.md"
FILES = {
    "GSM8K, 4 answers": "gsm8k/gsm8k_multi4.jsonl",
    "MATH, 8 answers": "qwen_math/math_multi8.jsonl",
    "GSM8K, 15 or 16 answers": "zeroeval/gsm_multi16_every12.jsonl",
    "MMLU-Pro, 28 or 29 answers": "mmlu_pro/mmlu_pro_multi.jsonl",
}
MOST = 300
"""Groups of a file."""
ACCURACIES = (0.5, 0.65, 0.8, 1.0)
WAYS = (
    "knockout",
    "knockout@3",
    "knockout@5",
    "adaptive",
    "swiss:4",
    "circulant:2",
    "circulant:4",
    "circulant:4@3",
    "round_robin",
    "round_robin/bradley_terry",
)


def data() -> Path:
    """The folder of the real answers."""
    return Path(os.environ.get("RRM_SHARED_DATA") or ROOT.parent / "shared" / "data")


async def play(groups: Sequence[ResponseGroup], accuracy: float) -> dict[str, Any]:
    """All ways over all groups."""
    prompt = load_prompt("rrm")
    judge = simulated_judge(f"simulated:{accuracy}", truth_of_groups(groups, prompt), prompt=prompt)
    picks: dict[str, list[Pick]] = {}
    for spec in WAYS:
        way = strategy(spec)
        tournament = Tournament(judge=judge, schedule=way.schedule, reducer=way.reducer, votes=way.votes)
        picks[spec] = []
        for group in groups:
            scores = await tournament.score_group(Group(prompt=group.prompt, responses=group.responses))
            picks[spec].append(picked(group, scores))
    return best_of_n(groups, picks, {})


def table(reports: Sequence[dict[str, Any]]) -> str:
    """One file's table: a row a way, a column an accuracy."""
    first = reports[0]
    lines = [
        ["picked by", "calls", *(f"judge right {accuracy:.0%}" for accuracy in ACCURACIES)],
        ["---"] * (2 + len(ACCURACIES)),
    ]
    for name, value in first["baselines"].items():
        lines.append([name, "0", *[percent(value["accuracy"], value["interval"])] * len(ACCURACIES)])
    for rows in zip(*(report["strategies"] for report in reports), strict=True):
        calls = " to ".join(dict.fromkeys(f"{end(row['calls_per_group'] for row in rows):.0f}" for end in (min, max)))
        lines.append([f"`{rows[0]['strategy']}`", calls, *(percent(row["accuracy"], row["interval"]) for row in rows)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def numbers(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One file's numbers, as plain values: a list has a value an accuracy."""
    first = reports[0]
    kept = ("accuracy", "interval", "calls_per_group")
    return {
        "questions": first["groups"],
        "mixed": first["mixed"],
        "judge": list(ACCURACIES),
        "baselines": first["baselines"],
        "ways": {
            rows[0]["strategy"]: {name: [row[name] for row in rows] for name in kept}
            for rows in zip(*(report["strategies"] for report in reports), strict=True)
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, and keeps them if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help=f"put the tables into {RESULTS.name}")
    options = parser.parse_args(arguments)
    if not data().is_dir():
        print(f"no real answers in {data()}: nothing to do")
        return 0
    parts, kept = [], {}
    for title, name in FILES.items():
        groups = chosen(read_groups(group_source(str(data() / name))), MOST, 0, lambda group: group.id)
        reports = [asyncio.run(play(groups, accuracy)) for accuracy in ACCURACIES]
        about = f"{len(groups)} questions, {reports[0]['mixed']} of them with right and wrong answers."
        parts.append(f"## {title}\n\n{about}\n\n{table(reports)}")
        kept[title] = numbers(reports)
        print(parts[-1])
    if options.write:
        head = (
            "# Best of n by ways to pick\n\nWritten by `python benchmarks/best_of_n.py --write`. Real answers, and a "
            "simulated judge whose errors are independent; the script says how. Share of questions whose pick is "
            "right, in percent, with the 95% interval over questions; judge calls a question. `round_robin` is reduced "
            "by Elo, `knockout` by the round that a response reached, all others by Bradley-Terry. At most "
            f"{MOST} questions of a file, drawn by a fixed seed. Each match is shown in both orders.\n\n"
        )
        RESULTS.write_text(head + "\n".join(parts), encoding="utf-8")
        RESULTS.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
