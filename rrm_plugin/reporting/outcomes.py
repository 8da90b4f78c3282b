"""What a trainer's log is told of one response that was judged in its group: numbers, the same ones every time.

Hosts that take a reward for one response at a time want the same keys with each, and show means over a batch. So where
there is nothing to measure each of these is 0, and `rrm` is the judge's `name`:

    rrm_unscored              1 where the response has no reward of its own; it gets the mean of its group, or of all
    rrm_failed                1 where nothing in its group could be scored, or no outcome came
    rrm_missing               share of its group that was not there when it was judged
    rrm_spread                standard deviation of its group's rewards; 0 teaches nothing
    rrm_seconds               from the end of the response to its reward, most of it waiting for the longest sibling
    rrm_calls                 judge calls paid for its group, over the group's size
    rrm_tokens                their tokens likewise
    rrm_no_verdict            share of its group's calls without a verdict
    rrm_disagreement          share of its group's pairs on which the two orders disagree, of those shown in both
    rrm_first_excess          share of decided matches won by the response shown first, less 0.5
    rrm_length_correlation    correlation of score with length in its group
    rrm_alarms                alarms that stood when it was judged

Left out: a whole batch at a time, which `metrics/batch.py` does.
"""

from __future__ import annotations

from rrm_plugin.cohorts import Outcome

__all__ = ["numbers_of"]


def numbers_of(outcome: Outcome | None, seconds: float, name: str = "rrm") -> dict[str, float]:
    """Numbers of one response by name.

    Args:
        outcome: what the gate said; None where it said nothing.
        seconds: how long that took.
        name: of the judge, before each.
    """
    found = {} if outcome is None else outcome.metrics
    members = 0 if outcome is None else outcome.members

    def of(metric: str, neutral: float = 0.0) -> float:
        return float(found.get(f"{name}/{metric}", neutral))

    numbers = {
        "unscored": float(outcome is None or outcome.reward is None),
        "failed": float(outcome is None or outcome.error is not None),
        "missing": 1.0 - members / outcome.expected if outcome is not None and members else 0.0,
        "spread": 0.0 if outcome is None else outcome.spread,
        "seconds": seconds,
        "calls": of("calls") / max(1, members),
        "tokens": of("tokens") / max(1, members),
        "no_verdict": 1.0 - of("verdict_rate", 1.0),
        "disagreement": 1.0 - of("order_agreement", 1.0),
        "first_excess": of("first_rate", 0.5) - 0.5,
        "length_correlation": of("length_correlation"),
        "alarms": of("alarms"),
    }
    return {f"{name}_{metric}": value for metric, value in numbers.items()}
