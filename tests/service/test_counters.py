"""What Prometheus reads: names, sums and means, and nothing that was not measured."""

from __future__ import annotations

import re

import pytest

from rrm_plugin import RRMJudge, metrics
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.service.counters import Counters
from rrm_plugin.service.desk import Desk
from rrm_plugin.service.settings import ServiceSettings
from tests.service.services import asked, service


def lines(counters):
    found = {}
    for line in counters.page().decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def judged(*groups, engine="scripted:longer"):
    """Counters after these groups, and the metrics of each."""
    counters = Counters()
    with RRMJudge(engine=engine) as judge:
        found = [metrics.summary([judge.score("Count.", group)], [[len(text) for text in group]]) for group in groups]
    for one in found:
        counters.judged(one)
    return lines(counters), found


def test_what_adds_up_is_a_counter_and_the_rest_a_mean_over_groups():
    page, (first, second) = judged(["one", "one two"], ["one", "one two", "one two three"])
    assert page["rrm_calls_total"] == first["rrm/calls"] + second["rrm/calls"]
    assert page["rrm_tokens_total"] == first["rrm/tokens"] + second["rrm/tokens"]
    assert page["rrm_spread_sum"] == pytest.approx(first["rrm/spread"] + second["rrm/spread"])
    assert page["rrm_spread_count"] == 2.0


def test_every_metric_of_the_list_has_its_name():
    page, (found,) = judged(["one", "one two", "one two three"])
    for metric in found:
        name = metric.replace("/", "_")
        assert name + "_total" in page or name + "_sum" in page, metric


def test_a_reason_that_did_not_occur_counts_in_its_mean():
    replies = iter(["no verdict", *[r"\boxed{Assistant 1}"] * 10])
    engine = ScriptedEngine(lambda messages: next(replies), name="once silent")
    page, _ = judged(["a", "b"], ["c", "d"], engine=engine)
    assert page['rrm_no_verdict_sum{reason="no_verdict"}'] == 0.5
    assert page['rrm_no_verdict_count{reason="no_verdict"}'] == 2.0
    assert page['rrm_no_verdict_sum{reason="timeout"}'] == 0.0


def test_what_has_no_data_is_left_out():
    page, _ = judged(["only one"])
    assert "rrm_spread_count" not in page and page["rrm_unscored_sum"] == 1.0


def test_another_judges_name_is_before_each():
    counters = Counters("second judge")
    counters.judged({"second judge/calls": 3.0})
    with RRMJudge(engine="scripted:longer", name="second judge", budget={"tokens": 10}) as judge:
        counters.watch(Desk(judge, ServiceSettings()), [])
    page = lines(counters)
    assert page["second_judge_calls_total"] == 3.0
    assert page['second_judge_budget_left{kind="tokens"}'] == 10.0
    assert all(re.match(r"second_judge_|process_", name) for name in page)


def test_members_of_groups_count_once_however_they_were_judged():
    with RRMJudge(engine="scripted:longer") as judge, service(judge) as url:
        asked(url, "/v1/cohort", {"key": "g", "prompt": "?", "response": "a", "size": 1})
        asked(url, "/v1/score", {"prompt": "?", "responses": ["a", "a b"]})
        asked(url, "/v1/compare", {"prompt": "?", "first": "a", "second": "a b"})
        page = asked(url, "/metrics")[1]
    assert 'rrm_gate_members_total{gate="cohort"} 1.0' in page and 'rrm_gate_groups_total{gate="cohort"} 1.0' in page
    assert "rrm_calls_total 3.0" in page and "rrm_engine_calls_total 3.0" in page
    assert 'rrm_request_seconds_count{path="/v1/compare",status="200"} 1.0' in page
