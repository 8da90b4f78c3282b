"""The judge inside the package at work, on a CPU and without a download: it compares, ranks, and says what it thought.

    .venv/bin/python examples/04_miniature.py

It was trained by GRPO to judge sums of two numbers, and knows nothing else; `make demo` trains one like it.
"""

from __future__ import annotations

import torch

from rrm_plugin import RRMJudge

QUESTION, ANSWERS = "48+27=?", ["65", "75", "76", "75", "57"]


def main() -> None:
    # A model this small only loses by sharing its work out.
    torch.set_num_threads(1)
    with RRMJudge(model="miniature") as judge:
        for first, second in (("65", "75"), ("75", "65")):
            judgement = judge.compare(QUESTION, first, second)
            verdict = judgement.verdict.value if judgement.verdict else judgement.reason
            print(f"{QUESTION}  {first} or {second}?  {judgement.text}  -> {verdict}")
        scores = judge.rank(QUESTION, ANSWERS)
    print(f"\n{QUESTION}  ranked with {scores.calls} calls, {scores.duplicates} answer known from another:")
    for index in scores.ranking:
        print(f"  {scores.values[index]:+.2f}  {ANSWERS[index]}")


if __name__ == "__main__":
    main()
