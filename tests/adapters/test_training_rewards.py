"""The reward of the judge's training in the shapes of OpenRLHF and verl; the same rule behind both."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import pytest

from rrm_plugin import ConfigError
from rrm_plugin.adapters import verl
from rrm_plugin.adapters.openrlhf import training as openrlhf
from rrm_plugin.adapters.verl import judge_training

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = r"\boxed{Assistant 1}", r"\boxed{Assistant 2}"
PROMPT = f"<|im_start|>user\nEnd with {ONE} or {TWO}.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(autouse=True)
def _fresh_rules(monkeypatch):
    monkeypatch.delenv("RRM_REWARD_CONFIG", raising=False)
    for module in (openrlhf, judge_training):
        module._rule.cache_clear()
    yield
    for module in (openrlhf, judge_training):
        module._rule.cache_clear()


def openrlhf_call(reply, label=1, prompt=PROMPT, query=None):
    return openrlhf.reward_func([prompt + reply if query is None else query], [prompt], [label])


def test_openrlhf_gets_numbers_for_its_single_reply():
    got = openrlhf_call(f"<think>so</think>{ONE}<|im_end|>")
    assert got["rewards"] == 1.0 and got["scores"] == 1.0
    assert got["extra_logs"] == {
        "judge_accuracy": 1.0,
        "judge_malformed": 0.0,
        "judge_first": 1.0,
        "judge_thinking_characters": 2.0,
    }
    wrong = openrlhf_call("I can't tell.<|im_end|>")
    assert wrong["rewards"] == -1.0 and wrong["scores"] == 0.0
    assert wrong["extra_logs"].keys() == got["extra_logs"].keys()


def test_openrlhf_gets_lists_for_several_replies():
    queries = [PROMPT + f"{answer}</s>" for answer in (ONE, TWO)]
    got = openrlhf.reward_func(queries, [PROMPT] * 2, [1, 1])
    assert got["rewards"] == [1.0, -1.0] and got["extra_logs"]["judge_first"] == [1.0, 0.0]


@pytest.mark.parametrize("end", ["<|im_end|>", "</s>", "<end_of_turn>\n", "<｜end▁of▁sentence｜>", "[EOS]"])
def test_openrlhf_replies_that_do_not_end_their_turn_are_cut_off(end):
    reply = f"The better one is {ONE}"
    assert openrlhf_call(reply + end)["rewards"] == 1.0
    assert openrlhf_call(reply)["extra_logs"]["judge_malformed"] == 1.0


def test_openrlhf_thinking_that_the_prompt_opens_has_to_end():
    opened = f"{PROMPT}<think>\n"
    assert openrlhf_call(f"{ONE} perhaps<|im_end|>", prompt=opened)["rewards"] == -1.0
    assert openrlhf_call(f"so</think>{ONE}<|im_end|>", prompt=opened)["rewards"] == 1.0


def test_openrlhf_prompts_cut_at_their_left_are_told_from_the_reply():
    long = "filler " * 100 + PROMPT
    assert openrlhf_call("", prompt=long, query=long[50:] + f"{TWO}<|im_end|>", label=2)["rewards"] == 1.0


def test_openrlhf_errors_reach_the_log_since_it_hides_exceptions(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(ConfigError, match="cannot be told from the prompt"):
        openrlhf_call("", query=f"something else {ONE}")
    with pytest.raises(ConfigError, match="label must be"):
        openrlhf_call(ONE, label="A")
    assert len(caplog.records) == 2


def test_openrlhf_loads_the_file_by_its_path():
    path = ROOT / "integrations" / "openrlhf" / "judge_reward.py"
    spec = importlib.util.spec_from_file_location("reward_func", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.reward_func([f"q{ONE}</s>"], ["q"], [1])["rewards"] == 1.0


def test_verl_gets_a_score_and_the_same_keys_every_time():
    right = verl.compute_score("skywork", f"<think>so</think>{ONE}", "1", {"index": 3})
    wrong = verl.compute_score(data_source="skywork", solution_str="?", ground_truth="2", extra_info=None)
    assert right == {"score": 1.0, "acc": 1.0, "malformed": 0.0, "first": 1.0, "thinking_characters": 2.0}
    assert wrong == {"score": -1.0, "acc": 0.0, "malformed": 1.0, "first": 0.0, "thinking_characters": 0.0}


def test_verl_passes_the_rules_settings_as_arguments():
    never_ends = f"Perhaps {ONE}, or"
    assert verl.compute_score("s", never_ends, "1")["score"] == 1.0
    assert verl.compute_score("s", never_ends, "1", prefix="<think>", malformed=-2.0)["score"] == -2.0
    assert verl.compute_score("s", ONE, "1", reward_router_address="host:1")["score"] == 1.0
    with pytest.raises(ConfigError, match="'consistency'"):
        verl.compute_score("s", ONE, "1", consistency=True)


@pytest.mark.parametrize("host", ["openrlhf", "verl"])
def test_settings_come_from_the_file_that_the_environment_names(host, tmp_path, monkeypatch):
    (tmp_path / "reward.yaml").write_text("right: 5\n")
    monkeypatch.setenv("RRM_REWARD_CONFIG", str(tmp_path / "reward.yaml"))
    if host == "openrlhf":
        assert openrlhf_call(f"{ONE}<|im_end|>")["rewards"] == 5
    else:
        assert verl.compute_score("s", ONE, "1")["score"] == 5


def test_verls_arguments_override_single_keys_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "reward.yaml").write_text("right: 5\nmalformed: -3\n")
    monkeypatch.setenv("RRM_REWARD_CONFIG", str(tmp_path / "reward.yaml"))
    assert verl.compute_score("s", ONE, "1", malformed=-2.0)["score"] == 5
    assert verl.compute_score("s", "?", "1", malformed=-2.0)["score"] == -2
    assert verl.compute_score("s", "?", "1")["score"] == -3
