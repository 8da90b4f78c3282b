"""The executor for OpenRLHF without OpenRLHF: what a stand-in for its executor is wrapped in.

That the real one takes it is tested in tests/contract/with_openrlhf.
"""

from __future__ import annotations

import asyncio

import pytest

from rrm_plugin import ConfigError, RRMJudge
from rrm_plugin.adapters.openrlhf.policy import GroupReward, configured_gate
from rrm_plugin.cohorts import Gate
from rrm_plugin.engines import ScriptedEngine


class Tokenizer:
    chat_template = None

    def decode(self, tokens, skip_special_tokens):
        assert skip_special_tokens
        return "".join(map(chr, tokens))


class Host:
    """The part of an OpenRLHF executor that generates."""

    def __init__(self, url=None):
        assert url is None

    async def execute(self, prompt, label, params, max_length, tokenizer, engine, images=None):
        text = await engine.answers.pop(0)()
        tokens = [ord(letter) for letter in prompt + text]
        return {
            "prompt": prompt,
            "observation_tokens": tokens,
            "action_ranges": [(len(prompt), len(tokens))],
            "images": images,
            "reward": None,
            "scores": None,
            "extra_logs": {},
        }


class Agent(GroupReward, Host):
    pass


class Engine:
    def __init__(self, executor, answers):
        self.executor, self.answers = executor, answers

    async def generate_responses(self, prompt, label, sampling_params, max_length, hf_tokenizer, num_samples):
        calls = (
            self.executor.execute(prompt, label, sampling_params, max_length, hf_tokenizer, self)
            for _ in range(num_samples)
        )
        return await asyncio.gather(*calls)


def answering(text):
    async def answer():
        return text

    return answer


async def generate(agent, texts, prompt="Why?", label=""):
    engine = Engine(agent, [answering(text) for text in texts])
    return await engine.generate_responses(prompt, label, object(), 100, Tokenizer(), len(texts))


@pytest.fixture
def judge():
    with RRMJudge(engine="scripted:longer") as made:
        yield made


def test_rewards_are_filled_in_and_the_rest_is_left_as_it_was(judge):
    agent = Agent(Gate(judge))
    outputs = asyncio.run(generate(agent, ["aaa", "a", "aa"]))
    assert [output["reward"] for output in outputs] == judge.score("Why?", ["aaa", "a", "aa"]).values
    assert all(output["observation_tokens"] and "images" in output for output in outputs)
    assert not agent._siblings.under_way, "nothing is kept of a group that is done"


def test_groups_side_by_side_do_not_mix_though_their_prompts_are_the_same(judge):
    agent = Agent(Gate(judge))

    async def run():
        return await asyncio.gather(*(generate(agent, ["a" * (n + 1), "b" * (n + 5)]) for n in range(20)))

    for outputs in asyncio.run(run()):
        assert outputs[0]["reward"] < outputs[1]["reward"]
        assert {output["extra_logs"]["rrm_missing"] for output in outputs} == {0.0}
    assert agent.gate.counts["closed_full"] == 20


def test_a_given_answer_serves_a_reply_that_is_alone(judge):
    agent = Agent(Gate(judge))
    (long,) = asyncio.run(generate(agent, ["a long answer"], label="short"))
    (short,) = asyncio.run(generate(agent, ["no"], label="a reference"))
    assert long["reward"] > short["reward"]


def test_one_whose_generation_fails_frees_the_others_and_raises(judge):
    agent = Agent(Gate(judge, deadline=600))

    async def fail():
        raise RuntimeError("out of memory")

    async def run():
        engine = Engine(agent, [answering("a"), fail, answering("aa")])
        params, tokens = object(), Tokenizer()
        calls = (agent.execute("Why?", "", params, 100, tokens, engine) for _ in range(3))
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

    short, failed, long = asyncio.run(run())
    assert isinstance(failed, RuntimeError) and short["reward"] < long["reward"]
    assert agent.gate.counts["withdrawn"] == 1


def test_a_setting_that_cannot_work_ends_the_run_rather_than_giving_numbers():
    def reply(messages):
        raise ConfigError("the server has two models: say with model= which one judges")

    with RRMJudge(engine=ScriptedEngine(reply)) as judge, pytest.raises(ConfigError, match="model="):
        asyncio.run(generate(Agent(Gate(judge)), ["a", "aa"]))


def test_a_reply_that_finds_no_room_gets_the_mean_of_all_rewards_and_not_0():
    with RRMJudge(engine="scripted:longer", shaping="unit_interval") as judge:
        agent = Agent(Gate(judge, capacity=2))

        async def run():
            await generate(agent, ["a", "aa"])
            return await generate(agent, ["a", "aa", "aaa"])

        outputs = asyncio.run(run())
    assert 0.5 in [output["reward"] for output in outputs], "0 would be the worst of all rewards here"
    assert sum(output["extra_logs"]["rrm_failed"] for output in outputs) >= 1


def test_the_settings_are_those_of_the_file(tmp_path, monkeypatch):
    file = tmp_path / "judge.yaml"
    monkeypatch.setenv("RRM_CONFIG", str(file))
    file.write_text("engine: scripted:longer\nnum_generations: 4\ngate:\n  deadline: 7\n")
    gate = configured_gate()
    assert (gate.size, gate.deadline) == (4, 7)
    gate.judge.close()
    file.write_text("engine: scripted:longer\ngate:\n  dead_line: 7\n")
    with pytest.raises(ConfigError, match="gate in the settings file"):
        configured_gate()
    monkeypatch.delenv("RRM_CONFIG")
    with pytest.raises(ConfigError, match="RRM_CONFIG"):
        Agent()
