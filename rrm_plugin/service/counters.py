"""What Prometheus reads of a service. Needs prometheus-client, which the extra "service" brings.

The metrics of groups have the names of `metrics/names.py` with `_` for `/`. Those that add up are counters; the others
are summaries over the groups and pairs judged, so that `rate(rrm_spread_sum[5m]) / rate(rrm_spread_count[5m])`
is their mean over the last five minutes. Those of one process are `process_*`.

    rrm_request_seconds          histogram of requests by path and status; 499 is a client that left
    rrm_requests_under_way       requests that are not answered yet
    rrm_engine_calls             model calls that were answered
    rrm_engine_tokens            their tokens, by kind
    rrm_engine_failures          model calls that failed, by reason
    rrm_engine_under_way         model calls that are not answered yet
    rrm_budget_left              what is left of a budget, by kind; only where there is one
    rrm_gate_members             members that came, by gate: `cohort` or `reward`
    rrm_gate_waiting             members that wait or are being judged
    rrm_gate_groups              groups that were judged
    rrm_gate_closed              the same by why they were closed: `full`, `released` or `deadline`
    rrm_gate_unscored            members without a score
    rrm_gate_repeated, rrm_gate_late, rrm_gate_withdrawn, rrm_gate_cancelled, rrm_gate_impatient, rrm_gate_refused
                                 members that came again or too late, will never come, left, were answered before their
                                 group was judged, or found no room
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, Summary, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rrm_plugin.metrics.names import ADDING_UP, named
from rrm_plugin.types import Reason

if TYPE_CHECKING:
    from rrm_plugin.service.desk import Desk

__all__ = ["CONTENT_TYPE", "Counters"]

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 165, 180, 300, 600, 1200)
_ALONE = ("members", "groups", "repeated", "late", "withdrawn", "cancelled", "impatient", "refused", "unscored")
_SHARES = "no_verdict/"


class Counters:
    """Counts of one service.

    Args:
        name: of the judge, before each metric's own.
    """

    def __init__(self, name: str = "rrm") -> None:
        self._name = name
        self._prefix = re.sub(r"\W", "_", name)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Histogram(
            f"{self._prefix}_request_seconds",
            "Requests by path and status",
            ["path", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._alarms = Gauge(f"{self._prefix}_alarms", "Alarms that stand", registry=self._registry)
        self._sums: dict[str, Counter] = {}
        self._means: dict[str, Summary] = {}
        self._no_verdict = Summary(
            f"{self._prefix}_no_verdict", "Share of judge calls without a verdict", ["reason"], registry=self._registry
        )

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(path, str(status)).observe(seconds)

    def judged(self, found: Mapping[str, float]) -> None:
        """A group or pair was judged, with these metrics by the names of `metrics/names.py`."""
        known = {metric.removeprefix(f"{self._name}/"): value for metric, value in found.items()}
        for metric, value in known.items():
            if metric == "alarms":
                self._alarms.set(value)
            elif metric in ADDING_UP:
                self._sum(metric).inc(value)
            elif not metric.startswith(_SHARES):
                self._mean(metric).observe(value)
        if "verdict_rate" in known:
            for reason in Reason:
                # A reason that did not occur counts too, or its mean would be one over its own occurrences.
                self._no_verdict.labels(reason.value).observe(known.get(f"{_SHARES}{reason.value}", 0.0))

    def watch(self, desk: Desk, under_way: Collection[object]) -> None:
        """Reads what a desk counts itself, whenever the metrics are asked for.

        Args:
            under_way: the requests that are not answered yet.
        """
        self._registry.register(_Watching(self._prefix, desk, under_way))

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def _sum(self, metric: str) -> Counter:
        if metric not in self._sums:
            self._sums[metric] = Counter(f"{self._prefix}_{metric}", _meaning(metric), registry=self._registry)
        return self._sums[metric]

    def _mean(self, metric: str) -> Summary:
        if metric not in self._means:
            self._means[metric] = Summary(f"{self._prefix}_{metric}", _meaning(metric), registry=self._registry)
        return self._means[metric]


def _meaning(metric: str) -> str:
    known = named(metric)
    return known.meaning if known else metric


class _Watching:
    """A collector of what desk and gates count."""

    def __init__(self, prefix: str, desk: Desk, under_way: Collection[object]) -> None:
        self._prefix, self._desk, self._under_way = prefix, desk, under_way

    def collect(self) -> Iterator[Metric]:
        yield self._gauge("requests_under_way", "Requests that are not answered yet", {(): len(self._under_way)})
        yield from self._of_engine()
        yield from self._of_gates()

    def _of_engine(self) -> Iterator[Metric]:
        engine = self._desk.engine
        tally = engine.tally
        yield self._counter("engine_calls", "Model calls that were answered", {(): tally.calls})
        tokens = {("prompt",): tally.prompt_tokens, ("completion",): tally.completion_tokens}
        yield self._counter("engine_tokens", "Tokens of model calls", tokens, ["kind"])
        failures = {(reason,): count for reason, count in tally.failures.items()}
        yield self._counter("engine_failures", "Model calls that failed", failures, ["reason"])
        yield self._gauge("engine_under_way", "Model calls that are not answered yet", {(): tally.under_way})
        left = {(kind,): value for kind, value in engine.budget.left(engine.total).items()}
        yield self._gauge("budget_left", "What is left of the budget", left, ["kind"])

    def _of_gates(self) -> Iterator[Metric]:
        gates = self._desk.gates
        for count in _ALONE:
            found = {(name,): gate.counts[count] for name, gate in gates.items()}
            yield self._counter(f"gate_{count}", f"Of the gate: {count}", found, ["gate"])
        closed = {
            (name, closing): gate.counts[f"closed_{closing}"]
            for name, gate in gates.items()
            for closing in ("full", "released", "deadline")
        }
        yield self._counter("gate_closed", "Groups by why they were closed", closed, ["gate", "closing"])
        waiting = {(name,): gate.waiting for name, gate in gates.items()}
        yield self._gauge("gate_waiting", "Members that wait or are being judged", waiting, ["gate"])

    def _counter(
        self, name: str, text: str, found: Mapping[tuple[str, ...], float], labels: list[str] | None = None
    ) -> Metric:
        family = CounterMetricFamily(f"{self._prefix}_{name}", text, labels=labels or [])
        for values, count in found.items():
            family.add_metric(values, count)
        return family

    def _gauge(
        self, name: str, text: str, found: Mapping[tuple[str, ...], float], labels: list[str] | None = None
    ) -> Metric:
        family = GaugeMetricFamily(f"{self._prefix}_{name}", text, labels=labels or [])
        for values, count in found.items():
            family.add_metric(values, count)
        return family
