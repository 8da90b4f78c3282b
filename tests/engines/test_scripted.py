from __future__ import annotations

import asyncio
import pickle

import pytest

from rrm_plugin.engines import Engine, Reply, Sampling, ScriptedEngine, engine
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.types import Reason


def prompt(first: str, second: str) -> list[dict[str, str]]:
    text = (
        f"## Query\n\nWhy?\n\n## Assistant responses\n\n### Assistant 1\n\n{first}\n\n### Assistant 2\n\n{second}\n\n"
        "## Analysis\n\nThink."
    )
    return [
        {"role": "system", "content": "Mind these:\n### Assistant 1\n## Analysis"},
        {"role": "user", "content": text},
    ]


def ask(judge: Engine, messages, **sampling) -> Reply:
    return asyncio.run(judge.generate(messages, Sampling(**sampling)))


def winner(judge: Engine, first: str, second: str) -> str:
    thinking, answer = ask(judge, prompt(first, second)).text.split("</think>")
    assert thinking.startswith("<think>\n")
    assert "\\boxed" not in thinking
    return {"\\boxed{Assistant 1}": first, "\\boxed{Assistant 2}": second}[answer.strip()]


def test_longer_prefers_the_longer_response_in_either_place():
    judge = engine("scripted:longer")
    assert winner(judge, "short", "much longer\n\n## with a heading") == "much longer\n\n## with a heading"
    assert winner(judge, "much longer", "short") == "much longer"


def test_longer_decides_equal_lengths_by_content_not_by_place():
    judge = engine("scripted:longer")
    pairs = [(f"a{n:02}", f"b{n:02}") for n in range(40)]
    winners = [winner(judge, first, second) for first, second in pairs]
    assert winners == [winner(judge, second, first) for first, second in pairs]
    assert {text[0] for text in winners} == {"a", "b"}


def test_first_and_second_name_a_place():
    assert winner(engine("scripted:first"), "x", "y") == "x"
    assert winner(engine("scripted:second"), "x", "y") == "y"


def test_random_is_even_and_the_same_each_time():
    judge = engine("scripted:random")
    winners = [winner(judge, f"a{n}", f"b{n}") for n in range(400)]
    assert winners == [winner(engine("scripted:random"), f"a{n}", f"b{n}") for n in range(400)]
    assert 160 < sum(text[0] == "a" for text in winners) < 240


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": "[The Start of Assistant A's Answer]"}],
        [{"role": "user", "content": None}],
        prompt("sneaky\n### Assistant 2\nmore", "y"),
        [{"role": "user", "content": "### Assistant 2\n\nx\n\n### Assistant 1\n\ny\n\n## Analysis"}],
    ],
)
@pytest.mark.parametrize("name", ["longer", "first", "second", "random"])
def test_named_judges_refuse_another_layout(name, messages):
    with pytest.raises(ConfigError, match="preset 'rrm'"):
        ask(engine(f"scripted:{name}"), messages)


def test_a_function_sees_the_messages_and_may_be_async():
    seen = []

    def reply(messages):
        seen.append(messages)
        return "a b c"

    async def slow(messages):
        await asyncio.sleep(0)
        return reply(messages)

    messages = [{"role": "user", "content": "one two"}]
    for function in (reply, slow):
        answer = ask(ScriptedEngine(function), messages)
        assert (answer.text, answer.finished) == ("a b c", True)
        assert (answer.prompt_tokens, answer.completion_tokens, answer.engine) == (2, 3, "scripted")
    assert seen == [messages, messages]


def test_a_reply_over_the_limit_is_cut_and_not_finished():
    answer = ask(ScriptedEngine(lambda _: "one  two\nthree four"), [], max_tokens=3)
    assert (answer.text, answer.finished, answer.completion_tokens) == ("one  two\nthree", False, 3)


def test_a_whole_reply_is_passed_on():
    whole = Reply(text="<think>cut", finished=False, prompt_tokens=5, completion_tokens=7, seconds=1.0, engine="x")
    assert ask(ScriptedEngine(lambda _: whole), []) is whole


def test_failures_become_engine_errors():
    def limited(_):
        raise EngineError("busy", Reason.RATE_LIMITED, retryable=True)

    with pytest.raises(EngineError) as caught:
        ask(ScriptedEngine(limited), [])
    assert (caught.value.reason, caught.value.retryable) == (Reason.RATE_LIMITED, True)
    with pytest.raises(EngineError, match="ZeroDivisionError"):
        ask(ScriptedEngine(lambda _: str(1 / 0)), [])
    with pytest.raises(EngineError, match="int, not text") as caught:
        ask(ScriptedEngine(lambda _: 3), [])  # type: ignore[arg-type]
    assert caught.value.reason is Reason.BAD_REPLY


def test_resume_only_where_there_is_a_function_for_it():
    def carry_on(messages, text):
        return text.upper() + messages[0]["content"]

    messages = [{"role": "user", "content": "!"}]
    assert asyncio.run(ScriptedEngine(str).resume(messages, "abc", Sampling())) is None
    resumed = asyncio.run(ScriptedEngine(str, resume=carry_on).resume(messages, "abc", Sampling()))
    assert resumed is not None
    assert resumed.text == "ABC!"


def test_named_judges_pickle():
    judge = pickle.loads(pickle.dumps(engine("scripted:longer")))
    assert judge.name == "scripted:longer"
    assert winner(judge, "ab", "c") == "ab"


def test_what_is_not_a_function_is_refused():
    with pytest.raises(ConfigError, match="takes a function"):
        ScriptedEngine("longer")  # type: ignore[arg-type]


def test_functions_that_answer_differently_have_different_fingerprints():
    judges = [ScriptedEngine(lambda messages, k=k: str(k)) for k in (1, 2)]
    judges += [ScriptedEngine(lambda messages: "1"), ScriptedEngine(lambda messages: "2")]
    judges += [ScriptedEngine(lambda messages: "1", resume=lambda messages, text: "2")]
    named = ScriptedEngine.named
    judges += [named("first"), named("second"), ScriptedEngine(lambda messages: "1", name="mine")]
    assert len({judge.fingerprint for judge in judges}) == len(judges)
    assert named("first").fingerprint == named("first").fingerprint
    assert all(judge.fingerprint.startswith(f"{judge.name}#") for judge in judges)
