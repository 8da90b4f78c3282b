"""Ways from verdicts to a reward: other projects', rebuilt from their descriptions, and this package's own.

All are given verdicts without grades or ties. What others do to a reward afterwards (length bonuses, normalisation) is
left out; a correlation would not see most of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rrm_plugin.schedules import Orders, knockout
from rrm_plugin.types import Judgement
from simulated.judges import FloatArray, Groups
from simulated.plays import play, play_stepper

__all__ = ["OWN", "RIVALS", "Contestant"]

Rewarding = Callable[[Groups], tuple[FloatArray, float]]
"""From groups to rewards (B, n) and the mean calls of a group."""

CHUNK = 4


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to a reward."""

    name: str
    about: str
    reward: Rewarding


def _scheduled(spec: str, orders: Orders, reducing: str) -> Rewarding:
    def reward(groups: Groups) -> tuple[FloatArray, float]:
        played = play(spec, orders, groups)
        return played.values(reducing), played.calls

    return reward


def _signs(groups: Groups) -> FloatArray:
    """(B, n, n) 1 where i, shown first, wins against j, -1 where it loses, 0 against itself."""
    return np.where(groups.wins, 1.0, -1.0) * (1.0 - np.eye(groups.size))


def consistent_pairs(groups: Groups) -> tuple[FloatArray, float]:
    """All pairs in both orders; a pair whose orders disagree is dropped, the rest are averaged."""
    signs = _signs(groups)
    kept = np.where(signs == -signs.swapaxes(1, 2), signs, 0.0)
    values = kept.sum(axis=2) / np.maximum(np.abs(kept).sum(axis=2), 1.0)
    return values, float(groups.size * (groups.size - 1))


def chunks(groups: Groups) -> tuple[FloatArray, float]:
    """All pairs in both orders within chunks of 4, none between them."""
    chunk = np.arange(groups.size) // CHUNK
    met = (chunk[:, None] == chunk[None, :]) & ~np.eye(groups.size, dtype=bool)
    signs = _signs(groups) * met
    return (signs.sum(axis=2) - signs.sum(axis=1)) / (2.0 * met.sum(axis=1)), float(met.sum())


def random_reference(groups: Groups) -> tuple[FloatArray, float]:
    """Each against a member drawn by lot, in an order drawn by lot: 1 or -1; the reference itself gets 0."""
    rng = np.random.default_rng(11)
    rows, n = np.arange(groups.count), groups.size
    reference = rng.integers(n, size=groups.count)
    signs = _signs(groups)
    heads = rng.random((groups.count, n)) < 0.5
    return np.where(heads, signs[rows, :, reference], -signs[rows, reference, :]), float(n - 1)


def seeded_elimination(groups: Groups) -> tuple[FloatArray, float]:
    """Everybody against an anchor, then a bracket seeded by that, all in both orders; the reward is the final rank.

    Who leaves in the same round is ordered by mean points over all matches, the anchor's included.
    """
    n, rng = groups.size, np.random.default_rng(13)
    anchored = play("reference:0", "both", groups)
    values = np.zeros((groups.count, n))
    calls = 0
    for index, first in enumerate(anchored.judgements):
        points = _mean_points(first, n)
        lots = rng.random(n)
        seeds = sorted(range(n), key=lambda member, points=points, lots=lots: (-points[member], lots[member]))
        bracket = play_stepper(knockout(seeds).start(n, "both", rng), groups, index)
        survived = _rounds_survived(bracket, n, seeds)
        means = _mean_points([*first, *bracket], n)
        order = sorted(range(n), key=lambda member, key=(survived, means, lots): tuple(-each[member] for each in key))
        values[index, order] = 1.0 - np.arange(n) / (n - 1)
        calls += len(first) + len(bracket)
    return values, calls / groups.count


def _mean_points(judgements: list[Judgement], n: int) -> FloatArray:
    won, played = np.zeros(n), np.zeros(n)
    for judgement in judgements:
        assert judgement.match is not None and judgement.verdict is not None
        ahead = 1.0 if judgement.verdict.value == "first" else -1.0
        for member, sign in ((judgement.match.first, ahead), (judgement.match.second, -ahead)):
            won[member] += sign
            played[member] += 1.0
    return won / np.maximum(played, 1.0)


def _rounds_survived(bracket: list[Judgement], n: int, seeds: list[int]) -> FloatArray:
    """Round of the last match of each, one more for who won the final."""
    last, final = np.zeros(n), max((one.match.round for one in bracket if one.match), default=0)
    net = np.zeros(n)
    for judgement in bracket:
        assert judgement.match is not None and judgement.verdict is not None
        for member in judgement.match.pair:
            last[member] = judgement.match.round
        if judgement.match.round == final:
            ahead = 1.0 if judgement.verdict.value == "first" else -1.0
            net[judgement.match.first] += ahead
            net[judgement.match.second] -= ahead
    finalists = [member for member in seeds if last[member] == final]
    # An even final goes to the better seed, as every other match does.
    last[max(finalists, key=lambda member: net[member])] += 1.0
    return last


RIVALS: tuple[Contestant, ...] = (
    Contestant(
        name="NeMo-Gym circular",
        about="each against the next on a ring, the mean of the own scores",
        reward=_scheduled("circulant:1", "balanced", "win_rate"),
    ),
    Contestant(
        name="BRPO reference",
        about="each against a member drawn by lot, 1 or -1, the reference 0",
        reward=random_reference,
    ),
    Contestant(
        name="paper: knockout",
        about="one order, the reward is the rounds survived",
        reward=_scheduled("knockout", "balanced", "knockout_rank"),
    ),
    Contestant(
        name="paper: knockout, both orders",
        about="the same, each pair in both orders",
        reward=_scheduled("knockout", "both", "knockout_rank"),
    ),
    Contestant(name="tinker-cookbook chunks", about="all pairs within chunks of 4, both orders, mean", reward=chunks),
    Contestant(
        name="ArenaRL seeded elimination",
        about="an anchor seeds a bracket, both orders, the reward is the rank",
        reward=seeded_elimination,
    ),
    Contestant(
        name="paper: Elo round robin",
        about="all pairs in one balanced order, Elo averaged over orders of play",
        reward=_scheduled("round_robin", "balanced", "elo"),
    ),
    Contestant(
        name="paper: Elo round robin, both orders",
        about="all pairs in both orders, Elo",
        reward=_scheduled("round_robin", "both", "elo"),
    ),
    Contestant(
        name="OpenJudge all pairs",
        about="both orders, pairs whose orders disagree are dropped, mean of the rest",
        reward=consistent_pairs,
    ),
)


def _own(spec: str, orders: Orders, reducing: str = "bradley_terry") -> Contestant:
    return Contestant(
        name=f"{spec} {orders}", about=f"reduced by {reducing}", reward=_scheduled(spec, orders, reducing)
    )


OWN: tuple[Contestant, ...] = (
    _own("circulant:1", "balanced"),
    _own("circulant:3", "balanced"),
    _own("circulant:3", "both"),
    _own("circulant:6", "balanced"),
    _own("swiss:3", "balanced"),
    _own("swiss:6", "balanced"),
)
