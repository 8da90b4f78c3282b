"""What the engine `vllm` leaves of vLLM's own speed, on a real vLLM in this process.

    chat    `LLM.chat`, given all prompts in one list: vLLM's own way for a batch
    engine  `VllmEngine.generate`, one awaited call for each of the same prompts

Both load the same tiny Qwen2 of random weights and take turns. Beside tokens a second stands the processor time of all
processes, vLLM's own included, for a thousand tokens: on a machine with other work it is the steadier of the two.

    .venv-vllm/bin/python benchmarks/vllm_engine.py [--write]      (`make test-vllm` makes that environment)
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measured.keeping import busy_seconds, keep, machine, spread, table

sys.path.insert(0, str(Path(__file__).parent.parent))

WORDS = [
    "the",
    "sky",
    "is",
    "blue",
    "because",
    "air",
    "scatters",
    "blue",
    "light",
    "which",
    "of",
    "these",
    "two",
    "answers",
    "is",
    "better",
    "and",
    "why",
]
CONTEXT = 1024


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one contestant did in one round."""

    rate: float
    """Completion tokens a second."""
    busy: float
    """Processor time, milliseconds for a thousand tokens."""


def prompts(count: int, seed: int = 0) -> tuple[list[Any], list[int]]:
    """Chats of some 250 tokens, and how long the reply to each may be: 16 to 256 tokens, as a judge's replies vary."""
    drawn = random.Random(seed)
    chats = [[{"role": "user", "content": " ".join(drawn.choices(WORDS, k=60))}] for _ in range(count)]
    return chats, [min(256, max(16, int(drawn.lognormvariate(4.2, 0.6)))) for _ in range(count)]


def children() -> list[int]:
    """Processes below this one: vLLM runs its model in some."""
    tree: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        tree.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        waiting += (own := tree.get(waiting.pop(), []))
        found += own
    return found


def played(run: Callable[[], int]) -> Round:
    """One round of `run`, which returns the completion tokens it got."""
    pids = [os.getpid(), *children()]
    began, idle = time.perf_counter(), busy_seconds(pids)
    tokens = run()
    seconds, busy = time.perf_counter() - began, busy_seconds(pids) - idle
    return Round(rate=tokens / seconds, busy=busy / tokens * 1e6)


def measure(folder: Path, *, count: int, rounds: int) -> dict[str, list[Round]]:
    """Each contestant's rounds; who begins changes from round to round."""
    import vllm

    from rrm_plugin.engines import Sampling, VllmEngine

    chats, limits = prompts(count)
    llm = vllm.LLM(model=str(folder), max_model_len=CONTEXT, dtype="float32", enforce_eager=True, seed=0)
    engine = VllmEngine(str(folder), max_model_len=CONTEXT, dtype="float32", llm={"enforce_eager": True, "seed": 0})
    parameters = [vllm.SamplingParams(temperature=0.6, max_tokens=limit) for limit in limits]

    def chat() -> int:
        return sum(len(each.outputs[0].token_ids) for each in llm.chat(chats, parameters, use_tqdm=False))

    async def asked() -> int:
        calls = (
            engine.generate(chat, Sampling(temperature=0.6, max_tokens=limit))
            for chat, limit in zip(chats, limits, strict=True)
        )
        return sum(reply.completion_tokens for reply in await asyncio.gather(*calls))

    contestants = {"chat": chat, "engine": lambda: asyncio.run(asked())}
    for run in contestants.values():
        run()
    found: dict[str, list[Round]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(played(contestants[name]))
        print(number, {name: round(each[-1].rate) for name, each in found.items()}, file=sys.stderr, flush=True)
    asyncio.run(engine.close())
    # vLLM's own process would be waited for for ever at the end of this one.
    llm.llm_engine.engine_core.shutdown()
    return found


def report(found: dict[str, list[Round]], *, count: int) -> tuple[str, dict[str, Any]]:
    """The result as Markdown, and its figures."""
    chat, engine = found["chat"], found["engine"]
    shares = [own.rate / other.rate for own, other in zip(engine, chat, strict=True)]
    cost = [own.busy / other.busy for own, other in zip(engine, chat, strict=True)]
    rows = [
        ["chat", spread([each.rate for each in chat], 0), "1", spread([each.busy for each in chat], 0), "1"],
        [
            "engine",
            spread([each.rate for each in engine], 0),
            spread(shares, 3),
            spread([each.busy for each in engine], 0),
            spread(cost, 3),
        ],
    ]
    head = ["contestant", "tokens/s", "share of chat, round by round", "processor ms per 1,000 tokens", "times chat's"]
    text = (
        f"{count} prompts a round, {len(chat)} rounds each. Median (lowest to highest).\n\n{table(head, rows)}\n\n"
        f"Of the median rates: engine / chat = {_of_medians(engine, chat):.3f}."
    )
    figures = {
        "share": statistics.median(shares),
        "shares": shares,
        "of_medians": _of_medians(engine, chat),
        "processor": statistics.median(cost),
        "prompts": count,
        "rounds": len(chat),
        "tokens_per_second": statistics.median(each.rate for each in engine),
    }
    return text, figures


def _of_medians(own: Sequence[Round], other: Sequence[Round]) -> float:
    return statistics.median(each.rate for each in own) / statistics.median(each.rate for each in other)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="write results/vllm_engine.md")
    options = parser.parse_args()
    if importlib.util.find_spec("vllm") is None:
        print("vLLM is not installed here: run it with .venv-vllm/bin/python, which `make test-vllm` makes")
        return
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from tests.tiny import save_tiny_model

    with tempfile.TemporaryDirectory() as folder:
        found = measure(save_tiny_model(Path(folder), heads=2), count=options.prompts, rounds=options.rounds)
    text, figures = report(found, count=options.prompts)
    print(text)
    if options.write:
        keep(
            "vllm_engine",
            title="What the engine vllm leaves of vLLM's speed",
            command=".venv-vllm/bin/python benchmarks/vllm_engine.py --write",
            body=text,
            on=f"vLLM on the CPU, a Qwen2 of 2 layers and random weights; {machine('vllm-cpu', 'torch')}",
            figures=figures,
        )


if __name__ == "__main__":
    main()
