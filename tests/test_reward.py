"""`RRMJudge`: from a script, a running loop, a spawned child, and as the reward of a trainer's batch."""

from __future__ import annotations

import asyncio
import inspect
import logging
import multiprocessing
import pickle
import threading

import numpy as np
import pytest

from rrm_plugin import ConfigError, EngineUnavailableError, Group, GroupError, Reason, RRMJudge, Verdict
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.errors import EngineError

PROMPT = "Why is the sky blue?"
SHORT, LONG = "Rayleigh.", "Air scatters blue light more than red light."


@pytest.fixture
def judge():
    with RRMJudge(engine="scripted:longer") as judge:
        yield judge


def test_compare(judge):
    judgement = judge.compare(PROMPT, SHORT, LONG)
    assert judgement.verdict is Verdict.SECOND and judgement.reason is None
    assert "Assistant 2" in judgement.text
    assert judge.compare(PROMPT, LONG, SHORT, both_orders=True).verdict is Verdict.FIRST


def test_score_and_rank(judge):
    scores = judge.score(PROMPT, [SHORT, LONG, "Air."])
    assert scores.ranking == [1, 0, 2] == judge.rank(PROMPT, [SHORT, LONG, "Air."]).ranking
    assert scores.calls == len(scores.judgements) == 6
    assert all(isinstance(value, float) for value in scores.values)


def test_the_awaited_twins_agree(judge):
    async def main():
        return await judge.ascore(PROMPT, [SHORT, LONG]), await judge.acompare(PROMPT, SHORT, LONG)

    scores, judgement = asyncio.run(main())
    assert scores.values == judge.score(PROMPT, [SHORT, LONG]).values
    assert judgement.verdict is Verdict.SECOND


def test_the_synchronous_methods_work_inside_a_running_loop(judge):
    async def notebook():
        return judge.score(PROMPT, [SHORT, LONG])

    assert asyncio.run(notebook()).ranking == [1, 0]


def test_many_threads_share_a_judge(judge):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(judge.score(PROMPT, [SHORT, LONG]).ranking)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[1, 0]] * 8


def test_chat_messages_and_texts_are_the_same_to_it(judge):
    prompt = [{"role": "user", "content": PROMPT}]
    responses = [[{"role": "assistant", "content": text}] for text in (SHORT, LONG)]
    assert judge.score(prompt, responses).values == judge.score(PROMPT, [SHORT, LONG]).values


@pytest.mark.parametrize("responses", [[], "one text"])
def test_what_is_no_group_is_a_clear_error(judge, responses):
    with pytest.raises(GroupError, match="responses"):
        judge.score(PROMPT, responses)


def _child(judge, queue):
    queue.put(judge([PROMPT] * 2, [SHORT, LONG]))


def test_a_spawned_child_gets_a_working_copy(judge):
    judge.score(PROMPT, [SHORT, LONG])
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_child, args=(judge, queue))
    child.start()
    assert queue.get(timeout=60) == judge([PROMPT] * 2, [SHORT, LONG])
    child.join()


def test_a_pickled_copy_keeps_its_settings(judge):
    with pickle.loads(pickle.dumps(judge)) as copy:
        assert repr(copy) == repr(judge)
        assert copy.__name__ == "rrm"
        assert copy.score(PROMPT, [SHORT, LONG]).ranking == [1, 0]


def test_rows_of_a_trainer_get_a_reward_each_and_the_log_its_metrics(judge):
    metrics, columns = {}, {}
    rewards = judge(
        prompts=[PROMPT] * 4,
        completions=[SHORT, LONG, "", LONG],
        completion_ids=[[1], [1, 2, 3], [], [1, 2, 3]],
        answer=["column of the dataset"] * 4,
        log_metric=lambda name, value: metrics.__setitem__(name, value),
        log_extra=lambda name, values: columns.__setitem__(name, values),
    )
    assert rewards[1] == rewards[3] > rewards[0] > rewards[2]
    assert metrics["rrm/verdict_rate"] == 1.0 and metrics["rrm/order_agreement"] == 1.0
    assert metrics["rrm/first_rate"] == 0.5 and metrics["rrm/cycles"] == 0.0
    assert metrics["rrm/unscored"] == 0.0 and metrics["rrm/identical"] == 0.25
    assert metrics["rrm/length_correlation"] > 0.9
    assert metrics["rrm/calls"] == 6 and metrics["rrm/tokens"] > 0 and metrics["rrm/seconds"] > 0
    assert len(columns["rrm_notes"]) == 4 and all(isinstance(note, str) for note in columns["rrm_notes"])


def test_two_groups_with_one_prompt_stay_apart():
    with RRMJudge(engine="scripted:longer", num_generations=2, reducer="win_rate") as judge:
        assert judge([PROMPT] * 4, ["a", "bb", "cccc", "ddd"]) == [-1.0, 1.0, 1.0, -1.0]


def test_unscored_rows_are_none_and_said(caplog):
    def reply(messages):
        return r"\boxed{Assistant 1}" if "fine" in messages[-1]["content"] else "no idea"

    with RRMJudge(engine=ScriptedEngine(reply), num_generations=2) as judge, caplog.at_level(logging.WARNING):
        rewards = judge([PROMPT] * 4, ["fine", "good", "bad", "worse"])
    assert rewards == [0.0, 0.0, None, None]
    assert "2 of 4 responses are unscored" in caplog.text and "no_verdict" in caplog.text
    assert "choose the preset that it was trained with" in caplog.text


def test_shaping_is_applied_to_rewards_and_not_to_scores():
    with RRMJudge(engine="scripted:longer", reducer="win_rate", shaping=["unit_interval"]) as judge:
        assert judge([PROMPT] * 2, [SHORT, LONG]) == [0.0, 1.0]
        assert judge.score(PROMPT, [SHORT, LONG]).values == [-1.0, 1.0]


class OwnShaping:
    name = "own"

    def __init__(self, shape):
        self._shape = shape

    def __call__(self, values, lengths):
        return self._shape(values)


def test_a_shaping_of_ones_own_that_forgets_a_response_is_an_error_and_shifts_no_rewards():
    with (
        RRMJudge(engine="scripted:longer", shaping=OwnShaping(lambda values: values[1:]), num_generations=2) as judge,
        pytest.raises(ConfigError, match="shaping='own' gave 1 rewards for 2 responses"),
    ):
        judge(["a", "a", "b", "b"], [SHORT, LONG, SHORT, LONG])


def test_rewards_of_ones_own_shaping_that_are_no_numbers_are_none():
    strange = OwnShaping(lambda values: [float("nan"), float("inf"), np.float32(0.5)])
    with RRMJudge(engine="scripted:longer", shaping=strange, num_generations=3) as judge:
        rewards = judge([PROMPT] * 3, [SHORT, LONG, "Air."])
    assert rewards == [None, None, 0.5] and type(rewards[2]) is float


def test_the_reference_column_is_used_and_its_absence_named():
    with RRMJudge(engine="scripted:longer", schedule="reference", reducer="win_rate", num_generations=1) as judge:
        assert judge([PROMPT] * 2, [SHORT, LONG], reference=["middle of it"] * 2) == [-1.0, 1.0]
        with pytest.raises(GroupError, match=r"'reference'.*other columns of it: none"):
            judge([PROMPT] * 2, [SHORT, LONG], trainer_state=None, completion_ids=[[1], [2]])
        with pytest.raises(GroupError, match="other columns of it: answer, level"):
            judge([PROMPT] * 2, [SHORT, LONG], level=[1, 2], answer=["a", "b"], trainer_state=None)


def _down(messages):
    raise EngineError("cannot connect to http://127.0.0.1:9; check engine=", Reason.UNREACHABLE)


def test_a_judge_that_never_answered_stops_the_trainer_and_not_the_caller():
    with RRMJudge(engine=ScriptedEngine(_down)) as judge:
        scores = judge.score(PROMPT, [SHORT, LONG])
        assert scores.values == [None, None] and scores.failures == {"unreachable": 2}
        with pytest.raises(EngineUnavailableError, match="check engine="):
            judge([PROMPT] * 2, [SHORT, LONG])


def test_a_judge_that_falls_silent_later_leaves_rows_unscored():
    answers = iter([r"\boxed{Assistant 1}"] * 2)

    def reply(messages):
        try:
            return next(answers)
        except StopIteration:
            return _down(messages)

    with RRMJudge(engine=ScriptedEngine(reply)) as judge:
        assert judge([PROMPT] * 2, [SHORT, LONG]) == [0.0, 0.0]
        assert judge([PROMPT] * 2, [SHORT, LONG]) == [None, None]


def test_the_async_form_is_awaited_and_named_alike(judge):
    reward = judge.as_async()
    assert inspect.iscoroutinefunction(reward.__call__) and reward.__name__ == "rrm"
    assert asyncio.run(reward([PROMPT] * 2, [SHORT, LONG])) == judge([PROMPT] * 2, [SHORT, LONG])
    with pytest.raises(GroupError):
        asyncio.run(RRMJudge(engine="scripted:longer", num_generations=2).as_async()([PROMPT] * 3, ["a", "b", "c"]))


def test_a_ledger_makes_the_second_run_free(tmp_path):
    for paid in (6, 0):
        with RRMJudge(engine="scripted:longer", ledger=tmp_path / "run.db") as judge:
            scores = judge.score(PROMPT, [SHORT, LONG, "Air."])
            assert scores.calls == paid and scores.ranking == [1, 0, 2]
            assert all(one.cached is (paid == 0) for one in scores.judgements)


def test_a_closed_judge_opens_again(judge):
    judge.score(PROMPT, [SHORT, LONG])
    judge.close()
    assert judge.score(PROMPT, [SHORT, LONG]).ranking == [1, 0]


class Counted(ScriptedEngine):
    """Counts how often it is closed, and takes a moment to answer."""

    def __init__(self):
        super().__init__(self._reply_slowly)
        self.closed = 0

    async def _reply_slowly(self, messages):
        await asyncio.sleep(0.005)
        return r"\boxed{Assistant 1}"

    async def close(self):
        self.closed += 1


def test_a_variant_shares_the_engine_and_its_clients():
    engine = Counted()
    with RRMJudge(engine=engine) as judge:
        judge.score(PROMPT, [SHORT, LONG])
        variant = judge.variant(orders="fixed")
        assert variant.score(PROMPT, [SHORT, LONG]).calls == 1
        assert variant._loop is judge._loop
        del variant
        assert judge.score(PROMPT, [SHORT, LONG]).calls == 2
        assert engine.closed == 0
    assert engine.closed == 1


def test_a_variant_beside_a_call_under_way_disturbs_nothing():
    with RRMJudge(engine=Counted(), schedule="round_robin") as judge:
        results = []
        running = threading.Thread(target=lambda: results.append(judge.score(PROMPT, [str(n) for n in range(12)])))
        running.start()
        while running.is_alive():
            judge.variant(orders="fixed").score(PROMPT, [SHORT, LONG])
        running.join()
    assert results[0].failures == {} and results[0].calls == 132


def test_two_judges_of_one_run_log_apart():
    logged = {}
    for name in ("helpful", "safe"):
        with RRMJudge(engine="scripted:longer", name=name) as judge:
            log = {"log_metric": logged.__setitem__, "log_extra": logged.__setitem__}
            judge([PROMPT] * 2, [SHORT, LONG], **log)
    assert {"helpful/calls", "safe/calls", "helpful_notes", "safe_notes"} <= set(logged)


@pytest.mark.parametrize(
    "settings",
    [{"schedule": "knockout:0,1,2"}, {"schedule": "reference:7"}, {"same_as": lambda text: [text]}],
    ids=["knockout", "reference", "same_as"],
)
def test_settings_with_which_no_group_can_be_played_stop_a_trainer(settings):
    with (
        RRMJudge(engine="scripted:longer", **settings) as judge,
        pytest.raises(GroupError, match="no group could be scored"),
    ):
        judge([PROMPT] * 4, ["a", "bb", "ccc", "dddd"])


def test_an_evaluation_with_one_generation_is_unscored_and_goes_on():
    with RRMJudge(engine="scripted:longer", num_generations=1) as judge:
        assert judge(["p", "q"], [SHORT, LONG]) == [None, None]


def test_settings_from_a_file(tmp_path, monkeypatch):
    file = tmp_path / "judge.yaml"
    file.write_text("engine: scripted:longer\nschedule: round_robin\nvotes: 3\n")
    monkeypatch.setenv("RRM_CONFIG", str(file))
    with RRMJudge.from_config() as judge:
        assert judge.tournament.settings["votes"] == 3
    file.write_text("engine: scripted:longer\nshedule: round_robin\n")
    with pytest.raises(ConfigError, match=r"judge\.yaml.*did you mean 'schedule'"):
        RRMJudge.from_config()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"orders": "sideways"}, "orders"),
        ({"votes": 0}, "votes"),
        ({"num_generations": 0}, "num_generations"),
        ({"num_generations": "8"}, "num_generations"),
        ({"schedule": "league"}, "schedule"),
        ({"reducer": "league"}, "reducer"),
        ({"shaping": "league"}, "shaping"),
        ({"prompt": "league"}, "prompt"),
        ({"same_as": "answer"}, "same_as"),
        ({"engine": "localhost:8000"}, "http://localhost:8000"),
        ({"engine": "vllm"}, "model="),
        ({"model": "http://localhost:8000/v1"}, "engine="),
        ({"scheduel": "knockout"}, "schedule"),
        ({"temperature": -1.0}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_a_wrong_setting_is_named_at_once(settings, named):
    with pytest.raises(ConfigError, match=named):
        RRMJudge(**({"engine": "scripted:longer"} | settings))


def test_groups_are_scored_side_by_side(judge):
    groups = [Group(prompt=f"q{number}", responses=["a" * number, "b" * (number + 1)]) for number in range(1, 50)]
    assert [scores.ranking for scores in judge.score_groups(groups)] == [[1, 0]] * 49
