"""The reward of a batch of replies, as a trainer calls it, with stand-ins for the trainer's own side."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from rrm_plugin import ConfigError, GroupError, training
from rrm_plugin.training import JudgeTrainingReward, RewardRule, verdict_reward
from rrm_plugin.training.batches import consistent

ONE, TWO = r"<think>a</think>\boxed{Assistant 1}", r"<think>bc</think>\boxed{Assistant 2}"
PROMPT = [{"role": "user", "content": "which?"}]
END = 7


@dataclass
class Trainer:
    """The callbacks of a trainer that renders prompts with an opening tag of thinking, or without."""

    tail: str = ""
    logged: dict = field(default_factory=dict)
    eos_token_ids: tuple = (END,)
    max_completion_length: int = 8

    def log_metric(self, name, value):
        self.logged[name] = value

    def log_extra(self, name, values):
        self.logged[name] = values

    @property
    def processing_class(self):
        return SimpleNamespace(apply_chat_template=lambda prompt, **_: f"{prompt[0]['content']}{self.tail}")


def paid(reward, completions, labels, trainer=None, **columns):
    trainer = trainer or Trainer()
    return reward(
        [PROMPT] * len(completions),
        completions,
        label=labels,
        log_metric=trainer.log_metric,
        log_extra=trainer.log_extra,
        **columns,
    )


def test_rewards_and_metrics_of_a_batch():
    trainer = Trainer()
    rewards = paid(JudgeTrainingReward(), [ONE, TWO, "?", ONE], [1, 1, 1, 1], trainer)
    assert rewards == [1.0, -1.0, -1.0, 1.0]
    assert trainer.logged == {
        "judge/accuracy": 0.5,
        "judge/malformed": 0.25,
        "judge/no_verdict/no_verdict": 0.25,
        "judge/first_rate": 2 / 3,
        "judge/thinking_characters": 1.0,
        "judge_verdict": ["first, right", "second, wrong", "no verdict (no_verdict)", "first, right"],
    }


@pytest.mark.parametrize(
    "completion",
    [
        [{"role": "assistant", "content": ONE}],
        {"role": "assistant", "content": ONE},
        [{"role": "assistant", "reasoning_content": "a", "content": r"\boxed{Assistant 1}"}],
        [{"role": "assistant", "thinking": "a", "content": r"\boxed{Assistant 1}"}],
    ],
)
def test_replies_come_as_messages_too(completion):
    reward = JudgeTrainingReward(require_thinking=True)
    assert paid(reward, [completion], [1]) == [1.0]


def test_tokens_say_whether_a_reply_is_finished_and_how_long_it_is():
    trainer = Trainer()
    untagged = r"\boxed{Assistant 1}"
    ids = [[1, 2, END], [1, 2, 3]]
    reward = JudgeTrainingReward(length_budget=2, length_penalty=1.0)
    assert paid(reward, [untagged] * 2, [1, 1], trainer, completion_ids=ids) == [0.5, -1.5]
    assert trainer.logged["judge/over_budget"] == 1.0 and trainer.logged["judge/no_verdict/cut_off"] == 0.5


def test_without_end_tokens_the_limit_tells():
    trainer = Trainer(eos_token_ids=(), max_completion_length=3)
    ids = [[1, 2], [1, 2, 3], []]
    assert paid(JudgeTrainingReward(), [r"\boxed{Assistant 1}"] * 3, [1] * 3, trainer, completion_ids=ids) == [1, -1, 1]


def test_an_opening_tag_that_the_template_writes_belongs_to_the_reply():
    never_ends = r"Perhaps \boxed{Assistant 1}. Then again"
    assert paid(JudgeTrainingReward(), [never_ends], [1], Trainer()) == [1.0]
    assert paid(JudgeTrainingReward(), [never_ends], [1], Trainer(tail="\nassistant\n<think>\n")) == [-1.0]
    assert paid(JudgeTrainingReward(), [f"so</think>{ONE}"], [1], Trainer(tail="<think>\n")) == [1.0]


def test_a_text_prompt_shows_its_own_tail():
    reward = JudgeTrainingReward()
    assert reward(["which? <think>\n"], [r"\boxed{Assistant 1} hm"], label=[1]) == [-1.0]


@pytest.mark.parametrize("columns", [{}, {"label": [1, 2]}, {"labels": [1]}])
def test_a_missing_label_column_is_named(columns):
    with pytest.raises(GroupError, match="'label'"):
        JudgeTrainingReward()([PROMPT], [ONE], **columns)


def test_labels_may_have_another_name():
    assert JudgeTrainingReward(label_column="better")([PROMPT], [ONE], better=["1"]) == [1.0]


def test_consistency_pays_for_both_orders_only():
    trainer = Trainer()
    completions = [ONE, ONE, ONE, TWO, "?", TWO, ONE]
    labels = [1, 1, 1, 2, 2, 2, 1]
    pairs = ["a", "a", "a", "a", "a", "b", ""]
    rewards = paid(JudgeTrainingReward(consistency=True), completions, labels, trainer, pair=pairs)
    assert rewards == [1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0]
    assert trainer.logged["judge/both_right"] == 0.5 and trainer.logged["judge/unpaired"] == pytest.approx(3 / 7)
    assert trainer.logged["judge/accuracy"] == pytest.approx(6 / 7)
    assert trainer.logged["judge_verdict"][1] == "first, right, not both right"


def test_consistency_without_any_other_order_says_what_to_change():
    with pytest.raises(GroupError, match=r"--orders both.*shuffle_dataset=False"):
        paid(JudgeTrainingReward(consistency=True), [ONE, ONE], [1, 1], pair=["a", "a"])
    with pytest.raises(GroupError, match="'pair'"):
        paid(JudgeTrainingReward(consistency=True), [ONE], [1])


@dataclass
class Rank:
    """One of two ranks whose members are given."""

    rank: int
    parts: list
    size: int = 2

    def gather(self, item):
        assert item == self.parts[self.rank]
        return self.parts


def test_the_other_order_may_be_on_another_rank():
    rule = RewardRule()
    left, right = [verdict_reward(ONE, 1)], [verdict_reward(TWO, 2), verdict_reward(ONE, 2)]
    parts = [[("a", 1, True)], [("a", 2, True), ("b", 2, False)]]
    (mine,) = consistent(left, ["a"], [1], rule, Rank(0, parts))
    theirs = consistent(right, ["a", "b"], [2, 2], rule, Rank(1, parts))
    assert (mine.reward, mine.both_right) == (1.0, True)
    assert [(outcome.reward, outcome.both_right) for outcome in theirs] == [(1.0, True), (-1.0, None)]


def test_an_error_on_one_rank_reaches_the_others(monkeypatch):
    told = []

    class Telling(Rank):
        def gather(self, item):
            told.append(item)
            return [item]

    monkeypatch.setattr("rrm_plugin.training.batches.ranks", lambda: Telling(0, []))
    with pytest.raises(ConfigError, match="label must be"):
        paid(JudgeTrainingReward(consistency=True), [ONE], ["A"], pair=["a"])
    (error,) = told
    with pytest.raises(ConfigError, match="label must be"):
        consistent([verdict_reward(ONE, 1)], ["a"], [1], RewardRule(), Rank(0, [[("a", 1, True)], error]))


def test_an_evaluation_of_one_prompt_at_a_time_is_no_error():
    trainer = Trainer()
    trainer.model = SimpleNamespace(training=False)
    assert paid(JudgeTrainingReward(consistency=True), [ONE, TWO], [1, 1], trainer, pair=["a", "a"]) == [1.0, -1.0]
    trainer.model.training = True
    with pytest.raises(GroupError):
        paid(JudgeTrainingReward(consistency=True), [ONE, TWO], [1, 1], trainer, pair=["a", "a"])


def test_rule_and_settings_do_not_mix():
    with pytest.raises(ConfigError, match="not both"):
        JudgeTrainingReward(RewardRule(), right=2.0)
    with pytest.raises(ConfigError, match="'wright'"):
        JudgeTrainingReward(wright=2.0)


def test_it_pickles_and_has_a_name_for_the_log():
    reward = pickle.loads(pickle.dumps(JudgeTrainingReward(right=2.0)))
    assert reward.__name__ == "judge_training_reward" and paid(reward, [ONE], [1]) == [2.0]


def test_the_command_line_of_a_trainer_finds_a_configured_one(tmp_path, monkeypatch):
    (tmp_path / "reward.yaml").write_text("consistency: true\nright: 3\nname: configured\n")
    monkeypatch.setenv("RRM_REWARD_CONFIG", str(tmp_path / "reward.yaml"))
    training._configured_reward.cache_clear()
    reward = training.judge_training_reward
    training._configured_reward.cache_clear()
    assert (reward.__name__, reward.consistency, reward.rule.right) == ("configured", True, 3)
