"""Alarms of a service: warned of and counted, whoever asks."""

from __future__ import annotations

import re
import urllib.request

from rrm_plugin import RRMJudge
from rrm_plugin.engines import ScriptedEngine
from tests.service.services import asked, service

LIMITS = {"action": "stop", "steps": 2, "groups": 3}
GROUP = {"prompt": "Count.", "responses": ["one", "one two", "one two three"]}


def alarms_of(url):
    with urllib.request.urlopen(f"{url}/metrics") as page:
        return float(re.search(r"^rrm_alarms (\S+)$", page.read().decode(), flags=re.MULTILINE)[1])


def test_a_service_warns_and_answers_on(caplog):
    with RRMJudge(engine=ScriptedEngine(lambda _: "I wonder."), alarms=LIMITS) as judge, service(judge) as url:
        assert any("cannot end the runs of a service's clients" in record.message for record in caplog.records)
        for _ in range(5):
            status, row, _ = asked(url, "/v1/score", GROUP)
            assert status == 200 and row["values"] == [None] * 3
        assert alarms_of(url) == 2.0
    warned = [record.message for record in caplog.records if ": alarm " in record.message]
    assert len(warned) == 2 and "rrm/verdict_rate is 0 " in warned[0]


def test_responses_that_are_alone_and_pairs_raise_none(caplog):
    with RRMJudge(engine=ScriptedEngine(lambda _: "I wonder."), alarms=LIMITS) as judge, service(judge) as url:
        for _ in range(5):
            asked(url, "/v1/compare", {"prompt": "Count.", "first": "one", "second": "two"})
            asked(url, "/v1/score", {"prompt": "Count.", "responses": ["one"]})
        assert alarms_of(url) == 0.0
    assert not [record for record in caplog.records if ": alarm " in record.message]
