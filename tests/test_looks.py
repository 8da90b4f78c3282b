"""A second, longer look where the first leaves a pair in doubt, and nowhere else."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin import ConfigError, Group, RRMJudge, Verdict
from rrm_plugin.cohorts import Gate, Member
from rrm_plugin.engines import Reply, ScriptedEngine
from rrm_plugin.errors import EngineError
from rrm_plugin.looks import Looks, majority_of
from rrm_plugin.prompts import Guarded
from rrm_plugin.types import Judgement, Match, Reason
from tests.test_tournament import FIRST, SECOND, shown

SHORT, LONG = 50, 500


class Thinker:
    """Says one thing after a short look and another after a long one; remembers how long it was allowed to think."""

    def __init__(self, short, long) -> None:
        self.name = self.fingerprint = "thinker"
        self.special_tokens = ()
        self.asked: list[tuple[int, tuple[str, str]]] = []
        self._replies = {SHORT: short, LONG: long}

    async def generate(self, messages, sampling):
        pair = shown(messages)
        self.asked.append((sampling.max_tokens, pair))
        text = self._replies[sampling.max_tokens](*pair)
        return Reply(
            text=text or "", finished=bool(text), prompt_tokens=10, completion_tokens=sampling.max_tokens, seconds=0.1
        )

    async def resume(self, messages, text, sampling):
        return None

    async def close(self) -> None:
        pass

    @property
    def looks(self):
        return [tokens for tokens, _ in self.asked]


def larger(first, second):
    return FIRST if float(first) > float(second) else SECOND


def judge_of(engine, **settings):
    defaults = {"schedule": "round_robin", "max_tokens": LONG, "first_tokens": SHORT}
    return RRMJudge(engine=engine, **(defaults | settings))


def test_a_pair_whose_orders_agree_is_looked_at_once():
    engine = Thinker(larger, larger)
    with judge_of(engine) as judge:
        scores = judge.score("q", ["1", "2", "3"])
    assert engine.looks == [SHORT] * 6 and scores.ranking == [2, 1, 0]
    assert scores.calls == 6 and not any(one.escalated for one in scores.judgements)


def test_only_pairs_whose_orders_disagree_are_looked_at_again():
    def short(first, second):
        return FIRST if {first, second} == {"1", "2"} else larger(first, second)

    engine = Thinker(short, larger)
    with judge_of(engine) as judge:
        scores = judge.score("q", ["1", "2", "3"])
    again = [pair for tokens, pair in engine.asked if tokens == LONG]
    assert sorted(again) == [("1", "2"), ("2", "1")]
    assert scores.ranking == [2, 1, 0] and scores.agreement == 1.0
    assert [one.escalated for one in scores.judgements].count(True) == 2
    # Both looks are paid for, and counted.
    assert scores.calls == 8 and scores.usage.completion_tokens == 6 * SHORT + 2 * LONG


@pytest.mark.parametrize("orders", ["both", "balanced"])
def test_a_match_without_a_verdict_is_looked_at_again(orders):
    engine = Thinker(lambda *_: None, larger)
    with judge_of(engine, orders=orders) as judge:
        scores = judge.score("q", ["1", "2"])
    matches = 2 if orders == "both" else 1
    assert engine.looks == [SHORT] * matches + [LONG] * matches
    assert scores.failures == {} and scores.ranking == [1, 0]


def test_what_the_second_look_leaves_open_stays_open():
    engine = Thinker(lambda *_: None, lambda *_: None)
    with judge_of(engine) as judge:
        scores = judge.score("q", ["1", "2"])
    assert scores.values == [None, None] and scores.failures == {Reason.CUT_OFF.value: 2} and scores.calls == 4


def test_an_engine_that_fails_is_not_asked_again():
    def fail(*_):
        raise EngineError("nobody there", Reason.UNREACHABLE)

    engine = Thinker(fail, larger)
    with judge_of(engine) as judge:
        scores = judge.score("q", ["1", "2"])
    assert engine.looks == [SHORT, SHORT] and scores.failures == {"unreachable": 2}


def test_a_second_look_that_fails_leaves_the_first_standing():
    def fail(*_):
        raise EngineError("too slow", Reason.TIMEOUT)

    engine = Thinker(lambda first, second: FIRST if first == "2" else None, fail)
    with judge_of(engine) as judge:
        scores = judge.score("q", ["1", "2"])
    assert scores.ranking == [1, 0] and scores.failures == {"cut_off": 1}


def test_votes_are_cast_in_each_look():
    engine = Thinker(lambda first, _: FIRST, larger)
    with judge_of(engine, votes=3) as judge:
        scores = judge.score("q", ["1", "2"])
    assert engine.looks.count(SHORT) == 4 and engine.looks.count(LONG) == 4
    assert scores.calls == 8 and all(one.escalated for one in scores.judgements)
    assert sum(ballot.usage.calls for one in scores.judgements for ballot in one.ballots) == 8


def test_a_pair_outside_a_group():
    engine = Thinker(lambda *_: FIRST, larger)
    with judge_of(engine) as judge:
        both = judge.compare("q", "1", "2", both_orders=True)
        assert both.verdict is Verdict.SECOND and engine.looks == [SHORT, SHORT, LONG, LONG]
        one = judge.compare("q", "1", "2")
    assert one.verdict is Verdict.FIRST and engine.looks[4:] == [SHORT]


def test_without_first_tokens_there_is_one_look():
    engine = Thinker(larger, lambda *_: FIRST)
    with judge_of(engine, first_tokens=None) as judge:
        judge.score("q", ["1", "2"])
    assert engine.looks == [LONG, LONG]


def test_looks_begun_early_are_first_looks():
    engine = Thinker(lambda *_: FIRST, larger)

    async def main():
        gate = Gate(judge, size=3)
        members = [Member(prompt="q", response=str(n), id=str(n), index=n) for n in range(3)]
        return await asyncio.gather(*(gate.join("g", member) for member in members))

    with judge_of(engine) as judge:
        outcomes = asyncio.run(main())
    assert sorted(engine.looks) == [SHORT] * 6 + [LONG] * 6
    assert [outcome.reward for outcome in outcomes] == sorted(outcome.reward for outcome in outcomes)
    assert outcomes[0].metrics["rrm/calls"] == 12 and outcomes[0].metrics["rrm/escalated_rate"] == 1.0


def test_a_ledger_pays_neither_look_twice(tmp_path):
    def short(first, second):
        return FIRST if "1" in (first, second) else larger(first, second)

    first, again = (Thinker(short, larger) for _ in range(2))
    for engine in (first, again):
        with judge_of(engine, ledger=tmp_path / "judge.db") as judge:
            scores = judge.score("q", ["1", "2", "3"])
    assert len(first.asked) == 10 and again.asked == [] and scores.calls == 0
    assert [one.escalated for one in scores.judgements].count(True) == 4


@given(verdicts=st.lists(st.sampled_from([FIRST, SECOND, None]), min_size=6, max_size=6))
def test_a_second_look_comes_exactly_where_a_pair_is_in_doubt(verdicts):
    pairs = [("1", "2"), ("2", "1"), ("1", "3"), ("3", "1"), ("2", "3"), ("3", "2")]
    said = dict(zip(pairs, verdicts, strict=True))
    engine = Thinker(lambda *pair: said[pair], larger)
    with judge_of(engine) as judge:
        judge.score("q", ["1", "2", "3"])
    sure = {(FIRST, SECOND), (SECOND, FIRST)}
    doubtful = {pair for pair in pairs if (said[pair], said[pair[::-1]]) not in sure}
    assert {pair for tokens, pair in engine.asked if tokens == LONG} == doubtful


class Ballots:
    """A judge whose votes are given."""

    def __init__(self, verdicts) -> None:
        self.ballots = [Judgement(verdict=one, reason=None if one else Reason.EMPTY) for one in verdicts]

    async def judge(self, query, first, second, match, vote):
        return self.ballots[vote]


def voted(verdicts):
    judge, text = Ballots(verdicts), Guarded("")
    looks = Looks(judge=judge, votes=len(verdicts))
    found = asyncio.run(looks.first_look(text, text, text, Match(first=0, second=1)))
    return found, majority_of(judge.ballots)


@given(verdicts=st.lists(st.sampled_from([*Verdict, None]), min_size=2, max_size=15))
def test_votes_left_out_could_not_have_changed_the_majority(verdicts):
    found, of_all = voted(verdicts)
    assert found.verdict is of_all.verdict
    assert list(found.votes) == list(of_all.votes)[: len(found.votes)]


@given(verdicts=st.lists(st.sampled_from([Verdict.FIRST, Verdict.SECOND]), min_size=2, max_size=15))
def test_no_vote_is_cast_once_the_majority_is_certain(verdicts):
    """Nor does a wave cast more than votes one at a time would."""
    found, _ = voted(verdicts)
    leads = [abs(lead) for lead in itertools.accumulate(1 if one is Verdict.FIRST else -1 for one in verdicts)]
    certain = [number for number, lead in enumerate(leads, start=1) if lead > len(verdicts) - number]
    assert len(found.votes) == min([*certain, len(verdicts)])


@pytest.mark.parametrize("tokens", [0, 500, 900, 2.5])
def test_first_tokens_that_cannot_work(tokens):
    with pytest.raises(ConfigError, match="first_tokens"):
        RRMJudge(engine="scripted:longer", max_tokens=500, first_tokens=tokens)


def test_settings_say_so():
    with judge_of(ScriptedEngine.named("longer")) as judge:
        assert judge.score_groups([Group(prompt="q", responses=["a", "bb"])])[0].settings["first_tokens"] == SHORT
