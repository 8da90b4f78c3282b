"""What `rrm serve` says of its judge, and that a service may be started before the judge's server."""

from __future__ import annotations

import asyncio

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.engines import HttpEngine
from rrm_plugin.service import ServiceClient, ServiceSettings, announcing
from rrm_plugin.service.announcing import announce, state_of
from rrm_plugin.service.desk import Desk
from tests.engines.local_servers import dead_url
from tests.service.services import Model, Served, service


@pytest.fixture
def model():
    model = Model()
    yield model
    model.close()


def state(**judge):
    with RRMJudge(**judge) as made:
        desk = Desk(made, ServiceSettings())
        return asyncio.run(desk.judge.on_loop(state_of(desk)))


def test_a_judge_that_answers_is_named(model):
    assert state(engine=model.url) == (True, "The judge http:judge answers.")
    answers, said = state(engine=[model.url, dead_url()], model="judge")
    assert answers and said.startswith("The judge http:judge answers, but nothing does at http://127.0.0.1:")
    assert state(engine="scripted:longer") == (True, "The judge scripted:longer is in this process.")


def test_one_that_does_not_says_which_setting_to_check():
    url = dead_url()
    answers, said = state(engine=url)
    assert not answers and url in said and "--engine" in said and "no connection" in said


def test_a_server_with_several_models_says_which_setting_is_missing(model):
    model.models = ["one", "two"]
    answers, said = state(engine=model.url)
    assert answers and "'one', 'two'" in said and "model=" in said


def test_a_second_line_says_when_it_answers_at_last(model, monkeypatch):
    monkeypatch.setattr(announcing, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr("rrm_plugin.service.desk._PROBE_EVERY", 0.0)
    model.down()
    told = []

    async def play(desk):
        telling = asyncio.ensure_future(announce(desk, told.append))
        while not told:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(model.up)
        await telling

    with RRMJudge(engine=model.url) as judge:
        desk = Desk(judge, ServiceSettings())
        asyncio.run(desk.judge.on_loop(play(desk)))
    assert told[0].startswith("No judge answers yet") and told[1:] == ["The judge http:judge answers."]


def test_the_command_says_it(model):
    with Served("--engine", model.url, "--port", "0") as served:
        served.url()
        assert served.process.stdout.readline() == "The judge http:judge answers.\n"
    with Served("--engine", dead_url(), "--port", "0") as served:
        served.url()
        assert served.process.stdout.readline().startswith("No judge answers yet (http://127.0.0.1:")


def test_a_service_waits_for_a_judge_that_is_started_after_it(model, monkeypatch):
    """An engine by itself gives a server that never answered ten seconds; here they would be over at once."""
    model.down()
    judge = RRMJudge(engine=HttpEngine(model.url, model="judge", backoff=0.02))
    engine = judge.tournament.judge.engine
    with judge, service(judge) as url, ServiceClient(url) as client:
        assert engine._patience.first_answer > engine._patience.retry_for

        async def main():
            waiting = asyncio.ensure_future(client.ascore("Why?", ["one", "one two"]))
            while client_calls(await client.ahealth()) == 0:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(model.up)
            return await waiting

        scores = asyncio.run(main())
    assert None not in scores.values and not scores.failures


def client_calls(health):
    return health["engine"]["under_way"]
