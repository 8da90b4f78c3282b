"""Judgements, scores and outcomes as JSON, and back, for both ends of the wire.

Half of a surrogate pair, which a broken reply may hold, travels as the escape that JSON has for it.
"""

from __future__ import annotations

import dataclasses
import json
import math
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
    """A body as JSON in ASCII. A number that is not finite, which JSON has no form for, is null."""
    try:
        return _ENCODE(row).encode("ascii")
    except ValueError:
        return _ENCODE(_finite(row)).encode("ascii")


_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def judgement_row(judgement: Judgement) -> dict[str, Any]:
    """A judgement with its votes."""
    match = judgement.match
    return {
        **vars(judgement),
        "verdict": judgement.verdict.value if judgement.verdict else None,
        "reason": judgement.reason.value if judgement.reason else None,
        "match": vars(match) if match else None,
        "usage": vars(judgement.usage),
        "votes": [judgement_row(vote) for vote in judgement.votes],
    }


def judgement_from(row: Mapping[str, Any]) -> Judgement:
    """The judgement in a row.

    Raises:
        KeyError, TypeError, ValueError: it is no such row.
    """
    return Judgement(
        **{
            **_own(Judgement, row),
            "verdict": Verdict(row["verdict"]) if row["verdict"] else None,
            "reason": Reason(row["reason"]) if row["reason"] else None,
            "match": Match(**row["match"]) if row["match"] else None,
            "usage": Usage(**row["usage"]),
            "votes": tuple(judgement_from(vote) for vote in row["votes"]),
        }
    )


def scores_row(scores: Scores, rewards: Sequence[float | None], *, judgements: bool) -> dict[str, Any]:
    """Scores of a group, and what follows from them.

    Args:
        judgements: whether the judgements, with the judge's texts, are wanted too.
    """
    return {
        **vars(scores),
        "usage": vars(scores.usage),
        "failures": dict(scores.failures),
        "settings": dict(scores.settings),
        "judgements": [judgement_row(one) for one in scores.judgements] if judgements else [],
        "rewards": list(rewards),
        "ranking": scores.ranking,
        "unscored": scores.unscored,
    }


def scores_from(row: Mapping[str, Any]) -> Scores:
    """The scores in a row.

    Raises:
        KeyError, TypeError, ValueError: it is no such row.
    """
    judgements = tuple(judgement_from(one) for one in row["judgements"])
    return Scores(**{**_own(Scores, row), "usage": Usage(**row["usage"]), "judgements": judgements})


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """What became of a member."""
    return {**vars(outcome), "closing": outcome.closing.value, "metrics": dict(outcome.metrics)}


def outcome_from(row: Mapping[str, Any]) -> Outcome:
    """The outcome in a row.

    Raises:
        KeyError, TypeError, ValueError: it is no such row.
    """
    return Outcome(**{**_own(Outcome, row), "closing": Closing(row["closing"])})


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def _own(kind: type, row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row that a class knows: a service may be newer than its client, and say more."""
    return {field.name: row[field.name] for field in dataclasses.fields(kind) if field.name in row}
