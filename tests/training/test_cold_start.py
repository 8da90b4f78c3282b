"""A judge's own right replies: sampled, judged, balanced, in a form to fine-tune on."""

from __future__ import annotations

import itertools
import json

import pytest
from click.testing import CliRunner

from rrm_plugin import ConfigError
from rrm_plugin.cli import main
from rrm_plugin.engines import Reply, ScriptedEngine
from rrm_plugin.errors import EngineError, EngineUnavailableError
from rrm_plugin.training import verdict_reward
from rrm_plugin.training.builder import write_training_data
from rrm_plugin.training.candidates import Preparation
from rrm_plugin.training.cold_start import ColdStart, write_cold_start
from rrm_plugin.training.sources import source
from rrm_plugin.types import Reason


@pytest.fixture
def rows(tmp_path):
    pairs = [{"prompt": f"q {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    write_training_data([source(str(tmp_path / "pairs.jsonl"))], tmp_path / "train.jsonl", Preparation())
    return source(str(tmp_path / "train.jsonl"))


def is_first(messages) -> bool:
    return "good" in messages[-1]["content"].split("### Assistant 2")[0].split("### Assistant 1")[1]


def verdict(first, thought="."):
    return rf"<think>{thought}</think>\boxed{{Assistant {1 if first else 2}}}"


def sample(tmp_path, rows, reply, resume=None, **settings):
    out = tmp_path / "sft.jsonl"
    engine = ScriptedEngine(reply, resume=resume)
    summary = write_cold_start(rows, out, ColdStart(engine=engine, **settings))
    return summary, [json.loads(line) for line in out.read_text().splitlines()]


def test_right_replies_are_kept_and_both_labels_equally_often(tmp_path, rows):
    thoughts = itertools.count()

    def reply(messages):
        # Always the first of the two: right for some rows, wrong for the others, and right for both where asked twice.
        number = next(thoughts)
        return verdict(is_first(messages) if number % 3 else number % 2 == 0, f"thought {number}")

    summary, written = sample(tmp_path, rows, reply, samples=6)
    labels = [row["label"] for row in written]
    assert labels == [1, 2] * (len(written) // 2) and len(written) > 20
    for row in written:
        (answer,) = row["completion"]
        assert answer["role"] == "assistant" and verdict_reward(answer["content"], row["label"]).correct
        assert row["prompt"][-1]["role"] == "user" and row["id"].startswith(row["pair"])
    assert len({row["id"] for row in written}) == len(written), "one reply per row"
    assert summary.rows == 40 and summary.replies == 240 == summary.right + summary.wrong
    assert summary.written == len(written) and summary.solved == summary.left_out + summary.written


def test_replies_per_row_are_distinct(tmp_path, rows):
    summary, written = sample(tmp_path, rows, lambda messages: verdict(is_first(messages)), samples=4, per_row=3)
    assert len({row["id"] for row in written}) == len(written)
    thoughts = itertools.count()
    summary, written = sample(
        tmp_path, rows, lambda messages: verdict(is_first(messages), str(next(thoughts))), samples=4, per_row=3
    )
    assert len(written) > 2 * len({row["id"] for row in written}) and summary.right == 160


def test_enough_is_enough(tmp_path, rows):
    asked = itertools.count()

    def reply(messages):
        next(asked)
        return verdict(is_first(messages))

    summary, written = sample(tmp_path, rows, reply, samples=2, most=5)
    assert [row["label"] for row in written] == [1, 2, 1, 2] and summary.rows < 40


def test_messages_are_the_other_form(tmp_path, rows):
    _, written = sample(tmp_path, rows, lambda messages: verdict(is_first(messages)), form="messages", samples=1)
    assert [message["role"] for message in written[0]["messages"]] == ["system", "user", "assistant"]
    assert "prompt" not in written[0] and "completion" not in written[0]


def test_a_model_that_knows_no_verdict_is_made_to_state_one(tmp_path, rows):
    def resume(messages, text):
        assert text.endswith("</think>\n\n\\boxed{Assistant ")
        return f"{1 if is_first(messages) else 2}}}. That is my opinion, and"

    summary, written = sample(tmp_path, rows, lambda messages: "The first has merit.", resume, samples=2)
    texts = {row["completion"][0]["content"] for row in written}
    assert texts == {f"<think>\nThe first has merit.\n</think>\n\n\\boxed{{Assistant {label}}}" for label in (1, 2)}
    assert summary.forced == 80 and summary.malformed == {}
    with pytest.raises(ConfigError, match=r"80 without a verdict \(no_verdict 80\)"):
        sample(tmp_path, rows, lambda messages: "The first has merit.", resume, samples=2, force=False)


def test_a_forced_verdict_that_is_wrong_or_unreadable_is_not_kept(tmp_path, rows):
    def resume(messages, text):
        return "2}" if is_first(messages) else "1}"

    with pytest.raises(ConfigError, match="not one right reply"):
        sample(tmp_path, rows, lambda messages: "Hm.", resume, samples=1)
    with pytest.raises(ConfigError, match="not one right reply"):
        sample(tmp_path, rows, lambda messages: "Hm.", lambda messages, text: "three of them", samples=1)


def test_thinking_can_be_required(tmp_path, rows):
    def reply(messages):
        return rf"\boxed{{Assistant {1 if is_first(messages) else 2}}}"

    summary, _ = sample(tmp_path, rows, reply, samples=1)
    assert summary.right == 40
    with pytest.raises(ConfigError, match="no_thinking 40"):
        sample(tmp_path, rows, reply, samples=1, require_thinking=True)


def test_failed_calls_are_counted_and_a_dead_engine_ends_the_run(tmp_path, rows):
    asked = itertools.count()

    def shaky(messages):
        if next(asked) % 4 == 1:
            raise EngineError("busy", Reason.RATE_LIMITED)
        return verdict(is_first(messages))

    summary, _ = sample(tmp_path, rows, shaky, samples=2)
    assert summary.malformed == {"rate_limited": 20} and summary.right == 60

    def dead(messages) -> Reply:
        raise EngineError("no route", Reason.UNREACHABLE)

    with pytest.raises(EngineUnavailableError, match="no route"):
        sample(tmp_path, rows, dead)


def test_a_judge_that_only_knows_the_first_place_teaches_nothing(tmp_path, rows):
    with pytest.raises(ConfigError, match="label 2"):
        sample(tmp_path, rows, lambda messages: verdict(True))


@pytest.mark.parametrize(
    ("line", "message"),
    [('{"prompt": "text", "label": 1}', "rrm train-data"), ('{"prompt": [], "label": 3}', "label"), ("{", "broken")],
)
def test_rows_of_another_kind_are_an_error_that_names_the_line(tmp_path, line, message):
    (tmp_path / "other.jsonl").write_text(line + "\n")
    with pytest.raises(ConfigError, match=message) as caught:
        sample(tmp_path, source(str(tmp_path / "other.jsonl")), lambda messages: verdict(True))
    assert "line 1" in str(caught.value)


@pytest.mark.parametrize("settings", [{"samples": 0}, {"per_row": 0}, {"most": 1}, {"form": "text"}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError):
        ColdStart(engine=ScriptedEngine.named("first"), **settings)


def test_the_command_line(tmp_path, rows):
    out = tmp_path / "sft.jsonl"
    arguments = ["cold-start", rows.path, "--out", str(out), "--engine", "scripted:longer", "--samples", "1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "40 rows, 40 replies: 40 right, 0 wrong" in result.output and out.exists()
    help_text = CliRunner().invoke(main, ["cold-start", "--help"], terminal_width=80).output
    assert max(map(len, help_text.splitlines())) <= 80
    result = CliRunner().invoke(main, [*arguments[:4], "--samples", "1"])
    assert result.exit_code == 2 and "--engine" in result.output
