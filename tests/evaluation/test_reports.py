"""Counting samples: pass@1 over questions, what stands apart, and what two runs differ by."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rrm_plugin import ConfigError
from rrm_plugin.evaluation.policy import Sample
from rrm_plugin.evaluation.reports import compared, counted, read_report, told, told_difference

ROOT = Path(__file__).resolve().parents[2]


def sample(question, right, **changes):
    standard = {
        **{"benchmark": "b", "category": "", "letter": "A", "reason": None, "failed": False, "found": "boxed"},
        **{"finished": True, "prompt_tokens": 10, "completion_tokens": 20, "kept": False},
    }
    return Sample(question=question, right=right, **{**standard, **changes})


SAMPLES = [
    *(sample("q1", right, category="one") for right in (True, True, False, True)),
    *(sample("q2", False, category="two", letter=None, reason="no_answer", found="") for _ in range(2)),
    sample("q2", False, category="two", letter=None, reason="cut_off", found="", finished=False, completion_tokens=64),
    sample("q2", False, category="two", letter=None, reason="timeout", failed=True, found="", completion_tokens=0),
    *(sample("q3", True, category="two", letter="B") for _ in range(4)),
    sample("other", True, benchmark="c", finished=False, completion_tokens=64),
]


def test_results_by_hand():
    results = counted(SAMPLES, max_tokens=100)
    one = results["b"]
    assert one["accuracy"] == pytest.approx((0.75 + 0 + 1) / 3) and one["questions"] == 3 and one["samples"] == 12
    assert one["interval"][0] < one["accuracy"] < one["interval"][1]
    assert (one["right"], one["wrong"]) == (7, 1)
    assert one["no_answer"] == {"no_answer": 2, "cut_off": 1} and one["failures"] == {"timeout": 1}
    assert one["right"] + one["wrong"] + sum(one["no_answer"].values()) + sum(one["failures"].values()) == 12
    assert one["truncated"] == pytest.approx(1 / 11) and one["letters"] == {"A": 4, "B": 4}
    assert one["tokens"] == {"prompt": 110 + 0, "completion": 20 * 10 + 64, "completion_mean": pytest.approx(24)}
    assert one["categories"]["two"]["accuracy"] == 0.5 and one["categories"]["one"]["interval"] is None
    assert one["questions_right"]["q1"] == [1, 1, 0, 1]
    assert results["c"]["accuracy"] == 1.0 and results["c"]["cut_short"] == 1


def test_the_page_names_every_field():
    page = (ROOT / "docs" / "gpqa.md").read_text(encoding="utf-8")
    rows = page.partition("<!-- fields: policy-report -->")[2].partition("\n### ")[0].splitlines()
    named = [name for row in rows if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert named == list(counted(SAMPLES)["b"])


def test_questions_weigh_the_same_however_often_they_were_asked():
    samples = [sample("a", True), *(sample("b", False) for _ in range(9))]
    assert counted(samples)["b"]["accuracy"] == 0.5


def test_a_report_is_told():
    results = counted(SAMPLES, max_tokens=100)
    text = told("b", results["b"])
    assert text.startswith("b: 58.3% [") and "no answer: no_answer 2, cut_off 1, failed timeout 1" in text
    assert "9.1% cut off" in text and "  two: 50.0%" in text and "24 tokens" in text
    assert "--generation-config vllm" in told("c", results["c"])
    assert "--generation-config" not in told("c", counted(SAMPLES, max_tokens=64)["c"])


def report(accuracies, **settings):
    samples = [sample(name, index < share * 10) for name, share in accuracies.items() for index in range(10)]
    return {"settings": {"engine": "m", "temperature": 0.6, **settings}, "benchmarks": counted(samples)}


def test_two_reports_are_compared_question_by_question():
    before = report({"a": 0.1, "b": 0.5, "c": 0.9, "only": 1.0})
    after = report({"a": 0.4, "b": 0.6, "c": 0.9, "new": 0.0}, engine="n")
    difference = compared(after, before)
    one = difference["benchmarks"]["b"]
    assert one["difference"] == pytest.approx(0.4 / 3) and (one["better"], one["worse"]) == (2, 0)
    assert difference["differs"] == {} and "b: +13.3 points [" in told_difference(difference)


def test_runs_that_were_not_asked_alike_are_told_apart():
    difference = compared(report({"a": 0.1}, temperature=1.0), report({"a": 0.1}))
    assert difference["differs"] == {"temperature": [0.6, 1.0]}
    assert "not asked alike: temperature 0.6 -> 1.0" in told_difference(difference)


def test_reports_with_nothing_in_common():
    with pytest.raises(ConfigError, match="no benchmark in common"):
        compared(report({"a": 0.1}), {"settings": {}, "benchmarks": {"x": {}}})
    apart = compared(report({"a": 0.1}), report({"b": 0.1}))
    assert apart["benchmarks"]["b"]["difference"] is None and "no question in common" in told_difference(apart)


def test_a_report_is_read_again(tmp_path):
    written = report({"a": 0.5, "b": 0.25})
    (tmp_path / "r.json").write_text(json.dumps(written))
    assert compared(read_report(tmp_path / "r.json"), written)["benchmarks"]["b"]["difference"] == 0.0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"benchmarks": {"b": {}}}', '{"benchmarks": {"b": 5}}'])
def test_another_file_is_no_report(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigError, match="no report of rrm eval-policy"):
        read_report(tmp_path / "r.json")
