"""What a batch of scores says about the judge, as numbers for a trainer's log.

One list of names for every host. `rrm` is the judge's `name`, so that two judges in one run stay apart. A metric
without data (no pair seen in both orders, say) is left out rather than invented.

    rrm/calls                  judge calls paid for in this batch
    rrm/tokens                 their prompt and completion tokens
    rrm/cost                   what they cost, at the prices given; only where there are prices
    rrm/judge_seconds          their durations added up; calls overlap
    rrm/seconds                wall clock of the whole reward, as its caller measured it
    rrm/verdict_rate           share of the calls that ended in a verdict; below 0.9 the rewards rest on few matches
    rrm/no_verdict/<reason>    share of the calls without one, by reason; `cut_off` asks for more max_tokens
    rrm/forced_rate            share of the calls whose thinking ran out and that were made to state a verdict
    rrm/escalated_rate         share of the calls that looked a second time, longer, at a pair that was in doubt
    rrm/order_agreement        share of the pairs on which both orders agree; a coin gets 0.5, a judge that sees only
                               positions 0
    rrm/first_rate             share of decided matches won by the response shown first; 0.5 is unbiased
    rrm/cycles                 mean per group of triples that beat each other in a circle
    rrm/spread                 mean over groups of the standard deviation of the scores; 0 teaches nothing
    rrm/length_correlation     mean over groups of the correlation of score with length; near 1 the judge pays for
                               length
    rrm/unscored               share of the responses without a score
    rrm/identical              share of the responses that equal an earlier one of their group
    rrm/not_converged          share of the groups whose reducer did not converge
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
