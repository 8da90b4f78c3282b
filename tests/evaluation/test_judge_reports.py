"""Reports on a judge: the exact test against scipy, comparison question by question, what tables show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.benchmarks import BENCHMARKS
from rrm_plugin.evaluation.intervals import bootstrap_interval, weighted_interval
from rrm_plugin.evaluation.judge_reports import compared, judge_report, read_judge_report, sign_test
from rrm_plugin.evaluation.tables import as_html, as_markdown, as_text, comparison_told, judge_tables
from tests.evaluation.judged import judged

PAIRS = BENCHMARKS["pairs"]


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (3, 9), (9, 3), (50, 50), (120, 80), (1500, 1300)])
def test_the_sign_test_is_scipys(better: int, worse: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    wanted = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert sign_test(better, worse) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("both", "better", "worse", "neither"), [(40, 9, 3, 8), (310, 61, 34, 45), (5, 0, 6, 5)])
def test_two_runs_compare_as_in_statsmodels(both: int, better: int, worse: int, neither: int) -> None:
    """McNemar's exact test and the difference of paired shares, by reports on questions that are right or wrong."""
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    weights = pytest.importorskip("statsmodels.stats.weightstats")
    marks = [("1", "1")] * both + [("1", "2")] * better + [("2", "1")] * worse + [("2", "2")] * neither
    this, other = ({f"q{i}": pair[side] for i, pair in enumerate(marks)} for side in (0, 1))
    told = compared(report(this), report(other))
    assert told["p_value"] == pytest.approx(tables.mcnemar([[both, better], [worse, neither]]).pvalue, rel=1e-9)
    differences = weights.DescrStatsW([(a == "1") - (b == "1") for a, b in marks])
    assert told["difference"] == pytest.approx(differences.mean)
    # Means of the bootstrap come in steps of one question.
    assert told["interval"] == pytest.approx(differences.zconfint_mean(), abs=1 / len(marks))


@pytest.mark.parametrize(("right", "n"), [(231, 419), (80, 100), (12, 30)])
def test_the_interval_of_an_accuracy_is_that_of_statsmodels(right: int, n: int) -> None:
    """Of a share, to one question, which is the step of the bootstrap's means."""
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    rights = {f"q{i}": "1" if i < right else "2" for i in range(n)}
    ours = report(rights)["overall"]["interval"]
    assert ours == pytest.approx(proportion.proportion_confint(right, n, method="normal"), abs=1 / n)


def test_questions_of_several_pairs_are_as_wide_as_statsmodels_clusters() -> None:
    """Pairs of a question are drawn together: standard errors of a mean with a cluster a question."""
    api = pytest.importorskip("statsmodels.api")
    draw = np.random.default_rng(11)
    skill = draw.random(150)
    marks = {(q, i): draw.random() < skill[q] for q in range(150) for i in range(9)}
    made = [
        judged("1" if right else "2", "1" if right else "2", name=f"{q}:{i}", question=f"q{q}")
        for (q, i), right in marks.items()
    ]
    low, high = judge_report(PAIRS, made, {})["overall"]["interval"]
    values = np.array(list(marks.values()), dtype=float)
    groups = np.array([q for q, _ in marks])
    fit = api.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    alone = api.OLS(values, np.ones(len(values))).fit()
    assert (high - low) / 2 == pytest.approx(1.96 * fit.bse[0], rel=0.05)
    assert (high - low) / 2 > 1.5 * 1.96 * alone.bse[0]


@pytest.mark.parametrize("distinct", [2, 500])
def test_the_interval_is_scipys(distinct: int) -> None:
    """Of values of which few are distinct, whose counts are drawn, and of values that are all distinct."""
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(7)
    values = draw.integers(0, 2, 400).astype(float) if distinct == 2 else draw.normal(0.5, 0.3, 500)
    ours = bootstrap_interval(values, seed=1)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=2).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_the_interval_of_a_weighted_sum_adds_variances() -> None:
    draw = np.random.default_rng(3)
    parts = [(weight, draw.integers(0, 2, n).astype(float)) for weight, n in ((0.7, 300), (0.3, 80))]
    low, high = weighted_interval(parts) or (0, 0)
    value = sum(weight * values.mean() for weight, values in parts)
    deviation = sum(weight**2 * values.var() / len(values) for weight, values in parts) ** 0.5
    assert (low, high) == pytest.approx((value - 1.96 * deviation, value + 1.96 * deviation), abs=0.006)
    assert weighted_interval([(0.5, [1.0, 1.0]), (0.5, [0.0])]) is None
    (one,) = parts[:1]
    assert weighted_interval([(1.0, one[1])], seed=4) == bootstrap_interval(one[1], seed=4)


def report(rights: dict[str, str], **settings: object) -> dict:
    pairs = [judged(mark, mark, name=name) for name, mark in rights.items()]
    return judge_report(PAIRS, pairs, settings)


def test_two_runs_are_compared_question_by_question() -> None:
    one = report({"a": "1", "b": "1", "c": "1", "d": "2"}, engine="x", votes=1)
    other = report({"a": "2", "b": "2", "c": "1", "e": "1"}, engine="y", votes=2)
    difference = compared(one, other)
    assert difference["questions"] == 3 and difference["difference"] == pytest.approx(2 / 3)
    assert (difference["better"], difference["worse"]) == (2, 0)
    assert difference["p_value"] == sign_test(2, 0) == 0.5
    assert difference["only_in_one"] == [1, 1]
    assert difference["differs"] == {"votes": [2, 1]}
    told = comparison_told(difference, "one.json", "other.json")
    assert told.startswith("accuracy of one.json over other.json: +66.7 points")
    assert "of 3 questions one.json does better on 2 and worse on 0" in told
    assert "p = 0.5" in told and "votes 2 -> 1" in told


def test_runs_without_a_common_question_are_not_compared() -> None:
    with pytest.raises(ConfigError, match="share no question"):
        compared(report({"a": "1"}), report({"b": "1"}))
    with pytest.raises(ConfigError, match="one report is on pairs, the other on llmbar"):
        compared(report({"a": "1"}), {**report({"a": "1"}), "benchmark": "llmbar"})


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"benchmark": "x", "settings": {}, "questions": {"a": "b"}}'])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ConfigError, match="no report of rrm eval"):
        read_judge_report(tmp_path / "report.json")


def test_a_report_is_plain_json_and_its_questions_average_to_its_accuracy(tmp_path: Path) -> None:
    made = report({"a": "1", "b": "2", "c": "1"})
    (tmp_path / "report.json").write_text(json.dumps(made))
    read = read_judge_report(tmp_path / "report.json")
    assert sum(read["questions"].values()) / 3 == pytest.approx(read["overall"]["accuracy"]) == 2 / 3
    low, high = read["overall"]["interval"]
    assert 0 <= low < 2 / 3 < high <= 1


def test_tables_show_what_failed_and_escape_what_is_named() -> None:
    pairs = [judged("?", "1", subset="<b>|s", name="a"), judged("1", "1", subset="<b>|s", name="b")]
    tables = judge_tables(judge_report(PAIRS, pairs, {}))
    assert "no_verdict      1  25.0" in as_text(tables)
    assert "<b>\\|s" in as_markdown(tables)
    page = as_html("A judge", tables, "{}")
    assert "&lt;b&gt;|s" in page and "<b>|s" not in page and "http" not in page


def test_the_picture_is_one(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from rrm_plugin.evaluation.plots import plot_judge

    plot_judge(judge_report(PAIRS, [judged("112", "111"), judged("122", "2?2", name="b")], {}), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_that_is_too_wide_for_the_terminal_is_shown_in_parts() -> None:
    made = judge_report(BENCHMARKS["rewardbench"], [judged("1", "2", subset="a-rather-long-name-of-a-subset")], {})
    lines = as_text(judge_tables(made), 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("a-rather-long-name-of-a-subset") for line in lines) > 1
    whole = as_text(judge_tables(made))
    assert {word for line in lines for word in line.split()} == set(whole.split())
    assert "[2] remembered from the RRM paper, unverified" in lines
    assert "[1] reported by others" in as_html("x", judge_tables(made), "{}")
