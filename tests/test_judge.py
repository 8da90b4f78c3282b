"""One judge call always ends in a judgement: with a verdict, or with the reason why there is none."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from rrm_plugin.engines import Reply, Sampling, ScriptedEngine
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.judge import PairJudge
from rrm_plugin.ledger import Ledger
from rrm_plugin.prompts import load_prompt
from rrm_plugin.types import Match, Reason, Verdict

PROMPT = load_prompt("rrm")
MATCH = Match(first=0, second=1)


def judge_once(judge: PairJudge, vote: int = 0):
    shown = PROMPT.prepare_query("q"), PROMPT.prepare("one"), PROMPT.prepare("two")
    return asyncio.run(judge.judge(*shown, MATCH, vote))


class CutOff(ScriptedEngine):
    """Never ends its thinking; continues a text with what it was made with."""

    def __init__(self, rest: str | None = "2}", fails: bool = False) -> None:
        super().__init__(lambda messages: "")
        self.rest, self.fails, self.resumed = rest, fails, []

    async def generate(self, messages, sampling):
        return Reply(text="<think>so far", finished=False, prompt_tokens=5, completion_tokens=9, seconds=0.1)

    async def resume(self, messages, text, sampling):
        self.resumed.append((text, sampling))
        if self.fails:
            raise EngineError("gone", Reason.UNREACHABLE)
        if self.rest is None:
            return None
        return Reply(text=self.rest, finished=False, prompt_tokens=15, completion_tokens=2, seconds=0.1)


def test_a_verdict_is_by_position_and_carries_what_it_took():
    judgement = judge_once(
        PairJudge(engine=ScriptedEngine(lambda m: r"<think>a b</think>\boxed{Assistant 2}"), prompt=PROMPT)
    )
    assert judgement.verdict is Verdict.SECOND
    assert judgement.reason is None
    assert judgement.match == MATCH
    assert judgement.usage.calls == 1 and judgement.usage.completion_tokens > 0
    assert judgement.text == r"<think>a b</think>\boxed{Assistant 2}"


def test_the_engine_sees_the_rendered_prompt():
    seen = []

    def reply(messages):
        seen.extend(messages)
        return r"\boxed{Assistant 1}"

    judge_once(PairJudge(engine=ScriptedEngine(reply), prompt=PROMPT))
    assert [message["role"] for message in seen] == ["system", "user"]
    assert seen[1]["content"].index("one") < seen[1]["content"].index("two")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.EMPTY),
        ("<think>on and on", Reason.CUT_OFF),
        ("<think>.</think>I am sorry, but I cannot judge this.", Reason.REFUSAL),
        (r"\boxed{Assistant 1} no, \boxed{Assistant 2}", Reason.CONTRADICTORY),
        (r"\boxed{Assistant 3}", Reason.INVALID),
        ("Both are fine.", Reason.NO_VERDICT),
    ],
)
def test_no_verdict_has_a_reason(text, reason):
    judgement = judge_once(PairJudge(engine=ScriptedEngine(lambda m: text), prompt=PROMPT))
    assert (judgement.verdict, judgement.reason) == (None, reason)


def test_a_failing_engine_is_a_judgement_without_a_verdict():
    def fail(messages):
        raise EngineError("no route", Reason.UNREACHABLE, retryable=True)

    judgement = judge_once(PairJudge(engine=ScriptedEngine(fail), prompt=PROMPT))
    assert (judgement.verdict, judgement.reason, judgement.detail) == (None, Reason.UNREACHABLE, "no route")
    assert judgement.usage.calls == 0


def test_an_unexpected_error_of_an_engine_is_one_too_and_is_shown_once(caplog):
    class Broken(CutOff):
        async def generate(self, messages, sampling):
            raise ZeroDivisionError("oops")

    judgement = judge_once(PairJudge(engine=Broken(), prompt=PROMPT))
    assert judgement.reason is Reason.ENGINE_ERROR
    assert "oops" in judgement.detail
    judge_once(PairJudge(engine=Broken(), prompt=PROMPT))
    assert caplog.text.count("unexpected error") == 1


def test_a_setting_that_cannot_work_is_raised():
    def fail(messages):
        raise ConfigError("model= is not served")

    with pytest.raises(ConfigError, match="not served"):
        judge_once(PairJudge(engine=ScriptedEngine(fail), prompt=PROMPT))


def test_cut_off_thinking_is_forced_to_a_verdict():
    engine = CutOff()
    judgement = judge_once(PairJudge(engine=engine, prompt=PROMPT))
    assert judgement.verdict is Verdict.SECOND
    assert judgement.forced and judgement.usage.calls == 2
    assert judgement.usage.completion_tokens == 11
    ((text, sampling),) = engine.resumed
    assert text == "<think>so far\n</think>\n\n\\boxed{Assistant "
    assert sampling.temperature == 0 and sampling.max_tokens < 50


@pytest.mark.parametrize(
    "rambling", ["\n\nBut then again\n</think>\n", "\n\n\\boxed{Assistant 1}", " or so\n</think>\n\n\\boxed{Assis"]
)
def test_what_follows_a_forced_verdict_is_dropped(rambling):
    judgement = judge_once(PairJudge(engine=CutOff(rest="2}" + rambling), prompt=PROMPT))
    assert judgement.verdict is Verdict.SECOND
    assert judgement.text == "<think>so far\n</think>\n\n\\boxed{Assistant 2}"


@pytest.mark.parametrize(
    ("engine", "why"),
    [(CutOff(rest=None), "cannot continue a text"), (CutOff(fails=True), "no verdict could be forced:")],
)
def test_why_no_verdict_could_be_forced_is_told(engine, why):
    assert why in judge_once(PairJudge(engine=engine, prompt=PROMPT)).detail


@pytest.mark.parametrize("engine", [CutOff(rest=None), CutOff(fails=True), CutOff(rest="…")])
def test_where_nothing_can_be_forced_there_is_no_verdict(engine):
    judgement = judge_once(PairJudge(engine=engine, prompt=PROMPT))
    assert judgement.verdict is None
    assert judgement.reason in (Reason.CUT_OFF, Reason.INVALID, Reason.NO_VERDICT)


def test_forcing_can_be_left_out():
    engine = CutOff()
    assert judge_once(PairJudge(engine=engine, prompt=PROMPT, force_verdict=False)).reason is Reason.CUT_OFF
    assert not engine.resumed


def test_votes_get_seeds_of_their_own():
    seeds = []

    class Seeds(CutOff):
        async def generate(self, messages, sampling):
            seeds.append(sampling.seed)
            return await super().generate(messages, sampling)

    for vote in (0, 1):
        judge_once(PairJudge(engine=Seeds(), prompt=PROMPT, sampling=Sampling(seed=7)), vote)
    judge_once(PairJudge(engine=Seeds(), prompt=PROMPT), 3)
    assert seeds == [7, 8, None]


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "l.db")
    yield ledger
    ledger.close()


def test_a_recorded_call_is_not_made_again_but_another_vote_is(ledger):
    calls = []

    def reply(messages):
        calls.append(1)
        return r"\boxed{Assistant 1}"

    judge = PairJudge(engine=ScriptedEngine(reply), prompt=PROMPT, ledger=ledger)
    first, again, other = judge_once(judge), judge_once(judge), judge_once(judge, vote=1)
    assert len(calls) == 2
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert again.verdict is Verdict.FIRST and again.text == first.text and again.key == first.key
    assert again.usage.calls == 0


def test_a_forced_verdict_is_read_the_same_from_the_ledger(ledger):
    judge = PairJudge(engine=CutOff(), prompt=PROMPT, ledger=ledger)
    first, again = judge_once(judge), judge_once(judge)
    assert again.cached and again.forced
    assert first.verdict is again.verdict is Verdict.SECOND


def test_a_reply_without_a_verdict_was_paid_and_is_kept_but_a_failure_is_asked_again(ledger):
    answers = iter(["", EngineError("busy", Reason.RATE_LIMITED), r"\boxed{Assistant 1}"])

    def reply(messages):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    judge = PairJudge(engine=ScriptedEngine(reply), prompt=PROMPT, ledger=ledger)
    assert [judge_once(judge).reason for _ in range(2)] == [Reason.EMPTY, Reason.EMPTY]
    assert [judge_once(judge, vote=1).reason for _ in range(2)] == [Reason.RATE_LIMITED, None]


def test_an_engine_without_a_name_yet_is_asked_for_it_before_anything_is_filed(ledger):
    class Served(ScriptedEngine):
        name = "http:?"

        async def identify(self):
            self.name = "http:RRM-7B"

    for _ in range(2):
        judgement = judge_once(PairJudge(engine=Served(lambda m: r"\boxed{Assistant 1}"), prompt=PROMPT, ledger=ledger))
    assert judgement.cached


def test_an_engine_that_cannot_be_asked_for_its_name_is_a_failed_call(ledger):
    class Away(ScriptedEngine):
        async def identify(self):
            raise EngineError("no server", Reason.UNREACHABLE)

    judgement = judge_once(PairJudge(engine=Away(lambda m: ""), prompt=PROMPT, ledger=ledger))
    assert (judgement.reason, judgement.detail, judgement.key) == (Reason.UNREACHABLE, "no server", "")


def test_a_ledger_that_fails_later_does_not_lose_the_verdict(ledger, caplog):
    judge = PairJudge(engine=ScriptedEngine(lambda m: r"\boxed{Assistant 1}"), prompt=PROMPT, ledger=ledger)
    judge_once(judge, vote=1)
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("DROP TABLE judgements")
    assert judge_once(judge).verdict is Verdict.FIRST
    assert "not recorded" in caplog.text


def test_equal_calls_at_the_same_time_are_paid_once(ledger):
    calls = []

    async def reply(messages):
        calls.append(1)
        await asyncio.sleep(0.01)
        return r"\boxed{Assistant 1}" if len(calls) == 1 else r"\boxed{Assistant 2}"

    judge = PairJudge(engine=ScriptedEngine(reply), prompt=PROMPT, ledger=ledger)
    shown = PROMPT.prepare_query("q"), PROMPT.prepare("one"), PROMPT.prepare("two")

    async def both():
        return await asyncio.gather(judge.judge(*shown, MATCH), judge.judge(*shown, Match(first=3, second=4)))

    first, second = asyncio.run(both())
    assert len(calls) == 1
    assert first.verdict is second.verdict is Verdict.FIRST
    assert (first.match, second.match) == (MATCH, Match(first=3, second=4))
    assert (first.usage.calls, second.usage.calls, second.cached) == (1, 0, True)


def test_a_caller_that_gives_up_does_not_end_the_call_of_another(ledger):
    async def reply(messages):
        await asyncio.sleep(0.05)
        return r"\boxed{Assistant 1}"

    judge = PairJudge(engine=ScriptedEngine(reply), prompt=PROMPT, ledger=ledger)
    shown = PROMPT.prepare_query("q"), PROMPT.prepare("one"), PROMPT.prepare("two")

    async def scenario():
        hasty, patient = (asyncio.create_task(judge.judge(*shown)) for _ in range(2))
        await asyncio.sleep(0.01)
        hasty.cancel()
        return await patient

    assert asyncio.run(scenario()).verdict is Verdict.FIRST


def test_engines_that_differ_in_more_than_their_name_do_not_share_records(ledger):
    class Setting(ScriptedEngine):
        def __init__(self, answer, fingerprint):
            super().__init__(lambda m: rf"\boxed{{Assistant {answer}}}")
            self.fingerprint = fingerprint

    verdicts = [
        judge_once(PairJudge(engine=Setting(answer, f"f{answer}"), prompt=PROMPT, ledger=ledger)).verdict
        for answer in (1, 2)
    ]
    assert verdicts == [Verdict.FIRST, Verdict.SECOND]


def test_a_verdict_that_could_not_be_forced_for_once_is_asked_again(ledger):
    failing = CutOff(fails=True)
    assert judge_once(PairJudge(engine=failing, prompt=PROMPT, ledger=ledger)).reason is Reason.CUT_OFF
    assert judge_once(PairJudge(engine=CutOff(), prompt=PROMPT, ledger=ledger)).verdict is Verdict.SECOND


def test_a_forced_number_that_is_cut_is_no_verdict():
    class Scores(CutOff):
        async def resume(self, messages, text, sampling):
            return Reply(text="8</score_A> <score_B>1", finished=False, prompt_tokens=1, completion_tokens=1, seconds=0)

    prompt = load_prompt("scores")
    shown = prompt.prepare_query("q"), prompt.prepare("one"), prompt.prepare("two")
    judgement = asyncio.run(PairJudge(engine=Scores(), prompt=prompt).judge(*shown))
    assert judgement.verdict is None
