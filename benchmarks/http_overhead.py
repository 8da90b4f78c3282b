"""How much of a bare HTTP client's speed is left when requests go through `HttpEngine`, and through a whole judge call.

A server in a process of its own answers every request 50 ms after it came; 2,048 callers ask as fast as they can. The
contestants take turns in the same run, so that whatever else the machine does falls on all of them:

    bare    aiohttp alone: post, parse, take the text; what an asyncio program can reach at best
    engine  `HttpEngine.generate`
    judge   the whole judge call: the prompt rendered, the engine asked, the verdict read

Processor time is that of the client's process alone, and steadier than calls a second on a machine with other work.

    python benchmarks/http_overhead.py [--write]

`--write` puts the tables into benchmarks/results/http_overhead.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from measured.keeping import keep, machine

from rrm_plugin import Verdict
from rrm_plugin.engines import HttpEngine, Sampling
from rrm_plugin.judge import PairJudge
from rrm_plugin.prompts import load_prompt

PROMPT = load_prompt("rrm")
QUERY = PROMPT.prepare_query("Why is the sky blue?")
FIRST = PROMPT.prepare("Because of the light and the air it passes through. " * 30)
SECOND = PROMPT.prepare("It reflects the sea, which reflects the sky. " * 30)
MESSAGES = PROMPT.render(QUERY, FIRST, SECOND)
TEXT = "<think>\n" + "Both say so. " * 80 + "\n</think>\n\n\\boxed{Assistant 1}"
ANSWER = {
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "model": "judge",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": TEXT},
        }
    ],
    "usage": {"prompt_tokens": 900, "completion_tokens": 320, "total_tokens": 1220},
}

Caller = Callable[[], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one contestant did in one round."""

    rate: float
    """Calls per second."""
    busy: float
    """Processor time, microseconds per call."""


class _Answering(asyncio.Protocol):
    """As little HTTP as keeps a client content, so that the server is not what is measured."""

    def __init__(self, answer: bytes, latency: float) -> None:
        self._answer, self._latency, self._buffer = answer, latency, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, rest = self._buffer.split(b"\r\n\r\n", 1)
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            asyncio.get_running_loop().call_later(self._latency, self._write)

    def _write(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._answer)  # type: ignore[attr-defined]


async def _serve(latency: float) -> None:
    body = json.dumps(ANSWER).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answering(head + body, latency), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def served(latency: float) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, __file__, "--serve", "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


@asynccontextmanager
async def bare(url: str, concurrency: int) -> AsyncIterator[Caller]:
    """aiohttp and nothing else."""
    sampling = Sampling()
    body = {
        "model": "judge",
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "messages": MESSAGES,
    }
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def call() -> str:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                return (await response.json())["choices"][0]["message"]["content"]

        yield call


@asynccontextmanager
async def engine(url: str, concurrency: int) -> AsyncIterator[Caller]:
    """`HttpEngine.generate`."""
    asked, sampling = HttpEngine(url, model="judge", concurrency=concurrency), Sampling()

    async def call() -> str:
        return (await asked.generate(MESSAGES, sampling)).text

    try:
        yield call
    finally:
        await asked.close()


@asynccontextmanager
async def judge(url: str, concurrency: int) -> AsyncIterator[Caller]:
    """`PairJudge.judge`: the prompt is rendered and the verdict read for each call."""
    asked = HttpEngine(url, model="judge", concurrency=concurrency)
    judging = PairJudge(engine=asked, prompt=PROMPT)

    async def call() -> str:
        judgement = await judging.judge(QUERY, FIRST, SECOND)
        assert judgement.verdict is Verdict.FIRST
        return judgement.text

    try:
        yield call
    finally:
        await asked.close()


CONTESTANTS = {"bare": bare, "engine": engine, "judge": judge}
"""Name -> an async context manager of (url, concurrency) that gives a caller. The first is what the others are held
against."""


async def _play(contestant: str, url: str, concurrency: int, calls: int) -> Round:
    """One round, on connections that are open already."""
    async with CONTESTANTS[contestant](url, concurrency) as call:

        async def ask(times: int) -> None:
            for _ in range(times):
                assert await call() == TEXT

        await asyncio.gather(*(ask(1) for _ in range(concurrency)))
        each = max(1, calls // concurrency)
        started, idle = time.perf_counter(), time.process_time()
        await asyncio.gather(*(ask(each) for _ in range(concurrency)))
        seconds, busy = time.perf_counter() - started, time.process_time() - idle
        return Round(rate=each * concurrency / seconds, busy=busy / (each * concurrency) * 1e6)


def measure(url: str, *, concurrency: int, calls: int, rounds: int) -> dict[str, list[Round]]:
    """Each contestant's rounds; who begins changes from round to round."""
    names = list(CONTESTANTS)
    played: dict[str, list[Round]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            played[name].append(asyncio.run(_play(name, url, concurrency, calls)))
    return played


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def report(played: dict[str, list[Round]], *, concurrency: int, calls: int, latency: float) -> str:
    """The result as Markdown."""
    base = next(iter(played))
    lines = [
        f"{concurrency} callers, {calls} calls a round, {len(played[base])} rounds each, server latency "
        f"{latency * 1000:g} ms (so at most {concurrency / latency:.0f} calls/s). Median (lowest to highest).",
        "",
        f"| contestant | calls/s | share of {base}, round by round | processor time a call, µs | times {base}'s |",
        "|---|---|---|---|---|",
    ]
    for name, rounds in played.items():
        pairs = list(zip(rounds, played[base], strict=True))
        cells = [
            _spread([each.rate for each in rounds], 0),
            _spread([each.rate / reference.rate for each, reference in pairs], 3),
            _spread([each.busy for each in rounds], 0),
            _spread([each.busy / reference.busy for each, reference in pairs], 3),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Calls/s, round by round:", "", f"| round | {' | '.join(played)} |", "|---" * (len(played) + 1) + "|"]
    for number, rounds in enumerate(zip(*played.values(), strict=True), start=1):
        lines.append(f"| {number} | {' | '.join(f'{each.rate:.0f}' for each in rounds)} |")
    return "\n".join(lines)


def figures(played: dict[str, list[Round]], concurrency: int) -> dict[str, Any]:
    """For docs/performance.md: medians of calls/s over the bare client's, round by round, and of processor time."""
    base = next(iter(played.values()))
    shares = {
        name: statistics.median(own.rate / other.rate for own, other in zip(rounds, base, strict=True))
        for name, rounds in played.items()
    }
    processor = {name: statistics.median(each.busy for each in rounds) for name, rounds in played.items()}
    return {"concurrency": concurrency, "shares": shares, "processor": processor, "rounds": len(base)}


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, default=2048)
    parser.add_argument("--calls", type=int, default=6144, help="calls in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    parser.add_argument("--write", action="store_true", help="write results/http_overhead.md")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve(options.latency))
        return
    with served(options.latency) as url:
        played = measure(url, concurrency=options.concurrency, calls=options.calls, rounds=options.rounds)
    table = report(played, concurrency=options.concurrency, calls=options.calls, latency=options.latency)
    print(table)
    if options.write:
        keep(
            "http_overhead",
            title="What a judge call costs over a bare HTTP client",
            command="python benchmarks/http_overhead.py --write",
            body=table,
            on=machine("aiohttp"),
            figures=figures(played, options.concurrency),
        )


if __name__ == "__main__":
    main()
