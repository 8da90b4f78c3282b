"""Alarms: limits, windows, what is raised and when it is over; runs that are well are left alone."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from rrm_plugin.errors import ConfigError
from rrm_plugin.metrics.alarms import ADVICE, Alarm, Alarms, Watch, alarms, standing_after
from rrm_plugin.metrics.names import named

ROOT = Path(__file__).resolve().parents[2]
WELL = {
    "verdict_rate": 0.95,
    "unscored": 0.01,
    "order_agreement": 0.7,
    "first_rate": 0.55,
    "length_correlation": 0.3,
    "spread": 0.7,
    "opening": 0.2,
    "opening_gain": 0.02,
    "steering": 0.0,
}
BAD = {
    "verdict_rate": {"verdict_rate": 0.6},
    "unscored": {"unscored": 0.3},
    "order_agreement": {"order_agreement": 0.5},
    "first_rate": {"first_rate": 0.1},
    "length_correlation": {"length_correlation": 0.8},
    "spread": {"spread": 0.05},
    "opening": {"opening": 0.8, "opening_gain": 0.2},
    "steering": {"steering": 0.2, "steering_gain": 0.1},
}


def steps(count, rng, groups=16, **changes):
    """Steps of a run, each metric with some noise."""
    noise = 0.1 / math.sqrt(groups)
    return [
        {f"rrm/{name}": value + noise * rng.normal() for name, value in (WELL | changes).items()}
        | {"rrm/groups": float(groups)}
        for _ in range(count)
    ]


@pytest.mark.parametrize("kind", list(ADVICE))
def test_the_advice_names_metrics_of_the_judge_that_it_is_about(kind):
    alarm = Alarm(kind=kind, metric=f"mine/{kind}", value=0.0, limit=0.5, groups=64)
    assert alarm.advice in str(alarm) and "rrm/" not in alarm.advice and "{" not in alarm.advice
    assert ("mine/" in alarm.advice) == ("{name}/" in ADVICE[kind])


@pytest.mark.parametrize("kind", list(BAD))
def test_each_kind_is_raised_once_named_and_is_over_when_the_metric_is_back(kind):
    rng = np.random.default_rng(0)
    watch = Watch()
    quiet = [watch.observe(step) for step in steps(50, rng)]
    assert not any(quiet)
    raised = [alarm for step in steps(30, rng, **BAD[kind]) for alarm in watch.observe(step, {kind: "seen"})]
    assert [alarm.kind for alarm in raised] == [kind] and set(watch.standing) == {kind}
    told = str(raised[0])
    assert told.startswith(f"rrm/{kind} is ") and f"{raised[0].limit:.3g}" in told and raised[0].advice in told
    over = []
    for step in steps(30, rng):
        assert not watch.observe(step)
        over += watch.recovered
    assert over == [kind] and not watch.standing
    assert [alarm.kind for step in steps(30, rng, **BAD[kind]) for alarm in watch.observe(step)] == [kind]


def test_a_bad_step_or_a_few_groups_raise_nothing():
    bad = {"rrm/verdict_rate": 0.1, "rrm/groups": 4.0}
    watch = Watch()
    assert not any(watch.observe(bad) for _ in range(15))
    assert watch.observe(bad), "16 steps of 4 groups are the 64 that a window takes"
    assert not any(Watch().observe(bad | {"rrm/groups": 500.0}) for _ in range(7)), "nor do 7 steps, however large"
    one = [{"rrm/verdict_rate": 0.0 if step == 20 else 0.95, "rrm/groups": 64.0} for step in range(40)]
    assert not any(standing_after(one))


def test_metrics_that_are_missing_or_no_numbers_are_passed_over():
    watch = Watch()
    for _ in range(40):
        assert not watch.observe({"rrm/groups": 64.0})
        assert not watch.observe({"rrm/verdict_rate": math.nan, "rrm/groups": 64.0})
    assert not watch.observe({"other/verdict_rate": 0.0})


def test_an_opening_that_loses_and_steering_that_loses_are_no_alarm():
    rng = np.random.default_rng(1)
    losing = {"opening": 0.9, "opening_gain": -0.2, "steering": 0.3, "steering_gain": -0.3}
    run = [*steps(30, rng), *steps(30, rng, **losing)]
    assert not any(standing_after(run))


def test_an_opening_that_was_common_from_the_start_is_no_alarm():
    rng = np.random.default_rng(1)
    assert not any(standing_after(steps(60, rng, opening=0.9, opening_gain=0.2)))


def test_scores_that_never_differed_are_an_alarm_whatever_came_before():
    (alarm,) = standing_after([{"rrm/spread": 0.0, "rrm/groups": 8.0}] * 8)[-1]
    assert alarm.kind == "spread" and alarm.value == 0.0


def test_a_series_of_metrics_is_enough_for_whoever_reads_a_run():
    rng = np.random.default_rng(2)
    run = [*steps(20, rng), *steps(20, rng, verdict_rate=0.5)]
    standing = standing_after(run)
    assert len(standing) == 40 and not any(standing[:20]) and standing[-1][0].kind == "verdict_rate"
    watch = Watch()
    for step, after in zip(run, standing, strict=True):
        watch.observe(step)
        assert tuple(watch.standing.values()) == after
    assert not any(standing_after(run, Alarms(verdict_rate=None)))
    assert not any(standing_after(run, Alarms(action="off")))


def test_every_limit_is_of_a_metric_of_the_list():
    limits = {field.name for field in fields(Alarms)} - {"action", "steps", "groups"}
    assert limits == set(ADVICE) == set(BAD) and all(named(kind) for kind in limits)


def test_settings_as_text_as_mapping_and_as_object():
    assert alarms("stop").action == "stop" and alarms("off").action == "off"
    # YAML reads a bare off as a bool.
    assert alarms(False).action == alarms({"action": False}).action == "off"
    assert alarms({"action": "stop", "unscored": None}).unscored is None
    own = Alarms(verdict_rate=0.9)
    assert alarms(own) is own


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("loud", "warn, stop or off"),
        (3, "warn, stop or off"),
        (True, "warn, stop or off"),
        ({"verdicts": 0.5}, "'verdicts'"),
        ({"verdict_rate": 2}, "verdict_rate must be a number from 0 to 1"),
        ({"verdict_rate": True}, "verdict_rate"),
        ({"steps": 1}, "steps must be a whole number"),
    ],
)
def test_what_is_no_setting_is_refused_by_name(setting, named):
    with pytest.raises(ConfigError, match=named):
        alarms(setting)


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("benchmark_of_alarms", ROOT / "benchmarks" / "alarms.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("groups", [1, 8])
def test_simulated_runs_that_are_well_raise_no_alarm(simulation, groups):
    pool = simulation.pool(simulation.WELL, 4, 300)
    assert simulation.false_alarms(pool, groups, 5)["any"] == 0


@pytest.mark.parametrize("kind", ["verdict_rate", "order_agreement", "length_correlation", "steering"])
def test_simulated_runs_that_go_wrong_are_noticed(simulation, kind):
    well, bad = (simulation.pool(made, 8, 200) for made in (simulation.WELL, simulation.BAD[kind][1]))
    found = simulation.delays(well, [bad], kind, 8, 5)
    assert all(delay is not None and delay <= 40 for delay in found)
