"""What a batch of scores says about the judge, as numbers for a trainer's log, by the names of `metrics/names.py`.

A metric without data (no pair seen in both orders, say) is left out rather than invented.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from rrm_plugin.types import Scores, Usage

__all__ = ["length_correlation", "summary"]


def summary(scores: Sequence[Scores], lengths: Sequence[Sequence[int]], name: str = "rrm") -> dict[str, float]:
    """Metrics of a batch by name.

    Args:
        scores: of each group.
        lengths: of each group, the length of each response, in whatever unit the caller has.
        name: of the judge, before each metric's own.
    """
    usage = sum((one.usage for one in scores), Usage())
    responses = sum(len(one.values) for one in scores)
    metrics = {
        "groups": float(len(scores)),
        "calls": float(usage.calls),
        "tokens": float(usage.tokens),
        "judge_seconds": usage.seconds,
    }
    if usage.cost:
        metrics["cost"] = usage.cost
    if responses:
        metrics["unscored"] = sum(len(one.unscored) for one in scores) / responses
        metrics["identical"] = sum(one.duplicates for one in scores) / responses
        metrics["not_converged"] = sum(not one.converged for one in scores) / len(scores)
    metrics |= _of_ballots(scores)
    means = {
        "order_agreement": [one.agreement for one in scores],
        "first_rate": [one.first_rate for one in scores],
        "cycles": [float(one.cycles) for one in scores if one.judgements],
        "spread": [_spread(one) for one in scores],
        "length_correlation": [length_correlation(one, sizes) for one, sizes in zip(scores, lengths, strict=True)],
    }
    for metric, values in means.items():
        known = [value for value in values if value is not None]
        if known:
            metrics[metric] = float(np.mean(known))
    return {f"{name}/{metric}": value for metric, value in metrics.items()}


def length_correlation(scores: Scores, lengths: Sequence[int]) -> float | None:
    """Pearson correlation of score with length in one group; None where either does not vary."""
    pairs = [(value, length) for value, length in zip(scores.values, lengths, strict=True) if value is not None]
    if len(pairs) < 2:
        return None
    values, sizes = np.array(pairs, dtype=float).T
    if np.ptp(values) == 0 or np.ptp(sizes) == 0:
        return None
    return float(np.corrcoef(values, sizes)[0, 1])


def _of_ballots(scores: Sequence[Scores]) -> dict[str, float]:
    ballots = [ballot for one in scores for judgement in one.judgements for ballot in judgement.ballots]
    if not ballots:
        return {}
    total = len(ballots)
    reasons = Counter(ballot.reason for ballot in ballots if ballot.reason is not None)
    metrics = {
        "verdict_rate": sum(ballot.verdict is not None for ballot in ballots) / total,
        "forced_rate": sum(ballot.forced for ballot in ballots) / total,
        "escalated_rate": sum(ballot.escalated for ballot in ballots) / total,
    }
    return metrics | {f"no_verdict/{reason.value}": count / total for reason, count in sorted(reasons.items())}


def _spread(scores: Scores) -> float | None:
    values = [value for value in scores.values if value is not None]
    return float(np.std(values)) if len(values) > 1 else None
