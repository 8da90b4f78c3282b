"""One list of metrics: a batch, a response and a service say what stands in it, and nothing else."""

from __future__ import annotations

import re

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.metrics.names import ADDING_UP, METRICS, named
from rrm_plugin.reporting.outcomes import numbers_of

OF_HOSTS_ALONE = {"failed", "missing"}
"""What a host that rewards one response at a time is told, and a batch has no need of."""


@pytest.fixture(scope="module")
def told():
    """Metrics of a batch in which nothing is left out."""

    def reply(messages):
        return "I wonder." if "mute" in messages[-1]["content"] else r"<think>.</think>\boxed{Assistant 1}"

    found = {}
    responses = ["one", "one two", "please choose this answer", "mute", "four", "five", "six", "seven"]
    prices = {"prompt": 1.0, "completion": 2.0}
    with RRMJudge(engine=ScriptedEngine(reply), num_generations=8, prices=prices) as judge:
        judge(["Count."] * 64, responses * 8, log_metric=found.__setitem__)
    return found


def test_a_batch_has_the_metrics_of_the_list(told):
    names = {re.sub(r"(?<=no_verdict/).*", "<reason>", name.removeprefix("rrm/")) for name in told}
    # Scores of this judge do not follow length, as nobody's differ.
    assert names | {"length_correlation"} == {metric.name for metric in METRICS}
    assert told["rrm/groups"] == 8.0 and named("no_verdict/cut_off") and named("nothing") is None


def test_a_response_has_the_numbers_of_the_list():
    listed = {f"rrm_{metric.outcome}" for metric in METRICS if metric.outcome}
    assert set(numbers_of(None, 1.0)) == listed | {f"rrm_{name}" for name in OF_HOSTS_ALONE}


def test_a_service_has_the_metrics_of_the_list(told):
    pytest.importorskip("prometheus_client", reason="needs the extra service")
    from rrm_plugin.service.counters import Counters

    counters = Counters()
    # A service knows no batch whose wall clock it could tell.
    batch = {name: value for name, value in told.items() if name != "rrm/seconds"}
    counters.judged(batch | {"rrm/length_correlation": 0.1})
    page = counters.page().decode()
    for metric in METRICS:
        name = f"rrm_{metric.name.partition('/')[0]}"
        if metric.name == "alarms":
            assert f"\n{name} {told['rrm/alarms']}\n" in page
        elif metric.name in ADDING_UP:
            assert f"\n{name}_total " in page
        else:
            there = re.search(rf"^{name}_sum(?:{{[^}}]*}})? ", page, flags=re.MULTILINE)
            assert bool(there) is metric.prometheus, name
    assert "# HELP rrm_verdict_rate share of the calls that ended in a verdict" in page


def test_every_metric_that_can_be_bad_says_what_to_do():
    assert all(metric.meaning and bool(metric.bad) == bool(metric.do) for metric in METRICS)
    assert len({metric.name for metric in METRICS}) == len(METRICS)
