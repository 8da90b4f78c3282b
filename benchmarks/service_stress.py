"""What thousands of members in flight cost a judge service, and whether each of their comparisons counts.

A service in a process of its own, as `rrm serve` runs it, with a judge model that answers after a fixed time; members
come in groups of 16 over a connection each, from this process. Three questions:

    burst    every member of 10,000 asks at the same moment: members a second, and the memory that it takes
    steady   members come at a fixed rate; the model's latency decides how many are in flight. Processor time of the
             service a member, and the latency that it adds: from when the last sibling was sent and the model could
             have answered, to the reply
    lost     comparisons that were begun and did not count, for this service and for a cohort server whose callers each
             await their own comparisons before they add the results, the last of them taking what is there: the design
             that NVIDIA published with NeMo-Gym, rebuilt here, without and with the lock that it got later

    python benchmarks/service_stress.py [--write]

`--write` puts the tables into benchmarks/results/service.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rrm_plugin import RRMJudge
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.schedules import schedule
from rrm_plugin.service.server import run
from rrm_plugin.service.settings import ServiceSettings

RESULTS = Path(__file__).parent / "results" / "service.md"
SIZE = 16
SCHEDULE = "circulant:3"
DUE = schedule(SCHEDULE).calls(SIZE, "both")
"""Judge calls of a group."""
RESPONSE = "Because of the light and the air it passes through. " * 30
VERDICTS = [f"<think>\nBoth say so.\n</think>\n\n\\boxed{{Assistant {number}}}" for number in (1, 2)]


@dataclass(kw_only=True)
class Run:
    """What one run did."""

    seconds: float = 0.0
    """From the first request to the last answer; of a steady run those of its window."""
    busy: float = 0.0
    """Processor time of the service in that time."""
    answered: int = 0
    added: list[float] = field(default_factory=list)
    """Seconds of latency that the service added, a member each."""
    lost: int = 0
    """Comparisons that were due and did not count."""

    @property
    def cost(self) -> float:
        """Microseconds of the service's processor time a member."""
        return self.busy / self.answered * 1e6


# The service.


def serve(mean: float, varying: bool) -> None:
    """Runs the service until it is told to stop."""
    drawn = random.Random(0)

    async def reply(messages: Sequence[Any]) -> str:
        await asyncio.sleep(drawn.expovariate(1 / mean) if varying else mean)
        return VERDICTS[hash(messages[-1]["content"]) % 2]

    with RRMJudge(engine=ScriptedEngine(reply), schedule=SCHEDULE) as judge:
        run(judge, ServiceSettings(port=0, grace=1.0), ready=lambda url: print(url, flush=True))


@contextlib.contextmanager
def service(latency: float, *, varying: bool = False) -> Iterator[tuple[int, int]]:
    """Port and process number of a service in a process of its own."""
    command = [sys.executable, __file__, "--serve", "--latency", str(latency), *(["--varying"] if varying else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().rpartition(":")[2]), process.pid
        finally:
            process.terminate()


def busy_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, name: str) -> float:
    """MiB of a process: VmRSS now, VmHWM at its highest."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


# Its members: as little HTTP as the service understands, so that this process does not become what is measured.


class Connection(asyncio.Protocol):
    """One member at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if end and len(rest) >= int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]):
            self._buffer = b""
            if not self._answer.done():
                self._answer.set_result((head, rest))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(ConnectionError("the service closed the connection"))

    async def ask(self, body: bytes) -> Any:
        """The outcome of a member."""
        self._answer: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()
        self._transport.write(_HEAD % len(body) + body)  # type: ignore[attr-defined]
        head, answer = await self._answer
        assert head.startswith(b"HTTP/1.1 200"), answer
        return json.loads(answer)

    def close(self) -> None:
        self._answer = asyncio.get_running_loop().create_future()
        self._answer.set_result((b"", b""))
        self._transport.close()


_HEAD = b"POST /v1/cohort HTTP/1.1\r\nHost: judge\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@contextlib.asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """Open connections to the service."""
    loop = asyncio.get_running_loop()
    opened: list[Connection] = []
    for begin in range(0, count, 250):
        batch = (loop.create_connection(Connection, "127.0.0.1", port) for _ in range(begin, min(begin + 250, count)))
        opened += [connection for _, connection in await asyncio.gather(*batch)]  # type: ignore[misc]
    yield opened
    for connection in opened:
        connection.close()


def body(key: str, index: int) -> bytes:
    """The request of one member."""
    response = f"Answer {index} of {key}. {RESPONSE}"
    member = {"key": key, "prompt": f"Why? {key}", "response": response, "id": str(index), "index": index, "size": SIZE}
    return json.dumps(member).encode()


async def group(members: Sequence[Connection], key: str, spread: float, latency: float, told: Run) -> None:
    """One group: its members ask within `spread` seconds, and wait."""
    offsets = [random.uniform(0.0, spread) for _ in members]
    begins, last = time.perf_counter(), max(offsets)
    bodies = [body(key, index) for index in range(len(members))]

    async def one(connection: Connection, offset: float, sent: bytes) -> float:
        await asyncio.sleep(max(0.0, begins + offset - time.perf_counter()))
        if offset == last:
            nonlocal last_sent
            last_sent = time.perf_counter()
        outcome = await connection.ask(sent)
        assert outcome["members"] == SIZE and outcome["reward"] is not None, outcome
        calls.add(outcome["metrics"]["rrm/calls"])
        return time.perf_counter()

    last_sent = begins
    calls: set[float] = set()
    ends = await asyncio.gather(*map(one, members, offsets, bodies))
    told.answered += len(ends)
    told.added += [end - last_sent - latency for end in ends]
    told.lost += DUE - int(min(calls))


def of_16(opened: Sequence[Connection]) -> list[Sequence[Connection]]:
    return [opened[begin : begin + SIZE] for begin in range(0, len(opened), SIZE)]


async def burst(port: int, pid: int, members: int, spread: float, latency: float, name: str) -> Run:
    """Every member once, within `spread` seconds."""
    told = Run()
    async with connections(port, members) as opened:
        began, idle = time.perf_counter(), busy_seconds(pid)
        slots = enumerate(of_16(opened))
        await asyncio.gather(*(group(slot, f"{name} {number}", spread, latency, told) for number, slot in slots))
        told.seconds, told.busy = time.perf_counter() - began, busy_seconds(pid) - idle
    return told


async def steady(port: int, pid: int, in_flight: int, period: float, window: float, latency: float) -> Run:
    """`in_flight` members all the time, each group anew when it is answered; what is answered in the window counts."""
    told = Run()
    counting = False

    async def slot(number: int, members: Sequence[Connection]) -> None:
        await asyncio.sleep(period * number * SIZE / in_flight)
        for turn in itertools.count():
            one = Run()
            await group(members, f"{number}.{turn}", period - latency, latency, one)
            told.lost += one.lost
            if counting:
                told.answered += one.answered
                told.added += one.added

    async with connections(port, in_flight) as opened:
        slots = [asyncio.ensure_future(slot(*each)) for each in enumerate(of_16(opened))]
        await asyncio.sleep(1.2 * period)
        counting, began, idle = True, time.perf_counter(), busy_seconds(pid)
        await asyncio.sleep(window)
        counting, told.seconds, told.busy = False, time.perf_counter() - began, busy_seconds(pid) - idle
        for task in slots:
            task.cancel()
        await asyncio.gather(*slots, return_exceptions=True)
    return told


# The design that it is held against.


@dataclass(kw_only=True)
class _Cohort:
    members: int = 0
    results: int = 0
    last_came: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    whole: asyncio.Event = field(default_factory=asyncio.Event)


class AwaitingCohorts:
    """A cohort server each of whose callers awaits the comparisons of its own member, then adds their results; the one
    that came last takes all results that are there.

    Args:
        latency: seconds of a comparison.
        varying: whether that is the mean of exponential ones.
        locked: hold a lock of the group meanwhile, as later versions do: nothing is lost then, and one member's
            comparisons wait for another's.
    """

    def __init__(self, latency: float, *, varying: bool, locked: bool) -> None:
        self._cohorts: dict[str, _Cohort] = {}
        self._latency, self._varying, self._locked = latency, varying, locked
        self._drawn = random.Random(0)
        self.told = Run()

    async def verify(self, key: str) -> None:
        """One member, known by its number in the order of arrival, without a text, which is not what is measured."""
        cohort = self._cohorts.setdefault(key, _Cohort())
        cohort.last_came = time.perf_counter()
        async with cohort.lock if self._locked else contextlib.nullcontext():
            await self._take(cohort)
        await cohort.whole.wait()
        self.told.answered += 1
        self.told.added.append(time.perf_counter() - cohort.last_came)

    async def _take(self, cohort: _Cohort) -> None:
        index, cohort.members = cohort.members, cohort.members + 1
        # As the schedule of the service has it: each member meets the three before and the three after it in a circle.
        others = [other for other in range(index) if min(index - other, SIZE - index + other) <= 3]
        results = await asyncio.gather(*(self._compare() for _ in others for _ in range(2)))
        cohort.results += len(results)
        if index == SIZE - 1:
            self.told.lost += DUE - cohort.results
            cohort.whole.set()

    async def _compare(self) -> None:
        await asyncio.sleep(self._drawn.expovariate(1 / self._latency) if self._varying else self._latency)


async def awaited(members: int, spread: float, latency: float, *, varying: bool, locked: bool) -> Run:
    """What such a server does with the members of `burst`."""
    cohorts = AwaitingCohorts(latency, varying=varying, locked=locked)

    async def one(key: str) -> None:
        await asyncio.sleep(random.uniform(0.0, spread))
        await cohorts.verify(key)

    await asyncio.gather(*(one(str(number // SIZE)) for number in range(members)))
    return cohorts.told


# What is measured, and how it is told.


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All of it, a list of rounds each."""

    bursts: list[Run]
    peak: float
    base: float
    steadies: dict[int, list[Run]]
    lost: list[tuple[str, str, Run]]
    loads: list[float]
    """Load averages of the machine, before and after each part."""


def measure(options: argparse.Namespace) -> Measured:
    """The rounds; which number in flight begins changes from round to round."""
    loads = [os.getloadavg()[0]]
    bursts = []
    with service(options.latency) as (port, pid):
        base = memory(pid, "VmRSS")
        for number in range(options.rounds):
            done = asyncio.run(burst(port, pid, options.members, 0.0, options.latency, f"burst {number}"))
            print(f"burst {number}: {done.answered / done.seconds:.0f} members/s", flush=True)
            bursts.append(done)
            loads.append(os.getloadavg()[0])
        peak = memory(pid, "VmHWM")
    counts = [options.members // 10, options.members // 2, options.members]
    counts = [count // SIZE * SIZE for count in counts]
    steadies: dict[int, list[Run]] = {count: [] for count in counts}
    for number in range(options.rounds):
        for count in counts if number % 2 == 0 else counts[::-1]:
            period = count / options.rate
            latency = 0.8 * period
            with service(latency) as (port, pid):
                done = asyncio.run(steady(port, pid, count, period, max(10.0, period / 2), latency))
            print(f"steady {count}: {done.cost:.0f} us a member, p99 {_p(done.added, 99) * 1000:.0f} ms", flush=True)
            steadies[count].append(done)
            loads.append(os.getloadavg()[0])
    return Measured(bursts=bursts, peak=peak, base=base, steadies=steadies, lost=_lost(options), loads=loads)


def _lost(options: argparse.Namespace) -> list[tuple[str, str, Run]]:
    """What each server does with the same groups; of `added` nothing is taken off."""
    rows = []
    members, spread, latency = options.members // SIZE * SIZE, 4 * options.latency, options.latency
    for varying in (False, True):
        kind = f"exponential, mean {latency:g} s" if varying else f"{latency:g} s always"
        with service(latency, varying=varying) as (port, pid):
            ours = asyncio.run(burst(port, pid, members, spread, 0.0, "lost"))
        rows.append((kind, "this service, over HTTP", ours))
        for locked in (False, True):
            theirs = asyncio.run(awaited(members, spread, latency, varying=varying, locked=locked))
            rows.append((kind, "awaits under a lock" if locked else "awaits before it counts", theirs))
    return rows


def _p(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def report(found: Measured, options: argparse.Namespace) -> str:
    """The result as Markdown."""
    bursts, smallest = found.bursts, next(iter(found.steadies.values()))
    lines = [
        f"Groups of {SIZE}, schedule {SCHEDULE} in both orders ({DUE} judge calls a group), responses of "
        f"{len(RESPONSE)} characters, {len(bursts)} rounds. Median (lowest to highest).",
        "",
        f"**Burst.** {bursts[0].answered} members ask at once; the model answers after {options.latency:g} s: "
        f"{_spread([one.answered / one.seconds for one in bursts], 0)} members a second, "
        f"{_spread([one.cost for one in bursts], 0)} µs of processor time a member. Memory of the service: "
        f"{found.base:.0f} MiB before, {found.peak:.0f} MiB at its highest.",
        "",
        f"**Steady.** {options.rate:g} members a second, the same whatever is in flight.",
        "",
        "| in flight | members/s | processor time a member, µs | times that at the fewest, round by round "
        "| added latency, median, ms | 99th percentile, ms |",
        "|---|---|---|---|---|---|",
    ]
    for count, rounds in found.steadies.items():
        cells = [
            _spread([one.answered / one.seconds for one in rounds], 0),
            _spread([one.cost for one in rounds], 0),
            _spread([one.cost / other.cost for one, other in zip(rounds, smallest, strict=True)], 2),
            _spread([_p(one.added, 50) * 1000 for one in rounds], 0),
            _spread([_p(one.added, 99) * 1000 for one in rounds], 0),
        ]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    lost = sum(one.lost for one in (*bursts, *(one for rounds in found.steadies.values() for one in rounds)))
    lines += [
        "",
        f"In all of these runs {lost} comparisons were lost.",
        "",
        f"**Lost.** {options.members // SIZE} groups whose members come within {4 * options.latency:g} s. The other "
        "two servers are functions in the process that asks, without HTTP, texts or verdicts.",
        "",
        "| latency of the model | server | comparisons due | lost | share | seconds from the last member to the "
        "outcome | 99th percentile |",
        "|---|---|---|---|---|---|---|",
    ]
    due = options.members // SIZE * DUE
    for kind, who, did in found.lost:
        seconds = f"{statistics.median(did.added):.2f} | {_p(did.added, 99):.2f}"
        lines.append(f"| {kind} | {who} | {due} | {did.lost} | {did.lost / due:.1%} | {seconds} |")
    return "\n".join(lines)


def _page(table: str, loads: Sequence[float]) -> str:
    machine = (
        f"Python {platform.python_version()}, uvicorn {version('uvicorn')}, fastapi {version('fastapi')}, "
        f"{os.cpu_count()} CPU cores shared by the service, those who ask and whatever else ran (load average "
        f"{min(loads):.1f} to {max(loads):.1f}), {platform.system()} {platform.machine()}, {time.strftime('%Y-%m-%d')}."
    )
    return (
        "# A judge service with thousands of members in flight\n\n"
        "Written by `python benchmarks/service_stress.py --write`.\n\n"
        f"{machine}\n\n{table}\n"
    )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=125.0, help="members a second of the steady runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.5, help="seconds of the model, but in steady runs")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--varying", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.latency, options.varying)
        return
    # Or the pauses of this process would be told as the service's.
    gc.freeze()
    gc.set_threshold(10_000, 5, 200)
    found = measure(options)
    table = report(found, options)
    print(table)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(_page(table, found.loads), encoding="utf-8")


if __name__ == "__main__":
    main()
