"""The reward manager `rrm` under verl's own trainer: data set, rollout workers, queue, validation, advantages.

All of verl's but the models: the rollout's replies are scripted (`scripted_rollout.py`), and nothing is trained.
"""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.training.questions import QuestionReading, write_questions
from rrm_plugin.training.sources import source
from tests.contract.with_verl.policy_runs import reward_loop, write_settings
from tests.contract.with_verl.scripted_rollout import ScriptedClient

REASON = "needs verl: make test-verl"
pytest.importorskip("verl.trainer.ppo.v1", reason=REASON, exc_type=ImportError)
tq = pytest.importorskip("transfer_queue", reason=REASON)

PROMPTS, REPLIES, DEADLINE = 6, 4, 60.0


@pytest.fixture(scope="module")
def trainer(settings, model, tokenizer, tmp_path_factory):
    """verl's trainer as its entry point makes it, without what needs a GPU: workers, engines, checkpoints."""
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ, get_trainer_cls

    folder = tmp_path_factory.mktemp("data")
    questions = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(PROMPTS)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in questions))
    write_questions([source(str(folder / "questions.jsonl"))], folder / "policy.jsonl", QuestionReading())
    write_settings(settings, gate={"deadline": DEADLINE})
    overrides = (
        f"data.train_files={folder}/policy.jsonl",
        f"data.val_files={folder}/policy.jsonl",
        f"data.train_batch_size={PROMPTS}",
        "data.dataloader_num_workers=0",
        "algorithm.adv_estimator=grpo",
        "actor_rollout_ref.rollout.agent.num_workers=2",
        "actor_rollout_ref.rollout.calculate_log_probs=False",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        "trainer.nnodes=1",
    )
    with reward_loop(model, tokenizer, *overrides, n=REPLIES) as run:
        config = run.config
        tq.init(config.transfer_queue)
        trainer = get_trainer_cls("sync")(config)
        trainer.global_steps = 1
        trainer._init_tokenizer()
        trainer._init_dataloader()
        trainer.reward_loop_manager = run.manager
        trainer.agent_loop_manager = AgentLoopManagerTQ.create(
            config=config,
            llm_client=ScriptedClient(model),
            teacher_client=None,
            reward_loop_worker_handles=run.workers,
        )
        yield trainer
        tq.close()


def rollout(trainer):
    """One batch as the trainer's step begins it."""
    trainer.prepare_step()
    batch, _ = trainer.replay_buffer.sample(global_steps=1, partition_id="train", batch_size=PROMPTS)
    return batch


def test_rewards_and_advantages_of_a_step_are_those_of_the_judge(trainer):
    batch = rollout(trainer)
    assert len(batch.keys) == PROMPTS * REPLIES
    trainer._compute_advantage(batch, metrics={})
    fields = ["uid", "session_id", "raw_prompt", "responses", "rm_scores", "advantages", "extra_fields"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=fields)
    rows = zip(*(list(data[name]) for name in fields), strict=True)
    groups: dict[str, dict[int, tuple]] = {}
    for uid, session, *row in rows:
        groups.setdefault(str(plain(uid)), {})[int(plain(session))] = tuple(plain(one) for one in row)
    assert len(groups) == PROMPTS
    with RRMJudge(engine="scripted:random") as judge:
        for group in groups.values():
            check_group(judge, trainer.tokenizer, [group[index] for index in range(REPLIES)])


def check_group(judge, tokenizer, rows):
    texts = [tokenizer.decode(responses, skip_special_tokens=True) for _, responses, *_ in rows]
    expected = np.array(judge.score([dict(message) for message in rows[0][0]], texts).values)
    assert [float(scores.sum()) for _, _, scores, *_ in rows] == pytest.approx(expected, abs=1e-5)
    advantages = (expected - expected.mean()) / (expected.std(ddof=1) + 1e-6)
    assert [float(one[3][0]) for one in rows] == pytest.approx(advantages, abs=1e-3)
    for *_, extra in rows:
        told = extra["reward_extra_info"]
        assert told["rrm_unscored"] == told["rrm_missing"] == 0.0 and told["rrm_calls"] > 0


def test_a_validation_of_single_samples_does_not_wait(trainer):
    began = time.perf_counter()
    metrics = trainer._validate()
    assert time.perf_counter() - began < DEADLINE / 2
    unscored = [value for name, value in metrics.items() if "rrm_unscored/mean" in name]
    missing = [value for name, value in metrics.items() if "rrm_missing/mean" in name]
    assert unscored == [1.0] and missing == [0.0]
    assert [value for name, value in metrics.items() if "/reward/mean" in name] == [0.0]


def plain(value):
    """What a field of verl's queue holds: tensordict wraps what is no tensor."""
    return getattr(value, "data", value) if type(value).__name__ == "NonTensorData" else value
