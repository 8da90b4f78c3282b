"""What TRL's users need beside the judge; the trainers themselves are in tests/contract/test_trl.py."""

from __future__ import annotations

import pytest

from rrm_plugin import ConfigError, EngineError, EngineUnavailableError, GroupError, Reason, RRMJudge
from rrm_plugin.adapters import trl
from rrm_plugin.engines import ScriptedEngine


@pytest.fixture
def judge():
    with RRMJudge(engine="scripted:longer") as judge:
        yield judge


def test_pairwise_judge_names_the_better_one(judge):
    pairs = [["short", "much longer"], ["much longer", "short"], ["same", "same"]]
    assert trl.PairwiseJudge(judge).judge(["q"] * 3, pairs) == [1, 0, -1]


def test_shuffle_order_decides_between_the_judges_orders_and_the_one_given():
    with RRMJudge(engine="scripted:first") as judge:
        assert trl.PairwiseJudge(judge).judge(["q"], [["a", "b"]]) == [-1]
        assert trl.PairwiseJudge(judge).judge(["q"], [["a", "b"]], shuffle_order=False) == [0]


def test_a_failed_comparison_is_minus_one():
    with RRMJudge(engine=ScriptedEngine(lambda messages: "well")) as judge:
        assert trl.PairwiseJudge(judge).judge(["q"], [["a", "b"]]) == [-1]


def test_rank_judge_orders_and_puts_the_unscored_last(judge):
    assert trl.RankJudge(judge).judge(["q"], [["aa", "a", "aaaa", "aaa"]]) == [[2, 3, 0, 1]]
    with RRMJudge(engine=ScriptedEngine(lambda messages: "well")) as silent:
        assert trl.RankJudge(silent).judge(["q"], [["a", "b", "c"]]) == [[0, 1, 2]]


@pytest.mark.parametrize("pairs", [[["a", "b", "c"]], [["a", "b"], ["c", "d"]]])
def test_rows_of_another_shape_are_refused(judge, pairs):
    with pytest.raises(GroupError):
        trl.PairwiseJudge(judge).judge(["q"], pairs)


def test_online_dpo_pairs_are_half_a_batch_apart(judge):
    reward = trl.OnlineDPOReward(judge)
    rewards = reward(["p", "q", "p", "q"], ["a", "bbb", "aaa", "b"])
    assert rewards[0] < rewards[2] and rewards[1] > rewards[3]
    with pytest.raises(GroupError, match="OnlineDPOTrainer"):
        reward(["p", "p", "q", "q"], ["a"] * 4)


def _away(messages):
    raise EngineError("nobody there", Reason.UNREACHABLE)


def test_a_dead_engine_is_an_error_and_not_an_order():
    with RRMJudge(engine=ScriptedEngine(_away)) as judge:
        for old in (trl.PairwiseJudge(judge), trl.RankJudge(judge)):
            with pytest.raises(EngineUnavailableError):
                old.judge(["q"], [["a", "b"]])
        with pytest.raises(EngineUnavailableError):
            trl.OnlineDPOReward(judge)(["q", "q"], ["a", "b"])


def test_what_could_not_be_judged_is_warned_of(caplog):
    with RRMJudge(engine=ScriptedEngine(lambda messages: "well")) as judge:
        trl.OnlineDPOReward(judge)(["q", "q"], ["a", "b"])
    assert "2 of 2 responses are unscored" in caplog.text


def test_pairs_are_judged_whatever_schedule_the_judge_has_for_groups():
    with RRMJudge(engine="scripted:longer", schedule="reference") as judge:
        assert trl.PairwiseJudge(judge).judge(["q"], [["a", "bb"]]) == [1]
        assert trl.OnlineDPOReward(judge)(["q", "q"], ["a", "bb"]) == [-1.0, 1.0]


def test_the_judge_of_the_settings_file_is_made_at_first_use(tmp_path, monkeypatch):
    trl._configured_judge.cache_clear()
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="RRM_CONFIG"):
        _ = trl.rrm_judge
    (tmp_path / "judge.yaml").write_text("engine: scripted:longer\nname: mine\n")
    monkeypatch.setenv("RRM_CONFIG", str(tmp_path / "judge.yaml"))
    assert trl.rrm_judge is trl.rrm_judge and trl.rrm_judge.__name__ == "mine"
    trl._configured_judge.cache_clear()
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = trl.nothing_of_that_name
