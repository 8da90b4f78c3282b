"""How much longer than it must a batch of groups takes, on an engine with so many slots, under every schedule.

256 groups of 8 are judged by replies of 64 to 8,192 tokens (lognormal, median 800). The bound is what nobody could beat
who knew all lengths beforehand: the total work on all slots at once, or the longest chain of pairs of a group, each of
which waits for the one before. In a knockout that is the longest way through its bracket; in other schedules of several
rounds each round waits for all pairs of the one before, so it is the sum of the rounds' longest.

    ours        the tournament as it is: each group goes on as soon as its own verdicts are there, a knockout's match as
                soon as those of its own two players are
    lock-step   all groups wait for each other after each round, and so for the longest reply of all

In simulated time over five seeds, where a run differs by the order of its calls alone; and over HTTP against a local
server in real time, with all that the client costs. `concurrency="auto"` is held against a number that is told.

Last, knockouts each by itself, with a slot for every call: what is won by not waiting for the other branches shows
where nothing else keeps the engine busy.

    python benchmarks/engine_load.py [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from loaded.replies import bound, groups, longest_chain
from loaded.server import served
from loaded.simulated import SlottedEngine, simulated
from measured.keeping import keep, machine, spread, table

from rrm_plugin.engines import Engine, HttpEngine
from rrm_plugin.judge import PairJudge
from rrm_plugin.prompts import load_prompt
from rrm_plugin.reducers import reducer
from rrm_plugin.schedules import Orders, Stepper, schedule
from rrm_plugin.tournament import Tournament
from rrm_plugin.types import Group, Judgement, Scores

SCHEDULES = ("round_robin", "circulant:3", "random:4", "swiss:3", "adaptive", "knockout", "reference")
ROUNDS = ("swiss:3", "adaptive", "knockout")
"""Those with several rounds; for the others lock-step is the same."""
OVER_HTTP = ("knockout", "swiss:3", "reference")
"""Those with the fewest calls: the hardest to keep an engine full with, and the others take longer in real time."""
COUNT, SIZE = 256, 8
SEEDS = range(5)
AUTO = None
CASES: tuple[tuple[int, Orders], ...] = ((64, "both"), (64, "balanced"), (256, "both"))
"""Slots and orders that are played in simulated time."""
ALONE: tuple[tuple[int, Orders], ...] = ((8, "both"), (16, "both"), (32, "both"), (32, "balanced"))
"""Sizes and orders of knockouts that are played by themselves."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One batch."""

    ratio: float
    """Makespan over the bound."""
    least: float
    """The bound, in tokens."""
    by: str
    """What makes the bound: work or chain."""
    calls: int


def tournament(name: str, orders: Orders, engine: Engine) -> Tournament:
    """A judge with this engine."""
    judge = PairJudge(engine=engine, prompt=load_prompt("rrm"))
    return Tournament(judge=judge, schedule=schedule(name), reducer=reducer("win_rate"), orders=orders)


async def lock_step(played: Tournament, batch: Sequence[Group]) -> None:
    """The same matches; nobody's next round begins before everybody's last one ended."""
    steppers: list[Stepper] = []
    so_far: list[list[Judgement]] = [[] for _ in batch]
    shown = [[played.prepare(each) for each in group.responses] for group in batch]
    for group, own in zip(batch, shown, strict=True):
        steppers.append(played.start(played.prepare_query(group.prompt), range(len(own)), len(own)))
    while True:
        rounds = [stepper.next_matches(own) for stepper, own in zip(steppers, so_far, strict=True)]
        if not any(rounds):
            return
        calls = [
            played.judge.judge(played.prepare_query(batch[group].prompt), own[match.first], own[match.second], match)
            for group, own in enumerate(shown)
            for match in rounds[group]
        ]
        answers = iter(await asyncio.gather(*calls))
        for group, matches in enumerate(rounds):
            so_far[group] += [next(answers) for _ in matches]


def in_simulation(name: str, orders: Orders, seed: int, slots: int, concurrency: int | None) -> Run:
    """One batch in simulated time."""

    async def main() -> list[Scores]:
        played = tournament(name, orders, SlottedEngine(seed, slots, concurrency))
        return await played.score(groups(seed, COUNT, SIZE))

    scores, took = simulated(main)
    return _run(scores, took, slots)


def in_lock_step(name: str, orders: Orders, seed: int, slots: int, least: float) -> float:
    """Makespan of lock-step over the same bound."""

    async def main() -> None:
        await lock_step(tournament(name, orders, SlottedEngine(seed, slots, slots)), groups(seed, COUNT, SIZE))

    return simulated(main)[1] / least


def over_http(name: str, orders: Orders, seed: int, slots: int, pace: float) -> Run:
    """One batch against the local server, in real time."""

    async def main(url: str) -> tuple[list[Scores], float]:
        engine = HttpEngine(url, model="judge", concurrency=slots)
        played, batch = tournament(name, orders, engine), groups(seed, COUNT, SIZE)
        began = time.perf_counter()
        scores = await played.score(batch)
        took = time.perf_counter() - began
        await engine.close()
        return scores, took

    with served(seed, slots, pace) as url:
        scores, took = asyncio.run(main(url))
    return _run(scores, took / pace, slots)


def alone(size: int, orders: Orders) -> dict[str, Any]:
    """Knockouts that have an engine for themselves: their time, and that of the same matches round by round."""
    taken: list[tuple[float, float]] = []
    for group in groups(0, COUNT, size):
        branches = tournament("knockout", orders, SlottedEngine(0, 2 * size, 2 * size))
        rounds = tournament("knockout", orders, SlottedEngine(0, 2 * size, 2 * size))
        (scores,), took = simulated(partial(branches.score, [group]))
        assert took == longest_chain(scores), "a chain is what a group takes that waits for nothing else"
        taken.append((took, simulated(partial(lock_step, rounds, [group]))[1]))
    print("alone", size, orders, file=sys.stderr, flush=True)
    return {
        "size": size,
        "orders": orders,
        "ratios": [took / waiting for took, waiting in taken],
        "all": sum(took for took, _ in taken) / sum(waiting for _, waiting in taken),
    }


def _run(scores: Sequence[Scores], took: float, slots: int) -> Run:
    assert all(each.error is None for each in scores)
    least, by = bound(scores, slots)
    return Run(ratio=took / least, least=least, by=by, calls=sum(each.usage.calls for each in scores))


def simulations() -> Iterator[dict[str, Any]]:
    """A row for each case and schedule."""
    for slots, orders in CASES:
        for name in SCHEDULES:
            told = [in_simulation(name, orders, seed, slots, slots) for seed in SEEDS]
            auto = [in_simulation(name, orders, seed, slots, AUTO) for seed in SEEDS] if orders == "both" else []
            pairs = zip(SEEDS, told, strict=True) if name in ROUNDS else ()
            row = {
                "slots": slots,
                "schedule": name,
                "orders": orders,
                "ratios": [each.ratio for each in told],
                "auto": [each.ratio for each in auto],
                "lock_step": [in_lock_step(name, orders, seed, slots, each.least) for seed, each in pairs],
                "by": statistics.mode(each.by for each in told),
                "calls": told[0].calls,
            }
            print(slots, name, orders, spread(row["ratios"], 3), file=sys.stderr, flush=True)
            yield row


def real_runs(slots: int, pace: float, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for each schedule."""
    for name in OVER_HTTP:
        runs = [over_http(name, "both", seed, slots, pace) for seed in seeds]
        print(name, spread([run.ratio for run in runs], 3), file=sys.stderr, flush=True)
        yield {"schedule": name, "orders": "both", "ratios": [run.ratio for run in runs], "calls": runs[0].calls}


def report(
    rows: Sequence[dict[str, Any]],
    real: Sequence[dict[str, Any]],
    single: Sequence[dict[str, Any]],
    slots: int,
    pace: float,
) -> str:
    """The result as Markdown."""
    head = ["slots", "schedule", "orders", "calls", "bound is", "ours", 'ours, "auto"', "lock-step"]
    lines = [
        [
            *(row[key] for key in ("slots", "schedule", "orders")),
            f"{row['calls']:,}",
            row["by"],
            *(spread(row[key], 3) if row[key] else "" for key in ("ratios", "auto", "lock_step")),
        ]
        for row in rows
    ]
    text = (
        f"Makespan over the bound, {COUNT} groups of {SIZE}, {len(SEEDS)} seeds. Median (lowest to highest). "
        "Lock-step is the same for schedules of one round, and is not run for them. "
        f"In simulated time:\n\n{table(head, lines)}"
    )
    if real:
        lines = [[row["schedule"], row["orders"], f"{row['calls']:,}", spread(row["ratios"], 3)] for row in real]
        text += (
            f"\n\nOver HTTP against a local server of {slots} slots that takes {pace * 1e3:g} ms a token:\n\n"
            f"{table(['schedule', 'orders', 'calls', 'ours'], lines)}"
        )
    lines = [[row["size"], row["orders"], f"{row['all']:.3f}", spread(row["ratios"], 3)] for row in single]
    return (
        f"{text}\n\nTime of a knockout by itself over that of the same matches round by round, with a slot for every "
        f"call, {COUNT} groups of each size, in simulated time:\n\n"
        f"{table(['responses', 'orders', 'all groups together', 'group by group'], lines)}"
    )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real-slots", type=int, default=64, help="of the server; 0 leaves it out")
    parser.add_argument("--pace", type=float, default=2.5e-4, help="seconds a token, of the server")
    parser.add_argument("--write", action="store_true", help="write results/engine_load.md")
    options = parser.parse_args()
    real = list(real_runs(options.real_slots, options.pace, SEEDS)) if options.real_slots else []
    rows = list(simulations())
    single = [alone(*case) for case in ALONE]
    text = report(rows, real, single, options.real_slots, options.pace)
    print(text)
    if options.write:
        keep(
            "engine_load",
            title="How full the engine is kept",
            command="python benchmarks/engine_load.py --write",
            body=text,
            on=machine("aiohttp"),
            figures={
                "rows": rows,
                "real": real,
                "alone": single,
                "real_slots": options.real_slots,
                "groups": COUNT,
                "size": SIZE,
            },
        )


if __name__ == "__main__":
    main()
