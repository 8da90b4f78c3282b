"""Bootstrap intervals: against what statistics says they should be, and where they say nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rrm_plugin import ConfigError
from rrm_plugin.evaluation.intervals import bootstrap_interval, paired_difference


def test_it_is_that_of_the_normal_approximation_where_there_are_many_questions():
    values = np.array([1.0] * 600 + [0.0] * 1400)
    low, high = bootstrap_interval(values)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 2000)
    assert low == pytest.approx(0.3 - half, abs=0.0015) and high == pytest.approx(0.3 + half, abs=0.0015)


def test_it_holds_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = 0
    for trial in range(300):
        low, high = bootstrap_interval((random.random(100) < 0.4).astype(float), resamples=500, seed=trial)
        held += low <= 0.4 <= high
    assert 0.90 <= held / 300 <= 0.985


def test_samples_of_a_question_are_no_further_questions():
    """Four equal samples of 50 questions say as much as one: the interval of the 200 values would be half as wide."""
    means = np.array([1.0] * 20 + [0.0] * 30)
    low, high = bootstrap_interval(means)
    naive_low, naive_high = bootstrap_interval(np.repeat(means, 4))
    assert (high - low) / (naive_high - naive_low) == pytest.approx(2, rel=0.1)


def test_seeds_and_levels():
    values = np.random.default_rng(0).random(200)
    assert (
        bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    )
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0, 0.0], [0.5] * 9])
def test_where_nothing_can_be_said_nothing_is(values):
    assert bootstrap_interval(values) is None


@pytest.mark.parametrize("wrong", [{"level": 0.0}, {"level": 1.0}, {"level": 95}, {"resamples": 0}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ConfigError, match="level between 0 and 1"):
        bootstrap_interval([0.0, 1.0], **wrong)


def test_large_benchmarks_fit_into_memory():
    low, high = bootstrap_interval(np.arange(12_032) % 2 * 1.0, resamples=1_000)
    assert 0.48 < low < 0.5 < high < 0.52


def test_pairs_take_out_what_both_runs_have_in_common():
    """Hard and easy questions: the runs differ by 0.03 on each, which each run alone could not show."""
    random = np.random.default_rng(0)
    other = {str(index): float(value) for index, value in enumerate(random.random(100) * 0.9)}
    this = {name: value + 0.03 + 0.005 * random.standard_normal() for name, value in other.items()}
    paired = paired_difference(this, other)
    assert paired.difference == pytest.approx(0.03, abs=0.003) and paired.questions == 100
    assert paired.interval[0] > 0.027 and paired.interval[1] - paired.interval[0] < 0.005
    assert paired.better == 100 and paired.worse == 0
    alone = bootstrap_interval(list(this.values()))
    assert alone[0] < np.mean(list(other.values())) < alone[1]


def test_only_questions_of_both_runs_count():
    paired = paired_difference({"a": 1.0, "b": 0.0, "c": 1.0}, {"a": 0.0, "b": 0.5, "d": 1.0})
    assert (paired.questions, paired.difference, paired.better, paired.worse) == (2, 0.25, 1, 1)
    nothing = paired_difference({"a": 1.0}, {"b": 1.0})
    assert (nothing.questions, nothing.difference, nothing.interval) == (0, None, None)
