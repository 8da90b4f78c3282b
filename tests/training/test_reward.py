"""What one reply of a judge in training is paid."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin import ConfigError, Verdict
from rrm_plugin.training import RewardRule, verdict_reward
from rrm_plugin.training.reward import NO_THINKING, partners

ONE, TWO = r"\boxed{Assistant 1}", r"\boxed{Assistant 2}"


@pytest.mark.parametrize("label", [1, 2, "1", " 2"])
def test_the_right_verdict_earns_one_and_the_other_loses_one(label):
    first = verdict_reward(f"<think>so</think>{ONE}", label)
    second = verdict_reward(f"<think>so</think>{TWO}", label)
    right, wrong = (first, second) if int(label) == 1 else (second, first)
    assert (right.reward, right.correct, right.malformed) == (1.0, True, False)
    assert (wrong.reward, wrong.correct, wrong.malformed) == (-1.0, False, False)
    assert first.verdict is Verdict.FIRST and first.thinking == "so" and first.reason is None


@pytest.mark.parametrize(
    ("text", "finished", "reason"),
    [
        ("I wonder.", True, "no_verdict"),
        ("", True, "empty"),
        (r"\boxed{Assistant 3}", True, "invalid"),
        (f"{ONE} {TWO} {ONE}", True, "contradictory"),
        (f"<think>{ONE}", True, "cut_off"),
        (f"it is {ONE} I think", False, "cut_off"),
    ],
)
def test_no_verdict_is_malformed_and_says_why(text, finished, reason):
    outcome = verdict_reward(text, 1, finished=finished)
    assert (outcome.reward, outcome.malformed, outcome.reason, outcome.correct) == (-1.0, True, reason, False)


def test_a_tie_is_wrong_but_not_malformed():
    outcome = verdict_reward("[[A=B]]", 1, rule=RewardRule(grammar="arena", malformed=-2.0))
    assert (outcome.reward, outcome.malformed, outcome.verdict) == (-1.0, False, Verdict.TIE)


@pytest.mark.parametrize("label", [0, 3, "A", "", None, 1.0, True])
def test_another_label_is_an_error_and_not_a_reward(label):
    with pytest.raises(ConfigError, match="label must be 1 or 2"):
        verdict_reward(ONE, label)


def test_thinking_that_began_in_the_prompt_and_never_ended_is_no_answer():
    text = f"Perhaps {ONE}, but I have to check"
    assert verdict_reward(text, 1).correct
    rule = RewardRule(prefix="<think>\n")
    assert verdict_reward(text, 1, rule=rule).reason == "cut_off"
    assert verdict_reward(f"{text}</think>{TWO}", 2, rule=rule).correct
    assert verdict_reward(f"<think>\n{text}</think>{TWO}", 2, rule=rule).thinking == text


def test_thinking_can_be_required():
    rule = RewardRule(require_thinking=True)
    assert verdict_reward(ONE, 1, rule=rule).reason == NO_THINKING
    assert verdict_reward(f"hm</think>{ONE}", 1, rule=rule).correct


def test_the_form_can_be_paid_apart():
    rule = RewardRule(format_weight=0.25)
    rewards = [verdict_reward(text, 1, rule=rule).reward for text in (ONE, TWO, "?")]
    assert rewards == [1.25, -0.75, -1.0]


@pytest.mark.parametrize(("tokens", "reward"), [(1, 1.0), (100, 1.0), (150, 0.75), (200, 0.5), (10_000, 0.5)])
def test_tokens_beyond_the_budget_cost_up_to_the_penalty(tokens, reward):
    rule = RewardRule(length_budget=100, length_penalty=0.5)
    assert verdict_reward(ONE, 1, tokens=tokens, rule=rule).reward == reward


def test_a_budget_without_a_count_of_tokens_is_refused():
    with pytest.raises(ConfigError, match="length_budget counts tokens"):
        verdict_reward(ONE, 1, rule=RewardRule(length_budget=100))


@pytest.mark.parametrize(
    "settings",
    [
        {"right": -1.0},
        {"malformed": 1.0},
        {"length_budget": 0},
        {"format_weight": -1.0},
        {"grammar": "nothing"},
        {"wright": 1.0},
        {"right": "high"},
    ],
)
def test_settings_that_cannot_teach_are_refused(settings):
    with pytest.raises(ConfigError):
        RewardRule.from_settings(settings)


def test_the_rule_can_come_from_a_file(tmp_path, monkeypatch):
    (tmp_path / "reward.yaml").write_text("malformed: -2\nrequire_thinking: true\n")
    monkeypatch.delenv("RRM_REWARD_CONFIG", raising=False)
    assert RewardRule.from_environment() == RewardRule()
    monkeypatch.setenv("RRM_REWARD_CONFIG", str(tmp_path / "reward.yaml"))
    assert RewardRule.from_environment() == RewardRule(malformed=-2, require_thinking=True)
    monkeypatch.setenv("RRM_REWARD_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        RewardRule.from_environment()


@given(st.text(), st.sampled_from([1, 2]), st.booleans())
def test_any_text_is_paid_and_none_raises(text, label, finished):
    outcome = verdict_reward(text, label, finished=finished)
    assert outcome.reward == (1.0 if outcome.correct else -1.0)
    assert outcome.malformed == (outcome.reason is not None)
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_partners_are_the_nth_replies_to_the_two_orders():
    pairs = ["a", "a", "b", "a", "", "b", "a", "a"]
    labels = [1, 1, 2, 2, 1, 2, "2", "2"]
    assert partners(pairs, labels) == [3, 6, None, 0, None, None, 1, None]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2]))))
def test_partners_are_mutual_and_of_the_other_order(rows):
    found = partners([pair for pair, _ in rows], [label for _, label in rows])
    for index, other in enumerate(found):
        if other is not None:
            assert found[other] == index
            assert rows[other] == (rows[index][0], 3 - rows[index][1])
    for pair in "abc":
        counts = [rows.count((pair, label)) for label in (1, 2)]
        assert sum(other is not None for row, other in zip(rows, found, strict=True) if row[0] == pair) == 2 * min(
            counts
        )
