"""The endpoints: what each answers, and what each refuses."""

from __future__ import annotations

import asyncio
import json

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.service.wire import encode, judgement_from, judgement_row, outcome_from, scores_from, scores_row
from rrm_plugin.types import Reason
from tests.service.services import asked, openrlhf_post, service

PROMPT, SHORT, LONG = "Why is the sky blue?", "It reflects the sea.", "Air scatters blue light more than red."
PAIR = {"prompt": PROMPT, "first": SHORT, "second": LONG}


@pytest.fixture(scope="module")
def judge():
    with RRMJudge(engine="scripted:longer") as judge:
        yield judge


@pytest.fixture(scope="module")
def url(judge):
    with service(judge, group_size=2) as url:
        yield url


def told(found):
    status, body, _ = found
    assert set(body) == {"error"} and set(body["error"]) == {"type", "message"}
    return status, body["error"]["type"], body["error"]["message"]


def test_compare_is_the_judges(url, judge):
    status, row, _ = asked(url, "/v1/compare", {**PAIR, "both_orders": True})
    assert status == 200 and row["verdict"] == "second" and len(row["votes"]) == 2
    expected = judge.compare(PROMPT, SHORT, LONG, both_orders=True)
    found = judgement_from(row)
    assert (found.verdict, found.text, found.usage.calls) == (expected.verdict, expected.text, expected.usage.calls)


@pytest.mark.parametrize("path", ["/v1/score", "/v1/rank"])
def test_scores_are_the_judges(url, judge, path):
    status, row, _ = asked(url, path, {"prompt": PROMPT, "responses": [SHORT, LONG, ""], "judgements": True})
    expected = judge.score(PROMPT, [SHORT, LONG, ""])
    assert status == 200 and row["values"] == row["rewards"] == expected.values
    assert row["ranking"] == expected.ranking == [1, 0, 2] and row["unscored"] == []
    assert len(row["judgements"]) == len(expected.judgements)


def test_messages_are_prompts_and_responses_too(url):
    body = {
        "prompt": [{"role": "user", "content": PROMPT}],
        "first": {"role": "assistant", "content": SHORT},
        "second": [{"role": "assistant", "content": LONG}],
    }
    assert asked(url, "/v1/compare", body)[1]["verdict"] == "second"


def test_members_wait_for_each_other(url):
    async def both():
        bodies = [{"key": "g", "prompt": PROMPT, "response": text, "id": text, "size": 2} for text in (SHORT, LONG)]
        return await asyncio.gather(*(asyncio.to_thread(asked, url, "/v1/cohort", body) for body in bodies))

    (_, short, _), (_, long, _) = asyncio.run(both())
    assert short["reward"] < long["reward"] and short["members"] == 2 and short["closing"] == "full"
    again = asked(url, "/v1/cohort", {"key": "g", "prompt": PROMPT, "response": SHORT, "id": SHORT})[1]
    assert again["reward"] == short["reward"] and again["repeated"] is True


def test_a_withdrawn_member_releases_the_others(url):
    async def main():
        body = {"key": "w", "prompt": PROMPT, "response": LONG, "id": "0", "size": 2}
        waiting = asyncio.ensure_future(asyncio.to_thread(asked, url, "/v1/cohort", body))
        await asyncio.to_thread(asked, url, "/v1/cohort/withdraw", {"key": "w", "id": "1", "size": 2})
        return await waiting

    status, outcome, _ = asyncio.run(main())
    assert status == 200 and outcome["closing"] == "released" and outcome["reward"] is None


def test_an_impatient_member_is_answered(url):
    body = {"key": "i", "prompt": PROMPT, "response": LONG, "id": "0", "patience": 0.05}
    assert asked(url, "/v1/cohort", body)[1]["closing"] == "impatient"


def test_openrlhfs_reward(url):
    async def main():
        replies = [openrlhf_post(f"{url}/get_reward", PROMPT + text + "<|end|>", PROMPT, "") for text in (SHORT, LONG)]
        return await asyncio.gather(*replies)

    short, long = asyncio.run(main())
    assert short["rewards"] < 0 < long["rewards"] and short["scores"] == long["scores"] > 0
    assert short["extra_logs"].keys() == long["extra_logs"].keys() and short["extra_logs"]["rrm_unscored"] == 0.0


def test_a_model_call_in_openais_form(url):
    (model,) = asked(url, "/v1/models")[1]["data"]
    judge = RRMJudge(engine="scripted:longer")
    prompt = judge.tournament.judge.prompt
    messages = prompt.render(*map(prompt.prepare, (PROMPT, SHORT, LONG)))
    for name in (model["id"], "scripted:longer", "longer", None):
        body = {"messages": messages, **({"model": name} if name else {})}
        status, row, _ = asked(url, "/v1/chat/completions", body)
        assert status == 200 and "Assistant 2" in row["choices"][0]["message"]["content"]
        assert row["choices"][0]["finish_reason"] == "stop" and row["usage"]["total_tokens"] > 0
    short = asked(url, "/v1/chat/completions", {"messages": messages, "max_tokens": 2})[1]
    assert short["choices"][0]["finish_reason"] == "length"


def test_another_model_than_the_one_that_is_served(url):
    body = {"messages": [{"role": "user", "content": "?"}], "model": "gpt-5"}
    assert told(asked(url, "/v1/chat/completions", body))[:2] == (404, "not_found")


def test_an_engine_that_cannot_continue_a_text_says_so(url):
    body = {
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "so"}],
        "continue_final_message": True,
    }
    assert told(asked(url, "/v1/chat/completions", body))[:2] == (409, "cannot_continue")


def test_health_and_metrics(url):
    status, health, _ = asked(url, "/health")
    assert status == 200 and health["status"] == "ok" and health["engine"]["name"] == "scripted:longer"
    status, page, headers = asked(url, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain")
    for line in (
        "rrm_calls_total",
        "rrm_gate_members_total",
        'rrm_request_seconds_bucket{le="0.001",path="/v1/compare"',
    ):
        assert line in page


def test_the_interface_describes_itself(url):
    status, page, _ = asked(url, "/openapi.json")
    assert status == 200
    assert {"/v1/compare", "/v1/score", "/v1/rank", "/v1/cohort", "/get_reward", "/health"} <= page["paths"].keys()
    assert page["components"]["schemas"]["ScoreRequest"]["properties"]["responses"]["maxItems"] == 256
    assert asked(url, "/docs")[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "words"),
    [
        ("/v1/compare", b"{", 400, "malformed", ""),
        ("/v1/compare", b"", 422, "invalid", "the body"),
        ("/v1/compare", [], 422, "invalid", "object"),
        ("/v1/compare", {"prompt": "?", "first": "a"}, 422, "invalid", "second"),
        ("/v1/compare", {**PAIR, "prompt": 3}, 422, "invalid", "prompt: must be a text or a list of chat messages"),
        ("/v1/compare", {**PAIR, "frist": 3}, 422, "invalid", "frist"),
        ("/v1/score", {"prompt": "?", "responses": []}, 422, "invalid", "responses"),
        ("/v1/score", {"prompt": "?", "responses": ["a"] * 257}, 422, "invalid", "responses"),
        ("/v1/score", {"prompt": "?", "responses": ["a", 1]}, 422, "invalid", "responses.1: must be"),
        ("/v1/score", {"prompt": "?", "responses": ["a"], "lengths": [1, 2]}, 422, "invalid", "2 lengths for 1"),
        ("/v1/cohort", {"key": "", "prompt": "?", "response": "a"}, 422, "invalid", "key"),
        ("/v1/cohort", {"key": "k", "prompt": "?", "response": "a", "size": 257}, 422, "invalid", "size"),
        ("/v1/cohort", {"key": "k", "prompt": "?", "response": "a", "patience": -1}, 422, "invalid", "patience"),
        ("/get_reward", {"query": "a", "prompts": ["a"]}, 422, "invalid", "query"),
        ("/get_reward", {"query": [1], "prompts": ["a"]}, 422, "group_error", "query"),
        ("/get_reward", {"query": ["a"], "prompts": ["other"]}, 422, "group_error", "cannot be told"),
        ("/v1/chat/completions", {"messages": []}, 422, "invalid", "messages"),
        ("/v1/chat/completions", {"messages": [{}], "stream": True}, 422, "invalid", "stream"),
        ("/v1/chat/completions", {"messages": [{}], "n": 2}, 422, "invalid", "n:"),
        ("/v1/chat/completions", {"messages": [{}], "logprobs": True, "top_logprobs": 21}, 422, "invalid", "logprobs"),
        ("/v1/chat/completions", {"messages": [{}], "top_logprobs": 2}, 422, "invalid", "logprobs: true"),
        ("/v1/chat/completions", {"messages": [{}], "continue_final_message": True}, 422, "invalid", "assistant"),
        ("/nowhere", {}, 404, "not_found", ""),
        ("/v1/compare", None, 405, "not_allowed", ""),
    ],
)
def test_a_body_that_cannot_be_is_refused_by_name(url, path, body, status, kind, words):
    found = told(asked(url, path, body))
    assert found[:2] == (status, kind) and words in found[2]


def test_only_json_is_read(url):
    status, kind, message = told(asked(url, "/v1/compare", PAIR, Content_Type="text/plain"))
    assert (status, kind) == (422, "invalid") and "Content-Type: application/json" in message


def test_a_number_that_json_has_no_form_for_is_null():
    assert encode({"a": float("nan"), "b": [1.5, float("inf")], "c": "x"}) == b'{"a":null,"b":[1.5,null],"c":"x"}'


def test_a_broken_emoji_costs_nobody_a_reward(url):
    half = json.loads('"\\ud83d"')
    body = {"prompt": PROMPT + half, "first": half, "second": f"{half} and some more"}
    assert asked(url, "/v1/compare", body)[1]["verdict"] == "second"
    alone = {"key": f"k{half}", "prompt": half, "response": half, "id": half, "size": 1}
    assert asked(url, "/v1/cohort", alone)[0] == 200
    query = {"query": [PROMPT + half], "prompts": [PROMPT], "labels": [half]}
    waiting = [asyncio.to_thread(asked, url, "/get_reward", query) for _ in range(2)]

    async def both():
        return await asyncio.gather(*waiting)

    assert [status for status, _, _ in asyncio.run(both())] == [200, 200]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (EngineError("nobody there", Reason.UNREACHABLE), 502, "engine_failed"),
        (EngineError("slow", Reason.TIMEOUT), 504, "engine_timeout"),
        (EngineError("busy", Reason.RATE_LIMITED), 429, "engine_busy"),
        (EngineError("too long", Reason.REJECTED), 422, "engine_rejected"),
        (ConfigError("no such model"), 500, "config_error"),
        (KeyError("a defect"), 502, "engine_failed"),
    ],
)
def test_an_engine_that_fails_is_no_verdict_but_an_error(error, status, kind):
    def reply(messages):
        raise error

    message = [{"role": "user", "content": "?"}]
    with RRMJudge(engine=ScriptedEngine(reply)) as judge, service(judge) as url:
        for path, body in (
            ("/v1/compare", PAIR),
            ("/v1/score", {"prompt": "?", "responses": ["a", "b"]}),
            ("/v1/chat/completions", {"messages": message}),
        ):
            assert told(asked(url, path, body))[:2] == (status, kind)


def test_a_judge_that_answers_without_a_verdict_is_an_answer():
    with RRMJudge(engine=ScriptedEngine(lambda messages: "Both are fine.")) as judge, service(judge) as url:
        status, row, _ = asked(url, "/v1/compare", PAIR)
        assert status == 200 and row["verdict"] is None and row["reason"] == "no_verdict"
        status, row, _ = asked(url, "/v1/score", {"prompt": "?", "responses": ["a", "b"]})
        assert status == 200 and row["values"] == [None, None] and row["unscored"] == [0, 1]


def test_a_service_without_a_group_size_says_how_to_start_it(judge):
    with service(judge) as url:
        found = told(asked(url, "/get_reward", {"query": ["ab"], "prompts": ["a"], "labels": [""]}))
        assert found[:2] == (422, "group_error") and "--group-size" in found[2]


def test_the_budget_ends_judging_and_not_the_trainers_run(tmp_path):
    budget = {"calls": 1}
    judge = RRMJudge(engine="scripted:longer", orders="fixed", ledger=tmp_path / "judge.db", budget=budget)
    with judge, service(judge, group_size=2) as url:
        assert asked(url, "/v1/compare", PAIR)[0] == 200
        status, kind, message = told(asked(url, "/v1/compare", {**PAIR, "prompt": "Another one?"}))
        assert (status, kind) == (503, "budget_spent") and "1 judge calls" in message
        # What was paid before can still be had.
        assert asked(url, "/v1/compare", PAIR)[1]["cached"] is True
        status, health, _ = asked(url, "/health")
        assert status == 503 and "budget" in health["engine"]["spent"]

        async def main():
            return await asyncio.gather(
                *(openrlhf_post(f"{url}/get_reward", f"Else? {text}", "Else? ", "x") for text in (SHORT, LONG))
            )

        assert [reply["rewards"] for reply in asyncio.run(main())] == [0.0, 0.0]
        assert 'rrm_budget_left{kind="calls"} 0.0' in asked(url, "/metrics")[1]


def test_rows_travel_there_and_back(judge):
    scores = judge.score(PROMPT, [SHORT, LONG, LONG])
    again = scores_from(json.loads(encode(scores_row(scores, scores.values, judgements=True))))
    assert again == scores
    judgement = judge.compare(PROMPT, SHORT, LONG, both_orders=True)
    assert judgement_from(json.loads(encode(judgement_row(judgement)))) == judgement
    with pytest.raises((KeyError, TypeError)):
        outcome_from({"closing": "full"})
    newer = json.loads(encode(judgement_row(judgement))) | {"of_a_later_version": 1}
    assert judgement_from(newer) == judgement
