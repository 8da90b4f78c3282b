"""The requests and replies of OpenRLHF's `--reward.remote_url`, without HTTP."""

from __future__ import annotations

import asyncio

import pytest

from rrm_plugin import GroupError, RRMJudge
from rrm_plugin.adapters.openrlhf.endpoint import get_reward, parse_request, reply
from rrm_plugin.cohorts import Gate
from rrm_plugin.errors import GateError

PROMPT = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def body(*replies, prompt=PROMPT, label=""):
    queries = [f"{prompt}{text}<|im_end|>" for text in replies]
    return {"query": queries, "prompts": [prompt] * len(replies), "labels": [label] * len(replies)}


@pytest.fixture
def judge():
    with RRMJudge(engine="scripted:longer") as made:
        yield made


def test_a_request_is_read():
    (one,) = parse_request(body("So.", label=[{"role": "user", "content": "Why?"}]))
    assert one.member.response == "So." and one.member.prompt == [{"role": "user", "content": "Why?"}]
    assert one.member.id is None, "nothing says which reply it is"


def test_prompt_and_label_are_the_group():
    keys = [parse_request(body("x", prompt=p, label=x))[0].key for p, x in [("a", ""), ("a", {"b": 1}), ("b", "")]]
    assert len(set(keys)) == 3
    assert parse_request(body("other", prompt="a", label={"b": 1}))[0].key == keys[1]


def test_a_request_without_labels_has_empty_ones():
    request = {name: value for name, value in body("So.").items() if name != "labels"}
    assert parse_request(request)[0].member.reference is None
    assert parse_request(request | {"labels": None}) == parse_request(request) == parse_request(body("So."))


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        ([], "JSON object"),
        ({}, "'query' of a reward request must be a list"),
        ({"query": "x", "prompts": ["x"], "labels": [""]}, "'query' of a reward request must be a list"),
        ({"query": ["x"], "prompts": [1], "labels": [""]}, "'prompts' of a reward request must be a list"),
        ({"query": ["x"], "prompts": ["x"], "labels": []}, "same length"),
        ({"query": ["x"], "prompts": ["x"], "labels": "y"}, "same length"),
        ({"query": ["other"], "prompts": ["Why?"], "labels": [""]}, "cannot be told from the prompt"),
    ],
)
def test_what_is_no_request_says_why(request_body, message):
    with pytest.raises(GroupError, match=message):
        parse_request(request_body)


def test_replies_to_the_same_prompt_are_judged_together(judge):
    gate = Gate(judge, size=3)

    async def run():
        return await asyncio.gather(*(get_reward(gate, body(text)) for text in ("a", "aaa", "aa")))

    short, long, middle = asyncio.run(run())
    assert short["rewards"] < middle["rewards"] < long["rewards"]
    assert short["scores"] == long["scores"] > 0
    assert short["extra_logs"].keys() == long["extra_logs"].keys() and short["extra_logs"]["rrm_missing"] == 0.0


def test_several_in_one_request_get_lists(judge):
    told = asyncio.run(get_reward(Gate(judge, size=2), body("a", "aa")))
    assert told["rewards"][0] < told["rewards"][1] and len(told["scores"]) == 2
    assert told["extra_logs"]["rrm_unscored"] == [0.0, 0.0]
    assert reply([], 0.0) == {"rewards": [], "scores": [], "extra_logs": {}}


def test_a_full_gate_gives_a_number_and_says_so(judge, caplog):
    gate = Gate(judge, size=8, capacity=2)

    async def run():
        waiting = [asyncio.ensure_future(get_reward(gate, body(text))) for text in ("a", "aa")]
        while gate.waiting < 2 and not any(task.done() for task in waiting):
            await asyncio.sleep(0)
        told = await get_reward(gate, body("aaa"))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return told

    told = asyncio.run(run())
    assert (told["rewards"], told["scores"]) == (0.0, 0.0) and told["extra_logs"]["rrm_failed"] == 1.0
    assert "could not be judged" in caplog.text


def test_a_gate_that_is_closed_is_not_a_reward_of_zero(judge):
    gate = Gate(judge, size=8)

    async def run():
        waiting = asyncio.ensure_future(get_reward(gate, body("a")))
        while not gate.waiting and not waiting.done():
            await asyncio.sleep(0)
        await gate.close()
        await waiting

    with pytest.raises(GateError):
        asyncio.run(run())


def test_nobody_waits_longer_than_patience(judge):
    told = asyncio.run(get_reward(Gate(judge, size=8, deadline=60), body("a"), patience=0.05))
    assert told["rewards"] == 0.0 and told["extra_logs"]["rrm_unscored"] == 1.0
