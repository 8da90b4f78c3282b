"""Test-time scaling: what more votes and longer replies are worth, computed from one set of calls.

`votes`: accuracy by the majority of m of the k votes that were cast, for m from 1 to k, with the tokens that m votes
take. Every run of m consecutive votes is counted, the last ones followed by the first, so that each vote weighs the
same. `budget`: accuracy if replies of more than so many tokens had been cut off there, and no verdict forced. Both cost
no further call. A judge that knows its budget, or is made to state a verdict when it ends, is a run with another
`--max-tokens`: `curve_of_runs` puts such runs side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.intervals import bootstrap_interval
from rrm_plugin.evaluation.scores import Call, JudgedPair, units, worth

__all__ = ["curve_of_runs", "scaling_curves"]

_BUDGETS = tuple(2**power for power in range(5, 18))


def scaling_curves(judged: Sequence[JudgedPair], *, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """The curves of a run, a point a row; one that has a single point is empty.

    Args:
        judged: pairs with all their votes.
        seed: of the intervals.
    """
    most = min((_votes(one) for one in judged), default=0)
    return {
        "votes": [_by_votes(judged, count, seed) for count in range(1, most + 1)] if most > 1 else [],
        "budget": _by_budget(judged, seed),
    }


def _votes(one: JudgedPair) -> int:
    """The votes that every order of a pair has."""
    return min(len(one.votes(swapped)) for swapped in one.orders)


def _by_votes(judged: Sequence[JudgedPair], count: int, seed: int) -> dict[str, Any]:
    values = [float(np.mean([_runs(one, swapped, count) for swapped in one.orders])) for one in judged]
    calls = [call for one in judged for call in one.calls]
    orders = float(np.mean([len(one.orders) for one in judged]))
    tokens = float(np.mean([call.completion_tokens for call in calls]))
    return {"votes": count, **_point(judged, values, seed), "tokens_per_pair": count * orders * tokens}


def _runs(one: JudgedPair, swapped: bool, count: int) -> float:
    """Mean over all runs of `count` consecutive votes in a circle."""
    votes = one.votes(swapped)
    circle = votes + votes
    starts = range(len(votes)) if count < len(votes) else range(1)
    return float(np.mean([worth(circle[start : start + count], one.pair.label) for start in starts]))


def _by_budget(judged: Sequence[JudgedPair], seed: int) -> list[dict[str, Any]]:
    longest = max((call.completion_tokens for one in judged for call in one.calls), default=0)
    shortest = min(
        (call.completion_tokens for one in judged for call in one.calls if call.completion_tokens), default=0
    )
    budgets = [budget for budget in _BUDGETS if shortest <= budget < longest]
    if not budgets:
        return []
    return [_cut(judged, budget, seed) for budget in [*budgets, longest]]


def _cut(judged: Sequence[JudgedPair], budget: int, seed: int) -> dict[str, Any]:
    values = [
        float(np.mean([worth(_within(one, swapped, budget), one.pair.label) for swapped in one.orders]))
        for one in judged
    ]
    calls = [call for one in judged for call in one.calls]
    return {
        "max_tokens": budget,
        **_point(judged, values, seed),
        "cut_off": float(np.mean([call.completion_tokens > budget for call in calls])),
        "tokens_per_pair": sum(min(call.completion_tokens, budget) for call in calls) / len(judged),
    }


def _within(one: JudgedPair, swapped: bool, budget: int) -> list[Any]:
    return [call.verdict for call in one.calls if call.swapped is swapped and _fits(call, budget)]


def _fits(call: Call, budget: int) -> bool:
    return call.completion_tokens <= budget


def _point(judged: Sequence[JudgedPair], values: Sequence[float], seed: int) -> dict[str, Any]:
    by_question = list(units(judged, values).values())
    return {"accuracy": float(np.mean(values)), "interval": bootstrap_interval(by_question, seed=seed)}


def curve_of_runs(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Accuracy against tokens over several runs, the cheapest first.

    Args:
        reports: of one benchmark and the same questions, by a name for each.

    Raises:
        ConfigError: they are of several benchmarks or of different questions, or one counted no calls.
    """
    (first, one), *others = reports.items()
    for name, other in others:
        if other["benchmark"] != one["benchmark"]:
            raise ConfigError(f"{first} is on {one['benchmark']}, {name} on {other['benchmark']}")
        if set(other["questions"]) != set(one["questions"]):
            raise ConfigError(f"{first} and {name} are on different questions: give both the same --limit and --subset")
    points = [_run(name, report) for name, report in reports.items()]
    return {"benchmark": one["benchmark"], "points": sorted(points, key=lambda point: point["tokens_per_pair"])}


def _run(name: str, report: Mapping[str, Any]) -> dict[str, Any]:
    settings = report["settings"]
    try:
        overall = report["overall"]
        cost, pairs = overall["cost"], overall["n"]
        return {
            "run": name,
            "max_tokens": settings.get("max_tokens"),
            "votes": settings.get("votes"),
            **{number: overall[number] for number in ("accuracy", "interval", "agreement", "forced", "failed")},
            "calls_per_pair": cost["calls"] / pairs,
            "tokens_per_pair": cost["completion_tokens"] / pairs,
        }
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"{name} is no whole report of rrm eval: {type(error).__name__}: {error}") from error
