from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_plugin.errors import ConfigError, GroupError
from rrm_plugin.reducers import Outcomes, bradley_terry
from rrm_plugin.schedules import (
    Orders,
    Schedule,
    _adaptive,
    adaptive,
    circulant,
    knockout,
    random_rivals,
    reference,
    round_robin,
    schedule,
    swiss,
)
from rrm_plugin.schedules._fixed import offsets
from rrm_plugin.schedules._orders import balanced_orientation
from rrm_plugin.types import Judgement, Match, Reason, Verdict

ORDERS: tuple[Orders, ...] = ("both", "balanced", "random", "fixed")
SPECS = (
    "round_robin",
    "circulant:1",
    "circulant:3",
    "circulant:40",
    "random:1",
    "random:4",
    "reference",
    "reference:random",
    "swiss:1",
    "swiss:3",
    "swiss:9",
    "knockout",
    "adaptive",
    "adaptive:21",
    "adaptive:auto,0.5",
)

Judge = Callable[[Match], Verdict | None]


def play(plan: Schedule, n: int, orders: Orders, judge: Judge, seed: int = 0) -> list[list[Judgement]]:
    """The judgements of each round; fails where the schedule does not end."""
    stepper = plan.start(n, orders, np.random.default_rng(seed))
    rounds: list[list[Judgement]] = []
    for _ in range(100):
        matches = stepper.next_matches([judgement for one in rounds for judgement in one])
        if not matches:
            assert stepper.next_matches([judgement for one in rounds for judgement in one]) == []
            return rounds
        verdicts = [judge(match) for match in matches]
        rounds.append(
            [
                Judgement(verdict=verdict, match=match, reason=None if verdict else Reason.CUT_OFF)
                for match, verdict in zip(matches, verdicts, strict=True)
            ]
        )
    raise AssertionError("the schedule hands out matches without end")


def matches_of(plan: Schedule, n: int, orders: Orders, judge: Judge | None = None, seed: int = 0) -> list[Match]:
    judge = judge or perfect
    return [judgement.match for one in play(plan, n, orders, judge, seed) for judgement in one if judgement.match]


def perfect(match: Match) -> Verdict:
    """The higher index is better."""
    return Verdict.FIRST if match.first > match.second else Verdict.SECOND


def undecided(match: Match) -> None:
    return None


def random_judge(seed: int) -> Judge:
    rng = np.random.default_rng(seed)
    options = (Verdict.FIRST, Verdict.SECOND, Verdict.TIE, None)
    return lambda match: options[int(rng.integers(4))]


def lead(matches: list[Match], n: int) -> list[int]:
    """Times shown first minus times shown second."""
    count = [0] * n
    for match in matches:
        count[match.first] += 1
        count[match.second] -= 1
    return count


# ---------------------------------------------------------------- laws of all


@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize("spec", SPECS)
def test_every_size_ends_without_self_match_or_repetition(spec: str, orders: Orders) -> None:
    for n in [*range(18), 31, 64]:
        plan = schedule(spec)
        matches = matches_of(plan, n, orders, random_judge(n), seed=n)
        shown = [(match.first, match.second) for match in matches]
        assert len(set(shown)) == len(shown)
        assert all(first != second and min(first, second) >= 0 and max(first, second) < n for first, second in shown)
        assert len(matches) <= plan.calls(n, orders)
        if n < 2:
            assert matches == []
        elif not spec.startswith(("random", "swiss", "adaptive")):
            assert len(matches) == plan.calls(n, orders)


@pytest.mark.parametrize("spec", SPECS)
def test_names_make_the_same_schedule_again(spec: str) -> None:
    assert schedule(schedule(spec).name) == schedule(spec)


@pytest.mark.parametrize("spec", SPECS)
def test_both_shows_every_pair_in_both_orders(spec: str) -> None:
    for n in (2, 5, 8, 13):
        pairs = Counter(match.pair for match in matches_of(schedule(spec), n, "both", random_judge(3)))
        assert set(pairs.values()) == {2}


@pytest.mark.parametrize("orders", ["random", "fixed"])
@pytest.mark.parametrize("spec", SPECS)
def test_one_order_shows_every_pair_once(spec: str, orders: Orders) -> None:
    for n in (2, 5, 8, 13):
        matches = matches_of(schedule(spec), n, orders, random_judge(3))
        assert set(Counter(match.pair for match in matches).values()) == {1}
        if orders == "fixed":
            assert all(match.first < match.second for match in matches)


@pytest.mark.parametrize("spec", ["round_robin", "random:1", "random:4", "reference", "reference:1"])
def test_balanced_shows_each_candidate_first_as_often_as_second(spec: str) -> None:
    for n in range(2, 40):
        matches = matches_of(schedule(spec), n, "balanced", seed=n)
        assert set(Counter(match.pair for match in matches).values()) == {1}
        for count, played in zip(lead(matches, n), _played(matches, n), strict=True):
            assert abs(count) == played % 2


def _played(matches: list[Match], n: int) -> list[int]:
    counts = Counter(index for match in matches for index in match.pair)
    return [counts[index] for index in range(n)]


@pytest.mark.parametrize("spec", ["swiss:8", "knockout"])
def test_balanced_adaptive_schedules_stay_near_balance(spec: str) -> None:
    leads = [
        abs(count)
        for seed in range(20)
        for count in lead(matches_of(schedule(spec), 16, "balanced", random_judge(seed), seed), 16)
    ]
    assert max(leads) <= 3
    assert np.mean(leads) < 1.0


@pytest.mark.parametrize("n", [*range(2, 20), 33, 64])
@pytest.mark.parametrize("k", [1, 2, 3, 7, 100])
def test_circulant_is_exactly_balanced_whatever_n_and_k(n: int, k: int) -> None:
    matches = matches_of(circulant(k), n, "balanced")
    firsts = Counter(match.first for match in matches)
    seconds = Counter(match.second for match in matches)
    assert set(firsts.values()) == set(seconds.values()) == {min(k, n // 2)}
    assert len(firsts) == len(seconds) == n


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_graph_is_oriented_in_balance(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 12))
    pairs = data.draw(st.lists(st.sampled_from(list(itertools.combinations(range(n), 2))), unique=True))
    oriented = balanced_orientation(pairs, np.random.default_rng(data.draw(st.integers(0, 9))))
    assert [tuple(sorted(pair)) for pair in oriented] == pairs
    matches = [Match(first=first, second=second) for first, second in oriented]
    assert all(abs(count) == played % 2 for count, played in zip(lead(matches, n), _played(matches, n), strict=True))


@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize("spec", SPECS)
def test_the_same_generator_state_gives_the_same_tournament(spec: str, orders: Orders) -> None:
    plan = schedule(spec)
    once, again = (matches_of(plan, 9, orders, perfect, seed=5) for _ in range(2))
    assert once == again


@pytest.mark.parametrize("spec", ["random:2", "reference:random", "swiss:2", "knockout"])
def test_another_generator_state_gives_another_tournament(spec: str) -> None:
    assert len({tuple(matches_of(schedule(spec), 9, "fixed", perfect, seed)) for seed in range(6)}) > 1


def test_random_order_is_a_fair_coin_for_each_pair() -> None:
    matches = matches_of(round_robin(), 64, "random")
    low_first = np.mean([match.first < match.second for match in matches])
    assert 0.45 < low_first < 0.55


# ---------------------------------------------------------------- each by itself


def test_round_robin_meets_everybody() -> None:
    pairs = {match.pair for match in matches_of(round_robin(), 7, "fixed")}
    assert pairs == set(itertools.combinations(range(7), 2))


def test_circulant_golden() -> None:
    shown = [(match.first, match.second) for match in matches_of(circulant(1), 4, "balanced")]
    assert shown == [(0, 1), (1, 2), (2, 3), (3, 0)]
    shown = [(match.first, match.second) for match in matches_of(circulant(2), 4, "balanced")]
    assert shown[4:] == [(0, 2), (1, 3), (2, 0), (3, 1)]
    assert offsets(16, 3) == (1, 6, 2)


def test_circulant_reaches_all_pairs_at_half_of_n() -> None:
    for n in range(2, 20):
        pairs = {match.pair for match in matches_of(circulant(n), n, "balanced")}
        assert pairs == set(itertools.combinations(range(n), 2))


@pytest.mark.parametrize(("n", "k"), [(7, 2), (7, 3), (12, 2), (12, 3), (16, 2), (16, 3), (24, 3), (33, 2), (64, 2)])
def test_circulant_offsets_are_nearly_the_best(n: int, k: int) -> None:
    best = min(_variance(n, some) for some in itertools.combinations(range(1, (n + 1) // 2), k))
    assert _variance(n, offsets(n, k)) <= 1.03 * best


def _variance(n: int, steps: tuple[int, ...]) -> float:
    """Sum of the effective resistances of the comparison graph, by its pseudo-inverse rather than in closed form."""
    row = np.zeros(n)
    for step in steps:
        row[step] = row[-step] = 1.0
    adjacency = np.array([np.roll(row, i) for i in range(n)])
    laplacian = np.diag(adjacency.sum(axis=1)) - adjacency
    if np.linalg.matrix_rank(laplacian) < n - 1:
        return np.inf
    return float(np.trace(np.linalg.pinv(laplacian)))


def test_a_larger_circulant_only_adds_matches() -> None:
    for n in (5, 8, 16):
        few, more = (set(matches_of(circulant(k), n, "balanced")) for k in (2, 3))
        assert few <= more


def test_reference_names_the_last_candidate_a_member_or_a_drawn_one() -> None:
    assert {match.pair for match in matches_of(reference(), 4, "balanced")} == {(0, 3), (1, 3), (2, 3)}
    assert {match.pair for match in matches_of(reference(1), 4, "balanced")} == {(0, 1), (1, 2), (1, 3)}
    drawn = matches_of(reference("random"), 4, "balanced", seed=2)
    assert len(set.intersection(*({match.first, match.second} for match in drawn))) == 1
    assert [plan.needs_reference for plan in (reference(), reference(1), reference("random"))] == [True, False, False]


def test_random_rivals_gives_everybody_enough_opponents() -> None:
    matches = matches_of(random_rivals(4), 16, "fixed")
    assert min(_played(matches, 16)) >= 4
    assert 32 <= len(matches) <= 64
    assert len(matches_of(random_rivals(99), 6, "fixed")) == 15


def test_swiss_pairs_equals_in_points() -> None:
    rounds = play(swiss(3), 8, "both", perfect)
    points = Counter({index: 0 for index in range(8)})
    for number, one in enumerate(rounds):
        for judgement in one:
            assert judgement.match is not None
            assert judgement.match.round == number
            assert points[judgement.match.first] == points[judgement.match.second]
        for winner in {max(judgement.match.pair) for judgement in one if judgement.match}:
            points[winner] += 1
    assert sorted(points.values()) == [0, 1, 1, 1, 2, 2, 2, 3]
    assert points[7] == 3


def test_swiss_never_repeats_a_pair_and_rotates_byes() -> None:
    for n in (5, 6, 7, 9):
        rounds = play(swiss(n), n, "fixed", random_judge(n))
        pairs = [judgement.match.pair for one in rounds for judgement in one if judgement.match]
        assert len(set(pairs)) == len(pairs)
    byes = Counter()
    for one in play(swiss(5), 7, "both", perfect):
        byes.update(set(range(7)).difference(*(judgement.match.pair for judgement in one if judgement.match)))
    assert max(byes.values()) == 1


def test_swiss_fills_every_round_while_there_are_enough_new_opponents() -> None:
    for n in (8, 16, 64):
        for seed in range(5):
            rounds = play(swiss(n // 2), n, "fixed", random_judge(seed), seed)
            assert [len(one) for one in rounds] == [n // 2] * (n // 2)


def test_knockout_finds_the_best_in_log2_rounds() -> None:
    for n in range(2, 65):
        rounds = play(knockout(), n, "both", perfect, seed=n)
        assert len(rounds) == int(np.ceil(np.log2(n)))
        assert [judgement.match.round for one in rounds for judgement in one if judgement.match] == [
            number for number, one in enumerate(rounds) for _ in one
        ]
        assert all(judgement.match and n - 1 in judgement.match.pair for judgement in rounds[-1])


def test_knockout_golden_bracket_gives_byes_to_the_best_seeds() -> None:
    rounds = play(knockout((3, 1, 4, 0, 2)), 5, "fixed", undecided)
    pairs = [[judgement.match.pair for judgement in one if judgement.match] for one in rounds]
    assert pairs == [[(0, 2)], [(0, 3), (1, 4)], [(1, 3)]]


@pytest.mark.parametrize("judge", [undecided, lambda match: Verdict.FIRST, lambda match: Verdict.TIE])
def test_an_undecided_knockout_goes_to_the_seeds_not_to_a_position(judge: Judge) -> None:
    final = play(knockout((2, 0, 3, 1)), 4, "both", judge)[-1]
    assert {judgement.match.pair for judgement in final if judgement.match} == {(0, 2)}


def test_knockout_is_decided_by_the_net_of_both_orders() -> None:
    def one_of_two(match: Match) -> Verdict | None:
        return perfect(match) if match.first > match.second else None

    final = play(knockout((0, 1, 2, 3)), 4, "both", one_of_two)[-1]
    assert {judgement.match.pair for judgement in final if judgement.match} == {(2, 3)}


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("spec", [*SPECS, "knockout:2,0,1", "reference:3"])
def test_names_round_trip_and_schedules_pickle(spec: str) -> None:
    plan = schedule(spec)
    assert plan.name == spec
    assert schedule(plan.name) == plan == pickle.loads(pickle.dumps(plan))
    assert hash(plan) == hash(schedule(spec))
    assert schedule(plan) is plan


def test_factories_agree_with_names() -> None:
    made = [round_robin(), circulant(), swiss(), knockout(), reference(), random_rivals()]
    assert made == [schedule(name) for name in ("round_robin", "circulant", "swiss", "knockout", "reference", "random")]
    assert knockout([1, 0]) == schedule("knockout:1,0")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("circle", "circulant:k"),
        ("", "round_robin"),
        ("circulant:0", "circulant k=0"),
        ("circulant:-1", "circulant k=-1"),
        ("circulant:two", "'two'"),
        ("circulant:2:3", "circulant:k"),
        ("round_robin:2", "round_robin"),
        ("swiss:0", "swiss rounds=0"),
        ("random:0", "random k=0"),
        ("reference:-1", "reference member=-1"),
        ("reference:best", "'best'"),
        ("knockout:0,0", "knockout seeds"),
        (3, "3"),
    ],
)
def test_a_wrong_setting_is_named(spec: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        schedule(spec)


def test_settings_that_do_not_fit_the_group_are_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(GroupError, match="reference member=4"):
        reference(4).start(4, "both", rng)
    with pytest.raises(GroupError, match="knockout seeds"):
        knockout((1, 0)).start(3, "both", rng)
    for spec in SPECS:
        with pytest.raises(ConfigError, match="orders='sideways'"):
            schedule(spec).start(4, "sideways", rng)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ConfigError, match="orders='sideways'"):
            schedule(spec).calls(4, "sideways")  # pyright: ignore[reportArgumentType]


# ---------------------------------------------------------------- adaptive


def bradley_terry_judge(quality: np.ndarray, seed: int, bias: float = 0.0) -> Judge:
    rng = np.random.default_rng(seed)

    def judge(match: Match) -> Verdict:
        odds = quality[match.first] - quality[match.second] + bias
        return Verdict.FIRST if rng.random() < 1 / (1 + np.exp(-odds)) else Verdict.SECOND

    return judge


def connected(matches: list[Match], n: int) -> bool:
    reached, edges = {0}, [match.pair for match in matches]
    while grown := {index for edge in edges if reached & set(edge) for index in edge} - reached:
        reached |= grown
    return len(reached) == n


@pytest.mark.parametrize("orders", ["both", "balanced"])
def test_adaptive_begins_with_a_knockout_that_connects_everybody(orders: Orders) -> None:
    for n in range(2, 24):
        rounds = play(adaptive(4 * n, 0.0), n, orders, perfect, seed=n)[: int(np.ceil(np.log2(n)))]
        matches = [judgement.match for one in rounds for judgement in one if judgement.match]
        pairs = {match.pair for match in matches}
        assert len(pairs) == n - 1 and connected(matches, n)
        assert n - 1 in rounds[-1][0].match.pair  # pyright: ignore[reportOptionalMemberAccess]
        for one in rounds:
            met = Counter(
                index for pair in {judgement.match.pair for judgement in one if judgement.match} for index in pair
            )
            assert set(met.values()) == {1}


def test_adaptive_meets_everybody_even_with_few_calls() -> None:
    matches = matches_of(adaptive(8), 16, "balanced", random_judge(0))
    assert sorted(index for match in matches for index in match.pair) == list(range(16))


def test_a_larger_adaptive_budget_only_adds_matches() -> None:
    quality = np.random.default_rng(0).normal(size=10)
    # Each pair has one verdict in each order, whenever it is asked for.
    wins = np.random.default_rng(1).random((10, 10)) < 1 / (1 + np.exp(quality[None, :] - quality[:, None]))

    def judge(match: Match) -> Verdict:
        return Verdict.FIRST if wins[match.first, match.second] else Verdict.SECOND

    few, more = (matches_of(adaptive(budget, 0.0), 10, "balanced", judge) for budget in (23, 90))
    assert few == more[:23]


def test_adaptive_asks_new_pairs_before_it_looks_again() -> None:
    """Where nothing is learnt, all that tells pairs apart is whether they were asked about."""
    pairs = Counter(match.pair for match in matches_of(adaptive(28, 0.0), 8, "balanced", undecided))
    assert len(pairs) == 28


@pytest.mark.parametrize("position_bias", [0.0, 1.5])
def test_what_adaptive_knows_is_what_the_reducer_finds(position_bias: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_adaptive, "BIAS_VARIANCE", _adaptive.PRIOR_VARIANCE)
    known = _adaptive._Knowledge(9)
    judge = bradley_terry_judge(np.linspace(-2, 2, 9), 3, position_bias)
    judgements = [judgement for one in play(circulant(3), 9, "balanced", judge) for judgement in one]
    # In two steps, the second from the estimate of the first.
    known.learn(judgements[:10])
    known.learn(judgements)
    reduced = bradley_terry(1 / _adaptive.PRIOR_VARIANCE, position_bias=True)(
        Outcomes.from_judgements([(9, judgements)])
    )
    assert known.mean[:9] - known.mean[:9].mean() == pytest.approx(reduced.values[0], abs=1e-6)
    assert known.mean[9] == pytest.approx(reduced.position_bias_of(0), abs=1e-6)


@pytest.mark.parametrize("mean", [-3.0, -0.5, 0.0, 2.0])
@pytest.mark.parametrize("variance", [0.1, 2.0, 9.0])
def test_gains_are_the_share_of_variance_that_a_verdict_takes(mean: float, variance: float) -> None:
    """Against quadrature, for two whose log-odds have this mean and variance; off by a sixth at most."""
    known = _adaptive._Knowledge(2)
    known.mean = np.array([mean, 0.0, 0.0])
    known.covariance = np.diag([variance, 0.0, 0.0])
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    odds = mean + np.sqrt(variance) * nodes
    wins = 1 / (1 + np.exp(-odds))
    chance = weights @ wins
    covariance = weights @ ((odds - mean) * wins)
    assert known.gains()[0, 1] == pytest.approx(covariance**2 / (chance * (1 - chance)) / variance, rel=0.18)
    known.expect(0, 1, 0.25)
    assert known.covariance[0, 0] == pytest.approx(0.75 * variance)


@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize("budget", [2, 7, 24, 1000])
def test_adaptive_keeps_its_budget(budget: int, orders: Orders) -> None:
    for n in (2, 3, 8):
        matches = matches_of(adaptive(budget, 0.0), n, orders, random_judge(1))
        assert len(matches) == adaptive(budget).calls(n, orders) <= budget


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 9),
    budget=st.integers(2, 40),
    orders=st.sampled_from(ORDERS),
    least_gain=st.sampled_from([0.0, 0.01, 0.3]),
    said=st.lists(st.sampled_from([*Verdict, None]), min_size=1, max_size=30),
    seed=st.integers(0, 99),
)
def test_adaptive_whatever_the_verdicts_and_however_they_arrive(
    n: int, budget: int, orders: Orders, least_gain: float, said: list[Verdict | None], seed: int
) -> None:
    """Wins, ties and none at all: within the budget, no match twice, everybody connected first, and the same matches
    whichever verdict of a round came in first.
    """
    plan, rng = adaptive(budget, least_gain), np.random.default_rng(seed)
    in_order, shuffled = (plan.start(n, orders, np.random.default_rng(7)) for _ in range(2))
    judgements: list[Judgement] = []
    mixed: list[Judgement] = []
    while matches := in_order.next_matches(judgements):
        assert shuffled.next_matches(mixed) == matches
        judgements += [
            Judgement(verdict=said[(31 * match.first + match.second) % len(said)], match=match) for match in matches
        ]
        mixed = [judgements[place] for place in rng.permutation(len(judgements))]
    assert shuffled.next_matches(mixed) == [] == in_order.next_matches(judgements)
    played = [judgement.match for judgement in judgements if judgement.match]
    shown = [(match.first, match.second) for match in played]
    assert len(shown) == len(set(shown)) <= plan.calls(n, orders) <= budget
    pairs = [match.pair for match in played]
    if len(set(pairs)) >= n - 1:
        assert connected(played, n)
    if orders == "both":
        assert set(Counter(pairs).values()) <= {2}
    elif orders != "balanced":
        assert set(Counter(pairs).values()) <= {1}


def test_adaptive_shows_the_other_order_before_it_repeats_anything() -> None:
    shown = [(match.first, match.second) for match in matches_of(adaptive(1000, 0.0), 5, "balanced", random_judge(0))]
    assert sorted(shown) == sorted(itertools.permutations(range(5), 2))


def test_adaptive_asks_where_the_order_is_in_doubt() -> None:
    """Between the like more often than between the best and the worst, whose order is soon clear."""
    quality = np.linspace(-6, 6, 12)
    distances = [
        abs(match.first - match.second)
        for seed in range(20)
        for match in matches_of(adaptive(60), 12, "balanced", bradley_terry_judge(quality, seed), seed)[12:]
    ]
    any_pair = np.mean([abs(one - other) for one, other in itertools.combinations(range(12), 2)])
    assert np.mean(distances) < 0.7 * any_pair


def test_adaptive_ends_where_calls_tell_no_more() -> None:
    """Sooner where the order is clear, later where it is not; with a higher price sooner, never before all are met."""
    clear, close = np.linspace(-9, 9, 8), np.zeros(8)
    calls = [
        [
            np.mean(
                [
                    len(matches_of(adaptive(56, price), 8, "balanced", bradley_terry_judge(quality, s), s))
                    for s in range(20)
                ]
            )
            for price in (0.0, 0.02, 0.05, 0.999)
        ]
        for quality in (clear, close)
    ]
    assert calls[0][0] == calls[1][0] == 56 and calls[0][3] == calls[1][3] == 7
    assert all(settled < doubtful for settled, doubtful in zip(*calls, strict=True) if 7 < settled < 56)
    assert all(one > other for few in calls for one, other in itertools.pairwise(few))


@pytest.mark.parametrize("position_bias", [0.0, 1.5])
def test_adaptive_foretells_what_calls_add(position_bias: float) -> None:
    """The correlation that is expected of a round, against that which its verdicts then give on average."""
    foretold, found = [], []
    for seed in range(150):
        judge = bradley_terry_judge(2 * np.random.default_rng(seed).normal(size=8), seed + 999, position_bias)
        stepper = adaptive(30, 0.0).start(8, "balanced", np.random.default_rng(seed))
        judgements: list[Judgement] = []
        while matches := stepper.next_matches(judgements):
            after = stepper._known.expected_correlation  # pyright: ignore[reportAttributeAccessIssue]
            judgements += [Judgement(verdict=judge(match), match=match) for match in matches]
            known = _adaptive._Knowledge(8)
            known.learn(judgements)
            if len(judgements) > 9:
                foretold.append(after)
                found.append(known.expected_correlation)
    assert np.mean(foretold) == pytest.approx(np.mean(found), abs=0.01)


def test_adaptive_stays_near_balance_in_the_positions() -> None:
    leads = [
        abs(count)
        for seed in range(20)
        for count in lead(matches_of(adaptive(48), 16, "balanced", random_judge(seed), seed), 16)
    ]
    assert max(leads) <= 3 and np.mean(leads) < 1.0


def test_adaptive_goes_on_where_a_judge_comes_to_no_verdict() -> None:
    assert len(matches_of(adaptive(20, 0.0), 6, "balanced", undecided)) == 20


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_adaptive_tells_more_than_a_fixed_schedule_of_the_same_calls(bias: float) -> None:
    """48 calls for 16 candidates and a good judge; the mean over 60 groups, far outside its error."""
    found = {"adaptive:48": [], "circulant:3": []}
    for seed in range(60):
        quality = 4 * np.random.default_rng(seed).normal(size=16)
        for spec, correlations in found.items():
            played = play(schedule(spec), 16, "balanced", bradley_terry_judge(quality, seed, bias), seed)
            judgements = [judgement for one in played for judgement in one]
            assert len(judgements) == 48
            strengths = bradley_terry(0.25)(Outcomes.from_judgements([(16, judgements)])).values[0]
            correlations.append(np.corrcoef(strengths, quality)[0, 1])
    assert np.mean(found["adaptive:48"]) > np.mean(found["circulant:3"]) + 0.02


@pytest.mark.parametrize(
    ("wrong", "told"),
    [("adaptive:0", "calls"), ("adaptive:8,1", "least_gain"), ("adaptive:x", "adaptive"), ("adaptive:8:9", "adaptive")],
)
def test_adaptive_limits_that_cannot_work(wrong: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        schedule(wrong)


def test_adaptive_needs_two_calls_for_both_orders() -> None:
    with pytest.raises(ConfigError, match="2 calls"):
        adaptive(1).start(4, "both", np.random.default_rng(0))
