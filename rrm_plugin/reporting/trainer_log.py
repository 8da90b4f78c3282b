"""What a trainer's own log is told of a batch that was judged."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rrm_plugin.rows import ScoredRows
from rrm_plugin.types import Reason, Scores

__all__ = ["OTHER_PRESET", "report", "warn_of_unscored"]

logger = logging.getLogger(__name__)

OTHER_PRESET = "the judge does not answer in the form of `prompt`: choose the preset that it was trained with"
"""What to do about a judge that answers, and whose answers hold no verdict."""


def report(name: str, scored: ScoredRows, columns: Mapping[str, Any], found: Mapping[str, float]) -> None:
    """Tells the trainer's log what the judge of that name did, as far as the trainer takes it.

    Args:
        found: the metrics of the batch, by their full names.
    """
    log_metric: Callable[[str, float], None] | None = columns.get("log_metric")
    log_extra: Callable[[str, list[Any]], None] | None = columns.get("log_extra")
    if log_metric is not None:
        for metric, value in found.items():
            log_metric(metric, value)
    if log_extra is not None:
        # Not the bare name: TRL's table of completions has the reward itself in the column of that name.
        log_extra(f"{name}_notes", scored.notes)
    warn_of_unscored(name, scored.scores)


def warn_of_unscored(name: str, scored: Sequence[Scores]) -> None:
    """Warns where responses are unscored, with the reasons."""
    responses = sum(len(scores.values) for scores in scored)
    unscored = sum(len(scores.unscored) for scores in scored)
    if not unscored:
        return
    failures: Counter[str] = Counter()
    for scores in scored:
        failures.update(scores.failures)
    reasons = ", ".join(f"{reason} {count}" for reason, count in failures.most_common()) or "none"
    errors = "".join(f"; {error}" for error in sorted({scores.error for scores in scored if scores.error}))
    if failures.keys() & {Reason.NO_VERDICT, Reason.INVALID}:
        errors += f"; {OTHER_PRESET}"
    logger.warning(
        "%s: %d of %d responses are unscored (judge calls without a verdict: %s)%s",
        name,
        unscored,
        responses,
        reasons,
        errors,
    )
