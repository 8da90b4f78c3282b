"""Groups a second of `rrm rank --ray` with 1, 2 and 3 judge replicas, beside `rrm rank` without Ray.

A server in a process of its own answers every request 100 ms after it came, and each judge has 8 under way at most: a
judge model that is at its limit, so that more judges are worth as much as there are more of them. The contestants take
turns in the same run. The rate is that of the middle half of the answers, as the server gave them, since replicas start
one after the other; what starting takes is told apart. Ray's nodes are processes of this machine, which shows what Ray
costs and not what a network does.

    make test-ray && .venv-ray/bin/python benchmarks/bulk.py [--write]

`--write` puts the table into benchmarks/results/bulk.md.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from aiohttp import web

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "bulk.md"
LATENCY = 0.1
CONCURRENCY = 8
FILES, GROUPS, CALLS_OF_A_GROUP = 18, 5, 6
REPLICAS = (1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one contestant did in one round."""

    rate: float
    """Groups a second, in the middle half of the answers."""
    rest: float
    """Seconds of the command outside of the time between the first request and the last answer."""


def serve() -> None:
    """Answers, on a port that is printed; GET /times tells when requests came and were answered, and forgets."""
    came: list[float] = []
    answered: list[float] = []

    async def answer(_: web.Request) -> web.Response:
        came.append(time.monotonic())
        await asyncio.sleep(LATENCY)
        answered.append(time.monotonic())
        choice = {"index": 0, "finish_reason": "stop", "message": {"content": "\\boxed{Assistant 1}"}}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    async def times(_: web.Request) -> web.Response:
        told = {"came": sorted(came), "answered": sorted(answered)}
        came.clear()
        answered.clear()
        return web.json_response(told)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        app.router.add_get("/times", times)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def server() -> Iterator[str]:
    """The address of a server in a process of its own."""
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a Ray of three nodes with room for a replica each."""
    from ray.cluster_utils import Cluster

    os.environ |= {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(max(REPLICAS)):
            running.add_node(num_cpus=1)
        running.wait_for_nodes()
        yield running.address
    finally:
        running.shutdown()


def write_groups(folder: Path) -> list[Path]:
    """Files of groups, and one of all of them, for `rrm rank` alone."""
    rows = [
        [
            json.dumps({"prompt": f"{file} {group}", "responses": ["a" * 500, "b" * 500, "c" * 500]}) + "\n"
            for group in range(GROUPS)
        ]
        for file in range(FILES)
    ]
    folder.mkdir()
    for number, lines in enumerate(rows):
        (folder / f"{number:02}.jsonl").write_text("".join(lines))
    (folder.parent / "all.jsonl").write_text("".join(line for lines in rows for line in lines))
    return [folder, folder.parent / "all.jsonl"]


def play(url: str, address: str, words: list[str]) -> Round:
    """One contestant's turn."""
    judge = ["--engine", f"{url}/v1", "--model", "m", "--concurrency", str(CONCURRENCY)]
    command = [sys.executable, "-m", "rrm_plugin.cli", "rank", *words, *judge]
    began = time.monotonic()
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, stderr=subprocess.PIPE)
    took = time.monotonic() - began
    with urllib.request.urlopen(f"{url}/times") as answer:
        told: dict[str, list[float]] = json.load(answer)
    answered = told["answered"]
    assert len(answered) == FILES * GROUPS * CALLS_OF_A_GROUP
    middle = answered[len(answered) // 4 : -len(answered) // 4]
    rate = (len(middle) - 1) / (middle[-1] - middle[0]) / CALLS_OF_A_GROUP
    return Round(rate=rate, rest=took - (answered[-1] - told["came"][0]))


def measure(rounds: int) -> dict[str, list[Round]]:
    """The rounds of each contestant."""
    done: dict[str, list[Round]] = {}
    with tempfile.TemporaryDirectory() as place, server() as url, cluster() as address:
        folder, whole = write_groups(Path(place) / "in")
        for number in range(rounds):
            out = Path(place) / f"out-{number}"
            alone = play(url, address, [str(whole), "--output", f"{out}.jsonl"])
            done.setdefault("`rrm rank`", []).append(alone)
            for count in REPLICAS:
                words = ["--ray", str(folder), "--output", f"{out}-{count}", "--replicas", str(count)]
                done.setdefault(f"`--ray`, {count} replicas", []).append(play(url, address, words))
    return done


def spread(values: list[float], digits: int) -> str:
    """Median, and lowest to highest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(done: dict[str, list[Round]]) -> str:
    """What was measured, as Markdown."""
    alone = done["`rrm rank`"]
    bound = CONCURRENCY / LATENCY / CALLS_OF_A_GROUP
    lines = [
        "| contestant | groups/s | times `rrm rank`, round by round | starting and ending, s |",
        "|---|---|---|---|",
    ]
    for name, rounds in done.items():
        ratios = [mine.rate / theirs.rate for mine, theirs in zip(rounds, alone, strict=True)]
        rates, rest = [each.rate for each in rounds], [each.rest for each in rounds]
        lines.append(f"| {name} | {spread(rates, 1)} | {spread(ratios, 2)} | {spread(rest, 1)} |")
    return (
        "# Bulk ranking on Ray beside rrm rank\n\nWritten by `python benchmarks/bulk.py --write`.\n\n"
        f"Python {platform.python_version()}, ray {version('ray')}, {os.cpu_count()} CPU cores shared by the server, "
        f"Ray's nodes and whatever else ran (load average {os.getloadavg()[2]:.1f}), {platform.system()} "
        f"{platform.machine()}, {time.strftime('%Y-%m-%d')}.\n\n"
        f"{FILES * GROUPS} groups of 3 in {FILES} files, {CALLS_OF_A_GROUP} judge calls a group, answered after "
        f"{LATENCY * 1000:.0f} ms, {CONCURRENCY} under way for each judge, {len(alone)} rounds: one judge can do "
        f"{bound:.1f} groups a second at best. Median (lowest to highest).\n\n" + "\n".join(lines) + "\n"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    if importlib.util.find_spec("ray") is None:
        print("needs Ray: make test-ray, and then .venv-ray/bin/python benchmarks/bulk.py")
        return
    text = table(measure(options.rounds))
    print(text)
    if options.write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
