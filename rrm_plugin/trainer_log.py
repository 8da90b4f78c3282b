"""What a trainer's own log is told of a batch that was judged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from rrm_plugin import metrics
from rrm_plugin.rows import ScoredRows

__all__ = ["report"]

logger = logging.getLogger(__name__)


def report(scored: ScoredRows, columns: Mapping[str, Any], seconds: float) -> None:
    """Tells the trainer's log what the judge did, as far as the trainer takes it."""
    log_metric: Callable[[str, float], None] | None = columns.get("log_metric")
    log_extra: Callable[[str, list[Any]], None] | None = columns.get("log_extra")
    found = metrics.summary(scored.scores, scored.lengths) | {"rrm/seconds": seconds}
    if log_metric is not None:
        for name, value in found.items():
            log_metric(name, value)
    if log_extra is not None:
        log_extra("rrm_judge", scored.notes)
    if found.get("rrm/unscored"):
        failures = ", ".join(
            f"{name} {value:.0%}" for name, value in found.items() if name.startswith("rrm/no_verdict/")
        )
        errors = {scores.error for scores in scored.scores if scores.error}
        logger.warning(
            "%.0f%% of the responses are unscored (judge calls without a verdict: %s)%s",
            100 * found["rrm/unscored"],
            failures or "none",
            "".join(f"; {error}" for error in sorted(errors)),
        )
