"""What a scored group amounts to in numbers, for a table that is small enough to be searched as a whole.

A ledger keeps them beside each group, so that a page over a million judge calls need not read a million texts. Where
something cannot be told the number is None, never 0.

    spread               standard deviation of the scores; 0 teaches nothing
    disagreements        pairs on which the two orders contradict each other
    upset                the largest distance by which a lower score beat a higher one, as a share of the group's range
                         of scores; 1: the last beat the first
    steering             responses that speak to their judge (`steering.py`)

The others are those of `batch.py`. Left out: means over groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rrm_plugin import consistency
from rrm_plugin.metrics.batch import length_correlation
from rrm_plugin.metrics.steering import steering_of
from rrm_plugin.prompts import prompt_text, response_text
from rrm_plugin.types import Group, Judgement, Match, Reason, Scores, Usage, Verdict

__all__ = ["GroupNumbers", "judgements_of", "numbers_of"]

TITLE = 160
"""Characters of a prompt by which a person knows a group again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupNumbers:
    """One scored group; a column of the ledger's table `group_numbers` for each."""

    size: int
    """Responses."""
    played: int
    """Matches."""
    ballots: int
    """Judge calls behind them, whether they were paid now or read from a record."""
    verdicts: int
    """Calls that ended in a verdict."""
    calls: int
    """Calls that were paid for this group."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    """Durations of the calls added up."""
    agreement: float | None
    disagreements: int
    first_rate: float | None
    cycles: int
    spread: float | None
    length_correlation: float | None
    unscored: int
    duplicates: int
    upset: float | None
    steering: int
    failed: int
    """1 where the group as a whole has an error."""
    title: str
    """How the prompt begins."""


def numbers_of(group: Group, scores: Scores, lengths: Sequence[int] | None = None) -> GroupNumbers:
    """The numbers of a group.

    Args:
        group: as it was scored.
        scores: of it.
        lengths: of each response in tokens; without them characters are counted.
    """
    texts = [_text(response_text, response) for response in group.responses]
    ballots = [ballot for judgement in scores.judgements for ballot in judgement.ballots]
    values = [value for value in scores.values if value is not None]
    sizes = lengths if lengths is not None else [len(text) for text in texts]
    return GroupNumbers(
        size=len(group.responses),
        played=len(scores.judgements),
        ballots=len(ballots),
        verdicts=sum(ballot.verdict is not None for ballot in ballots),
        calls=scores.usage.calls,
        prompt_tokens=scores.usage.prompt_tokens,
        completion_tokens=scores.usage.completion_tokens,
        seconds=scores.usage.seconds,
        agreement=scores.agreement,
        disagreements=_disagreements(scores.judgements),
        first_rate=scores.first_rate,
        cycles=scores.cycles,
        spread=float(np.std(values)) if len(values) > 1 else None,
        length_correlation=length_correlation(scores, sizes) if len(sizes) == len(scores.values) else None,
        unscored=len(scores.unscored),
        duplicates=scores.duplicates,
        upset=_upset(scores),
        steering=sum(bool(steering_of(text)) for text in dict.fromkeys(texts)),
        failed=int(scores.error is not None),
        title=" ".join(_text(prompt_text, group.prompt)[: 4 * TITLE].split())[:TITLE],
    )


def judgements_of(
    matches: Iterable[Mapping[str, Any]], usage: Mapping[str, Usage] | None = None
) -> tuple[Judgement, ...]:
    """Judgements as a ledger's column `matches` tells them: without texts, and with one vote for each key.

    Args:
        matches: of one group.
        usage: of the calls, by key.

    Raises:
        ValueError: a verdict or reason is none.
    """
    told = []
    for played in matches:
        match = Match(first=played["first"], second=played["second"], round=played.get("round") or 0)
        verdict = Verdict(played["verdict"]) if played["verdict"] else None
        reason = Reason(played["reason"]) if played["reason"] else None
        one = Judgement(verdict=verdict, reason=reason, match=match, chance=played.get("chance"))
        calls = [(usage or {}).get(key, Usage()) for key in played["keys"]]
        told.append(_with_calls(one, calls))
    return tuple(told)


def _with_calls(judgement: Judgement, calls: Sequence[Usage]) -> Judgement:
    if len(calls) < 2:
        return replace(judgement, usage=calls[0] if calls else Usage())
    return replace(judgement, votes=tuple(replace(judgement, usage=usage) for usage in calls))


def _disagreements(judgements: Sequence[Judgement]) -> int:
    pairs: dict[tuple[int, int], list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        if judgement.match is not None:
            pairs[judgement.match.pair].append(judgement)
    return sum(consistency.agreement(own) == 0 for own in pairs.values())


def _upset(scores: Scores) -> float | None:
    """None where no match was decided between two scored responses, or all scores are equal."""
    known = [value for value in scores.values if value is not None]
    reach = max(known, default=0.0) - min(known, default=0.0)
    steps = [
        (scores.values[loser] or 0.0) - (scores.values[winner] or 0.0)
        for winner, loser in _decided(scores.judgements, len(scores.values))
        if scores.values[winner] is not None and scores.values[loser] is not None
    ]
    return max(0.0, *steps) / reach if steps and reach > 0 else None


def _decided(judgements: Sequence[Judgement], size: int) -> Iterable[tuple[int, int]]:
    """Winner and loser of each decided match among the responses; a given reference has no score."""
    for judgement in judgements:
        match = judgement.match
        if match is None or judgement.verdict in (None, Verdict.TIE) or max(match.pair) >= size:
            continue
        pair = match.first, match.second
        yield pair if judgement.verdict is Verdict.FIRST else (match.second, match.first)


def _text(flatten: Any, value: Any) -> str:
    """A prompt or response as text; whatever a caller may have passed, a record of it must not fail."""
    try:
        return flatten(value)
    except Exception:
        return str(value)
