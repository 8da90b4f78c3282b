"""`engine="rrm://..."`: the tournament here, the model, its ledger and its budget at a service."""

from __future__ import annotations

import asyncio
import math
import pickle
import sqlite3

import pytest

from rrm_plugin import ConfigError, Reason, RRMJudge
from rrm_plugin.engines import HttpEngine, Reply, Sampling, ScriptedEngine, ServiceEngine, engine
from rrm_plugin.errors import EngineError
from rrm_plugin.service import ServiceClient
from rrm_plugin.types import TokenLogprob
from tests.service.services import TOKEN, service

RESPONSES = ["one", "one two", "one two three", ""]


def remote(url):
    return url.replace("http://", "rrm://")


def test_scores_are_those_of_a_judge_that_has_the_model_itself():
    with (
        RRMJudge(engine="scripted:random", schedule="round_robin") as judge,
        service(judge) as url,
        RRMJudge(engine=remote(url), schedule="round_robin", reducer="elo") as client,
    ):
        expected = judge.variant(reducer=client.tournament.reducer).score("Count.", RESPONSES)
        assert client.score("Count.", RESPONSES).values == expected.values
        assert client.tournament.judge.engine.name.startswith("rrm:scripted:random")


def test_votes_are_different_samples_in_the_services_ledger(tmp_path):
    texts = iter(rf"call {number} \boxed{{Assistant {1 + number % 2}}}" for number in range(100))
    sampled = ScriptedEngine(lambda messages: next(texts), name="sampled")
    with (
        RRMJudge(engine=sampled, ledger=tmp_path / "judge.db") as judge,
        service(judge) as url,
        RRMJudge(engine=remote(url), votes=3) as client,
    ):
        first = client.compare("Count.", "one", "two")
        again = client.compare("Count.", "one", "two")
    assert len({vote.text for vote in first.votes}) == 3
    assert [vote.text for vote in again.votes] == [vote.text for vote in first.votes]
    connection = sqlite3.connect(tmp_path / "judge.db")
    (recorded,) = connection.execute("SELECT COUNT(*) FROM judgements").fetchone()
    connection.close()
    assert recorded == 3


def test_two_clients_share_what_was_paid(tmp_path):
    asked = []

    def reply(messages):
        asked.append(messages)
        return r"\boxed{Assistant 1}"

    with RRMJudge(engine=ScriptedEngine(reply), ledger=tmp_path / "judge.db") as judge, service(judge) as url:
        for _ in range(2):
            with RRMJudge(engine=remote(url)) as client:
                client.score("Count.", ["one", "two"])
    assert len(asked) == 2


def test_a_text_is_continued_where_the_services_engine_can():
    def resume(messages, text):
        assert text.endswith("so far") and messages[-1]["role"] == "user"
        return " and on"

    sampling, messages = Sampling(max_tokens=5), [{"role": "user", "content": "?"}]

    async def resumed(url):
        asked = ServiceEngine(remote(url))
        try:
            return await asked.resume(messages, "so far", sampling)
        finally:
            await asked.close()

    for able in (True, False):
        scripted = ScriptedEngine(str, resume=resume if able else None)
        with RRMJudge(engine=scripted) as judge, service(judge) as url:
            reply = asyncio.run(resumed(url))
            assert (reply.text if reply else None) == (" and on" if able else None)


def test_a_thinking_that_runs_out_is_ended_through_the_service():
    scripted = ScriptedEngine(
        lambda messages: "<think>on and on and on", resume=lambda messages, text: "2}", name="long"
    )
    with (
        RRMJudge(engine=scripted) as judge,
        service(judge) as url,
        RRMJudge(engine=remote(url), max_tokens=2) as client,
    ):
        judgement = client.compare("Count.", "one", "two")
    assert judgement.forced and judgement.verdict is not None


def test_the_budget_is_shared_and_said():
    with (
        RRMJudge(engine="scripted:longer", budget={"calls": 2}) as judge,
        service(judge) as url,
        RRMJudge(engine=remote(url), over_budget="unscored") as client,
    ):
        assert client.score("Count.", ["one", "one two"]).values[0] is not None
        spent = client.score("Count.", ["three", "three four"])
        assert spent.values == [None, None] and "the budget of 2 judge calls is spent" in spent.error
        assert spent.failures == {"over_budget": 2}
        assert "attempts" not in spent.error
        # Two of the second group were refused; none came again.
        health = asked_of(url)
        assert health["engine"]["failures"] == {"over_budget": 2}


def asked_of(url):
    with ServiceClient(url) as client:
        return client.health()


def test_a_service_whose_budget_is_spent_leaves_the_calls_to_another():
    with (
        RRMJudge(engine="scripted:longer", budget={"calls": 2}) as judge,
        RRMJudge(engine="scripted:longer") as another,
        service(judge) as url,
        service(another) as other,
        RRMJudge(engine=[remote(url), remote(other)]) as client,
    ):
        scored = [client.score("Count.", ["one", f"one {'two ' * count}"]) for count in range(1, 6)]
        assert all(None not in scores.values and not scores.failures for scores in scored)
        assert asked_of(url)["engine"]["calls"] == 2


@pytest.mark.parametrize(("reason", "told"), [(Reason.UNREACHABLE, "engine_error"), (Reason.TIMEOUT, "timeout")])
def test_what_the_service_has_tried_for_long_is_not_tried_for_as_long_again(reason, told):
    asked = []

    def reply(messages):
        asked.append(messages)
        raise EngineError("gone for good", reason, retryable=True)

    with RRMJudge(engine=ScriptedEngine(reply)) as judge, service(judge) as url, RRMJudge(engine=remote(url)) as client:
        found = client.compare("Count.", "one", "one two")
    assert found.reason.value == told and "gone for good" in found.detail and len(asked) == 1


def test_the_token_is_the_services_and_no_providers(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a provider's key, for nobody else")
    with RRMJudge(engine="scripted:longer") as judge, service(judge, token=TOKEN) as url:
        with RRMJudge(engine=remote(url)) as client:
            refused = client.compare("Count.", "one", "one two")
            assert refused.reason is Reason.REJECTED and "RRM_SERVICE_TOKEN" in refused.detail
            assert "api_key" not in refused.detail
        with RRMJudge(engine=remote(url), token=TOKEN) as client:
            assert client.compare("Count.", "one", "one two").verdict is not None
        monkeypatch.setenv("RRM_SERVICE_TOKEN", TOKEN)
        with RRMJudge(engine=remote(url)) as client:
            copy = pickle.loads(pickle.dumps(client))
            assert TOKEN.encode() not in pickle.dumps(client)
            with copy:
                assert copy.compare("Count.", "one", "one two").verdict is not None


def test_another_model_than_the_services_is_refused():
    with RRMJudge(engine="scripted:longer") as judge, service(judge) as url:
        with RRMJudge(engine=remote(url), model="RRM-32B") as client:
            found = client.compare("Count.", "one", "one two")
            assert found.reason is Reason.REJECTED and "not 'RRM-32B'" in found.detail
        with RRMJudge(engine=remote(url), model="longer") as client:
            assert client.compare("Count.", "one", "one two").verdict is not None


def test_its_ledger_files_calls_under_the_services_engine():
    with RRMJudge(engine="scripted:longer") as judge, service(judge) as url:

        async def identified():
            asked = ServiceEngine(remote(url))
            try:
                return await asked.identify(), asked.fingerprint
            finally:
                await asked.close()

        name, fingerprint = asyncio.run(identified())
        assert name == fingerprint == f"rrm:{judge.tournament.judge.engine.fingerprint}"


def test_how_it_is_named():
    made = engine("rrm://localhost:8100")
    assert isinstance(made, ServiceEngine) and "http://localhost:8100/v1" in repr(made)
    assert "https://judge.example" in repr(engine(["rrms://judge.example"]))
    assert type(engine("http://localhost:8100")) is HttpEngine
    with pytest.raises(ConfigError, match="rrm://localhost:8100"):
        ServiceEngine("localhost:8100")
    with pytest.raises(ConfigError, match="api_key"):
        engine("rrm://localhost:8100", api_key="secret")


def test_no_service_there():
    async def main():
        asked = ServiceEngine("rrm://127.0.0.1:9", retry_for=0.0)
        try:
            await asked.generate([{"role": "user", "content": "?"}], Sampling())
        finally:
            await asked.close()

    with pytest.raises(EngineError, match="no server answers"):
        asyncio.run(main())


def test_soft_verdicts_are_those_of_a_judge_that_has_the_model_itself(tmp_path):
    """Log-probabilities go through the service; its ledger keeps none, and answers no call that wants them."""
    asked = []

    class Torn(ScriptedEngine):
        async def generate(self, messages, sampling):
            asked.append(sampling.top_logprobs)
            top = (("1", math.log(0.7)), ("2", math.log(0.3)))
            tokens = tuple(TokenLogprob(text=text, logprob=-0.1, top=top) for text in ("\\boxed{Assistant ", "1", "}"))
            text = "\\boxed{Assistant 1}"
            made = tokens if sampling.top_logprobs else None
            return Reply(text=text, finished=True, prompt_tokens=1, completion_tokens=3, seconds=0.1, logprobs=made)

    engine = Torn(lambda messages: "", name="torn")
    with RRMJudge(engine=engine, ledger=tmp_path / "judge.db", soft_verdicts=True) as judge, service(judge) as url:
        own = judge.compare("Count.", "one", "two")
        for times in (2, 3):
            with RRMJudge(engine=remote(url), soft_verdicts=True) as client:
                assert client.compare("Count.", "one", "two").chance == own.chance
            assert asked == [20] * times
        with RRMJudge(engine=remote(url)) as plain:
            assert plain.compare("Count.", "one", "two").chance is None
        with ServiceClient(url) as client:
            # The service's own judge, by its own settings and ledger.
            assert client.compare("Count.", "one", "two").chance == own.chance
    assert asked == [20, 20, 20, 0] and own.chance == pytest.approx(0.7)
