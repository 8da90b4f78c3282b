"""The limit against servers whose throughput is known, in simulated time."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable

import pytest

from rrm_plugin.engines.pace import MOST, START, Pace


def asked(
    pace: Pace, speed: Callable[[int], float], calls: int, seed: int = 0, limits: list[int] | None = None
) -> None:
    """Calls without end, replies of 64 to 8,192 tokens; `speed` gives tokens a second by the requests under way."""
    drawn = random.Random(seed)
    now, served, ends = 0.0, 0.0, []
    for _ in range(calls):
        while len(ends) < pace.limit:
            tokens = min(8192, max(64, int(drawn.lognormvariate(math.log(800), 1.0))))
            # All share the speed alike: each has its reply when every one of them has been given so many tokens.
            heapq.heappush(ends, (served + tokens, tokens))
        at, tokens = heapq.heappop(ends)
        busy = len(ends) + 1
        now += (at - served) * busy / speed(busy)
        served = at
        pace.replied(tokens, now, short=True)
        if limits is not None:
            limits.append(pace.limit)


@pytest.mark.parametrize("full", [8, 100, 256, 700])
@pytest.mark.parametrize("seed", range(3))
def test_a_server_is_kept_full_and_not_flooded(full, seed):
    pace = Pace()
    asked(pace, lambda busy: 20.0 * min(busy, full), 40 * full + 4000, seed)
    assert full <= pace.limit <= 4 * max(full, START)


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_gets_slower_for_each_still_gets_more(seed):
    """A batching server: each request is slower the more there are, and all together faster, up to 500 or so."""
    pace = Pace()
    asked(pace, lambda busy: 20_000.0 * busy / (busy + 250.0), 20_000, seed)
    assert pace.limit >= 256


def test_without_calls_that_wait_nothing_is_learnt():
    pace = Pace()
    for second in range(10_000):
        pace.replied(100, float(second), short=False)
    assert pace.limit == START


def test_a_server_that_counts_no_tokens_is_found_out_too():
    pace = Pace()
    now = 0.0
    for _ in range(2_000):
        now += 1.0 / min(pace.limit, 200)
        pace.replied(0, now, short=True)
    assert 200 <= pace.limit <= 512


def test_a_refusal_halves_once_a_window():
    pace = Pace(start=64)
    for _ in range(10):
        pace.refused(1.0)
    assert pace.limit == 32
    for call in range(32):
        pace.replied(10, 2.0 + call, short=True)
    pace.refused(40.0)
    assert pace.limit == 16


def test_refusals_go_on_halving_a_limit_that_nobody_waits_for():
    pace = Pace(start=64)
    for limit in (32, 16, 8):
        pace.refused(1.0)
        assert pace.limit == limit
        for call in range(limit):
            pace.replied(10, 2.0 + call, short=False)


def test_a_limit_is_looked_at_again():
    """A second client of the server stops, and twice as much is left for this one."""
    pace = Pace()
    asked(pace, lambda busy: 20.0 * min(busy, 60), 5_000)
    before = pace.limit
    asked(pace, lambda busy: 20.0 * min(busy, 1_000), 40_000)
    assert before <= 256 and pace.limit >= 512


def test_the_most_is_never_exceeded():
    limits: list[int] = []
    asked(Pace(start=64, most=100), lambda busy: 20.0 * busy, 3_000, limits=limits)
    assert max(limits) == 100
    assert Pace().limit <= MOST
