"""A Ray cluster of several nodes on this machine, a judge behind HTTP that counts, and runs of `rrm rank --ray`.

What is real: Ray's own cluster with a raylet, workers and an address for each node, the command in a process of its
own, and HTTP. What is played: the model, whose verdict is drawn from the text of the question alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from click.testing import CliRunner

from rrm_plugin.cli import main

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class CountingServer:
    """An OpenAI-compatible judge; each request is known by its text."""

    latency: float = 0.02
    asked: Counter[str] = field(default_factory=Counter)
    outage: tuple[int, float] = (sys.maxsize, 0)
    """After how many requests it is away, and for how many seconds."""
    refused: int = 0
    url: str = ""
    _back: float | None = None

    def recover(self) -> None:
        self._back = 0.0

    @property
    def again(self) -> int:
        """Requests that were asked before."""
        return self.asked.total() - len(self.asked)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.asked.total() >= self.outage[0] and self._back is None:
            self._back = time.monotonic() + self.outage[1]
        if self._back is not None and time.monotonic() < self._back:
            self.refused += 1
            return web.json_response({"error": {"message": "out for lunch"}}, status=503)
        digest = hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()
        self.asked[digest] += 1
        await asyncio.sleep(self.latency)
        text = f"\\boxed{{Assistant {1 + int(digest, 16) % 2}}}"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 7}})


@contextmanager
def serving(server: CountingServer) -> Iterator[CountingServer]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.05)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

    asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


def write_groups(folder: Path, files: int, groups: int, *, size: int = 40) -> list[Path]:
    """Files of groups of three, no two alike, with an empty line and a broken one."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"shard-{number:03}.jsonl" for number in range(files)]
    for path in paths:
        rows = [
            json.dumps(
                {
                    "id": f"{path.stem} {number}",
                    "prompt": f"question {number} of {path.stem}",
                    "responses": [f"{letter} {number} " * size for letter in "abc"],
                }
            )
            for number in range(groups)
        ]
        rows[1:1] = ["", "{broken"]
        path.write_text("".join(row + "\n" for row in rows))
    return paths


def judge_options(server: CountingServer, *more: str) -> list[str]:
    return ["--engine", server.url, "--model", "m", "--temperature", "0", "--concurrency", "8", *more]


def ranked_alone(paths: list[Path], folder: Path, options: list[str]) -> dict[str, bytes]:
    """What `rrm rank` without Ray writes for each file."""
    folder.mkdir()
    for path in paths:
        words = ["rank", str(path), "--output", str(folder / path.name), *options]
        assert "could not be scored" in CliRunner().invoke(main, words).output
    return {path.name: (folder / path.name).read_bytes() for path in paths}


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}


def but_who_paid(rows: dict[str, bytes]) -> dict[str, list[dict[str, Any]]]:
    """Outputs with calls and calls from the ledger added up: a row that was begun before has paid for fewer."""
    read = {name: [json.loads(line) for line in text.splitlines()] for name, text in rows.items()}
    for row in (row for each in read.values() for row in each):
        row["calls"] += row.pop("cached")
    return read


@dataclass
class Run:
    """`rrm rank --ray` in a process of its own."""

    process: subprocess.Popen[str]
    out: Path

    def until(self, done: int) -> frozenset[str]:
        """The names of the outputs, once there are so many."""
        wait_for(lambda: len(outputs(self.out)) >= done or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()[1]
        return frozenset(outputs(self.out))

    def ended(self) -> tuple[int, str]:
        """Its exit status, and what it wrote to standard error."""
        _, said = self.process.communicate(timeout=100)
        return self.process.returncode, said


def start(address: str, places: list[str], out: Path, options: list[str], *, wrapper: str = "") -> Run:
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    program = ["-c", wrapper] if wrapper else ["-m", "rrm_plugin.cli"]
    command = [sys.executable, *program, "rank", "--ray", *places, "--output", str(out), *options]
    return Run(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True), out)


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> None:
    """Until something is true; an assertion that it becomes so."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.02)
