from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin.errors import ConfigError
from rrm_plugin.reducers import elo, reducer
from rrm_plugin.shaping import Shaping, length_adjusted, rank, raw, shaping, unit_interval, z_score

NAMES = ("raw", "z_score", "rank", "unit_interval", "length_adjusted:0.5", "z_score,length_adjusted:0.3")

value = st.one_of(st.none(), st.integers(-20, 20).map(lambda whole: whole / 4))
rows = st.lists(st.tuples(value, st.integers(0, 500)), max_size=12)


def shaped(shape: Shaping, values: list[float | None], lengths: list[int] | None = None) -> list[float | None]:
    return shape(values, lengths or [1] * len(values))


# ---------------------------------------------------------------- golden cases


def test_raw_golden() -> None:
    assert shaped(raw(), [0.25, None, -3.0]) == [0.25, None, -3.0]


def test_z_score_golden() -> None:
    assert shaped(z_score(), [1.0, None, 3.0]) == [-1.0, None, 1.0]
    assert shaped(z_score(), [0.0, 0.0, 0.0, 4.0]) == pytest.approx([-1 / 3**0.5] * 3 + [3**0.5])


def test_rank_golden() -> None:
    assert shaped(rank(), [10.0, 30.0, None, 20.0]) == [-1.0, 1.0, None, 0.0]
    assert shaped(rank(), [1.0, 2.0, 2.0, 2.0, 9.0]) == [-1.0, 0.0, 0.0, 0.0, 1.0]
    assert shaped(rank(), [5.0, 5.0]) == [0.0, 0.0]


def test_unit_interval_golden() -> None:
    assert shaped(unit_interval(), [1500.0, None, 1400.0, 1425.0]) == [1.0, None, 0.0, 0.25]


def test_length_adjusted_golden() -> None:
    # Shortness 1, 0.5, 0 of the scored; the unscored one is longest and counts for nothing.
    rewards = length_adjusted(0.5)([1.0, 1.0, 1.0, None], [100, 200, 300, 9000])
    assert rewards == [1.25, 1.0, 0.75, None]
    assert length_adjusted(2.0)([0.0, 3.0], [10, 10]) == [0.0, 3.0]
    assert length_adjusted(2.0)([0.0, 3.0], [0, 0]) == [0.0, 3.0]


def test_several_are_applied_in_turn() -> None:
    values, lengths = [1.0, 3.0, None], [10, 20, 5]
    both = shaping(["z_score", "length_adjusted:0.5"])
    assert both(values, lengths) == length_adjusted(0.5)(z_score()(values, lengths), lengths) == [-0.75, 0.75, None]
    other = shaping(["length_adjusted:0.5", z_score()])
    assert other.name == "length_adjusted:0.5,z_score"
    assert other(values, lengths) == [-1.0, 1.0, None]


@pytest.mark.parametrize(("name", "alone"), [("z_score", 0.0), ("rank", 0.0), ("unit_interval", 0.5)])
def test_equal_scores_and_one_score_are_neutral(name: str, alone: float) -> None:
    shape = shaping(name)
    assert shaped(shape, [7.0, None, 7.0, 7.0]) == [alone, None, alone, alone]
    assert shaped(shape, [7.0]) == [alone]
    assert shaped(shape, [None, 7.0, None]) == [None, alone, None]


@pytest.mark.parametrize("name", ["z_score", "rank", "unit_interval"])
@pytest.mark.parametrize("centre", [0.0, 0.3, 1500.0])
def test_rounding_errors_are_not_blown_up(name: str, centre: float) -> None:
    noisy: list[float | None] = [centre, centre + 1e-13, centre - 2e-13]
    assert len(set(shaped(shaping(name), noisy))) == 1


@pytest.mark.parametrize("name", ["z_score", "rank", "unit_interval"])
def test_small_true_differences_count(name: str) -> None:
    # One win more among 4,000 matches.
    rewards = shaped(shaping(name), [0.0, 2.5e-4])
    assert rewards[0] is not None and rewards[1] is not None and rewards[0] < rewards[1]


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("name", NAMES)
@given(rows=rows)
def test_the_unscored_stay_unscored_and_count_for_nothing(name: str, rows: list[tuple[float | None, int]]) -> None:
    values, lengths = [row[0] for row in rows], [row[1] for row in rows]
    rewards = shaping(name)(values, lengths)
    assert [reward is None for reward in rewards] == [value is None for value in values]
    scored = [row for row in rows if row[0] is not None]
    alone = shaping(name)([row[0] for row in scored], [row[1] for row in scored])
    assert [reward for reward in rewards if reward is not None] == alone
    assert all(type(reward) is float and np.isfinite(reward) for reward in alone)


@pytest.mark.parametrize("name", ["raw", "z_score", "rank", "unit_interval"])
@given(rows=rows)
def test_better_scores_are_better_rewards(name: str, rows: list[tuple[float | None, int]]) -> None:
    values = [row[0] for row in rows if row[0] is not None]
    rewards = np.array(shaped(shaping(name), list(values)), dtype=float)
    order = np.argsort(values, kind="stable")
    assert (np.diff(rewards[order]) >= 0).all()
    assert ((np.diff(rewards[order]) > 0) == (np.diff(np.array(values, dtype=float)[order]) > 0)).all()


@given(rows=rows)
def test_ranges(rows: list[tuple[float | None, int]]) -> None:
    values = [row[0] for row in rows if row[0] is not None]
    if len(set(values)) > 1:
        z = np.array(shaped(z_score(), list(values)), dtype=float)
        assert (z.mean(), z.std()) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
        unit = np.array(shaped(unit_interval(), list(values)), dtype=float)
        assert (unit.min(), unit.max()) == (0.0, 1.0)
        ranks = np.array(shaped(rank(), list(values)), dtype=float)
        assert ranks.mean() == pytest.approx(0, abs=1e-12)
        assert ranks.min() >= -1.0 and ranks.max() <= 1.0


@given(rows=rows, alpha=st.sampled_from([0.0, 0.3, 2.0]))
def test_length_adjustment_keeps_the_mean_and_favours_the_shorter(
    rows: list[tuple[float | None, int]], alpha: float
) -> None:
    scored = [row for row in rows if row[0] is not None]
    values, lengths = [row[0] for row in scored], [row[1] for row in scored]
    if not scored:
        return
    rewards = np.array(length_adjusted(alpha)(values, lengths), dtype=float)
    gains = rewards - np.array(values, dtype=float)
    assert gains.sum() == pytest.approx(0, abs=1e-9)
    order = np.argsort(lengths, kind="stable")
    assert (np.diff(gains[order]) <= 1e-12).all()
    assert np.ptp(gains) == pytest.approx(alpha if len(set(lengths)) > 1 else 0.0)


def test_values_that_are_not_finite_are_unscored() -> None:
    assert shaped(z_score(), [float("nan"), 1.0, float("inf"), 3.0]) == [None, -1.0, None, 1.0]


def test_an_empty_group_gets_no_rewards() -> None:
    assert [shaping(name)([], []) for name in NAMES] == [[]] * len(NAMES)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("name", NAMES)
def test_names_round_trip_and_shapings_pickle(name: str) -> None:
    shape = shaping(name)
    assert shape.name == name
    assert shaping(shape.name) == shape == pickle.loads(pickle.dumps(shape))
    assert shaping(shape) is shape
    assert shaping([name]) == shape


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("zscore", "z_score"),
        ("z_score,what", "what"),
        ("length_adjusted:-1", "length_adjusted alpha=-1"),
        ("length_adjusted:some", "'some'"),
        ("rank:2", "'2'"),
        ([], "sequence"),
        (None, "None"),
        (7, "7"),
    ],
)
def test_a_wrong_setting_is_named(spec: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        shaping(spec)


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match="2 values but 1 lengths"):
        raw()([1.0, 2.0], [3])


def test_a_reducer_is_no_shaping() -> None:
    # Both have a name and can be called, so that only their call tells them apart.
    assert reducer(elo()) == elo()
    with pytest.raises(ConfigError):
        shaping("elo")
