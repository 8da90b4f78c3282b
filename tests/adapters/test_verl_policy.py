"""verl's policy side as far as it is free of verl and Ray: settings, rows, colocated batches, the broker."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import types

import pytest

from rrm_plugin import ConfigError, RRMJudge
from rrm_plugin.adapters.verl.batches import Batches
from rrm_plugin.adapters.verl.broker import Broker, answer_of
from rrm_plugin.adapters.verl.rows import Row, row_of
from rrm_plugin.adapters.verl.settings import PolicySettings, policy_settings
from rrm_plugin.adapters.verl.validation import ValidationPrompts
from rrm_plugin.cohorts import Gate, Member

PROMPT = [{"role": "user", "content": "Why is the sky blue?"}]


class Node(dict):
    """What a node of verl's configuration offers: keys as attributes, and `get`."""

    __getattr__ = dict.__getitem__


def node(value):
    return Node({key: node(one) for key, one in value.items()}) if isinstance(value, dict) else value


def verls(n=8, batch=64, workers=8, mode="sync"):
    rollout = {"n": n, "val_kwargs": {"n": 1}}
    return node(
        {
            "actor_rollout_ref": {"rollout": rollout},
            "data": {"train_batch_size": batch},
            "reward": {"num_workers": workers, "reward_model": {"model_path": "some/judge"}},
            "trainer": {"v1": {"trainer_mode": mode, "separate_async": {"num_warmup_batches": 2}}},
        }
    )


def configure(monkeypatch, tmp_path, text):
    (tmp_path / "judge.yaml").write_text(text)
    monkeypatch.setenv("RRM_CONFIG", str(tmp_path / "judge.yaml"))


def test_settings_come_from_the_file_and_from_verl(monkeypatch, tmp_path):
    configure(monkeypatch, tmp_path, "engine: scripted:first\ngate: {deadline: 9}\nnum_generations: 4\ngather: false\n")
    found = policy_settings(verls())
    assert found.judge == {"engine": "scripted:first"} and found.gate == {"deadline": 9}
    assert (found.size, found.validation_size, found.workers, found.in_flight) == (8, 1, 8, 512)
    assert policy_settings(verls(mode="separate_async")).in_flight == 3 * 512


def test_a_judge_that_verl_serves_needs_no_file(monkeypatch, tmp_path):
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    found = policy_settings(verls(), "10.0.0.1:8000")
    assert found.judge == {"engine": "http://10.0.0.1:8000/v1", "model": "some/judge"}
    configure(monkeypatch, tmp_path, "schedule: knockout\n")
    assert policy_settings(verls(), "10.0.0.1:8000").judge == {**found.judge, "schedule": "knockout"}
    monkeypatch.delenv("RRM_CONFIG")
    with pytest.raises(ConfigError, match="RRM_CONFIG"):
        policy_settings(verls())


def test_a_gate_that_is_none_is_refused(monkeypatch, tmp_path):
    configure(monkeypatch, tmp_path, "engine: scripted:first\ngate: 3\n")
    with pytest.raises(ConfigError, match="gate must hold"):
        policy_settings(verls())


def test_too_few_workers_are_named_with_the_number_that_is_enough(monkeypatch, tmp_path):
    configure(monkeypatch, tmp_path, "engine: scripted:first\n")
    assert policy_settings(verls(batch=64)).starving is None
    large = policy_settings(verls(n=16, batch=512))
    assert large.workers_needed == 11 and "set reward.num_workers=11" in str(large.starving)
    assert policy_settings(verls(n=16, batch=512, workers=11)).starving is None


class Tokens:
    """A tokenizer whose tokens are words."""

    def __init__(self, tail="assistant"):
        self.tail = tail

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return self.tail if list(ids) == [0] else " ".join(f"w{int(one)}" for one in ids)


def item(response=(1, 2, 3), padding=2, **columns):
    torch = pytest.importorskip("torch")
    mask = [1] + [1] * len(response) + [0] * padding
    tensors = {
        "prompts": torch.tensor([0]),
        "responses": torch.tensor([*response, *[9] * padding]),
        "attention_mask": torch.tensor(mask),
    }
    return types.SimpleNamespace(batch=tensors, non_tensor_batch={"raw_prompt": PROMPT, **columns})


def test_a_row_of_the_streaming_rollout():
    columns = {"uid": "u", "session_id": 2, "global_steps": 7, "extra_info": {"reference": "r", "split": "train"}}
    row = row_of(item(**columns), Tokens())
    expected = Member(prompt=PROMPT, response="w1 w2 w3", id="2", index=2, length=3, reference="r", step=7)
    assert row == Row(key="u", member=expected, told=True, validation=False)


def test_a_row_of_the_colocated_path_is_known_by_its_prompt():
    row = row_of(item(), Tokens())
    assert not row.told and row.member.id is None and row.validation is None
    assert row.key == row_of(item((4,)), Tokens()).key
    other = item()
    other.non_tensor_batch["raw_prompt"] = [{"role": "user", "content": "other"}]
    assert row_of(other, Tokens()).key != row.key


def test_thinking_that_the_prompt_opened_is_known_as_such():
    row = row_of(item(), Tokens(tail="assistant <think>\n"))
    assert row.member.response == "<think>\nw1 w2 w3"


def test_a_row_without_its_prompt_says_what_to_set():
    bare = item()
    del bare.non_tensor_batch["raw_prompt"]
    with pytest.raises(ConfigError, match=r"data\.return_raw_chat=True"):
        row_of(bare, Tokens())


def row(text, key="p", told=False, validation=None, **identity):
    member = Member(prompt=PROMPT, response=text, **identity)
    return Row(key=key, member=member, told=told, validation=validation)


@pytest.fixture
def judge():
    with RRMJudge(engine="scripted:longer") as judge:
        yield judge


def test_colocated_rows_with_the_same_text_are_one_member(judge):
    async def play():
        batches = Batches(Gate(judge, deadline=60), size=4, quiet=0.05)
        texts = ["a", "bb", "bb", "ccc", "dddd", "a"]
        return await asyncio.gather(*(batches.join(row(text)) for text in texts))

    outcomes = asyncio.run(play())
    assert outcomes[1].reward == outcomes[2].reward and outcomes[0].reward == outcomes[5].reward
    assert {(one.members, one.expected) for one in outcomes} == {(4, 4)}
    assert outcomes[4].number == max(one.number for one in outcomes)


def test_a_prompt_that_is_twice_in_a_colocated_batch_is_cut_into_groups(judge, caplog):
    async def play():
        batches = Batches(Gate(judge, deadline=60), size=3, quiet=0.05)
        return await asyncio.gather(*(batches.join(row("x" * length)) for length in range(1, 7)))

    with caplog.at_level(logging.WARNING):
        outcomes = asyncio.run(play())
    assert [one.members for one in outcomes] == [3] * 6
    assert "the prompt is in the batch more than once" in caplog.text


def test_rows_that_reach_another_node_late_are_waited_for(judge):
    async def play():
        batches = Batches(Gate(judge, deadline=60), size=4, quiet=0.1)
        early = [asyncio.ensure_future(batches.join(row("x" * length))) for length in (1, 2, 3)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in early)
        return await asyncio.gather(*early, batches.join(row("xxxx")))

    assert [one.members for one in asyncio.run(play())] == [4] * 4


def test_rows_that_never_come_are_waited_for_ten_times_as_long_and_said(judge, caplog):
    async def play():
        batches = Batches(Gate(judge, deadline=60), size=4, quiet=0.01)
        return await asyncio.gather(*(batches.join(row("x" * length)) for length in (1, 2, 3)))

    with caplog.at_level(logging.WARNING):
        assert [one.members for one in asyncio.run(play())] == [3] * 3
    assert "of 1 of 1 prompts fewer than 4 responses came" in caplog.text and "raise quiet" in caplog.text


def test_a_validation_is_not_held_up(judge, caplog):
    async def play():
        batches = Batches(Gate(judge, deadline=60), size=4, quiet=0.01)
        return await asyncio.gather(*(batches.join(row("a", key=str(prompt))) for prompt in range(5)))

    assert [one.members for one in asyncio.run(play())] == [1] * 5
    assert "in part" not in caplog.text


def test_a_batch_after_another_has_groups_of_its_own(judge):
    async def play():
        batches = Batches(Gate(judge, deadline=60), size=2, quiet=0.02)
        first = await asyncio.gather(*(batches.join(row(text)) for text in ("a", "bb")))
        second = await asyncio.gather(*(batches.join(row(text)) for text in ("bb", "ccc")))
        return first, second

    first, second = asyncio.run(play())
    assert first[1].number > first[0].number and second[1].number > second[0].number


def broker(noted=None, **changes):
    settings = {"judge": {"engine": "scripted:longer"}, "size": 2, "validation_size": 1, "workers": 8, "in_flight": 8}
    return Broker(PolicySettings(**{**settings, **changes}), ValidationPrompts(lambda: noted))


def told(text, uid, session, **more):
    return row(text, key=uid, told=True, id=str(session), index=session, **more)


def test_the_broker_answers_in_verls_shape():
    async def play():
        one = broker()
        return await asyncio.gather(one.join(told("a", "u", 0)), one.join(told("bb", "u", 1)))

    short, long = asyncio.run(play())
    assert long["reward_score"] > 0 > short["reward_score"] == short["reward_extra_info"]["score"]
    assert short["reward_extra_info"].keys() == answer_of(None, 0.0)["reward_extra_info"].keys()


def test_prompts_of_a_validation_are_looked_up_once_and_do_not_wait():
    asked = []

    def noted():
        asked.append(1)
        return {"u"}

    async def play():
        one = Broker(
            PolicySettings(judge={"engine": "scripted:first"}, size=2, validation_size=1, workers=1, in_flight=1),
            ValidationPrompts(noted),
        )
        first = await one.join(told("a", "u", 0))
        return first, await one.join(told("a", "u", 0))

    first, again = asyncio.run(play())
    assert first["reward_extra_info"]["rrm_unscored"] == again["reward_extra_info"]["rrm_unscored"] == 1.0
    assert asked == [1]


def test_a_queue_that_cannot_be_asked_is_warned_of_once(caplog):
    def broken():
        raise OSError("no queue")

    async def play():
        prompts = ValidationPrompts(broken)
        return [await prompts.includes(uid) for uid in ("a", "b")]

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(play()) == [None, None]
    assert caplog.text.count("no queue") == 1 and "extra_info.split" in caplog.text


def test_a_queue_that_was_slow_or_failed_is_asked_again(caplog):
    """The first look takes too long, the second fails; each prompt is told the same ever after."""
    asked, release = [], threading.Event()

    def noted():
        asked.append(1)
        if len(asked) == 1:
            release.wait(10)
        if len(asked) == 2:
            raise OSError("moving")
        return {"a", "b", "c", "d"}

    async def play():
        prompts = ValidationPrompts(noted, patience=0.1, pause=0.05)
        slow = [await prompts.includes("a"), await prompts.includes("b")]
        release.set()
        await asyncio.sleep(0.1)
        failed = await prompts.includes("c")
        await asyncio.sleep(0.1)
        return [*slow, failed, await prompts.includes("d"), await prompts.includes("a"), await prompts.includes("e")]

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(play()) == [None, None, None, True, None, False]
    assert "no answer within 0.1 s" in caplog.text and caplog.text.count("cannot be asked") == 1
    assert len(asked) == 4


def test_prompts_that_come_together_share_a_look():
    asked = []

    def noted():
        asked.append(1)
        time.sleep(0.02)
        return {"3"}

    async def play():
        prompts = ValidationPrompts(noted)
        return await asyncio.gather(*(prompts.includes(str(uid)) for uid in range(100)))

    assert asyncio.run(play()) == [uid == 3 for uid in range(100)]
    assert len(asked) == 2


def test_a_look_that_began_before_a_prompt_was_noted_says_nothing_of_it():
    noted, began, release = set(), threading.Event(), threading.Event()

    def look():
        seen = frozenset(noted)
        began.set()
        release.wait(10)
        return seen

    async def play():
        prompts = ValidationPrompts(look)
        first = asyncio.ensure_future(prompts.includes("a"))
        await asyncio.to_thread(began.wait)
        noted.add("b")
        second = asyncio.ensure_future(prompts.includes("b"))
        await asyncio.sleep(0.01)
        release.set()
        return await first, await second

    assert asyncio.run(play()) == (False, True)


@pytest.mark.parametrize("noted", [(), {"another prompt"}])
def test_training_rows_may_come_from_a_split_of_that_name(noted):
    """The queue knows better than `extra_info.split`."""

    async def play():
        one = broker(noted)
        rows = (told("a", "u", 0, validation=True), told("bb", "u", 1, validation=True))
        return await asyncio.gather(*(one.join(row) for row in rows))

    short, long = asyncio.run(play())
    assert long["reward_score"] > short["reward_score"] and short["reward_extra_info"]["rrm_unscored"] == 0.0


def test_without_a_queue_a_row_says_itself_that_it_is_of_a_validation():
    answer = asyncio.run(broker().join(told("a", "u", 0, validation=True)))
    assert answer["reward_extra_info"]["rrm_unscored"] == 1.0


def test_the_broker_warns_of_too_few_workers(caplog):
    with caplog.at_level(logging.WARNING):
        broker(workers=1, in_flight=5000)
    assert "set reward.num_workers=7" in caplog.text


def test_a_misspelt_setting_of_the_gate_is_named():
    with pytest.raises(ConfigError, match="dead_line"):
        broker(gate={"dead_line": 3})


def test_the_log_is_told_how_the_judge_does(caplog):
    async def play():
        one = broker()
        for group in range(64):
            texts = (told("a", f"u{group}", 0), told("bb", f"u{group}", 1))
            await asyncio.gather(*(one.join(text) for text in texts))

    with caplog.at_level(logging.INFO):
        asyncio.run(play())
    assert "means of 64 groups" in caplog.text and "rrm/verdict_rate=1" in caplog.text
    assert "rrm/gate/closed_full=64" in caplog.text
