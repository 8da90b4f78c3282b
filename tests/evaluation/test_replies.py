"""Replies on disk: found again, whatever a kill left behind, and never taken for another question's."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rrm_plugin import ConfigError
from rrm_plugin.engines import Reply, Sampling
from rrm_plugin.evaluation.replies import Replies, reply_key

REPLY = Reply(text="so\n\u2028 \ud83d \\boxed{B}", finished=True, prompt_tokens=3, completion_tokens=4, seconds=0.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "replies.jsonl"


def test_a_reply_is_found_again(path):
    with Replies(path) as replies:
        replies.add("k", {"question": "é"}, REPLY)
        replies.add("l", {}, dataclasses.replace(REPLY, text="other"))
        assert replies.get("k") == REPLY
        replies.add("m", {}, REPLY)
    with Replies(path) as again:
        assert len(again) == 3 and again.get("k") == REPLY and again.get("l").text == "other"
        assert again.get("x") is None
    assert [json.loads(line)["key"] for line in path.read_bytes().splitlines()] == ["k", "l", "m"]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_a_kill_broke_off_is_passed_over(path, cut):
    with Replies(path) as replies:
        replies.add("k", {}, REPLY)
        replies.add("l", {}, REPLY)
    path.write_bytes(path.read_bytes()[:-cut])
    with Replies(path) as again:
        # Without the last line's end alone, the line is whole.
        assert again.get("k") == REPLY and (again.get("l") is None) == (cut > 1)
        again.add("m", {}, REPLY)
    with Replies(path) as third:
        assert third.get("k") == third.get("m") == REPLY


@pytest.mark.parametrize("line", [b"[]", b"5", b'{"key": "k"}', b"\xff\xfe", b"", b'{"key": "k", "text": null}'])
def test_lines_of_another_kind_are_passed_over(path, line):
    path.write_bytes(line + b"\n")
    with Replies(path) as replies:
        assert len(replies) == 0
        replies.add("k", {}, REPLY)
        assert replies.get("k") == REPLY


def test_failures_are_written_and_not_taken_for_replies(path):
    with Replies(path) as replies:
        replies.add_failure("k", {"question": "q"}, "timeout", "too slow")
    assert json.loads(path.read_text())["failed"] == "timeout"
    with Replies(path) as again:
        assert again.get("k") is None
        again.add("k", {}, REPLY)
        assert again.get("k") == REPLY


def test_two_runs_cannot_write_one_file(path):
    pytest.importorskip("fcntl", reason="locks of POSIX")
    with Replies(path), pytest.raises(ConfigError, match="another run is writing"):
        Replies(path)
    Replies(path).close()


def test_a_file_that_cannot_be_made(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        Replies(tmp_path / "absent" / "file")


def test_a_key_depends_on_all_that_was_asked_with():
    sampling = Sampling(temperature=0.6)
    base = ("http:m", "chat", "gpqa/1", "prompt", sampling)
    others = [
        ("http:n", *base[1:]),
        (base[0], "plain", *base[2:]),
        (*base[:2], "gpqa/2", *base[3:]),
        (*base[:3], "prompt ", sampling),
        (*base[:4], Sampling(temperature=0.7)),
        (*base[:4], Sampling(temperature=0.6, stop=("x",))),
        (*base[:4], Sampling(temperature=0.6, draw=1)),
    ]
    assert len({reply_key(*asked) for asked in [base, *others]}) == 8
    assert reply_key(*base) == reply_key(*base[:4], Sampling(temperature=0.6))
