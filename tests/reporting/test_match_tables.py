"""Tables of sampled matches: what stands in them, and to whom they go; with the real wandb and trackio in TRL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rrm_plugin import Group, RRMJudge
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.reporting.match_tables import MatchTables, sampled_matches
from tests.house.source import ROOT
from tests.tiny import save_tiny_model

GROUPS = [
    Group(prompt="Count.", responses=["one", "<think>hm</think>one two", "one two three"], step=3),
    Group(prompt=[{"role": "user", "content": "Mute?"}], responses=["mute", "yes"], step=3),
]


def scored(engine="scripted:longer", groups=GROUPS, **settings):
    with RRMJudge(engine=engine, **settings) as judge:
        return [(scores, judge.rewards(scores, [1] * len(scores.values))) for scores in judge.score_groups(groups)]


def test_a_match_of_each_group_as_a_person_reads_it():
    first, second = sampled_matches(GROUPS, scored())
    assert (first.step, first.prompt, second.prompt) == (3, "Count.", "Mute?")
    assert {second.first, second.second} == {"mute", "yes"} and "boxed{Assistant" in second.thinking
    assert "<think>" not in first.first + first.second
    longer = second.reward_first if second.first == "mute" else second.reward_second
    assert longer == max(second.reward_first, second.reward_second)
    assert second.verdict == ("first" if second.first == "mute" else "second")


def test_a_match_without_a_verdict_comes_first_and_the_count_is_kept():
    def reply(messages):
        return (
            "I wonder."
            if "two three" in messages[-1]["content"].partition("### Assistant 2")[0]
            else r"\boxed{Assistant 1}"
        )

    found = sampled_matches(GROUPS[:1] * 20, scored(ScriptedEngine(reply), GROUPS[:1] * 20))
    assert len(found) == 8
    assert all(match.verdict == "no_verdict" and match.thinking == "I wonder." for match in found)


def test_a_given_answer_has_no_reward_of_its_own():
    groups = [Group(prompt="Count.", responses=["one", "one two"], reference="one two three")]
    (match,) = sampled_matches(groups, scored(groups=groups, schedule="reference"))
    assert "one two three" in (match.first, match.second)
    assert None in (match.reward_first, match.reward_second) and match.reward_first != match.reward_second


def test_groups_that_were_not_played_are_passed_over():
    alone = [Group(prompt="Count.", responses=["one"])]
    assert sampled_matches(alone, scored(groups=alone)) == []


class Tracker:
    """Stands in for a tracker's module."""

    run = "a run"

    def __init__(self, fails=False):
        self.sent, self.fails = [], fails

    def Table(self, columns, data):
        return [dict(zip(columns, row, strict=True)) for row in data]

    def log(self, found, **options):
        if self.fails:
            raise OSError("disk full")
        self.sent.append((found, options))


class Trainer:
    def __init__(self, report_to, log_completions=True, main=True, every=2):
        self.log_completions = log_completions
        self.args = SimpleNamespace(report_to=report_to)
        self.accelerator = SimpleNamespace(is_main_process=main)
        self.state = SimpleNamespace(global_step=0, logging_steps=every)

    def log_extra(self, *_):
        """TRL hands it to its rewards."""


@pytest.fixture
def trackers(monkeypatch):
    found = {"wandb": Tracker(), "trackio": Tracker()}
    for name, tracker in found.items():
        monkeypatch.setitem(sys.modules, name, tracker)
    return found


def test_a_table_goes_to_the_trackers_of_the_run_at_each_logged_step(trackers):
    trainer, tables = Trainer(["wandb", "trackio"]), MatchTables("own")
    matches = sampled_matches(GROUPS, scored())
    for step in (0, 0, 1, 2, 5):
        trainer.state.global_step = step
        tables.send(matches, trainer.log_extra)
    for tracker in trackers.values():
        assert len(tracker.sent) == 3
        assert [row["prompt"] for row in tracker.sent[0][0]["own_matches"]] == ["Count.", "Mute?"]
    assert trackers["wandb"].sent[0][1] == {"commit": False}


@pytest.mark.parametrize(
    "trainer",
    [Trainer([]), Trainer(["wandb"], log_completions=False), Trainer(["wandb"], main=False), Trainer(["tensorboard"])],
    ids=["no tracker", "no texts asked for", "another rank", "a tracker without tables"],
)
def test_no_text_goes_where_none_was_asked_for(trackers, trainer):
    MatchTables("rrm").send(sampled_matches(GROUPS, scored()), trainer.log_extra)
    MatchTables("rrm").send(sampled_matches(GROUPS, scored()), None)
    assert not any(tracker.sent for tracker in trackers.values())


def test_a_tracker_that_fails_costs_one_warning(trackers, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", Tracker(fails=True))
    trainer, tables = Trainer(["wandb", "trackio"], every=1), MatchTables("rrm")
    for step in range(3):
        trainer.state.global_step = step
        tables.send(sampled_matches(GROUPS, scored()), trainer.log_extra)
    assert [record.message for record in caplog.records] == ["rrm: a table of matches could not be sent: disk full"]
    assert len(trackers["trackio"].sent) == 3


@pytest.mark.parametrize("missing", ["args", "state"])
def test_a_trainer_of_another_kind_gets_its_rewards_all_the_same(trackers, caplog, missing):
    trainer = Trainer(["wandb"])
    delattr(trainer, missing)
    with RRMJudge(engine="scripted:longer", num_generations=2) as judge:
        for _ in range(2):
            assert None not in judge(["First?"] * 2, ["one", "one two"], log_extra=trainer.log_extra)
    (record,) = caplog.records
    assert "could not be sent" in record.message and missing in record.message


RUN = """
import sys
from pathlib import Path
from rrm_plugin import RRMJudge
from tests.contract.trl_runs import dataset, trainer

with RRMJudge(engine="scripted:longer") as judge:
    running = trainer(
        "GRPO", Path(sys.argv[1]), Path("."), [judge], dataset(4), report_to=[sys.argv[2]], log_completions=True,
        project="look", run_name="look",
    )
    running.train()
"""


def train(tmp_path: Path, tracker: str, **environment: str) -> None:
    """Two steps of a real GRPOTrainer that reports to a real tracker, in a process and folder of its own."""
    model = save_tiny_model(tmp_path / "model")
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(model), tracker],
        cwd=tmp_path,
        env=os.environ | home | environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "could not be sent" not in done.stderr


@pytest.mark.trl
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_wandb_gets_the_table_offline(tmp_path):
    pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")
    pytest.importorskip("wandb", reason="needs wandb, of the extra dev")
    train(tmp_path, "wandb", WANDB_MODE="offline", WANDB_DIR=str(tmp_path), WANDB_SILENT="true")
    files = tmp_path.glob("wandb/offline-run-*/files/media/table/rrm_matches*.json")
    tables = [json.loads(path.read_text()) for path in files]
    assert len(tables) == 2
    assert tables[0]["columns"] == [
        "step",
        "prompt",
        "first",
        "second",
        "verdict",
        "thinking",
        "reward_first",
        "reward_second",
    ]
    assert tables[0]["data"] and all("boxed{Assistant" in row[5] for row in tables[0]["data"])


@pytest.mark.trl
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_trackio_gets_the_table_and_the_metrics(tmp_path):
    pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")
    pytest.importorskip("trackio", reason="needs trackio, of the extra dev")
    train(tmp_path, "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    import sqlite3

    (database,) = (tmp_path / "trackio").glob("look*.db")
    connection = sqlite3.connect(database)
    logged = [json.loads(text) for (text,) in connection.execute("SELECT metrics FROM metrics ORDER BY id")]
    connection.close()
    tables = [row["rrm_matches"] for row in logged if "rrm_matches" in row]
    assert len(tables) == 2 and tables[0]["_type"] == "trackio.table"
    assert any("rrm/order_agreement" in key for row in logged for key in row)
    assert any("rrm/alarms" in key for row in logged for key in row)
