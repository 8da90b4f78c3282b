"""Two real processes (torchrun, gloo) share a judge: rewards are those of one process, and no pair is paid twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")

from rrm_plugin import Group, RRMJudge
from tests.contract.trl_runs import FAILURES, SPLITS, Ears
from tests.tiny import save_tiny_model

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.trl, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    """The folder that two ranks of one torchrun wrote, after all splits and the failure."""
    out = tmp_path_factory.mktemp("ranks")
    model = save_tiny_model(tmp_path_factory.mktemp("model"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [*command, str(ROOT / "tests/contract/trl_runs.py"), str(model), str(out)],
        env=environment,
        cwd=out,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert run.returncode == 0, run.stderr[-5000:]
    return out


def _ranks(out: Path, name: str) -> list[dict]:
    return [json.loads((out / f"{name.replace(' ', '_')}.rows.{rank}").read_text()) for rank in (0, 1)]


def _heard(out: Path, name: str) -> list[str]:
    files = [out / f"{name.replace(' ', '_')}.heard.{rank}" for rank in (0, 1)]
    return [line for file in files if file.exists() for line in file.read_text().splitlines()]


def _size(name: str) -> int:
    return SPLITS[name].get("num_generations_eval") or SPLITS[name]["num_generations"]


def _steps(out: Path, name: str) -> list[dict]:
    """The rows of each reward call, those of rank 1 after those of rank 0: the trainer's global batch."""
    calls = list(zip(*(rank["seen"] for rank in _ranks(out, name)), strict=True))
    assert len(calls) >= 2
    return [{column: left[column] + right[column] for column in left} for left, right in calls]


def _groups(step: dict, size: int) -> list[Group]:
    starts = range(0, len(step["prompts"]), size)
    return [
        Group(prompt=step["prompts"][start], responses=step["completions"][start : start + size]) for start in starts
    ]


@pytest.mark.parametrize("name", SPLITS)
def test_the_rewards_are_those_of_one_process_bit_for_bit(two_ranks, tmp_path, name):
    settings = {"schedule": "circulant:2", "orders": "both", "num_generations": _size(name)}
    with RRMJudge(engine=Ears(tmp_path / "heard"), **settings) as judge:
        for step in _steps(two_ranks, name):
            assert step["rewards"] == judge(step["prompts"], step["completions"])
            assert len(set(step["rewards"])) > 1


@pytest.mark.parametrize("name", SPLITS)
def test_no_pair_is_judged_twice_and_none_is_left_out(two_ranks, tmp_path, name):
    heard = _heard(two_ranks, name)
    with RRMJudge(engine=Ears(tmp_path / "alone"), schedule="circulant:2", orders="both") as judge:
        for step in _steps(two_ranks, name):
            judge.score_groups(_groups(step, _size(name)))
    alone = (tmp_path / "alone").read_text().splitlines()
    assert sorted(heard) == sorted(alone)
    assert len(heard) > 0


def test_the_splits_are_the_ones_that_they_are_meant_to_be(two_ranks):
    def rows(name):
        return [rank["seen"][0]["row"] for rank in _ranks(two_ranks, name)]

    whole, split, mixed = rows("whole"), rows("one group split"), rows("mixed")
    assert all(len(set(part)) == 1 for part in whole) and whole[0][0] != whole[1][0]
    assert split[0] + split[1] == [split[0][0]] * 4
    assert [len(part) for part in mixed] == [6, 6] and mixed[0][4] == mixed[1][0]
    evaluation = _ranks(two_ranks, "evaluation split")
    assert evaluation[0]["seen"][0]["row"][2] == evaluation[1]["seen"][0]["row"][0]


@pytest.mark.parametrize("name", SPLITS)
def test_the_judges_metrics_are_in_the_trainers_log_and_tell_of_all_ranks(two_ranks, name):
    logged = _ranks(two_ranks, name)[0]["logged"]
    assert logged
    prefix = "eval_" if "evaluation" in name else ""
    assert all(entry[f"{prefix}rrm/verdict_rate"] == 1.0 for entry in logged)
    if "evaluation" not in name:
        assert sum(entry["rrm/calls"] for entry in logged) == len(_heard(two_ranks, name))


@pytest.mark.parametrize("name", FAILURES)
def test_a_judge_broken_on_one_rank_ends_both(two_ranks, name):
    outcomes = [(two_ranks / f"failure_{name}.{rank}").read_text() for rank in (0, 1)]
    assert all("this rank's judge is set up wrongly" in outcome for outcome in outcomes), outcomes


def test_an_alarm_stops_both_in_the_same_step(two_ranks):
    outcomes = [(two_ranks / f"alarm.{rank}").read_text() for rank in (0, 1)]
    assert outcomes[0] == outcomes[1] and outcomes[0].startswith("2 AlarmError: rrm: the run was stopped"), outcomes
