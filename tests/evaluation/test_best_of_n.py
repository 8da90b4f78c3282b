"""Best of n: layouts of groups, what is picked, and what the arithmetic says of judges of known accuracy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.best_of_n import best_of_n, picked, strategy, truth_of_groups
from rrm_plugin.evaluation.response_groups import ResponseGroup, group_source, read_groups
from rrm_plugin.evaluation.simulated import simulated_judge
from rrm_plugin.prompts import load_prompt
from rrm_plugin.tournament import Tournament
from rrm_plugin.types import Group, Scores

RRM = load_prompt("rrm")


def group(
    name: str, correct: str, answers: str | None = None, scores: tuple[float, ...] | None = None
) -> ResponseGroup:
    return ResponseGroup(
        id=name,
        prompt=f"question {name}",
        responses=tuple(f"{name} answer {i}" for i in range(len(correct))),
        correct=tuple(mark == "+" for mark in correct),
        answers=tuple(answers or correct),
        scores=scores,
    )


def play(groups: list[ResponseGroup], engine: str, specs: list[str]) -> dict[str, Any]:
    judge = simulated_judge(engine, truth_of_groups(groups, RRM))

    async def run() -> dict[str, Any]:
        picks = {}
        for spec in specs:
            one = strategy(spec)
            made = Tournament(judge=judge, schedule=one.schedule, reducer=one.reducer, votes=one.votes)
            scores = await made.score(Group(prompt=each.prompt, responses=each.responses) for each in groups)
            picks[spec] = [picked(each, own) for each, own in zip(groups, scores, strict=True)]
        return best_of_n(groups, picks, {})

    return asyncio.run(run())


GROUPS = [group(str(i), ["+--", "-+-+", "--", "++", "----+"][i % 5]) for i in range(150)]
SPECS = ["knockout", "knockout@3", "swiss:3", "circulant:3", "round_robin", "round_robin/win_rate"]


def test_a_perfect_judge_reaches_the_oracle_and_a_coin_reaches_random() -> None:
    perfect, coin = play(GROUPS, "simulated:1", SPECS), play(GROUPS, "simulated:0.5", SPECS)
    assert perfect["baselines"]["oracle"]["accuracy"] == 4 / 5
    random = (1 / 3 + 1 / 2 + 0 + 1 + 1 / 5) / 5
    assert perfect["baselines"]["random"]["accuracy"] == pytest.approx(random)
    for row in perfect["strategies"]:
        assert row["accuracy"] == pytest.approx(4 / 5) and row["gained"] == pytest.approx(1.0)
    for row in coin["strategies"]:
        low, high = row["interval"]
        assert low - 0.03 < random < high + 0.03


def test_more_calls_help_a_judge_that_errs() -> None:
    report = play(GROUPS, "simulated:0.75", ["knockout", "knockout@5", "round_robin"])
    once, often, all_pairs = (row["accuracy"] for row in report["strategies"])
    assert once < often and once < all_pairs
    calls = [row["calls_per_group"] for row in report["strategies"]]
    # n - 1 matches in both orders; up to five votes, fewer where the majority is settled; all pairs in both orders.
    assert calls[0] == pytest.approx(2 * (2 + 3 + 1 + 1 + 4) / 5) and 3 * calls[0] <= calls[1] <= 5 * calls[0]
    assert calls[2] == pytest.approx(2 * (3 + 6 + 1 + 1 + 10) / 5)


def test_equal_scores_share_and_no_score_picks_nothing() -> None:
    one = group("a", "+-+")
    tied = picked(one, Scores(values=[1.0, 1.0, 0.5]))
    assert (tied.picked, tied.right) == ((0, 1), 0.5)
    silent = picked(one, Scores(values=[None, None, None], error="gone", failures={"timeout": 2}))
    assert (silent.picked, silent.right, silent.error) == ((), 0.0, "gone")
    report = best_of_n(
        [one, group("b", "+-")], {"x": [silent, picked(group("b", "+-"), Scores(values=[2.0, None]))]}, {}
    )
    (row,) = report["strategies"]
    assert row["accuracy"] == 0.5 and row["unpicked"] == 0.5 and row["failures"] == {"timeout": 2}


def test_the_majority_of_answers_is_fair_to_even_ones() -> None:
    groups = [group("a", "++-", "xxy"), group("b", "+-", "xy"), group("c", "-+--", "nnnm")]
    baselines = best_of_n(groups, {}, {})["baselines"]
    # a: x is right; b: x or y, as likely; c: the responses with n are right one time in three.
    assert baselines["majority of answers"]["accuracy"] == pytest.approx((1 + 0.5 + 1 / 3) / 3)
    assert baselines["oracle"]["accuracy"] == 1.0 and "scalar reward model" not in baselines


def test_a_scalar_reward_model_stands_beside_it_where_the_data_has_its_scores() -> None:
    groups = [group("a", "+-", scores=(0.1, 0.9)), group("b", "+-", scores=(0.5, 0.5))]
    assert best_of_n(groups, {}, {})["baselines"]["scalar reward model"]["accuracy"] == 0.25


@pytest.mark.parametrize(
    ("spec", "schedule", "reducer", "votes"),
    [
        ("knockout", "knockout", "knockout_rank", 1),
        ("knockout@5", "knockout", "knockout_rank", 5),
        ("round_robin", "round_robin", "elo:32", 1),
        ("swiss:4/win_rate@2", "swiss:4", "win_rate", 2),
        ("circulant:2", "circulant:2", "bradley_terry:1", 1),
    ],
)
def test_strategies_are_read(spec: str, schedule: str, reducer: str, votes: int) -> None:
    one = strategy(spec)
    assert (one.schedule.name, one.votes) == (schedule, votes) and one.reducer.name.startswith(reducer.split(":")[0])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("knockout@0", "votes are a number"),
        ("knockout@x", "votes are a number"),
        ("reference", "write reference:0"),
        ("league", "is not known"),
        ("knockout/best", "is not known"),
    ],
)
def test_strategies_that_cannot_be_are_refused(spec: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        strategy(spec)


# -- layouts -------------------------------------------------------------------------------------------------------


def read(folder: Path, *rows: dict[str, Any]) -> list[ResponseGroup]:
    (folder / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_groups(group_source(str(folder / "groups.jsonl")))


def response(text: str, right: bool, **more: Any) -> dict[str, Any]:
    return {"text": text, "is_correct": right, **more}


def test_known_layouts_are_read(tmp_path: Path) -> None:
    rows = [
        {
            "id": 0,
            "question": "1 + 1?",
            "ground_truth": "2",
            "responses": [response("So\nA: 2", True), response("A: 3", False)],
        },
        {
            "question_id": 80,
            "question": "Which?",
            "options": ["x", "y"],
            "responses": [response("a", True, pred="A"), response("b", False, pred=None)],
        },
        {
            "idx": 3,
            "question": "q",
            "responses": [
                {"text": "a", "extracted": "1 ", "is_correct_helper": True},
                {"text": "b", "extracted": "2", "is_correct_helper": False},
            ],
        },
        {
            "idx": 4,
            "question": "q",
            "responses": [response("a", True, pred="1", rm_score=0.5), response("b", False, pred="2", rm_score=-1)],
        },
        {"prompt": "p", "responses": [{"text": "a", "correct": True}, {"text": "b", "correct": False}]},
        {
            "question_id": "9",
            "model_name": "m",
            "prompt": "p",
            "response_1": "a",
            "response_2": "b",
            "scores": [False, True],
            "parsed_outputs": ["A", None],
        },
    ]
    groups = read(tmp_path, *rows)
    assert [one.id for one in groups] == ["0", "80", "3", "4", "5", "9@m"]
    assert groups[0].answers[0] != groups[0].answers[1]
    assert groups[1].prompt == "Which?\n\nA. x\nB. y" and groups[1].answers == ("a", None)
    assert groups[2].answers == ("1", "2") and groups[3].scores == (0.5, -1.0)
    assert groups[5].correct == (False, True) and groups[5].answers == ("a", None)


GOOD = {"id": 1, "question": "q", "responses": [response("a", True), response("b", False)]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": None}, "column 'question or prompt'"),
        ({"responses": "a"}, "column 'responses': a list of objects"),
        ({"responses": [{"text": "a"}, {"text": "b"}]}, "response 0: .* is no truth value"),
        ({"responses": [{"correct": True}, {"correct": True}]}, "response 0 has no `text`"),
        ({"responses": [response("a", True)]}, "nothing to pick from a single response"),
    ],
)
def test_rows_of_another_layout_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"groups\.jsonl, row 1.*{said}"):
        read(tmp_path, {**GOOD, **change})


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the id '1' stands in a row before"):
        read(tmp_path, GOOD, GOOD)


def test_what_is_no_file_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match="data sets of the hub are ppe_mmlu_pro, ppe_math, ppe_gpqa"):
        group_source("nowhere.jsonl")
    assert group_source("ppe_math").path == "lmarena-ai/PPE-MATH-Best-of-K"
