"""The tables of metrics and of signs of steering, as `generate.py` puts them into metrics.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rrm_plugin.metrics.names import ADDING_UP, METRICS, Metric
from rrm_plugin.metrics.steering import KINDS

__all__ = ["metrics", "steering_kinds"]

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def metrics(table: Table) -> str:
    """Each metric, where it appears under which name, and what to make of it."""
    header = ["metric", "meaning", "OpenRLHF, verl", "Prometheus", "a bad value", "what to do"]
    return table(header, [_row(metric) for metric in METRICS])


def steering_kinds(table: Table) -> str:
    """Each kind of sign, whether it counts, and what it is."""
    rows = [[name, "yes" if kind.strong else "no", kind.meaning] for name, kind in KINDS.items()]
    return table(["sign", "counts", "what it is"], rows)


def _row(metric: Metric) -> list[str]:
    outcome = f"`rrm_{metric.outcome}`" if metric.outcome else ""
    return [f"`rrm/{metric.name}`", metric.meaning, outcome, _prometheus(metric), metric.bad, metric.do]


def _prometheus(metric: Metric) -> str:
    if not metric.prometheus:
        return ""
    if metric.name == "alarms":
        return "`rrm_alarms`"
    if metric.name in ADDING_UP:
        return f"`rrm_{metric.name}_total`"
    name, _, label = metric.name.partition("/")
    # The reason is a label there.
    labels = f"{{{re.sub('[<>]', '', label)}}}" if label else ""
    return f"`rrm_{name}_sum{labels}`, `_count`"
