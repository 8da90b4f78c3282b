"""What a judge over HTTP takes: memory for each request under way, time to start, and memory over 100,000 judgements.

    held    a process each holds 2,048 requests open; its memory before and while, by bare aiohttp, `HttpEngine` and a
            whole judge call
    start   a process each: Python alone, and Python that imports rrm_plugin and makes an `RRMJudge`; its processor time
    long    100,000 judgements by one judge in one process, each of another pair; memory after each 5,000

The server of http_overhead.py, in a process of its own, answers.

    python benchmarks/http_memory.py [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import http_overhead as overhead
from measured.keeping import keep, machine, spread, table

from rrm_plugin.engines import HttpEngine
from rrm_plugin.judge import PairJudge

RUNS = 5
HELD = 2048
EVERY = 5_000
STARTS = {
    "Python alone": "pass",
    "RRMJudge made": "from rrm_plugin import RRMJudge; RRMJudge(engine='http://localhost:1/v1', model='judge')",
}


def memory() -> float:
    """KiB of this process now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


async def hold(contestant: str, url: str) -> float:
    """KiB that each of 2,048 requests takes while it is under way."""
    async with overhead.CONTESTANTS[contestant](url, HELD) as call:
        await call()
        gc.collect()
        before = memory()
        tasks = [asyncio.ensure_future(call()) for _ in range(HELD)]
        # The server answers after three seconds; by then all are sent.
        await asyncio.sleep(2.5)
        assert not any(task.done() for task in tasks)
        held = memory()
        await asyncio.gather(*tasks)
    return (held - before) / HELD


async def last_long(url: str, judgements: int) -> list[float]:
    """MiB after each 5,000 judgements."""
    engine = HttpEngine(url, model="judge", concurrency=512)
    judge, prompt, found = PairJudge(engine=engine, prompt=overhead.PROMPT), overhead.PROMPT, []
    for begin in range(0, judgements, EVERY):
        numbers = iter(range(begin, begin + EVERY))

        async def work(numbers: Any = numbers) -> None:
            for number in numbers:
                query = prompt.prepare_query(f"Why is the sky blue? {number}")
                judgement = await judge.judge(query, overhead.FIRST, overhead.SECOND)
                assert judgement.verdict is not None

        await asyncio.gather(*(work() for _ in range(512)))
        found.append(memory() / 1024)
    await engine.close()
    return found


def own_process(*words: object) -> Any:
    """What this script prints as JSON when it is called so."""
    return json.loads(subprocess.check_output([sys.executable, __file__, *map(str, words)], text=True))


def started(code: str) -> float:
    """Seconds of processor time of a process, from its start until it exits."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def slope(values: list[float]) -> float:
    """KiB for each 1,000 judgements, over the second half."""
    late = values[len(values) // 2 :]
    gain = statistics.linear_regression(range(len(late)), late).slope
    return gain * 1024 / (EVERY / 1000)


def measure(judgements: int) -> dict[str, Any]:
    """All figures."""
    with overhead.served(3.0) as url:
        held = {name: [own_process("--hold", name, "--url", url) for _ in range(RUNS)] for name in overhead.CONTESTANTS}
    starts = {name: [started(code) for _ in range(RUNS)] for name, code in STARTS.items()}
    with overhead.served(0.05) as url:
        curve = own_process("--long", judgements, "--url", url)
    return {"held": held, "starts": starts, "curve": curve, "slope": slope(curve), "judgements": judgements}


def report(found: dict[str, Any]) -> str:
    """The result as Markdown."""
    held = table(["contestant", "KiB a request"], [[name, spread(each, 1)] for name, each in found["held"].items()])
    starts = table(
        ["process", "processor seconds"], [[name, spread(each, 2)] for name, each in found["starts"].items()]
    )
    curve = found["curve"]
    rows = [[f"{(place + 1) * EVERY:,}", f"{value:.1f}"] for place, value in enumerate(curve)]
    return (
        f"{RUNS} processes each. Median (lowest to highest).\n\n## {HELD:,} requests held open\n\n{held}\n\n"
        f"## Start\n\n{starts}\n\n## {found['judgements']:,} judgements by one judge\n\n"
        f"Over the second half memory changes by {found['slope']:+.1f} KiB for each 1,000 judgements.\n\n"
        f"{table(['judgements', 'MiB'], rows)}"
    )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgements", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="write results/http_memory.md")
    for hidden in ("--hold", "--long", "--url"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        print(json.dumps(asyncio.run(hold(options.hold, options.url))))
        return
    if options.long:
        print(json.dumps(asyncio.run(last_long(options.url, int(options.long)))))
        return
    found = measure(options.judgements)
    text = report(found)
    print(text)
    if options.write:
        keep(
            "http_memory",
            title="What a judge over HTTP takes",
            command="python benchmarks/http_memory.py --write",
            body=text,
            on=machine("aiohttp"),
            figures=found,
        )


if __name__ == "__main__":
    main()
