"""Which candidates of a group meet, in which rounds, and who of a pair is shown first.

A schedule is a setting: frozen, comparable, picklable, with a name that makes it again ("circulant:3"). Its `start`
gives a stepper, which hands out matches and reads the judgements to go on. Nothing here judges, scores or waits.

| name | pairs of n candidates | rounds |
|---|---|---|
| round_robin | n (n - 1) / 2 | 1 |
| circulant:k | k n | 1 |
| random:k | up to k n | 1 |
| reference, reference:i, reference:random | n - 1 | 1 |
| swiss:r | up to r n / 2 | r |
| knockout | n - 1 | log2 n |
| adaptive:calls | as many as the calls allow | log2 n, then 4 (pairs - n) / n more |

The three strategies of the RRM paper (arXiv 2505.14674) are: `round_robin` reduced by `elo`; `knockout`, whose winner
is the best of n; and majority voting over samples, which is several votes for each match of any schedule.

Rounds of `swiss` and `adaptive` are paired by all verdicts before them, so each waits for all of the one before. A
match of a `knockout` waits for those alone that decide who plays it: a stepper that is `Branching` is asked for more
while matches are out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rrm_plugin.errors import ConfigError
from rrm_plugin.schedules._adaptive import Adaptive
from rrm_plugin.schedules._base import Branching, NamesMembers, Schedule, Stepper, branching
from rrm_plugin.schedules._fixed import Circulant, RandomRivals, Reference, RoundRobin
from rrm_plugin.schedules._knockout import Knockout
from rrm_plugin.schedules._orders import Orders
from rrm_plugin.schedules._swiss import Swiss
from rrm_plugin.specs import Entry, resolve

__all__ = [
    "Branching",
    "NamesMembers",
    "Orders",
    "Schedule",
    "Stepper",
    "adaptive",
    "branching",
    "circulant",
    "knockout",
    "random_rivals",
    "reference",
    "round_robin",
    "schedule",
    "swiss",
]


def round_robin() -> Schedule:
    """Every candidate meets every other: n (n - 1) / 2 pairs. With `elo` this is the paper's Elo strategy."""
    return RoundRobin()


def circulant(k: int = 3) -> Schedule:
    """Candidate i meets candidate i + o on a ring, for `k` offsets o chosen so that few matches compare everybody well.

    Under `balanced` each candidate is shown first exactly k times and second exactly k times, so a judge that only
    looks at the position gives equal scores. k counts up to n // 2, where all pairs are met; with n even, the pairs
    that stand opposite on the ring are then judged in both orders, since no other way keeps that balance.

    Raises:
        ConfigError: k is below 1.
    """
    return Circulant(k=k)


def random_rivals(k: int = 4) -> Schedule:
    """Every candidate draws `k` distinct opponents, all others where there are not as many; named "random:k".

    Raises:
        ConfigError: k is below 1.
    """
    return RandomRivals(k=k)


def reference(member: int | Literal["random"] | None = None) -> Schedule:
    """Every candidate meets one reference and nobody else: n - 1 pairs.

    Args:
        member: None for a given reference answer, which the caller appends as the last candidate (`needs_reference`);
            the index of a member of the group; or "random" for a member drawn by lot.

    Raises:
        ConfigError: `member` is negative.
        GroupError: at the start, it is not an index of the group.
    """
    return Reference(member=member)


def swiss(rounds: int = 3) -> Schedule:
    """Rounds between candidates near in points, without rematches; an odd one out sits out, by turns, for no points.

    Raises:
        ConfigError: rounds is below 1.
    """
    return Swiss(rounds=rounds)


def knockout(seeds: Sequence[int] | None = None) -> Schedule:
    """The paper's knockout: the winner of a pair goes on, n - 1 pairs in log2(n) rounds; `knockout_rank` reads it.

    A pair is decided by the net of its judgements. Where they leave it open (ties, a split, no verdict) the better seed
    goes on. Where n is no power of two, the best seeds enter in the second round. A pair meets as soon as the two
    before it are decided, whatever others of its round take.

    Args:
        seeds: all candidates, best first, for groups of exactly that size; None draws them by lot.

    Raises:
        ConfigError: `seeds` is not an order of 0 to n - 1.
        GroupError: at the start, it is not of the group's size.
    """
    return Knockout(seeds=None if seeds is None else tuple(seeds))


def adaptive(budget: int | None = None, least_gain: float = 0.01) -> Schedule:
    """Round after round the matches whose verdicts are expected to tell most, within a budget of calls.

    It begins with a knockout, which connects everybody. Strengths are estimated after each round under the
    Bradley-Terry model with a position bias; the next matches are those whose verdict is expected to take away the
    largest share of the variance of their log-odds. A pair is judged at most once in each order. A larger budget only
    adds matches, so that recorded verdicts stay of use. Reduce it by `bradley_terry`: who met strong opponents has
    fewer wins, and `win_rate` and `elo` take that for weakness.

    Args:
        budget: most judge calls for a group, votes not counted; None for three for each candidate.
        least_gain: ends earlier where another call for each candidate is expected to add less than this to the
            correlation of estimated with true strengths. The same for all groups, it is the price of a call: with a
            large budget, calls go to those groups where they tell most.

    Raises:
        ConfigError: budget is below 1, or below 2 where `orders` is "both"; least_gain is not from 0 to below 1.
    """
    return Adaptive(budget=budget, least_gain=least_gain)


def _adaptive_within(limits: tuple[int | None, float] = (None, Adaptive.least_gain)) -> Schedule:
    return adaptive(*limits)


def _limits(text: str) -> tuple[int | None, float]:
    budget, comma, least_gain = text.partition(",")
    return None if budget == "auto" else int(budget), float(least_gain) if comma else Adaptive.least_gain


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _member(text: str) -> int | str:
    return text if text == "random" else int(text)


_TABLE: dict[str, Entry[Schedule]] = {
    "round_robin": Entry(make=round_robin, usage="round_robin"),
    "circulant": Entry(make=circulant, usage="circulant:k", argument="k", read=int),
    "random": Entry(make=random_rivals, usage="random:k", argument="k", read=int),
    "reference": Entry(make=reference, usage="reference[:index|:random]", argument="member", read=_member),
    "swiss": Entry(make=swiss, usage="swiss:rounds", argument="rounds", read=int),
    "adaptive": Entry(
        make=_adaptive_within, usage="adaptive[:calls|auto[,least_gain]]", argument="limits", read=_limits
    ),
    "knockout": Entry(make=knockout, usage="knockout[:seed,seed,...]", argument="seeds", read=_seeds),
}


def schedule(spec: str | Schedule) -> Schedule:
    """The schedule that `spec` names, or `spec` itself where it is one.

    Raises:
        ConfigError: the name is not known (the message lists those that are) or its argument is out of range.
    """
    if isinstance(spec, str):
        return resolve("schedule", spec, _TABLE)
    if isinstance(spec, Schedule) and not isinstance(spec, type):
        return spec
    raise ConfigError(f"schedule={spec!r} must be a name such as 'circulant:3', or a Schedule")
