"""Judgements, scores and outcomes as JSON, and back, for both ends of the wire.

Half of a surrogate pair, which a broken reply may hold, travels as the escape that JSON has for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rrm_plugin.cohorts import Closing, Outcome
from rrm_plugin.types import Judgement, Match, Reason, Scores, Usage, Verdict

__all__ = [
    "encode",
    "judgement_from",
    "judgement_row",
    "outcome_from",
    "outcome_row",
    "scores_from",
    "scores_row",
]


def encode(row: Any) -> bytes:
    """A body as JSON in ASCII.

    Raises:
        ValueError: it holds what JSON has no form for.
    """
    return _ENCODE(row).encode("ascii")


_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def judgement_row(judgement: Judgement) -> dict[str, Any]:
    """A judgement with its votes."""
    match, usage = judgement.match, judgement.usage
    return {
        "verdict": judgement.verdict.value if judgement.verdict else None,
        "reason": judgement.reason.value if judgement.reason else None,
        "detail": judgement.detail,
        "text": judgement.text,
        "match": {"first": match.first, "second": match.second, "round": match.round} if match else None,
        "usage": _usage_row(usage),
        "engine": judgement.engine,
        "cached": judgement.cached,
        "forced": judgement.forced,
        "key": judgement.key,
        "votes": [judgement_row(vote) for vote in judgement.votes],
    }


def judgement_from(row: Mapping[str, Any]) -> Judgement:
    """The judgement in a row.

    Raises:
        KeyError, ValueError: it is no such row.
    """
    return Judgement(
        verdict=Verdict(row["verdict"]) if row["verdict"] else None,
        reason=Reason(row["reason"]) if row["reason"] else None,
        detail=row["detail"],
        text=row["text"],
        match=Match(**row["match"]) if row["match"] else None,
        usage=Usage(**row["usage"]),
        engine=row["engine"],
        cached=row["cached"],
        forced=row["forced"],
        key=row["key"],
        votes=tuple(judgement_from(vote) for vote in row["votes"]),
    )


def scores_row(scores: Scores, rewards: Sequence[float | None], *, judgements: bool) -> dict[str, Any]:
    """Scores and rewards of a group.

    Args:
        judgements: whether the judgements, with the judge's texts, are wanted too.
    """
    return {
        "values": scores.values,
        "rewards": list(rewards),
        "ranking": scores.ranking,
        "unscored": scores.unscored,
        "usage": _usage_row(scores.usage),
        "converged": scores.converged,
        "position_bias": scores.position_bias,
        "agreement": scores.agreement,
        "first_rate": scores.first_rate,
        "cycles": scores.cycles,
        "duplicates": scores.duplicates,
        "failures": dict(scores.failures),
        "error": scores.error,
        "settings": dict(scores.settings),
        "judgements": [judgement_row(one) for one in scores.judgements] if judgements else [],
    }


def scores_from(row: Mapping[str, Any]) -> Scores:
    """The scores in a row.

    Raises:
        KeyError, ValueError: it is no such row.
    """
    plain = ("values", "converged", "position_bias", "agreement", "first_rate", "cycles", "duplicates")
    return Scores(
        **{name: row[name] for name in (*plain, "failures", "error", "settings")},
        usage=Usage(**row["usage"]),
        judgements=tuple(judgement_from(one) for one in row["judgements"]),
    )


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """What became of a member."""
    return {**vars(outcome), "closing": outcome.closing.value, "metrics": dict(outcome.metrics)}


def outcome_from(row: Mapping[str, Any]) -> Outcome:
    """The outcome in a row.

    Raises:
        TypeError, ValueError: it is no such row.
    """
    return Outcome(**{**row, "closing": Closing(row["closing"])})


def _usage_row(usage: Usage) -> dict[str, Any]:
    return dict(vars(usage))
