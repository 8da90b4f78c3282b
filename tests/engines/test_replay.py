from __future__ import annotations

import asyncio
import json
import pickle
from pathlib import Path

import pytest

from rrm_plugin.engines import RecordingEngine, ReplayEngine, Reply, Sampling, ScriptedEngine, engine
from rrm_plugin.engines.replay import messages_key
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.types import Reason

ONE = [{"role": "user", "content": "One? 评\ud800"}]
TWO = [{"role": "user", "content": "Two?"}]
SAMPLING = Sampling()


def recorded(path: Path, *rows: dict) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return str(path)


def ask(judge, messages) -> Reply:
    return asyncio.run(judge.generate(messages, SAMPLING))


def test_texts_come_by_messages_and_votes_in_order(tmp_path):
    path = recorded(
        tmp_path / "texts.jsonl",
        {"messages": ONE, "text": "a", "finished": False, "prompt_tokens": 5, "completion_tokens": 6, "engine": "x"},
        {"messages": TWO, "text": "b"},
        {"key": messages_key(ONE), "text": "c"},
    )
    judge = engine(f"replay:{path}")
    assert judge.name == "replay:texts.jsonl"
    first = ask(judge, ONE)
    assert (first.text, first.finished, first.prompt_tokens, first.completion_tokens) == ("a", False, 5, 6)
    assert first.engine == "x"
    assert (ask(judge, ONE).text, ask(judge, TWO).text) == ("c", "b")
    assert ask(pickle.loads(pickle.dumps(judge)), ONE).text == "a"


def test_what_is_not_recorded_is_not_made_up(tmp_path):
    judge = engine(f"replay:{recorded(tmp_path / 'x.jsonl', {'messages': ONE, 'text': 'a'})}")
    assert ask(judge, ONE).text == "a"
    for messages in (TWO, ONE):
        with pytest.raises(EngineError, match=r"x\.jsonl") as caught:
            ask(judge, messages)
        assert caught.value.reason is Reason.NOT_RECORDED
    asyncio.run(judge.close())
    assert ask(judge, ONE).text == "a"


def test_repeat_begins_again(tmp_path):
    path = recorded(tmp_path / "x.jsonl", {"messages": ONE, "text": "a"}, {"messages": ONE, "text": "b"})
    judge = engine(f"replay:{path}", repeat=True)
    assert [ask(judge, ONE).text for _ in range(5)] == ["a", "b", "a", "b", "a"]


def test_the_key_does_not_depend_on_the_order_of_fields():
    assert messages_key([{"role": "user", "content": "x"}]) == messages_key([{"content": "x", "role": "user"}])
    assert messages_key(ONE) != messages_key(TWO)
    assert messages_key(TWO) == "9d0edf556224dc52b52a844ebdc6221f854dcabbdc93c2752d066c328c23daaa"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"text": "x"}', "line 1"),
        ('{"key": "k", "text": "x"}\n{"key": "k"}', "line 2"),
        ('{"key": "k", "text": 3}', "have to be texts"),
        ('{"key": 3, "text": "x"}', "have to be texts"),
        ("[]", "line 1"),
        ("not json", "line 1"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, content, says):
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(ConfigError, match=says):
        ReplayEngine(tmp_path / "x.jsonl")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl"):
        engine(f"replay:{tmp_path / 'nowhere.jsonl'}")


def test_what_was_recorded_replays_the_same(tmp_path):
    count = iter(range(100))
    path = tmp_path / "new.jsonl"
    source = ScriptedEngine(
        lambda messages: f"reply {next(count)} \u2028 评\n",
        resume=lambda messages, text: text + "!",
        special_tokens=("<s>",),
    )
    recorder = pickle.loads(pickle.dumps(RecordingEngine(engine("scripted:first"), path)))
    assert recorder.name == "scripted:first"
    recorder = RecordingEngine(source, path)
    assert recorder.special_tokens == ("<s>",)
    texts = [ask(recorder, messages).text for messages in (ONE, TWO, ONE)]
    rest = asyncio.run(recorder.resume(ONE, "so", SAMPLING))
    assert rest is not None
    replay = ReplayEngine(path)
    assert [ask(replay, messages).text for messages in (ONE, TWO, ONE)] == texts
    again = asyncio.run(replay.resume(ONE, "so", SAMPLING))
    assert again is not None
    assert again.text == rest.text == "so!"
    assert asyncio.run(replay.resume(ONE, "other", SAMPLING)) is None


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    (tmp_path / "copy").mkdir()
    one = ReplayEngine(recorded(tmp_path / "x.jsonl", {"messages": ONE, "text": "a"}))
    copy = ReplayEngine(recorded(tmp_path / "copy" / "x.jsonl", {"messages": ONE, "text": "a"}))
    assert one.name == copy.name == "replay:x.jsonl"
    assert one.fingerprint == copy.fingerprint == pickle.loads(pickle.dumps(one)).fingerprint
    other = ReplayEngine(recorded(tmp_path / "x.jsonl", {"messages": ONE, "text": "b"}))
    assert other.name == one.name
    assert other.fingerprint != one.fingerprint


def test_a_recorder_is_filed_as_the_engine_behind_it(tmp_path):
    class Served(ScriptedEngine):
        async def identify(self):
            self.name, self.fingerprint = "http:RRM-7B", "http:RRM-7B#1"
            return self.name

    recorder = RecordingEngine(Served(str, name="http:?"), tmp_path / "x.jsonl")
    assert asyncio.run(recorder.identify()) == recorder.name == "http:RRM-7B"
    assert recorder.fingerprint == "http:RRM-7B#1"


def test_a_recorder_of_an_engine_without_the_optional_members_has_its_name(tmp_path):
    class Plain:
        name = "mine"
        special_tokens = ()

    recorder = RecordingEngine(Plain(), tmp_path / "x.jsonl")  # type: ignore[arg-type]
    assert asyncio.run(recorder.identify()) == recorder.fingerprint == "mine"


def test_failures_are_not_recorded(tmp_path):
    def fail(messages):
        raise EngineError("down", Reason.UNREACHABLE)

    recorder = RecordingEngine(ScriptedEngine(fail), tmp_path / "x.jsonl")
    with pytest.raises(EngineError):
        ask(recorder, ONE)
    assert not (tmp_path / "x.jsonl").exists()
