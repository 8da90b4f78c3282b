"""What a run may spend: never exceeded, counted across restarts and processes, and told."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_plugin import ConfigError, Reason, RRMJudge
from rrm_plugin.engines import LimitedEngine, Reply, Sampling, ScriptedEngine
from rrm_plugin.engines.budgets import Budget, Prices
from rrm_plugin.errors import BudgetSpentError, EngineError, LedgerError
from rrm_plugin.ledger import Ledger
from rrm_plugin.ledger_numbers import fill_numbers
from rrm_plugin.types import Usage

MESSAGES = [{"role": "user", "content": "Which?"}]
GROUP = ["one", "one two", "one two three"]
PRICES = {"prompt": 10.0, "completion": 1000.0}


def judge_of(**options):
    return RRMJudge(engine="scripted:longer", schedule="round_robin", orders="both", **options)


def counting(made, tokens=(10, 5)):
    def reply(messages):
        made.append(1)
        return Reply(text="yes", finished=True, prompt_tokens=tokens[0], completion_tokens=tokens[1], seconds=0.0)

    return ScriptedEngine(reply, name="counted")


def test_a_spent_budget_stops_with_an_error_after_all_that_was_paid():
    with judge_of(budget={"calls": 8}) as judge:
        assert judge.score("First?", GROUP).calls == 6
        with pytest.raises(BudgetSpentError, match=r"the budget of 8 judge calls (is spent|are under way)"):
            judge.score("Second?", GROUP)
        engine = judge.tournament.judge.engine
        assert isinstance(engine, LimitedEngine) and engine.tally.calls == 8
        with pytest.raises(BudgetSpentError, match="the budget of 8 judge calls is spent"):
            judge.compare("Third?", "one", "one two")


@pytest.mark.parametrize("way", ["reward", "async", "rank", "groups"])
def test_every_way_to_ask_stops(way):
    with judge_of(budget={"calls": 1}, num_generations=3) as judge, pytest.raises(BudgetSpentError):
        if way == "reward":
            judge(["First?"] * 3, GROUP)
        elif way == "async":
            asyncio.run(judge.as_async()(["First?"] * 3, GROUP))
        elif way == "rank":
            judge.rank("First?", GROUP)
        else:
            asyncio.run(judge.ascore_groups([]))
            judge.score("First?", GROUP)


def test_it_goes_on_unscored_where_that_is_set():
    with judge_of(budget={"calls": 6}, over_budget="unscored", num_generations=3) as judge:
        assert None not in judge(["First?"] * 3, GROUP)
        assert judge(["Second?"] * 3, GROUP) == [None] * 3
        assert judge.score("Third?", GROUP).failures == {"over_budget": 6}


def test_a_budget_outlives_the_process_in_a_ledger(tmp_path):
    path = tmp_path / "judge.db"
    with judge_of(budget={"calls": 20}, ledger=path) as judge:
        judge.score("First?", GROUP)
    with judge_of(budget={"calls": 12}, ledger=path) as judge:
        # What the ledger answers costs nothing.
        assert judge.score("First?", GROUP).calls == 0
        assert judge.score("Second?", GROUP).calls == 6
        with pytest.raises(BudgetSpentError, match=r"12 judge calls is spent, as judge\.db has it"):
            judge.score("Third?", GROUP)
    with judge_of(budget={"calls": 13}, ledger=path, over_budget="unscored") as judge:
        assert judge.score("Third?", GROUP).calls == 1


def test_calls_that_were_recorded_without_a_budget_count(tmp_path):
    path = tmp_path / "judge.db"
    with judge_of(ledger=path) as judge:
        judge.score("First?", GROUP)
    with judge_of(budget={"calls": 7}, ledger=path, over_budget="unscored") as judge:
        assert judge.score("Second?", GROUP).calls == 1


def test_calls_of_a_run_without_a_budget_between_two_that_had_one_count(tmp_path):
    path = tmp_path / "judge.db"
    for question, budget in (("First?", {"calls": 100}), ("Second?", None), ("Third?", {"calls": 100})):
        with judge_of(budget=budget, ledger=path) as judge:
            assert judge.score(question, GROUP).calls == 6
    assert sqlite3.connect(path).execute("SELECT calls FROM spending").fetchall() == [(18,)]
    with judge_of(budget={"calls": 18}, ledger=path) as judge, pytest.raises(BudgetSpentError):
        judge.score("Fourth?", GROUP)


def test_another_engine_in_the_same_ledger_has_a_budget_of_its_own(tmp_path):
    path = tmp_path / "judge.db"
    with judge_of(budget={"calls": 6}, ledger=path) as judge:
        judge.score("First?", GROUP)
    with RRMJudge(engine="scripted:first", schedule="round_robin", budget={"calls": 6}, ledger=path) as judge:
        assert judge.score("First?", GROUP).calls == 6


def _spends(path, made):
    with judge_of(budget={"calls": 40}, ledger=path, over_budget="unscored") as judge:
        for question in range(10):
            made.put(judge.score(f"{multiprocessing.current_process().name} {question}?", GROUP).calls)


def test_processes_on_one_ledger_share_a_budget(tmp_path):
    context = multiprocessing.get_context("spawn")
    made = context.Queue()
    processes = [context.Process(target=_spends, args=(tmp_path / "judge.db", made)) for _ in range(2)]
    for process in processes:
        process.start()
    calls = [made.get(timeout=120) for _ in range(20)]
    for process in processes:
        process.join()
    # Each may exceed it by what the other has under way: the six calls of one group.
    assert 40 <= sum(calls) <= 46
    (counted,) = sqlite3.connect(tmp_path / "judge.db").execute("SELECT calls FROM spending").fetchone()
    assert counted == sum(calls)


def test_a_copy_in_another_process_counts_what_was_spent_and_not_twice(tmp_path):
    judge = judge_of(budget={"calls": 13}, ledger=tmp_path / "judge.db", over_budget="unscored")
    with judge:
        judge.score("First?", GROUP)
        copy = pickle.loads(pickle.dumps(judge))
        with copy:
            assert copy.score("Second?", GROUP).calls == 6
        assert judge.score("Third?", GROUP).calls == 6  # it has not heard of the copy's
        assert judge.score("Fourth?", GROUP).calls == 0


def test_money():
    with judge_of(budget={"cost": 1.0}, prices=PRICES, over_budget="unscored") as judge:
        scores = judge.score("First?", GROUP)
        usage = scores.usage
        assert usage.cost == pytest.approx((usage.prompt_tokens * 10 + usage.completion_tokens * 1000) / 1e6)
        logged = {}
        judge(["Second?"] * 3, GROUP, log_metric=logged.__setitem__)
        assert logged["rrm/cost"] == pytest.approx(usage.cost, rel=0.2)
    with judge_of(budget={"cost": usage.cost / 2}, prices=PRICES) as judge:
        spent = 0.0
        with pytest.raises(BudgetSpentError, match=r"the budget of 0\.\d+ for judge calls is spent"):
            for question in range(9):
                spent += judge.compare(f"{question}?", "one", "one two").usage.cost
        assert usage.cost / 2 <= spent < usage.cost


def test_without_prices_no_cost_is_told():
    with judge_of(num_generations=3) as judge:
        logged = {}
        judge(["Second?"] * 3, GROUP, log_metric=logged.__setitem__)
        assert "rrm/cost" not in logged


def test_a_forced_verdict_is_two_calls_and_costs_both():
    def cut(messages):
        return Reply(text="<think>so", finished=False, prompt_tokens=100, completion_tokens=10, seconds=0.0)

    engine = ScriptedEngine(cut, resume=lambda messages, text: "1}")
    with RRMJudge(engine=engine, budget={"calls": 2}, prices=PRICES) as judge:
        judgement = judge.compare("First?", "one", "two")
        assert judgement.forced and judgement.usage.calls == 2
        assert judge.tournament.judge.engine.total.cost == pytest.approx(judgement.usage.cost, abs=0.01)  # pyright: ignore
        with pytest.raises(BudgetSpentError):
            judge.compare("Second?", "one", "two")


@pytest.mark.parametrize("resumes", ["with a verdict", "in vain", "not at all"])
@pytest.mark.parametrize("first", ["with a budget", "without one"])
def test_every_count_of_a_forced_verdict_is_the_same(tmp_path, resumes, first):
    """Of the judge, of its engine, of the sum in the ledger, of one made later of its rows, and of the group's row."""

    def cut(messages):
        return Reply(text="<think>so", finished=False, prompt_tokens=100, completion_tokens=10, seconds=0.0)

    def resume(messages, text):
        if resumes == "in vain":
            raise EngineError("away", Reason.UNREACHABLE)
        return "1}"

    path = tmp_path / "judge.db"
    engine = ScriptedEngine(cut, name="cut", resume=None if resumes == "not at all" else resume)
    with RRMJudge(engine=engine, ledger=path, budget={"calls": 99} if first == "with a budget" else None) as judge:
        told = [judge.score("First?", ["one", "two"]).calls]
        told.append(asyncio.run(Ledger(path).spend("cut", Usage())).calls)
    connection = sqlite3.connect(path, isolation_level=None)
    told += connection.execute("SELECT calls FROM group_numbers").fetchone()
    connection.execute("DELETE FROM spending")
    connection.execute("DELETE FROM group_numbers")
    assert fill_numbers(connection) == 1
    told += connection.execute("SELECT calls FROM group_numbers").fetchone()
    told.append(asyncio.run(Ledger(path).spend("cut", Usage())).calls)
    assert told == [4 if resumes == "with a verdict" else 2] * 5


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("over_budget", ["stop", "unscored"])
@pytest.mark.parametrize("way", ["forced", "second look", "votes"])
def test_no_score_is_made_of_what_the_budget_left_of_a_match(way, over_budget, calls):
    def reply(messages):
        text = "<think>so" if way == "forced" else r"\boxed{Assistant 1}"
        return Reply(text=text, finished=way != "forced", prompt_tokens=10, completion_tokens=5, seconds=0.0)

    more = {"second look": {"first_tokens": 100}, "votes": {"votes": 3}}.get(way, {})
    engine = ScriptedEngine(reply, resume=lambda messages, text: "1}")
    with RRMJudge(engine=engine, budget={"calls": calls}, over_budget=over_budget, **more) as judge:
        if calls >= 4:
            scores = judge.score("First?", ["one", "two"])
            assert (scores.calls, scores.failures, scores.values) == (4, {}, [0.0, 0.0])
        elif over_budget == "stop":
            with pytest.raises(BudgetSpentError, match=f"budget of {calls} judge calls is spent"):
                judge.score("First?", ["one", "two"])
        else:
            scores = judge.score("First?", ["one", "two"])
            assert scores.calls == calls and set(scores.failures) == {"over_budget"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"budget": 48}, "adaptive:48"),
        ({"budget": {}}, "by name"),
        ({"budget": {"call": 3}}, "budget has no call; it has calls, tokens, cost"),
        ({"budget": {"calls": 0}}, "budget: calls must be 1 or more"),
        ({"budget": {"calls": 2.5}}, "budget: calls must be a whole number"),
        ({"budget": {"cost": 0}, "prices": PRICES}, "budget: cost must be above 0"),
        ({"budget": {"cost": 5}}, "needs prices"),
        ({"prices": {"prompt": 1.0}}, "both prompt and completion"),
        ({"prices": {"prompt": -1.0, "completion": 1.0}}, "prices: prompt must be 0 or more"),
        ({"over_budget": "ignore"}, "over_budget must be stop or unscored"),
    ],
)
def test_budgets_that_cannot_be(wrong, told):
    with pytest.raises(ConfigError, match=told):
        judge_of(**wrong)


def test_a_settings_file_and_the_error_travel(tmp_path):
    file = tmp_path / "judge.yaml"
    file.write_text(
        "engine: scripted:longer\nbudget: {calls: 100000, tokens: 2.0e+9, cost: 50}\n"
        "prices: {prompt: 0.15, completion: 0.6}\nover_budget: unscored\n"
    )
    with RRMJudge.from_config(file) as judge:
        engine = judge.tournament.judge.engine
        assert isinstance(engine, LimitedEngine) and engine.budget == Budget(calls=100_000, tokens=2 * 10**9, cost=50.0)
    error = pickle.loads(pickle.dumps(BudgetSpentError("spent")))
    assert isinstance(error, EngineError) and error.reason is Reason.OVER_BUDGET and str(error) == "spent"


class _BrokenLedger(Ledger):
    async def spend(self, engine, usage):
        raise LedgerError("the disk is full")


def test_a_ledger_that_fails_does_not_end_a_run(tmp_path, caplog):
    made = []
    limited = LimitedEngine(counting(made), budget=Budget(calls=2), ledger=_BrokenLedger(tmp_path / "judge.db"))

    async def main():
        return [await asyncio.gather(limited.generate(MESSAGES, Sampling()), return_exceptions=True) for _ in range(3)]

    found = asyncio.run(main())
    assert len(made) == 2 and isinstance(found[2][0], BudgetSpentError)
    assert "the disk is full" in caplog.text


@settings(max_examples=60, deadline=None)
@given(
    budget=st.integers(1, 30),
    before=st.integers(0, 12),
    waits=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    fails=st.sets(st.integers(0, 39)),
    leaves=st.sets(st.integers(0, 39)),
    with_ledger=st.booleans(),
)
def test_the_budget_of_calls_is_never_exceeded(tmp_path_factory, budget, before, waits, fails, leaves, with_ledger):
    """Calls that end in any order, fail, or whose callers leave: as many are answered as are left, or all of them."""
    answered = []

    async def slow(messages):
        number = int(messages[0]["content"])
        for _ in range(waits[number]):
            await asyncio.sleep(0)
        if number in fails:
            raise EngineError("down", Reason.UNREACHABLE)
        answered.append(number)
        return "yes"

    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "judge.db") if with_ledger else None
    limited = LimitedEngine(ScriptedEngine(slow, name="slow"), budget=Budget(calls=budget), ledger=ledger)

    async def main():
        if ledger is not None:
            await ledger.spend("slow", Usage(calls=before))
        calls = [
            asyncio.ensure_future(limited.generate([{"role": "user", "content": str(number)}], Sampling()))
            for number in range(len(waits))
        ]
        await asyncio.sleep(0)
        for number in leaves & set(range(len(waits))):
            calls[number].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(0.01 if with_ledger else 0)
        return None if ledger is None else (await ledger.spend("slow", Usage())).calls

    counted = asyncio.run(main())
    left = max(0, budget - before) if with_ledger else budget
    assert len(answered) <= left
    assert limited.tally.under_way == 0
    if counted is not None:
        assert counted == before + limited.tally.calls
    if ledger is not None:
        ledger.close()


def test_prices_of_a_million_tokens():
    prices = Prices.of({"prompt": 0.15, "completion": 0.6})
    assert prices is not None
    assert prices.cost(Usage(prompt_tokens=2_000_000, completion_tokens=1_000_000)) == pytest.approx(0.9)
