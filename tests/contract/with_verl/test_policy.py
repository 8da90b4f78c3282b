"""The reward manager `rrm` in verl's own reward loop: whole groups from single samples, over real Ray workers."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from rrm_plugin import RRMJudge
from tests.contract.with_verl.policy_runs import (
    Run,
    batch_of,
    in_any_order,
    messages,
    response,
    reward_loop,
    write_settings,
)
from tests.contract.with_verl.recipes import verls_own

REASON = "needs verl: make test-verl"
pytest.importorskip("verl.experimental.reward_loop", reason=REASON, exc_type=ImportError)
torch = pytest.importorskip("torch", reason=REASON)

DEADLINE = 60.0


@pytest.fixture(scope="module")
def run(settings, model, tokenizer):
    write_settings(settings, gate={"deadline": DEADLINE, "quiet": 2.0})
    with reward_loop(model, tokenizer) as run:
        yield run


@pytest.fixture(scope="module")
def judge():
    with RRMJudge(engine="scripted:random") as judge:
        yield judge


def offline(judge, group, n=8):
    return judge.score(messages(f"question {group}"), [response(group, index) for index in range(n)]).values


def test_64_groups_of_8_in_any_order_are_whole(run, judge):
    before = run.counts()
    answers = asyncio.run(in_any_order(run, range(64), 8))
    counts = {name: count - before.get(name, 0) for name, count in run.counts().items()}
    assert counts["closed_full"] == counts["groups"] == 64 and counts["members"] == 512
    assert counts["unscored"] == counts["waiting"] == 0
    scores = {group: offline(judge, group) for group in range(64)}
    for group, values in scores.items():
        assert [answers[group, index][0] for index in range(8)] == pytest.approx(values)
    assert len({tuple(sorted(extra)) for _, extra in answers.values()}) == 1, "verl reads the keys off the first row"
    assert all(type(number) is float for _, extra in answers.values() for number in extra.values())
    check_advantages(answers, scores)


def check_advantages(answers, scores):
    """The advantages that verl's GRPO makes of the rewards are the scores, standardised within their group."""
    from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

    places = list(answers)
    rewards = torch.zeros(len(places), 4)
    rewards[:, -1] = torch.tensor([answers[place][0] for place in places])
    groups = np.array([f"uid {group}" for group, _ in places], dtype=object)
    advantages, _ = compute_grpo_outcome_advantage(rewards, torch.ones_like(rewards), groups)
    for (group, index), advantage in zip(places, advantages[:, 0].tolist(), strict=True):
        values = np.array(scores[group])
        expected = (values[index] - values.mean()) / (values.std(ddof=1) + 1e-6)
        assert advantage == pytest.approx(expected, abs=1e-4)


def test_a_member_that_comes_again_is_answered_and_not_counted_twice(run, judge):
    before = run.counts()

    async def bring():
        sessions = [0, 0, *range(8), 3]
        calls = [run.reward("question 70", response(70, one), uid="uid 70", session_id=one) for one in sessions]
        answers = await asyncio.gather(*calls)
        again = await run.reward("question 70", response(70, 5), uid="uid 70", session_id=5)
        return dict(zip(sessions, answers, strict=True)), [answers[0], answers[1], answers[2]], again

    answers, three_times, again = asyncio.run(bring())
    assert [answers[index][0] for index in range(8)] == pytest.approx(offline(judge, 70))
    assert len({reward for reward, _ in three_times}) == 1 and again[0] == answers[5][0]
    counts = run.counts()
    assert counts["repeated"] - before.get("repeated", 0) == 4 and counts["members"] - before["members"] == 8


def test_rows_that_verl_copies_to_fill_a_batch_count_once(run, judge):
    """17 rows for two workers: verl copies the first one."""
    rows = [(80 + group, index) for group in range(2) for index in range(8)]
    columns = [{"uid": f"uid {group}", "session_id": index} for group, index in rows]
    rows.append((82, 0))
    columns.append({"uid": "uid 82", "session_id": 0, "extra_info": {"split": "test"}})
    began = time.perf_counter()
    rewarded = run.manager.compute_rm_score(batch_of(run, rows, columns))
    assert time.perf_counter() - began < DEADLINE / 2
    scores = rewarded.batch["rm_scores"].sum(dim=1).tolist()
    assert scores == pytest.approx([*offline(judge, 80), *offline(judge, 81), 0.0])
    assert rewarded.non_tensor_batch["rrm_unscored"].tolist() == [0.0] * 16 + [1.0]


def test_colocated_rows_are_grouped_by_their_prompt(run, judge):
    """verl passes the prompt alone there. 23 rows: one is copied; two responses of a group are the same text."""
    rows = [(90 + group, index) for group in range(3) for index in range(8)]
    rows[9] = rows[8]
    del rows[-1]
    began = time.perf_counter()
    rewarded = run.manager.compute_rm_score(batch_of(run, rows, [{} for _ in rows]))
    assert time.perf_counter() - began < DEADLINE / 2, "no group waits for the one that does not come"
    scores = rewarded.batch["rm_scores"].sum(dim=1).tolist()
    missing = rewarded.non_tensor_batch["rrm_missing"].tolist()
    assert len(scores) == 23 and scores[8] == scores[9] and set(missing) == {0.0}
    assert sum(scores[:8]) == pytest.approx(0.0, abs=1e-6) and len(set(scores[:8])) > 2
    assert len({round(score, 6) for score in scores[16:]}) > 2


@pytest.mark.parametrize("split", ["test", "Validation"])
def test_a_single_sample_of_a_validation_does_not_wait(run, split):
    began = time.perf_counter()
    call = run.reward("q", "a", uid=f"uid {split}", session_id=0, extra_info={"split": split, "index": 0})
    reward, extra = asyncio.run(call)
    assert time.perf_counter() - began < DEADLINE / 2
    assert (reward, extra["rrm_unscored"], extra["rrm_missing"]) == (0.0, 1.0, 0.0)


def test_the_trainer_before_v1_tells_no_sessions(run):
    async def bring():
        calls = (run.reward("question 75", response(75, index), uid="uid 75") for index in range(8))
        return await asyncio.gather(*calls)

    answers = asyncio.run(bring())
    assert len({reward for reward, _ in answers}) > 2
    assert {extra["rrm_missing"] for _, extra in answers} == {extra["rrm_unscored"] for _, extra in answers} == {0.0}


def test_a_single_sample_with_a_given_answer_is_compared_with_it(run):
    extra_info = {"split": "test", "reference": "a long and careful reference"}
    call = run.reward("q", "a", uid="uid compared", session_id=0, extra_info=extra_info)
    _, extra = asyncio.run(call)
    assert extra["rrm_unscored"] == 0.0 and extra["rrm_calls"] == 2.0


def test_validation_prompts_are_known_by_verls_queue(run):
    import transfer_queue
    from omegaconf import OmegaConf

    transfer_queue.init(OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1}}}))
    try:
        tags = [{"is_prompt": True, "status": "pending", "global_steps": 3}]
        transfer_queue.kv_batch_put(keys=["uid of validation"], partition_id="val", tags=tags)
        began = time.perf_counter()
        reward, extra = asyncio.run(run.reward("q", "a", uid="uid of validation", session_id=0))
        assert time.perf_counter() - began < DEADLINE / 2
        assert (reward, extra["rrm_unscored"], extra["rrm_missing"]) == (0.0, 1.0, 0.0)
    finally:
        transfer_queue.close()


def test_the_manager_is_found_by_name_and_by_path():
    from verl.trainer.ppo.reward import resolve_reward_manager_cls

    by_name = resolve_reward_manager_cls(verls_own("reward.reward_manager.name=rrm"))
    path = "reward.reward_manager.module.path=pkg://rrm_plugin.adapters.verl.manager"
    named = "reward.reward_manager.name=RRMRewardManager"
    by_path = resolve_reward_manager_cls(verls_own("reward.reward_manager.source=importlib", named, path))
    assert by_name is by_path and by_name.__name__ == "RRMRewardManager"


def test_a_setting_that_cannot_work_ends_the_run_at_its_start(settings, run: Run, model, tokenizer):
    from verl.trainer.ppo.reward import load_reward_manager

    from rrm_plugin import ConfigError
    from tests.contract.with_verl.policy_runs import another_broker

    write_settings(settings, scedule="knockout")
    with another_broker(), pytest.raises(ConfigError, match=r"the judge cannot be set up.*did you mean 'schedule'"):
        load_reward_manager(run.config, tokenizer)
