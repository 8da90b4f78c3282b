"""Verdicts with the probability of their tokens, from the engine's reply to scores, the ledger and a resumed run."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
import sqlite3

import numpy as np
import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.engines import Reply, Sampling, ScriptedEngine
from rrm_plugin.engines.replay import RecordingEngine, ReplayEngine
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.judge import PairJudge
from rrm_plugin.ledger import Ledger
from rrm_plugin.looks import majority_of
from rrm_plugin.prompts import load_prompt
from rrm_plugin.schedules import schedule
from rrm_plugin.types import Group, Judgement, Match, Reason, TokenLogprob, Verdict

PROMPT = load_prompt("rrm")
ASKED = Sampling(top_logprobs=20)


def spelt(chance: float, *, opening: str = "\\boxed{Assistant ") -> tuple[str, tuple[TokenLogprob, ...]]:
    """The likelier verdict, with the chance of the first among its tokens."""
    said, sure = ("1", chance) if chance >= 0.5 else ("2", 1.0 - chance)
    top = (("1", math.log(chance)), ("2", math.log(1.0 - chance)))
    tokens = [TokenLogprob(text=opening, logprob=0.0)] if opening else []
    tokens += [TokenLogprob(text=said, logprob=math.log(sure), top=top), TokenLogprob(text="}", logprob=0.0)]
    return opening + said + "}", tuple(tokens)


def reply_of(chance: float, **changes) -> Reply:
    text, logprobs = spelt(chance)
    plain = Reply(text=text, finished=True, prompt_tokens=9, completion_tokens=3, seconds=0.1, logprobs=logprobs)
    return dataclasses.replace(plain, **changes)


class Torn(ScriptedEngine):
    """Likes longer responses and the one shown first; gives log-probabilities where they are asked for."""

    def __init__(self, gives: bool = True, name: str = "torn") -> None:
        super().__init__(lambda messages: "", name=name)
        self.gives, self.asked = gives, []

    async def generate(self, messages, sampling):
        self.asked.append(sampling)
        shown = str(messages[-1]["content"]).split("### Assistant ")[1:]
        ahead = 0.02 * (len(shown[0]) - len(shown[1].partition("## Analysis")[0])) + 1.0
        reply = reply_of(1.0 / (1.0 + math.exp(-ahead)))
        return reply if sampling.top_logprobs and self.gives else dataclasses.replace(reply, logprobs=None)


def judged(judge: PairJudge, vote: int = 0) -> Judgement:
    shown = PROMPT.prepare_query("q"), PROMPT.prepare("one"), PROMPT.prepare("three")
    return asyncio.run(judge.judge(*shown, Match(first=0, second=1), vote))


def group_scores(**settings):
    with RRMJudge(**{"engine": Torn(), "orders": "both", **settings}) as judge:
        (scores,) = judge.score_groups([GROUP])
    return scores


GROUP = Group(prompt="Why?", responses=["a", "bb" * 9, "ccc" * 9, "dddd" * 9])


def test_off_nothing_changes():
    """The same request, and the same key in a ledger as before there was this setting."""

    class Named:
        name, special_tokens = "http:RRM-7B", ()

    judge = PairJudge(engine=Named(), prompt=PROMPT, sampling=Sampling(seed=3))  # pyright: ignore
    messages = PROMPT.render(PROMPT.prepare_query("why?"), PROMPT.prepare("a"), PROMPT.prepare("b"))
    key = asyncio.run(judge._key(messages, 2))
    assert key == "c1090f48eed3e6d3009e4ef8bd9345aba9957f0a4ba1c3233d1680e05e8f3dff"
    soft = dataclasses.replace(judge, sampling=Sampling(seed=3, top_logprobs=20))
    assert asyncio.run(soft._key(messages, 2)) != key
    engine = Torn()
    with RRMJudge(engine=engine) as plain:
        judgement = plain.compare("Why?", "a", "bb")
        assert "soft_verdicts" not in plain.tournament.settings
    assert judgement.chance is None and judgement.points in (0.0, 1.0)
    assert {sampling.top_logprobs for sampling in engine.asked} == {0}


def test_a_judgement_has_the_chance_of_its_tokens():
    judgement = judged(PairJudge(engine=Torn(), prompt=PROMPT, sampling=ASKED))
    assert judgement.chance is not None and 0.5 < judgement.chance < 0.9
    assert judgement.verdict is Verdict.FIRST and judgement.points == judgement.chance


def test_an_engine_without_them_gives_plain_verdicts_and_says_so_once(caplog):
    judge = PairJudge(engine=Torn(gives=False, name="silent"), prompt=PROMPT, sampling=ASKED)
    with caplog.at_level(logging.WARNING):
        found = [judged(judge, vote) for vote in range(3)]
    assert [one.points for one in found] == [1.0] * 3 and found[0].chance is None
    assert [record.getMessage() for record in caplog.records] == [
        "soft_verdicts: the engine silent gives no log-probabilities; such a verdict counts as 1 or 0"
    ]


class CutOff(ScriptedEngine):
    """Its thinking never ends; the rest of a verdict comes with log-probabilities."""

    def __init__(self) -> None:
        super().__init__(lambda messages: "", name="cut off")

    async def generate(self, messages, sampling):
        tokens = (TokenLogprob(text="<think>so \\boxed{Assistant 1}?", logprob=-0.1),)
        text = "<think>so \\boxed{Assistant 1}?"
        return Reply(text=text, finished=False, prompt_tokens=5, completion_tokens=9, seconds=0.1, logprobs=tokens)

    async def resume(self, messages, text, sampling):
        assert sampling.top_logprobs == 20
        said, tokens = spelt(0.3, opening="")
        rambling = "\n\nOr \\boxed{Assistant 2}"
        more = (*tokens, TokenLogprob(text=rambling, logprob=-0.1, top=((rambling.replace("2", "1"), -0.1),)))
        rest = said + rambling
        return Reply(text=rest, finished=False, prompt_tokens=9, completion_tokens=4, seconds=0.1, logprobs=more)


def test_a_forced_verdict_has_the_chance_of_the_token_that_completes_it():
    judgement = judged(PairJudge(engine=CutOff(), prompt=PROMPT, sampling=ASKED))
    assert judgement.forced and judgement.verdict is Verdict.SECOND
    assert judgement.chance == pytest.approx(0.3)


def test_votes_keep_the_mean_of_their_chances():
    ballots = [
        Judgement(verdict=Verdict.FIRST, chance=0.9),
        Judgement(verdict=Verdict.FIRST, chance=0.3),
        Judgement(verdict=Verdict.SECOND),
        Judgement(verdict=None, reason=Reason.EMPTY),
    ]
    both = majority_of(ballots)
    assert both.verdict is Verdict.FIRST and both.chance == pytest.approx((0.9 + 0.3 + 0.0) / 3)
    assert majority_of([ballots[2], ballots[2]]).chance is None
    assert majority_of([ballots[3]]).chance is None


def test_both_orders_of_a_pair_are_added_up():
    """Each order names the response shown first, which says nothing; the chances know the longer one."""
    with RRMJudge(engine=Torn(), soft_verdicts=True) as judge:
        both = judge.compare("Why?", "short", "a longer one", both_orders=True)
    straight, turned = both.votes
    assert (straight.verdict, turned.verdict) == (Verdict.FIRST, Verdict.SECOND)
    assert both.verdict is Verdict.TIE and both.points == both.chance
    assert both.chance == pytest.approx(((straight.chance or 0) + (turned.chance or 0)) / 2)
    assert both.chance is not None and both.chance < 0.5


def test_an_order_without_a_verdict_leaves_no_chance():
    def answer(messages):
        if str(messages[-1]["content"]).find("short") < str(messages[-1]["content"]).find("longer"):
            raise EngineError("gone", Reason.UNREACHABLE)
        return reply_of(0.7)

    with RRMJudge(engine=ScriptedEngine(answer), soft_verdicts=True) as judge:
        both = judge.compare("Why?", "short", "longer", both_orders=True)
    assert both.verdict is None and both.chance is None and both.points is None


@pytest.mark.parametrize("reducer", ["win_rate", "majority", "elo", "bradley_terry"])
def test_scores_are_made_of_chances(reducer):
    """A judge that always names the first says nothing by its verdicts; with its chances it ranks by length."""
    plain, soft = (group_scores(schedule="round_robin", reducer=reducer, soft_verdicts=on) for on in (False, True))
    assert plain.values == [0.0] * 4 and plain.first_rate == soft.first_rate == 1.0
    assert soft.ranking == [3, 2, 1, 0]
    assert plain.agreement == soft.agreement == 0.0
    assert soft.settings["soft_verdicts"] is True


@pytest.mark.parametrize("spec", ["swiss:3", "adaptive:24", "knockout"])
def test_schedules_go_by_chances(spec):
    assert group_scores(schedule=spec, reducer="win_rate", soft_verdicts=True).ranking[0] == 3


def test_a_knockout_sends_on_whom_its_reducer_has_won():
    stepper = schedule("knockout").start(4, "both", np.random.default_rng(0))
    judgements: list[Judgement] = []
    for _ in range(2):
        matches = stepper.next_matches(judgements)
        # Always the first by verdict; by a little more where it is the higher index.
        judgements += [
            Judgement(verdict=Verdict.FIRST, match=match, chance=0.8 if match.first > match.second else 0.7)
            for match in matches
        ]
    assert {index for match in matches for index in match.pair} >= {3}


def test_a_resumed_run_has_bitwise_the_same_scores(tmp_path):
    settings = {"schedule": "round_robin", "soft_verdicts": True, "ledger": tmp_path / "judge.db", "votes": 3}
    first, second = Torn(), Torn()
    paid, resumed = (group_scores(engine=engine, **settings) for engine in (first, second))
    assert first.asked and not second.asked
    assert paid.values == resumed.values
    assert [one.chance for one in paid.judgements] == [one.chance for one in resumed.judgements]
    assert all(ballot.cached for one in resumed.judgements for ballot in one.ballots)
    with sqlite3.connect(tmp_path / "judge.db") as connection:
        chances = [row[0] for row in connection.execute("SELECT chance FROM judgements")]
        (matches,) = connection.execute("SELECT matches FROM groups").fetchone()
    assert all(0 < chance < 1 for chance in chances)
    assert [one["chance"] for one in json.loads(matches)] == [one.chance for one in paid.judgements]


def test_calls_that_were_recorded_without_are_made_again(tmp_path):
    engine = Torn()
    group_scores(engine=engine, ledger=tmp_path / "judge.db")
    before = len(engine.asked)
    scores = group_scores(engine=engine, ledger=tmp_path / "judge.db", soft_verdicts=True)
    assert len(engine.asked) == 2 * before and all(one.chance is not None for one in scores.judgements)


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_older_ledger_resumes_as_before(tmp_path, version):
    path = tmp_path / "judge.db"
    paid = group_scores(engine=Torn(), ledger=path)
    older = {"1": "DROP TABLE group_numbers; ALTER TABLE groups DROP COLUMN lengths;", "2": ""}[version]
    connection = sqlite3.connect(path)
    connection.executescript(
        f"{older} ALTER TABLE judgements DROP COLUMN chance; UPDATE meta SET value = '{version}' WHERE name = 'schema'"
    )
    connection.close()
    engine = Torn()
    assert group_scores(engine=engine, ledger=path).values == paid.values and not engine.asked
    soft = group_scores(engine=engine, ledger=path, soft_verdicts=True)
    assert (
        engine.asked and group_scores(engine=Torn(gives=False), ledger=path, soft_verdicts=True).values == soft.values
    )
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == ("3",)


def test_a_record_keeps_the_chance(tmp_path):
    ledger = Ledger(tmp_path / "judge.db")
    told = 0.1 + 0.2
    judgement = Judgement(verdict=Verdict.FIRST, key="k", chance=told, engine="e")
    asyncio.run(ledger.record(judgement, finished=True, answered=True))
    found = asyncio.run(ledger.find("k"))
    ledger.close()
    assert found is not None and found.chance == told


def test_the_chance_of_a_verdict_that_is_read_otherwise_now_is_left_out(tmp_path):
    path = tmp_path / "judge.db"
    judge = PairJudge(engine=Torn(), prompt=PROMPT, sampling=ASKED, ledger=Ledger(path))
    first = judged(judge)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE judgements SET verdict = 'second'")
    again = judged(judge)
    assert first.chance is not None and again.cached
    assert (again.verdict, again.chance) == (first.verdict, None)


def test_a_recording_plays_the_chances_again(tmp_path):
    path = tmp_path / "texts.jsonl"
    recorded = group_scores(engine=RecordingEngine(Torn(), path), soft_verdicts=True)
    played = group_scores(engine=ReplayEngine(path), soft_verdicts=True)
    assert played.values == recorded.values
    group_scores(engine=RecordingEngine(Torn(), tmp_path / "plain.jsonl"))
    assert "logprobs" not in (tmp_path / "plain.jsonl").read_text()


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_a_setting_that_cannot_work_is_named(wrong):
    with pytest.raises(ConfigError, match="soft_verdicts must be true or false"):
        RRMJudge(engine="scripted:longer", soft_verdicts=wrong)
