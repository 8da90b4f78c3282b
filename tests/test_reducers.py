from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence

import choix
import evalica
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_plugin.errors import ConfigError
from rrm_plugin.reducers import (
    Outcomes,
    Ratings,
    Reducer,
    bradley_terry,
    elo,
    knockout_rank,
    majority,
    reducer,
    win_rate,
)
from rrm_plugin.schedules import Orders, schedule
from rrm_plugin.types import Judgement, Match, Reason, Verdict

Row = tuple[int, int, float]
"""First shown, second shown, points of the first."""

ORDER_FREE = (
    "win_rate",
    "majority",
    "elo",
    "elo:64",
    "bradley_terry",
    "bradley_terry:0.1",
    "bradley_terry:0",
    "bradley_terry:1:position_bias",
    "bradley_terry:0:position_bias",
    "knockout_rank",
)
ALL = (*ORDER_FREE, "elo:32:sequential")


def outcomes_of(*groups: tuple[int, Sequence[Row]], rounds: Sequence[int] | None = None) -> Outcomes:
    rows = [(index, *row) for index, (_, verdicts) in enumerate(groups) for row in verdicts]
    group, first, second, points = np.array(rows, dtype=float).reshape(-1, 4).T
    return Outcomes(
        sizes=np.array([size for size, _ in groups], dtype=int),
        group=group.astype(int),
        first=first.astype(int),
        second=second.astype(int),
        round=np.zeros(len(rows), dtype=int) if rounds is None else np.array(rounds),
        points=points,
    )


def values(rate: Reducer | str, n: int, rows: Sequence[Row]) -> np.ndarray:
    return reducer(rate)(outcomes_of((n, rows))).values[0]


def verdict_rows(n: int, most: int = 14) -> st.SearchStrategy:
    if n < 2:
        return st.just([])
    pair = st.lists(st.integers(0, n - 1), min_size=2, max_size=2, unique=True)
    row = st.tuples(pair, st.sampled_from([0.0, 0.5, 1.0])).map(lambda drawn: (*drawn[0], drawn[1]))
    return st.lists(row, max_size=most)


group = st.integers(0, 6).flatmap(lambda n: st.tuples(st.just(n), verdict_rows(n)))
groups = st.lists(group, max_size=5)


def play(spec: str, n: int, orders: Orders, judge: str, seed: int = 0) -> list[Judgement]:
    """A tournament before a judge that is perfect (the higher index is better) or always says the first."""
    stepper = schedule(spec).start(n, orders, np.random.default_rng(seed))
    judgements: list[Judgement] = []
    while matches := stepper.next_matches(judgements):
        for match in matches:
            first = judge == "first" or match.first > match.second
            judgements.append(Judgement(verdict=Verdict.FIRST if first else Verdict.SECOND, match=match))
    return judgements


def rate_judgements(spec: str, n: int, judgements: Sequence[Judgement]) -> np.ndarray:
    return reducer(spec)(Outcomes.from_judgements([(n, judgements)])).values[0]


# ---------------------------------------------------------------- golden cases


def test_win_rate_golden() -> None:
    rows = [(0, 1, 1.0), (1, 0, 1.0), (0, 2, 1.0), (2, 1, 0.5)]
    assert values(win_rate(), 4, rows) == pytest.approx([1 / 3, 0.0, -0.5, np.nan], nan_ok=True)


def test_majority_golden() -> None:
    rows = [(0, 1, 1.0), (1, 0, 0.0), (0, 1, 0.0), (0, 2, 0.0), (2, 1, 1.0), (1, 2, 1.0)]
    assert values(majority(), 3, rows) == pytest.approx([0.0, -0.5, 0.5])


def test_knockout_rank_golden() -> None:
    # 0, 1 and 2 enter in round 1 after byes; 3 beats 4 in both orders; 0 and 1 split, and 1 goes on by seed.
    rows = [(3, 4, 1.0), (4, 3, 0.0), (0, 1, 1.0), (1, 0, 1.0), (2, 3, 0.0), (3, 2, 1.0), (1, 3, 1.0), (3, 1, 0.0)]
    ratings = knockout_rank()(outcomes_of((6, rows), rounds=[0, 0, 1, 1, 1, 1, 2, 2]))
    assert ratings.values_of(0) == [1.5, 3.0, 1.0, 2.0, 0.0, None]


def test_elo_golden() -> None:
    assert values(elo(initial=1500), 2, [(0, 1, 1.0)]) == pytest.approx([1516.0, 1484.0], abs=1e-9)
    assert values(elo(k=16, initial=0), 2, [(1, 0, 1.0)]) == pytest.approx([-8.0, 8.0], abs=1e-9)
    assert values(elo(), 2, [(0, 1, 0.5)]) == pytest.approx([0.0, 0.0], abs=1e-9)
    # The second of two wins is worth 32 (1 - 1 / (1 + 10^(-32/400))).
    two_wins = 16 + 32 * (1 - 1 / (1 + 10 ** (-32 / 400)))
    for sequential in (False, True):
        ratings = values(elo(sequential=sequential), 2, [(0, 1, 1.0), (0, 1, 1.0)])
        assert ratings == pytest.approx([two_wins, -two_wins], abs=0.1)


def test_bradley_terry_golden() -> None:
    # With prior 1, the strength x of the winner of one match solves x = 1 - 1 / (1 + exp(-2 x)).
    strength = values(bradley_terry(), 2, [(0, 1, 1.0)])[0]
    assert strength == pytest.approx(1 - 1 / (1 + np.exp(-2 * strength)), abs=1e-12)
    # Without a prior, three wins of four are odds of 3 to 1.
    rows = [(0, 1, 1.0), (1, 0, 0.0), (0, 1, 1.0), (0, 1, 0.0)]
    assert np.ptp(values(bradley_terry(prior=0), 2, rows)) == pytest.approx(np.log(3), abs=1e-9)


# ---------------------------------------------------------------- second implementations


def random_rows(rng: np.random.Generator, n: int, count: int, ties: bool = True) -> list[Row]:
    pairs = [rng.choice(n, 2, replace=False) for _ in range(count)]
    return [(int(i), int(j), float(rng.choice([0.0, 0.5, 1.0] if ties else [0.0, 1.0]))) for i, j in pairs]


def winners(rows: Sequence[Row]) -> list[evalica.Winner]:
    names = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    return [names[points] for *_, points in rows]


def evalica_scores(result: evalica.EloResult | evalica.BradleyTerryResult, n: int) -> np.ndarray:
    return result.scores.reindex(range(n)).to_numpy()


def strongly_connected(n: int, rows: Sequence[Row]) -> bool:
    reach = np.eye(n, dtype=int)
    for i, j, points in rows:
        reach[i, j] |= points > 0
        reach[j, i] |= points < 1
    return bool((np.linalg.matrix_power(reach, n) > 0).all())


@pytest.mark.parametrize("seed", range(5))
def test_sequential_elo_is_that_of_evalica(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch = [(n, random_rows(rng, n, int(rng.integers(1, 40)))) for n in (2, 5, 3, 5, 9)]
    ratings = elo(k=24, initial=1000, sequential=True)(outcomes_of(*batch))
    for index, (n, rows) in enumerate(batch):
        first, second, _ = zip(*rows, strict=True)
        expected = evalica.elo(first, second, winners(rows), initial=1000, k=24)
        assert ratings.values[index, :n] == pytest.approx(evalica_scores(expected, n), abs=1e-8, nan_ok=True)


@pytest.mark.parametrize(("k", "error"), [(16, 0.1), (32, 0.5), (64, 2.5)])
def test_elo_is_the_mean_over_all_orders_of_play(k: float, error: float) -> None:
    rng = np.random.default_rng(7)
    # One pair with one winner is where the approximation is furthest off, of all that was looked at.
    cases = [(2, [(0, 1, 1.0)] * 7)] + [(n, random_rows(rng, n, count)) for n in (3, 4) for count in (2, 4, 7, 7)]
    for n, rows in cases:
        every_order = [(n, order) for order in itertools.permutations(rows)]
        exact = elo(k=k, sequential=True)(outcomes_of(*every_order)).values.mean(axis=0)
        assert values(elo(k=k), n, rows) == pytest.approx(exact, abs=error, nan_ok=True)


def test_elo_integration_is_finer_than_the_model_error() -> None:
    rng = np.random.default_rng(3)
    strengths = rng.normal(size=16)
    pairs = list(itertools.permutations(range(16), 2))
    rows = [(i, j, float(rng.random() < 1 / (1 + np.exp(strengths[j] - strengths[i])))) for i, j in pairs]
    orders = [(16, [rows[index] for index in rng.permutation(len(rows))]) for _ in range(2000)]
    sampled = elo(sequential=True)(outcomes_of(*orders)).values
    deviation = np.abs(values(elo(), 16, rows) - sampled.mean(axis=0))
    assert deviation.max() < 3.0
    assert deviation.max() < 0.01 * np.ptp(sampled.mean(axis=0))
    assert deviation.max() < 0.2 * sampled.std(axis=0).mean()


@pytest.mark.parametrize("prior", [1.0, 0.1, 1e-3])
@pytest.mark.parametrize("seed", range(4))
def test_bradley_terry_is_that_of_choix(prior: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    rows = random_rows(rng, n, 4 * n)
    # Each verdict twice, so that a tie is a win for each; the prior doubles with them. choix adds alpha x^2, not half.
    data = [pair for i, j, points in rows for pair in _twice(i, j, points)]
    expected = choix.opt_pairwise(n, data, alpha=prior, tol=1e-12)
    found = values(bradley_terry(prior=prior), n, rows)
    met = ~np.isnan(found)
    assert found[met] == pytest.approx(expected[met] - expected[met].mean(), abs=2e-6)


def _twice(i: int, j: int, points: float) -> list[tuple[int, int]]:
    return [(i, j)] * round(2 * points) + [(j, i)] * round(2 - 2 * points)


@pytest.mark.parametrize("seed", range(6))
def test_maximum_likelihood_is_that_of_evalica(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    rows = random_rows(rng, n, 6 * n)
    while not strongly_connected(n, rows):
        rows += random_rows(rng, n, n)
    first, second, _ = zip(*rows, strict=True)
    expected = np.log(
        evalica_scores(evalica.bradley_terry(first, second, winners(rows), tolerance=1e-12, limit=100_000), n)
    )
    ratings = bradley_terry(prior=0)(outcomes_of((n, rows)))
    assert ratings.converged[0]
    assert ratings.values[0] == pytest.approx(expected - expected.mean(), abs=1e-6)


@pytest.mark.parametrize("prior", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_position_bias_maximises_the_posterior(prior: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 5
    rows = random_rows(rng, n, 60)
    ratings = bradley_terry(prior=prior, position_bias=True)(outcomes_of((n, rows)))
    assert ratings.position_bias is not None
    assert ratings.converged[0]
    found = np.append(ratings.values[0], ratings.position_bias[0])

    def log_posterior(parameters: np.ndarray) -> float:
        log_odds = np.array([parameters[i] - parameters[j] + parameters[n] for i, j, _ in rows])
        points = np.array([points for *_, points in rows])
        likelihood = np.sum(points * log_odds - np.log1p(np.exp(log_odds)))
        return float(likelihood - 0.5 * prior * np.sum(parameters**2))

    # The log-posterior is concave, so a point without slope is the maximum.
    for direction in np.eye(n + 1):
        slope = (log_posterior(found + 1e-5 * direction) - log_posterior(found - 1e-5 * direction)) / 2e-5
        assert slope == pytest.approx(0.0, abs=1e-6)


# ---------------------------------------------------------------- Bradley-Terry where it is hard


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "rows",
    [
        [(0, 1, 1.0)],
        [(0, 1, 1.0), (1, 2, 1.0), (0, 2, 1.0)],
        [(0, 1, 1.0), (1, 0, 1.0), (2, 3, 1.0), (3, 2, 1.0)],
        [(0, 1, 1.0), (1, 0, 1.0), (1, 2, 1.0)],
    ],
)
def test_no_maximum_likelihood_is_said(rows: list[Row], bias: bool) -> None:
    solvable = [(0, 1, 1.0), (1, 0, 1.0), (0, 1, 0.0), (1, 0, 0.5)]
    ratings = bradley_terry(prior=0, position_bias=bias)(outcomes_of((4, rows), (2, solvable)))
    assert ratings.converged.tolist() == [False, True]
    weak = bradley_terry(prior=0.01, position_bias=bias)(outcomes_of((4, rows)))
    assert ratings.values[0] == pytest.approx(weak.values[0], abs=1e-9, nan_ok=True)


@given(case=group)
@settings(max_examples=150)
def test_a_maximum_likelihood_is_found_or_known_not_to_exist(case: tuple[int, list[Row]]) -> None:
    n, rows = case
    for bias in (False, True):
        ratings = bradley_terry(prior=0, position_bias=bias, max_iterations=200)(outcomes_of((n, rows)))
        # Where there is none, a prior pulled ever weaker lets some log-odds grow without end.
        spans = []
        for prior in (1e-3, 1e-6):
            weak = bradley_terry(prior=prior, position_bias=bias, max_iterations=200)(outcomes_of((n, rows)))
            assert weak.converged[0]
            log_odds = [weak.values[0, i] - weak.values[0, j] + (weak.position_bias_of(0) or 0.0) for i, j, _ in rows]
            spans.append(max(np.abs(log_odds), default=0.0))
        if ratings.converged[0]:
            assert spans[1] < spans[0] + 0.5
        else:
            unsettled = spans[1] > spans[0] + 0.5
            assert unsettled or not _determined(n, rows, bias)


def _determined(n: int, rows: Sequence[Row], bias: bool) -> bool:
    """Whether the verdicts tell all differences of strengths, and the bias, apart."""
    design = np.zeros((len(rows), n + bias))
    for row, (i, j, _) in enumerate(rows):
        design[row, i], design[row, j] = 1.0, -1.0
        design[row, n:] = 1.0
    judged = len({index for i, j, _ in rows for index in (i, j)})
    return bool(np.linalg.matrix_rank(design) == judged - 1 + bias)


def test_bias_that_cannot_be_told_from_strength_is_said() -> None:
    # Candidate 0 is always second: its weakness and the bias for the first are one and the same.
    rows = [(1, 0, 1.0), (1, 0, 0.0), (2, 0, 1.0), (2, 0, 0.0), (2, 0, 1.0)]
    assert bradley_terry(prior=0)(outcomes_of((3, rows))).converged[0]
    assert not bradley_terry(prior=0, position_bias=True)(outcomes_of((3, rows))).converged[0]
    assert bradley_terry(position_bias=True)(outcomes_of((3, rows))).converged[0]


def test_one_sided_verdicts_converge_with_a_prior() -> None:
    for count, prior in itertools.product((1, 100, 10_000), (1e-6, 1.0, 100.0)):
        ratings = bradley_terry(prior=prior)(outcomes_of((3, [(0, 1, 1.0), (1, 2, 1.0)] * count)))
        assert ratings.converged[0]
        assert ratings.values[0].argsort().tolist() == [2, 1, 0]


def test_a_long_chain_of_candidates_converges() -> None:
    rows = [row for i in range(63) for row in [(i, i + 1, 1.0)] * 3 + [(i, i + 1, 0.0)]]
    ratings = bradley_terry(prior=0)(outcomes_of((64, rows)))
    assert ratings.converged[0]
    assert np.diff(ratings.values[0]) == pytest.approx(np.full(63, -np.log(3)), abs=1e-6)


def test_too_few_iterations_are_said() -> None:
    rows = [(0, 1, 1.0), (1, 2, 1.0), (2, 0, 0.5)]
    assert not bradley_terry(max_iterations=2)(outcomes_of((3, rows))).converged[0]
    enough = bradley_terry()(outcomes_of((3, rows)))
    assert enough.converged[0] and 2 < enough.iterations[0] < 20


def test_position_bias_explains_a_judge_that_says_first() -> None:
    rows = [(i, j, 1.0) for i, j in itertools.permutations(range(4), 2)]
    ratings = bradley_terry(position_bias=True)(outcomes_of((4, rows), (3, []), (2, [(0, 1, 0.5)])))
    assert ratings.values[0] == pytest.approx(np.zeros(4), abs=1e-9)
    assert ratings.position_bias_of(0) is not None and (ratings.position_bias_of(0) or 0) > 1.0
    assert ratings.position_bias_of(1) is None
    assert ratings.position_bias_of(2) == pytest.approx(0.0)
    assert bradley_terry()(outcomes_of((4, rows))).position_bias_of(0) is None


def test_position_bias_is_taken_out_of_the_strengths() -> None:
    # Who is first wins two times of three; 0 is first four times as often as 1, and no better.
    rows = [(0, 1, 1.0)] * 8 + [(0, 1, 0.0)] * 4 + [(1, 0, 1.0)] * 2 + [(1, 0, 0.0)]
    plain, corrected = (values(bradley_terry(prior=0, position_bias=bias), 2, rows) for bias in (False, True))
    assert plain[0] - plain[1] == pytest.approx(np.log(9 / 6))
    assert corrected == pytest.approx([0.0, 0.0], abs=1e-9)


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("spec", ALL)
@given(case=group, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_relabelling_permutes_the_scores(spec: str, case: tuple[int, list[Row]], seed: int) -> None:
    n, rows = case
    new = np.random.default_rng(seed).permutation(n)
    relabelled = [(int(new[i]), int(new[j]), points) for i, j, points in rows]
    assert values(spec, n, relabelled)[new] == pytest.approx(values(spec, n, rows), abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("spec", ORDER_FREE)
@given(case=group, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_the_order_of_verdicts_does_not_matter(spec: str, case: tuple[int, list[Row]], seed: int) -> None:
    n, rows = case
    shuffled = [rows[index] for index in np.random.default_rng(seed).permutation(len(rows))]
    np.testing.assert_array_equal(values(spec, n, shuffled), values(spec, n, rows))


@pytest.mark.parametrize("spec", [spec for spec in ALL if "position_bias" not in spec])
@given(case=group)
@settings(max_examples=25)
def test_the_position_shown_does_not_matter_unless_it_is_modelled(spec: str, case: tuple[int, list[Row]]) -> None:
    n, rows = case
    swapped = [(j, i, 1.0 - points) for i, j, points in rows]
    assert values(spec, n, swapped) == pytest.approx(values(spec, n, rows), abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("spec", [spec for spec in ALL if not spec.startswith("knockout")])
@given(case=group)
@settings(max_examples=25)
def test_reversed_verdicts_reverse_the_scores(spec: str, case: tuple[int, list[Row]]) -> None:
    n, rows = case
    reversed_rows = [(i, j, 1.0 - points) for i, j, points in rows]
    mirrored = -values(spec, n, reversed_rows)
    assert mirrored == pytest.approx(values(spec, n, rows), abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("spec", ALL)
@given(batch=groups, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_a_group_does_not_depend_on_the_groups_beside_it(
    spec: str, batch: list[tuple[int, list[Row]]], seed: int
) -> None:
    together = reducer(spec)(outcomes_of(*batch))
    mixed = _interleaved(batch, seed)
    for ratings in (together, reducer(spec)(mixed)):
        for index, case in enumerate(batch):
            alone = reducer(spec)(outcomes_of(case))
            np.testing.assert_array_equal(ratings.values[index, : case[0]], alone.values[0])
            assert np.isnan(ratings.values[index, case[0] :]).all()
            assert ratings.converged[index] == alone.converged[0]
            assert ratings.iterations[index] == alone.iterations[0]
            assert ratings.position_bias_of(index) == alone.position_bias_of(0)


def _interleaved(batch: list[tuple[int, list[Row]]], seed: int) -> Outcomes:
    """The same verdicts with those of different groups mixed, each group's in the same order."""
    plain = outcomes_of(*batch)
    slots = np.random.default_rng(seed).permutation(plain.group)
    order = np.empty(len(slots), dtype=int)
    for index in range(len(batch)):
        order[slots == index] = np.flatnonzero(plain.group == index)
    columns = {name: getattr(plain, name)[order] for name in ("group", "first", "second", "round", "points")}
    return Outcomes(sizes=plain.sizes, **columns)


@pytest.mark.parametrize("spec", ALL)
@given(case=group, data=st.data())
@settings(max_examples=25)
def test_only_candidates_without_a_verdict_are_unscored(
    spec: str, case: tuple[int, list[Row]], data: st.DataObject
) -> None:
    n, rows = case
    kept = [row for row in rows if data.draw(st.booleans())]
    rate = reducer(spec)
    judged = {index for i, j, _ in kept for index in (i, j)}
    scores = rate(outcomes_of((n, kept))).values_of(0)
    assert [score is not None for score in scores] == [index in judged for index in range(n)]
    assert np.isfinite([score for score in scores if score is not None]).all()


@given(case=group)
def test_strengths_and_ratings_are_centred(case: tuple[int, list[Row]]) -> None:
    n, rows = case
    if rows:
        assert np.nanmean(values(bradley_terry(), n, rows)) == pytest.approx(0.0, abs=1e-9)
        assert np.nanmean(values(elo(initial=1500), n, rows)) == pytest.approx(1500.0, abs=1e-9)


# ---------------------------------------------------------------- with schedules


@pytest.mark.parametrize("orders", ["both", "balanced", "random", "fixed"])
@pytest.mark.parametrize("plan", ["round_robin", "circulant:8", "random:15"])
@pytest.mark.parametrize("spec", [spec for spec in ALL if not spec.startswith("knockout")])
def test_a_perfect_judge_of_all_pairs_recovers_the_order(spec: str, plan: str, orders: Orders) -> None:
    for n in (2, 3, 8, 16):
        found = rate_judgements(spec, n, play(plan, n, orders, "perfect"))
        assert found.argsort().tolist() == list(range(n)), n


@pytest.mark.parametrize("spec", ["win_rate", "majority", "elo", "bradley_terry", "bradley_terry:1:position_bias"])
@pytest.mark.parametrize("plan", ["circulant:3", "random:4", "swiss:4", "circulant:2"])
def test_a_perfect_judge_of_few_pairs_is_followed(spec: str, plan: str) -> None:
    for seed in range(5):
        found = rate_judgements(spec, 16, play(plan, 16, "both", "perfect", seed))
        assert np.corrcoef(np.arange(16), found)[0, 1] > 0.7
        if spec in ("win_rate", "majority"):
            assert found[15] == found.max() == 1.0
            assert found[0] == found.min() == -1.0


@pytest.mark.parametrize("orders", ["both", "balanced", "random", "fixed"])
def test_a_perfect_judge_of_a_knockout_finds_the_best(orders: Orders) -> None:
    for n in range(2, 34):
        found = rate_judgements("knockout_rank", n, play("knockout", n, orders, "perfect", seed=n))
        assert np.flatnonzero(found == found.max()).tolist() == [n - 1]
        assert found.max() == np.ceil(np.log2(n))


@pytest.mark.parametrize("spec", ["win_rate", "majority", "elo", "bradley_terry", "bradley_terry:1:position_bias"])
def test_a_perfect_judge_sorts_by_the_reference(spec: str) -> None:
    found = rate_judgements(spec, 9, play("reference:4", 9, "both", "perfect"))
    assert found[:4].max() < found[4] < found[5:].min()
    assert np.ptp(found[:4]) == pytest.approx(0, abs=1e-7) == np.ptp(found[5:])


@pytest.mark.parametrize("spec", [spec for spec in ORDER_FREE if spec != "knockout_rank"])
@pytest.mark.parametrize(
    ("plan", "orders"),
    [
        *[(plan, "both") for plan in ("round_robin", "circulant:3", "random:4", "reference", "swiss:3", "knockout")],
        *[(f"circulant:{k}", "balanced") for k in (1, 2, 3, 8, 99)],
    ],
)
def test_a_judge_that_always_says_first_gives_equal_scores(spec: str, plan: str, orders: Orders) -> None:
    for n in (2, 3, 4, 5, 8, 12, 16):
        found = rate_judgements(spec, n, play(plan, n, orders, "first"))
        met = found[~np.isnan(found)]
        assert np.ptp(met) < 1e-8, n


# ---------------------------------------------------------------- columns


def judgement(first: int, second: int, verdict: Verdict | None, round: int = 0) -> Judgement:
    reason = None if verdict else Reason.CUT_OFF
    return Judgement(verdict=verdict, reason=reason, match=Match(first=first, second=second, round=round))


def test_from_judgements_keeps_verdicts_in_order_and_drops_the_rest() -> None:
    outcomes = Outcomes.from_judgements(
        [
            (2, [judgement(0, 1, Verdict.FIRST), judgement(1, 0, None), judgement(1, 0, Verdict.TIE, round=2)]),
            (0, []),
            (3, (judgement(2, 0, Verdict.SECOND),)),
        ]
    )
    assert outcomes.sizes.tolist() == [2, 0, 3]
    assert outcomes.group.tolist() == [0, 0, 2]
    assert outcomes.first.tolist() == [0, 1, 2]
    assert outcomes.second.tolist() == [1, 0, 0]
    assert outcomes.round.tolist() == [0, 2, 0]
    assert outcomes.points.tolist() == [1.0, 0.5, 0.0]
    assert (outcomes.groups, outcomes.width) == (3, 3)


def test_a_judgement_without_a_match_is_refused() -> None:
    with pytest.raises(ValueError, match="without a match"):
        Outcomes.from_judgements([(2, [Judgement(verdict=Verdict.FIRST)])])


@pytest.mark.parametrize(
    "change",
    [
        {"group": [2]},
        {"group": [-1]},
        {"first": [2]},
        {"second": [0]},
        {"second": [-1]},
        {"points": [1.1]},
        {"points": [-0.1]},
        {"points": [np.nan]},
        {"round": [-1]},
        {"points": [1.0, 1.0]},
        {"sizes": [[2, 2]]},
    ],
)
def test_impossible_columns_are_refused(change: dict[str, list]) -> None:
    columns = {"sizes": [2, 2], "group": [0], "first": [0], "second": [1], "round": [0], "points": [1.0]}
    Outcomes(**{name: np.array(column) for name, column in columns.items()})
    with pytest.raises(ValueError, match="Outcomes"):
        Outcomes(**{name: np.array(column) for name, column in {**columns, **change}.items()})


@pytest.mark.parametrize("spec", ALL)
@pytest.mark.parametrize("batch", [[], [(0, [])], [(1, [])], [(3, []), (0, []), (1, [])]])
def test_groups_without_verdicts_are_unscored(spec: str, batch: list[tuple[int, list[Row]]]) -> None:
    ratings = reducer(spec)(outcomes_of(*batch))
    assert isinstance(ratings, Ratings)
    assert ratings.values.shape == (len(batch), max((n for n, _ in batch), default=0))
    for index, (n, _) in enumerate(batch):
        assert ratings.values_of(index) == [None] * n
    assert ratings.converged.all()


def test_many_blocks_agree_with_single_groups() -> None:
    rng = np.random.default_rng(0)
    batch = [(n, random_rows(rng, n, 3 * n)) for n in [16] * 150 + [64] * 9 + [5] * 30]
    for spec in ALL:
        ratings = reducer(spec)(outcomes_of(*batch))
        for index in (0, 63, 64, 149, 150, 153, 154, 158, 159, 188):
            np.testing.assert_array_equal(
                ratings.values[index, : batch[index][0]], values(spec, *batch[index]), err_msg=spec
            )


# ---------------------------------------------------------------- settings


def test_names_round_trip_and_reducers_pickle() -> None:
    made = [win_rate(), majority(), knockout_rank(), elo(), elo(16.5), elo(sequential=True), bradley_terry()]
    made += [bradley_terry(0.25, position_bias=True), bradley_terry(prior=0)]
    names = [rate.name for rate in made]
    assert names[3:] == [
        "elo:32",
        "elo:16.5",
        "elo:32:sequential",
        "bradley_terry:1",
        "bradley_terry:0.25:position_bias",
        "bradley_terry:0",
    ]
    for rate in made:
        assert reducer(rate.name) == rate == pickle.loads(pickle.dumps(rate))
        assert reducer(rate) is rate
        assert rate.unit and "\n" not in rate.unit
    assert reducer("elo") == elo() and reducer("bradley_terry:position_bias") == bradley_terry(position_bias=True)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mean", "bradley_terry"),
        ("elo:0", "elo k=0"),
        ("elo:nan", "elo k=nan"),
        ("elo:much", "'much'"),
        ("elo:16:16", "elo"),
        ("win_rate:2", "'2'"),
        ("bradley_terry:-1", "bradley_terry prior=-1"),
        ("bradley_terry:bias", "'bias'"),
        (None, "None"),
        (win_rate, "must be a name"),
    ],
)
def test_a_wrong_setting_is_named(spec: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        reducer(spec)


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError, match="tolerance"):
        bradley_terry(tolerance=0)
    with pytest.raises(ConfigError, match="max_iterations"):
        bradley_terry(max_iterations=0)
    with pytest.raises(ConfigError, match="initial"):
        elo(initial=float("inf"))


# ---------------------------------------------------------------- verdicts with a probability


SOFT: list[Row] = [(0, 1, 0.7), (1, 0, 0.4), (0, 2, 1.0), (2, 1, 0.5), (1, 2, 0.1)]


def test_probabilities_golden() -> None:
    # Of 0: 0.7 - 0.3, 0.6 - 0.4 and 1; of 1: those two the other way round, 0 and -0.8; of 2: -1, 0 and 0.8.
    assert values(win_rate(), 3, SOFT) == pytest.approx([1.6 / 3, -1.4 / 4, -0.2 / 3])
    assert values(majority(), 3, SOFT) == pytest.approx([1.0, -1.0, 0.0])
    assert values(elo(initial=1500, sequential=True), 2, [(0, 1, 0.7)]) == pytest.approx([1506.4, 1493.6])
    assert values(knockout_rank(), 2, [(0, 1, 0.9), (1, 0, 0.6)]).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("spec", ["bradley_terry:1", "bradley_terry:0.1:position_bias"])
def test_bradley_terry_takes_a_probability_for_shares_of_matches(spec: str) -> None:
    """A match of 0.7 is as seven won and three lost, where all others are ten as well, and the prior is ten times."""
    name, prior, *rest = spec.split(":")
    tenths = [row for i, j, p in SOFT for row in [(i, j, 1.0)] * round(10 * p) + [(i, j, 0.0)] * round(10 - 10 * p)]
    more = ":".join([name, str(10 * float(prior)), *rest])
    assert values(spec, 3, SOFT) == pytest.approx(values(more, 3, tenths), abs=1e-9)


@pytest.mark.parametrize(("k", "error"), [(16, 0.1), (32, 0.5), (64, 2.5)])
def test_elo_of_probabilities_is_the_mean_over_all_orders_of_play(k: float, error: float) -> None:
    rng = np.random.default_rng(11)
    for n, count in [(2, 5), (3, 6), (4, 7)]:
        rows = [(i, j, float(rng.random())) for i, j, _ in random_rows(rng, n, count)]
        every_order = [(n, order) for order in itertools.permutations(rows)]
        exact = elo(k=k, sequential=True)(outcomes_of(*every_order)).values.mean(axis=0)
        assert values(elo(k=k), n, rows) == pytest.approx(exact, abs=error, nan_ok=True)


@pytest.mark.parametrize("spec", ALL)
def test_a_group_of_verdicts_is_not_changed_by_probabilities_beside_it(spec: str) -> None:
    plain = random_rows(np.random.default_rng(2), 5, 30)
    alone = reducer(spec)(outcomes_of((5, plain))).values[0]
    beside = reducer(spec)(outcomes_of((5, SOFT), (5, plain))).values[1]
    assert alone.tolist() == beside.tolist()


@pytest.mark.parametrize("spec", ORDER_FREE)
def test_the_order_of_probabilities_does_not_matter(spec: str) -> None:
    rng = np.random.default_rng(5)
    rows = [(i, j, float(rng.random())) for i, j, _ in random_rows(rng, 5, 40)]
    mixed = [rows[index] for index in rng.permutation(len(rows))]
    assert values(spec, 5, rows) == pytest.approx(values(spec, 5, mixed), abs=1e-8)


def test_a_pair_with_even_probabilities_is_even() -> None:
    """Both orders name the response shown first, equally surely: three times, so that sums differ in the last bit."""
    rows = [(0, 1, 0.7), (1, 0, 0.7), (0, 1, 0.1), (1, 0, 0.1), (0, 1, 0.6), (1, 0, 0.6)]
    assert values(majority(), 2, rows).tolist() == [0.0, 0.0]
    assert values(knockout_rank(), 2, rows).tolist() == [0.5, 0.5]


def test_from_judgements_takes_the_chance_where_there_is_one() -> None:
    match = Match(first=0, second=1)
    judgements = [
        Judgement(verdict=Verdict.FIRST, match=match, chance=0.4),
        Judgement(verdict=Verdict.SECOND, match=match),
        Judgement(verdict=None, reason=Reason.CUT_OFF, match=match),
    ]
    assert Outcomes.from_judgements([(2, judgements)]).points.tolist() == [0.4, 0.0]
