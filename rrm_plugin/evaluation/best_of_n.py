"""Best of n: which of several responses a judge's tournament picks, and how often that one is right.

    strategies = [strategy("knockout"), strategy("round_robin/elo"), strategy("knockout@5")]
    report = best_of_n(groups, {one.name: [picked(group, scores), ...] for one in strategies}, settings)

Several ways to pick stand side by side: a schedule with a reducer, and perhaps several votes a match. A pick among
responses of equal score is worth the share of these that are right, as if a lot decided; where no response has a score
nothing is picked, which is wrong and counted apart. Beside them stand what needs no judge: a random response, the
majority of final answers, a scalar reward model where the data has its scores, and the oracle, which is right whenever
any response is. Left out: how a tournament is played (`tournament.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.intervals import LEVEL, bootstrap_interval
from rrm_plugin.evaluation.response_groups import ResponseGroup
from rrm_plugin.prompts import Guarded, JudgePrompt
from rrm_plugin.reducers import Reducer
from rrm_plugin.reducers import reducer as resolve_reducer
from rrm_plugin.schedules import Schedule
from rrm_plugin.schedules import schedule as resolve_schedule
from rrm_plugin.types import Scores, Verdict

__all__ = ["Pick", "Strategy", "best_of_n", "picked", "strategy", "truth_of_groups"]

_REDUCERS = {"knockout": "knockout_rank", "round_robin": "elo"}
"""The paper's, for the schedules that it names; Bradley-Terry for all others."""


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A way to pick."""

    name: str
    """As it was written."""
    schedule: Schedule
    reducer: Reducer
    votes: int


def strategy(spec: str) -> Strategy:
    """The strategy that `SCHEDULE[/REDUCER][@VOTES]` names.

    Raises:
        ConfigError: a part is unknown, or the schedule needs a reference answer.
    """
    rest, _, votes = spec.partition("@")
    schedule_name, _, reducer_name = rest.partition("/")
    if votes and not (votes.isdecimal() and int(votes)):
        raise ConfigError(f"{spec!r}: votes are a number from 1, as in knockout@5")
    schedule = resolve_schedule(schedule_name)
    if schedule.needs_reference:
        raise ConfigError(f"{spec!r} compares with a given answer, and here there is none; write reference:0, say")
    reducer = resolve_reducer(reducer_name or _REDUCERS.get(schedule_name.partition(":")[0], "bradley_terry"))
    return Strategy(name=spec, schedule=schedule, reducer=reducer, votes=int(votes or 1))


@dataclass(frozen=True, kw_only=True)
class Pick:
    """What a strategy made of one group."""

    group: str
    right: float
    """1 or 0, or the share of the best ones that are right."""
    picked: tuple[int, ...]
    """The responses with the best score."""
    calls: int
    """Judge calls, whether they were paid or read from a ledger."""
    failures: Mapping[str, int]
    error: str | None


def picked(group: ResponseGroup, scores: Scores) -> Pick:
    """What scores pick from a group."""
    known = [value for value in scores.values if value is not None]
    best = tuple(place for place, value in enumerate(scores.values) if known and value == max(known))
    return Pick(
        group=group.id,
        right=float(np.mean([group.correct[place] for place in best])) if best else 0.0,
        picked=best,
        calls=sum(len(judgement.ballots) for judgement in scores.judgements),
        failures=dict(scores.failures),
        error=scores.error,
    )


def truth_of_groups(groups: Sequence[ResponseGroup], prompt: JudgePrompt) -> Callable[..., Verdict]:
    """For a simulated judge: of two responses to a question the right one is better; two right or two wrong are even.

    Texts that are shown alike and differ in correctness count as right.
    """
    known: dict[tuple[str, str], bool] = {}
    for group in groups:
        query = prompt.prepare_query(group.prompt)
        for text, correct in zip(group.responses, group.correct, strict=True):
            key = (query, prompt.prepare(text))
            known[key] = known.get(key, False) or correct

    def truth(query: Guarded, first: Guarded, second: Guarded) -> Verdict:
        one, other = known[query, first], known[query, second]
        return Verdict.TIE if one is other else Verdict.FIRST if one else Verdict.SECOND

    return truth


def best_of_n(
    groups: Sequence[ResponseGroup],
    picks: Mapping[str, Sequence[Pick]],
    settings: Mapping[str, Any],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """The report, as plain values.

    Args:
        groups: all of them.
        picks: of each strategy, in the order of the groups.
        settings: of judge and run.
        seed: of the intervals.
    """
    baselines = {name: [rule(group) for group in groups] for name, rule in _rules(groups).items()}
    low, high = float(np.mean(baselines["random"])), float(np.mean(baselines["oracle"]))
    return {
        "groups": len(groups),
        "mean_size": float(np.mean([len(group.responses) for group in groups])),
        "mixed": sum(0 < sum(group.correct) < len(group.correct) for group in groups),
        "baselines": {name: _accuracy(values, seed) for name, values in baselines.items()},
        "strategies": [_row(name, own, low, high, seed) for name, own in picks.items()],
        "settings": dict(settings),
        "questions": {name: {pick.group: pick.right for pick in own} for name, own in picks.items()},
    }


def _accuracy(values: Sequence[float], seed: int) -> dict[str, Any]:
    return {"accuracy": float(np.mean(values)), "interval": bootstrap_interval(values, seed=seed), "level": LEVEL}


def _row(name: str, picks: Sequence[Pick], low: float, high: float, seed: int) -> dict[str, Any]:
    accuracy = _accuracy([pick.right for pick in picks], seed)
    failures: Counter[str] = Counter()
    for pick in picks:
        failures.update(pick.failures)
    calls = sum(pick.calls for pick in picks)
    return {
        "strategy": name,
        **accuracy,
        "gained": (accuracy["accuracy"] - low) / (high - low) if high > low else None,
        "calls": calls,
        "calls_per_group": calls / len(picks),
        "ties": float(np.mean([len(pick.picked) > 1 for pick in picks])),
        "unpicked": float(np.mean([not pick.picked for pick in picks])),
        "failures": dict(failures),
        "errors": sorted({pick.error for pick in picks if pick.error}),
    }


def _rules(groups: Sequence[ResponseGroup]) -> dict[str, Callable[[ResponseGroup], float]]:
    rules: dict[str, Callable[[ResponseGroup], float]] = {"random": _random, "majority of answers": _majority}
    if all(group.scores is not None for group in groups):
        rules["scalar reward model"] = _by_score
    return {**rules, "oracle": lambda group: float(any(group.correct))}


def _random(group: ResponseGroup) -> float:
    return float(np.mean(group.correct))


def _majority(group: ResponseGroup) -> float:
    """The commonest answer; among equally common ones each is as likely, and so is each response with it."""
    counts = Counter(answer for answer in group.answers if answer is not None)
    if not counts:
        return _random(group)
    most = max(counts.values())
    return float(np.mean([_share(group, answer) for answer, count in counts.items() if count == most]))


def _share(group: ResponseGroup, answer: str) -> float:
    return float(np.mean([right for right, own in zip(group.correct, group.answers, strict=True) if own == answer]))


def _by_score(group: ResponseGroup) -> float:
    assert group.scores is not None
    best = max(group.scores)
    return float(np.mean([right for right, score in zip(group.correct, group.scores, strict=True) if score == best]))
