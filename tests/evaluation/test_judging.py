"""Asking a judge about pairs: which orders, how many votes, what stands in the ledger, what a silent engine does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.engines.base import Reply, Sampling
from rrm_plugin.errors import ConfigError, EngineError, EngineUnavailableError
from rrm_plugin.evaluation.judging import Judging, chosen, drawn, judge_pairs
from rrm_plugin.evaluation.recorded import replay
from rrm_plugin.evaluation.simulated import accuracy_of, simulated_judge, truth_of_pairs
from rrm_plugin.judge import PairJudge
from rrm_plugin.ledger import Ledger
from rrm_plugin.prompts import load_prompt
from rrm_plugin.types import Reason
from rrm_plugin.verdicts import grammar
from tests.evaluation.judged import pair

RRM = load_prompt("rrm")


def judge(reply: Any, **settings: Any) -> PairJudge:
    return PairJudge(engine=ScriptedEngine(reply), prompt=RRM, **settings)


def first(_: Any) -> str:
    return "<think>.</think>\\boxed{Assistant 1}"


def second(_: Any) -> str:
    return "<think>a few words</think>\\boxed{Assistant 2}"


class Counting(ScriptedEngine):
    """A scripted judge that counts, without a counter that would make it another judge to a ledger."""

    asked = 0

    async def generate(self, messages: Any, sampling: Sampling) -> Reply:
        Counting.asked += 1
        return await super().generate(messages, sampling)


def test_both_orders_are_shown_and_told_by_the_order_of_the_data_set() -> None:
    shown: list[str] = []

    def reply(messages: Any) -> str:
        shown.append(messages[-1]["content"])
        return first(messages)

    (one,) = judge_pairs([pair("a")], Judging(judge=judge(reply)))
    assert [call.verdict.value for call in one.calls] == ["first", "second"] and one.accuracy == 0.5
    places = [text.index("first of a") < text.index("second of a") for text in shown]
    assert sorted(places) == [False, True]


def test_one_order_is_drawn_by_the_id_and_the_seed_alone() -> None:
    pairs = [pair(str(i)) for i in range(200)]
    judging = Judging(judge=judge(first), orders="random")
    assert [judging.shown(one) for one in pairs] == [judging.shown(one) for one in reversed(pairs)][::-1]
    swapped = sum(judging.shown(one) == (True,) for one in pairs)
    assert 70 < swapped < 130
    other = Judging(judge=judge(first), orders="random", seed=1)
    assert any(judging.shown(one) != other.shown(one) for one in pairs)
    assert Judging(judge=judge(first), orders="fixed").shown(pairs[0]) == (False,)


def test_every_vote_is_cast() -> None:
    asked = []

    def reply(messages: Any) -> str:
        asked.append(1)
        return first(messages)

    (one,) = judge_pairs([pair("a")], Judging(judge=judge(reply), votes=3))
    assert len(asked) == 6 and one.votes(False) == one.votes(False)[:1] * 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"orders": "balanced"}, "orders must be"), ({"votes": 0}, "votes must be"), ({"votes": 2}, "temperature 0")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Judging(judge=judge(first, sampling=Sampling(temperature=0.0)), **settings)


def test_a_second_run_pays_nothing_and_tells_the_same(tmp_path: Path) -> None:
    runs = []
    Counting.asked = 0
    for _ in range(2):
        ledger = Ledger(tmp_path / "calls.db")
        asked = PairJudge(engine=Counting(second), prompt=RRM, ledger=ledger)
        runs.append(judge_pairs([pair("a"), pair("b")], Judging(judge=asked, votes=2)))
        ledger.close()
    assert Counting.asked == 8
    fields = ("swapped", "vote", "verdict", "reason", "prompt_tokens", "completion_tokens")
    told = [[[getattr(call, name) for name in fields] for one in run for call in one.calls] for run in runs]
    assert told[0] == told[1] and all(call.completion_tokens for one in runs[1] for call in one.calls)
    assert [call.paid for one in runs[1] for call in one.calls] == [False] * 8


def test_the_rows_of_a_run_replay_to_the_same_numbers(tmp_path: Path) -> None:
    import json

    def reply(messages: Any) -> str | Reply:
        text = messages[-1]["content"]
        if "first of c" in text:
            raise EngineError("gone", Reason.TIMEOUT)
        if "first of b" in text:
            return Reply(text="<think>on and on", finished=False, prompt_tokens=1, completion_tokens=9, seconds=0.1)
        return first(messages)

    pairs = [pair(name) for name in "abcd"]
    rows: list[dict[str, Any]] = []
    judged = judge_pairs(pairs, Judging(judge=judge(reply), votes=2), on_row=rows.append)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = replay(pairs, tmp_path / "texts.jsonl", grammar("rrm"))
    fields = ("swapped", "vote", "verdict", "reason", "completion_tokens")
    told = [
        [[getattr(call, name) for name in fields] for one in run for call in one.calls]
        for run in (judged, again.judged)
    ]
    assert told[0] == told[1]
    assert {call.reason for call in judged[1].calls} == {Reason.CUT_OFF}
    assert {call.reason for call in judged[2].calls} == {Reason.TIMEOUT}


def test_an_engine_that_never_answers_ends_the_run() -> None:
    def reply(_: Any) -> str:
        raise EngineError("no route", Reason.UNREACHABLE)

    with pytest.raises(EngineUnavailableError, match="answered none of 20 calls"):
        judge_pairs([pair(str(i)) for i in range(100)], Judging(judge=judge(reply)))


def test_a_limit_draws_by_id_whatever_else_there_is() -> None:
    pairs = [pair(str(i)) for i in range(50)]
    ten = drawn(pairs, 10, seed=3)
    assert len(ten) == 10 and [int(one.id) for one in ten] == sorted(int(one.id) for one in ten)
    assert drawn(pairs[::-1], 10, seed=3)[::-1] == ten
    assert drawn(pairs, None, seed=3) == pairs and drawn(pairs, 99, seed=3) == pairs
    assert chosen(["a", "b"], 1, 0, str) in (["a"], ["b"])


# -- a simulated judge ---------------------------------------------------------------------------------------------


def test_a_simulated_judge_is_right_as_often_as_it_says() -> None:
    pairs = [pair(str(i), label="12"[i % 2]) for i in range(600)]
    for accuracy in (0.0, 0.7, 1.0):
        made = simulated_judge(f"simulated:{accuracy}", truth_of_pairs(pairs, RRM))
        found = judge_pairs(pairs, Judging(judge=made))
        share = sum(one.accuracy for one in found) / len(found)
        assert share == pytest.approx(accuracy, abs=0.04 if 0 < accuracy < 1 else 0)
        # The two orders err apart from each other.
        both = sum(one.both or 0 for one in found) / len(found)
        assert both == pytest.approx(accuracy**2, abs=0.05)


def test_a_simulated_judge_tosses_a_coin_between_equals() -> None:
    pairs = [pair(str(i), label="=") for i in range(500)]
    made = simulated_judge("simulated:1", truth_of_pairs(pairs, RRM), seed=5)
    calls = [call for one in judge_pairs(pairs, Judging(judge=made)) for call in one.calls]
    assert sum(call.verdict.value == "first" for call in calls) / len(calls) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("spec", ["simulated:", "simulated:x", "simulated:1.2", "simulated:nan", "simulated"])
def test_an_accuracy_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="a share between 0 and 1"):
        accuracy_of(spec)
