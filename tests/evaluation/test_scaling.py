"""Curves from one set of calls: ends that are known, and what the arithmetic of independent votes says."""

from __future__ import annotations

import math
import random

import pytest

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.benchmarks import BENCHMARKS
from rrm_plugin.evaluation.judge_reports import judge_report
from rrm_plugin.evaluation.scaling import curve_of_runs, scaling_curves
from tests.evaluation.judged import judged


def test_one_vote_has_no_curve_and_the_last_point_is_the_accuracy() -> None:
    assert scaling_curves([judged("1", "2")])["votes"] == []
    pairs = [judged("112", "122", name=str(i)) for i in range(3)]
    points = scaling_curves(pairs)["votes"]
    assert [point["votes"] for point in points] == [1, 2, 3]
    assert points[-1]["accuracy"] == pairs[0].accuracy == 0.5
    # Of one vote: 2 of 3 and 1 of 3 are right; of two, the runs 11, 12, 21 and 12, 22, 21, an even one worth a half.
    assert points[0]["accuracy"] == pytest.approx(0.5)
    assert points[1]["accuracy"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert points[1]["tokens_per_pair"] == 2 * 2 * 20


def test_votes_of_a_judge_that_is_right_with_a_chance_grow_as_they_must() -> None:
    draw = random.Random(0)
    pairs = [judged("".join("12"[draw.random() > 0.7] for _ in range(5)), name=str(i)) for i in range(3000)]
    points = scaling_curves(pairs)["votes"]
    for count in (1, 3, 5):
        wanted = sum(math.comb(count, k) * 0.7**k * 0.3 ** (count - k) for k in range(count // 2 + 1, count + 1))
        low, high = points[count - 1]["interval"]
        assert low - 0.01 < wanted < high + 0.01
    assert points[0]["accuracy"] == pytest.approx(points[1]["accuracy"], abs=0.02)


def test_a_smaller_budget_loses_the_longer_replies() -> None:
    # The votes take 10, 20, 30... tokens; only those within the budget count.
    pairs = [judged("1" * 8, name=str(i)) for i in range(4)]
    points = scaling_curves(pairs)["budget"]
    assert [point["max_tokens"] for point in points] == [32, 64, 80]
    assert [point["cut_off"] for point in points] == [5 / 8, 2 / 8, 0.0]
    assert all(point["accuracy"] == 1.0 for point in points)
    late = [judged("2221", name=str(i)) for i in range(2)]
    assert scaling_curves(late)["budget"][0]["accuracy"] == 0.0


def test_replies_of_unknown_length_have_no_budget() -> None:
    import dataclasses

    one = judged("1", "1")
    silent = dataclasses.replace(one.calls[0], completion_tokens=0)
    assert scaling_curves([type(one)(pair=one.pair, calls=(silent,))])["budget"] == []


def test_runs_stand_by_their_tokens_and_only_those_of_the_same_questions() -> None:
    def run(marks: str, name: str, **settings: int) -> dict:
        return judge_report(BENCHMARKS["pairs"], [judged(marks, marks, name=name)], settings)

    long, short = run("111", "a", max_tokens=64, votes=3), run("2", "a", max_tokens=8, votes=1)
    told = curve_of_runs({"long.json": long, "short.json": short})
    assert [(point["run"], point["max_tokens"], point["accuracy"]) for point in told["points"]] == [
        ("short.json", 8, 0.0),
        ("long.json", 64, 1.0),
    ]
    # Votes take 10, 20 and 30 tokens, in each order.
    assert [point["tokens_per_pair"] for point in told["points"]] == [20, 120]
    with pytest.raises(ConfigError, match="different questions: give both the same --limit"):
        curve_of_runs({"a.json": long, "b.json": run("1", "b")})
    with pytest.raises(ConfigError, match=r"a\.json is on pairs, b\.json on llmbar"):
        curve_of_runs({"a.json": long, "b.json": {**long, "benchmark": "llmbar"}})
    with pytest.raises(ConfigError, match=r"b\.json is no whole report"):
        curve_of_runs({"b.json": {name: long[name] for name in ("benchmark", "settings", "questions")}})
