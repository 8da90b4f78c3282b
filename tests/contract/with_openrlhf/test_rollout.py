"""OpenRLHF's real rollout, experiences and advantages on real Ray, rewarded by a judge; only vllm is a stand-in.

Two rollout actors with integrations/openrlhf/agent.py generate groups whose replies end in random order. The judge is
scripted and prefers the longer reply, so that the rewards can be computed again from the texts alone.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from rrm_plugin import RRMJudge
from rrm_plugin.service import ServiceSettings
from rrm_plugin.service.server import serving
from tests.tiny import save_tiny_model

REASON = "needs OpenRLHF: make test-openrlhf"
pytest.importorskip("openrlhf", reason=REASON, exc_type=ImportError)
ray = pytest.importorskip("ray", reason=REASON)
torch = pytest.importorskip("torch", reason=REASON)

ROOT = Path(__file__).resolve().parents[3]
AGENT = str(ROOT / "integrations" / "openrlhf" / "agent.py")
GROUPS, SIZE = 64, 8
JUDGE = {"engine": "scripted:longer", "schedule": "circulant:3", "orders": "balanced", "reducer": "bradley_terry"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tokenizer(model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The file that RRM_CONFIG names: Ray's workers are started with one name, so each test writes it anew."""
    return tmp_path_factory.mktemp("settings") / "judge.yaml"


@pytest.fixture(scope="module")
def cluster(settings):
    """Ray on this machine, with GPUs that exist in its books only: nothing here touches one."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=4,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths, "RRM_CONFIG": str(settings)}},
    )
    yield
    ray.shutdown()


@pytest.fixture
def rollout(cluster, model, tokenizer, settings, monkeypatch):
    """Runs one batch of prompts through OpenRLHF's own classes; gives its samples in order."""
    from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator
    from openrlhf.trainer.ray import vllm_engine

    engines, places = [], []

    def group(*values, **named):
        places.append(ray.util.placement_group(*values, **named))
        return places[-1]

    # OpenRLHF leaves it to the end of its run to give the GPUs back.
    monkeypatch.setattr(vllm_engine, "placement_group", group)

    def run(rows, judge=JUDGE, agent=AGENT, url=None, engines_wanted=2, **changes):
        settings.write_text(yaml.safe_dump(judge))
        made = vllm_engine.create_vllm_engines(
            engines_wanted, 1, str(model), 1, False, False, True, 2048, agent_func_path=agent, remote_rm_url=url
        )
        engines.extend(made)
        args = arguments(len(rows), **changes)
        prompts = [row["prompt"] for row in rows]
        rendered = [tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in prompts]
        loader = [([""], [text], [row.get("label", "")], [None]) for text, row in zip(rendered, rows, strict=True)]
        generator = SamplesGenerator(SimpleNamespace(args=args), loader, None, tokenizer, made)
        samples, rate, consumed, exhausted = generator.generate_samples(max_len=1500, max_new_tokens=400)
        return SimpleNamespace(samples=samples, args=args, pass_rate=rate, consumed=consumed, exhausted=exhausted)

    yield run
    for engine in engines:
        ray.kill(engine)
    for place in places:
        ray.util.remove_placement_group(place)


def arguments(prompts, *, filtering=False, limits=(0.001, 10)):
    """The arguments that these classes of OpenRLHF read."""
    return SimpleNamespace(
        rollout=SimpleNamespace(
            batch_size=prompts, n_samples_per_prompt=SIZE, vllm_generate_batch_size=prompts, micro_batch_size=4
        ),
        vllm=SimpleNamespace(enable_sleep=False),
        algo=SimpleNamespace(
            advantage=SimpleNamespace(estimator="group_norm", is_correction_level="off", gamma=1.0, lambd=1.0),
            dynamic_filtering_enable=filtering,
            dynamic_filtering_range=limits,
            kl=SimpleNamespace(use_loss=True, init_coef=1e-3),
        ),
        train=SimpleNamespace(dynamic_batch_enable=False),
        reward=SimpleNamespace(
            clip_range=(-10, 10), overlong_buffer_len=None, stop_properly_penalty_coef=None, overlong_penalty_factor=1
        ),
        data=SimpleNamespace(max_len=1500),
    )


def questions(count, text="question"):
    rows = [[{"role": "user", "content": f"{text} number {index} of topic t{index % 5}"}] for index in range(count)]
    return [{"prompt": row, "label": row} for row in rows]


def groups_of(samples):
    return [samples[start : start + SIZE] for start in range(0, len(samples), SIZE)]


def replies(group, tokenizer):
    texts = []
    for sample in group:
        tokens = sample.sequences[0][1:][sample.action_mask[0].bool()]
        texts.append(tokenizer.decode(tokens, skip_special_tokens=True))
    return texts


def advantages(samples, args):
    """What OpenRLHF's own experience maker makes of the rewards; log-probabilities take a GPU, and play no part."""
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

    strategy = SimpleNamespace(args=args)
    tokens = SimpleNamespace(pad_token_id=0)
    maker = RemoteExperienceMaker(None, None, None, None, SimpleNamespace(value=1e-3), strategy, tokens)
    batches = maker.split_rollout_samples(samples)
    for batch in batches:
        batch.kl = torch.zeros_like(batch.action_mask, dtype=torch.float32)
    found = [None] * len(samples)
    for batch in maker.compute_advantages_and_returns(batches):
        for row, index in enumerate(batch.index):
            found[index] = batch.advantages[row][batch.action_mask[row].bool()][0].item()
    return found


def test_every_group_is_whole_and_rewarded_as_it_would_be_offline(rollout, tokenizer):
    rows = questions(GROUPS)
    done = rollout(rows)
    assert len(done.samples) == GROUPS * SIZE and done.consumed == GROUPS
    asked = {json.dumps(row["prompt"]) for row in rows}
    with RRMJudge(**JUDGE) as judge:
        for group in groups_of(done.samples):
            (label,) = {json.dumps(sample.labels[0]) for sample in group}
            asked.remove(label)
            offline = judge.score(json.loads(label), replies(group, tokenizer))
            assert offline.calls == 24 and len(set(offline.values)) > 1
            rewards = [sample.rewards.item() for sample in group]
            assert rewards == pytest.approx(offline.values, abs=1e-6)
            mean = sum(rewards) / SIZE
            spread = math.sqrt(sum((one - mean) ** 2 for one in rewards) / SIZE)
            for sample in group:
                assert sample.scores.item() == pytest.approx(spread, abs=1e-6)
                assert sample.info["rrm_missing"].item() == sample.info["rrm_unscored"].item() == 0
                assert sample.info["rrm_calls"].item() == 3
    assert not asked, "each question has one group"
    assert len({frozenset(sample.info) for sample in done.samples}) == 1

    found = advantages(done.samples, done.args)
    for group, own in zip(groups_of(done.samples), groups_of(found), strict=True):
        rewards = torch.tensor([sample.rewards.item() for sample in group])
        assert own == pytest.approx(((rewards - rewards.mean()) / (rewards.std() + 1e-9)).tolist(), abs=1e-4)
        assert sum(own) == pytest.approx(0, abs=1e-3)


def test_dynamic_filtering_by_the_spread_drops_the_tied_groups_alone(rollout):
    rows = questions(6) + questions(2, text="(stop) question")
    done = rollout(rows, filtering=True)
    assert done.consumed == 8 and len(done.samples) == 6 * SIZE and done.pass_rate == pytest.approx(600)
    assert not any("(stop)" in sample.prompts[0] for sample in done.samples)
    assert all(sample.scores.item() > 0.001 for sample in done.samples)


def test_the_same_question_twice_is_two_groups(rollout, tokenizer):
    done = rollout(questions(1) * 4)
    with RRMJudge(**JUDGE) as judge:
        for group in groups_of(done.samples):
            offline = judge.score(group[0].labels[0], replies(group, tokenizer))
            assert [sample.rewards.item() for sample in group] == pytest.approx(offline.values, abs=1e-6)


def test_the_service_rewards_a_rollout_as_it_would_be_offline(rollout, tokenizer):
    everybody = JUDGE | {"schedule": "round_robin", "orders": "both"}
    with RRMJudge(**everybody) as judge:
        with serving(judge, ServiceSettings(group_size=SIZE, port=0)) as address:
            done = rollout(questions(16), agent=None, url=[f"{address}/get_reward"])
        assert len(done.samples) == 16 * SIZE
        for group in groups_of(done.samples):
            offline = judge.score(group[0].labels[0], replies(group, tokenizer))
            assert [sample.rewards.item() for sample in group] == pytest.approx(offline.values, abs=1e-6)
            assert {sample.info["rrm_missing"].item() for sample in group} == {0.0}
    assert sum(advantages(done.samples, done.args)) == pytest.approx(0, abs=1e-2)


def test_a_judge_that_is_gone_leaves_numbers_and_says_so(rollout):
    down = JUDGE | {
        "gate": {"start_within": 0},
        "engine": "http://127.0.0.1:9/v1",
        "model": "none",
        "retry_for": 0.0,
        "timeout": 5,
    }
    done = rollout(questions(4), judge=down)
    assert [sample.rewards.item() for sample in done.samples] == [0.0] * 4 * SIZE
    assert all(sample.info["rrm_failed"].item() == sample.info["rrm_unscored"].item() == 1 for sample in done.samples)
    assert all(sample.info["rrm_no_verdict"].item() == 1 for sample in done.samples)
    assert advantages(done.samples, done.args) == [0.0] * 4 * SIZE
