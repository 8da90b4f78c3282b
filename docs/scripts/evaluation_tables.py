"""The tables of docs/evaluation.md: benchmarks, what others published, what a run of RRM-7B is expected to cost, and
what benchmarks/best_of_n.py and benchmarks/small_judge.py wrote.

Hours are computed as those of the recipes are (`estimates.py`), for an engine that has one GPU for itself, and rounded
to two digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from estimate_tables import about, markdown
from estimates import GB, GPUS, SHAPES, Assumed, Gpu, Shape

from rrm_plugin.evaluation.benchmarks import BENCHMARKS, Benchmark
from rrm_plugin.evaluation.response_groups import PPE_GROUPS, PPE_PUBLISHED
from rrm_plugin.evaluation.tables import percent
from rrm_plugin.schedules import schedule

__all__ = ["TABLES"]

JUDGE = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
"""What RRM-7B is made of."""
CACHE = 0.9
"""Share of a GPU's memory that an engine takes; what the weights leave of it is the KV cache."""
RESULTS = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "results"
QUESTIONS = 512
"""Of each PPE set, as the hub shows for MATH; each has 32 answers."""


def hours(calls: float, shape: Shape, gpu: Gpu, assumed: Assumed) -> float:
    """Of one GPU that does nothing else: the weights are read once for all replies at work, each cache for itself."""
    room = (CACHE * gpu.memory - 2 * shape.parameters - assumed.engine) / shape.kv_bytes
    at_once = room / (assumed.prompt + assumed.reply / 2)
    read = calls / at_once * assumed.reply * 2 * shape.parameters
    read += calls * assumed.reply * (assumed.prompt + assumed.reply / 2) * shape.kv_bytes
    peak = gpu.flops * assumed.utilisation
    computing = calls * assumed.reply * 2 * shape.parameters / peak
    prefill = calls * assumed.prompt * 2 * shape.parameters / peak
    return (max(read / (gpu.bandwidth * assumed.bandwidth), computing) + prefill) / 3600


def benchmarks() -> str:
    """Each benchmark: what it holds, where its data is, what it counts, and where its layout was read."""
    rows = [[f"`{one.name}`", one.about, _places(one), one.metric, one.seen] for one in BENCHMARKS.values()]
    return markdown(["name", "holds", "data", "its own figure", "layout as read in"], rows)


def _places(one: Benchmark) -> str:
    sets = dict.fromkeys(place.path for place in one.hub.values())
    return ", ".join(f"`{name}`" for name in sets) or "`--data`: no data set of the hub is known"


def published() -> str:
    """What others published, with where it was read."""
    rows = [
        [f"`{name}`", one.figure, one.judge, f"{one.value:.1f}", one.source]
        for name, benchmark in BENCHMARKS.items()
        for one in benchmark.published
    ]
    rows += [
        [f"`rrm bon {name}`", "best of 32", one.judge, f"{one.value:.1f}", one.source]
        for name, known in PPE_PUBLISHED.items()
        for one in known
    ]
    return markdown(["benchmark", "figure", "judge", "%", "source"], rows)


def cost() -> str:
    """Calls, tokens and hours of RRM-7B on every benchmark of known size."""
    assumed, shape = Assumed(), SHAPES[JUDGE]
    sizes = {f"rrm eval {one.name}": 2 * one.pairs for one in BENCHMARKS.values() if one.pairs}
    best = schedule("knockout").calls(32, "both") * QUESTIONS
    sizes |= {f"rrm bon {name} --strategy knockout": best for name in PPE_GROUPS}
    rows = [
        [
            f"`{name}`",
            f"{calls:,}",
            about(calls * (assumed.prompt + assumed.reply) / 1e6),
            *(about(hours(calls, shape, gpu, assumed)) for gpu in GPUS.values()),
        ]
        for name, calls in sizes.items()
    ]
    head = ["run, not made", "calls", "million tokens", *(f"hours, one {gpu.name}" for gpu in GPUS.values())]
    told = (
        f"Computed, not measured: {assumed.prompt:,} tokens a prompt and {assumed.reply:,} a reply are assumed, "
        f"{assumed.bandwidth:.0%} of the memory's bandwidth, and {about(shape.parameters / 1e9)} billion parameters in "
        f"bf16 on a GPU of {GPUS['H100'].memory / GB:.0f} GB.\n\n"
    )
    return told + markdown(head, rows)


def _result(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def best_of_n() -> str:
    """Ways to pick side by side, on the answers of which there are most."""
    everything = _result("best_of_n.json")
    told = everything["MMLU-Pro, 28 or 29 answers"]
    header = ["picked by", "calls", *(f"judge right {accuracy:.0%}" for accuracy in told["judge"])]
    rows = [
        [name, "0", *[percent(value["accuracy"], value["interval"])] * len(told["judge"])]
        for name, value in told["baselines"].items()
    ]
    for name, way in told["ways"].items():
        calls = f"{max(way['calls_per_group']):.0f}"
        cells = [percent(*one) for one in zip(way["accuracy"], way["interval"], strict=True)]
        rows.append([f"`{name}`", calls, *cells])
    return f"{markdown(header, rows)}\n{_ends(everything.values())}\n"


def _ends(files: Iterable[Any]) -> str:
    """Whether a coin ends at a random pick and a perfect judge at the oracle, over all files and ways to pick."""
    coin, perfect = [], []
    for told in files:
        random, oracle = (told["baselines"][name]["accuracy"] for name in ("random", "oracle"))
        for way in told["ways"].values():
            low, high = way["interval"][told["judge"].index(0.5)]
            coin.append(low <= random <= high)
            low, high = way["interval"][told["judge"].index(1.0)]
            perfect.append(low <= oracle <= high)
    return (
        f"Over all four files, {sum(coin)} of {len(coin)} intervals of a coin, at 95%, hold the accuracy of a random "
        f"pick, and {sum(perfect)} of {len(perfect)} of a perfect judge hold the oracle's."
    )


def small_judge() -> str:
    """The real run of a model that cannot judge."""
    report = _result("small_judge.json")
    overall, cost = report["overall"], report["overall"]["cost"]
    rows = [
        ["judge", report["settings"]["engine"]],
        ["pairs, each in both orders", str(overall["n"])],
        ["accuracy", f"{percent(overall['accuracy'], overall['interval'])}%"],
        ["accuracy in the data set's own order alone", f"{percent(overall['accuracy_straight'])}%"],
        ["accuracy in the other order alone", f"{percent(overall['accuracy_swapped'])}%"],
        ["right in both orders", f"{percent(overall['both'])}%"],
        ["orders agree, of pairs with a verdict in both", f"{percent(overall['agreement_of_decided'])}%"],
        ["verdicts for the response shown first", f"{percent(overall['first_rate'])}%"],
        ["calls that state a verdict of their own accord", f"{percent(1 - overall['failed'] - overall['forced'])}%"],
        ["calls made to state one", f"{percent(overall['forced'])}%"],
        ["calls without a verdict, counted as wrong", f"{percent(overall['failed'])}%"],
        ["accuracy of the calls with a verdict", f"{percent(overall['accuracy'] / (1 - overall['failed']))}%"],
        ["tokens a call", f"{cost['tokens_per_call']:.0f}"],
    ]
    return markdown(["", ""], rows)


TABLES: dict[str, Callable[[], str]] = {
    "benchmarks": benchmarks,
    "best-of-n": best_of_n,
    "small-judge": small_judge,
    "benchmarks-published": published,
    "evaluation-cost": cost,
}
