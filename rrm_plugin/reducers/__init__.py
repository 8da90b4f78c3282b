"""Verdicts of a group to one number per candidate, for many groups at once.

Reducers read `Outcomes` (columns of verdicts) and give `Ratings` (an array with NaN for the unscored). They are frozen
dataclasses with a name ("elo:16") and a unit, need NumPy alone, and do not depend on the order of verdicts, but for
sequential Elo. What is left out: shaping (`rrm_plugin.shaping`), which makes rewards of the numbers.

| name | what it says | fits |
|---|---|---|
| win_rate | mean of own matches, in [-1, 1] | any schedule |
| majority | mean over opponents, each decided by majority | any schedule, several verdicts a pair |
| elo:k | Elo points, averaged over all orders of play; `elo:k:sequential` as played | any schedule |
| bradley_terry:prior | log-odds; `bradley_terry:prior:position_bias` takes out a position bias | sparse schedules |
| knockout_rank | rounds survived | knockout |
"""

from __future__ import annotations

from rrm_plugin.errors import ConfigError
from rrm_plugin.reducers._bradley_terry import BradleyTerry
from rrm_plugin.reducers._counting import KnockoutRank, Majority, WinRate
from rrm_plugin.reducers._elo import Elo
from rrm_plugin.reducers._outcomes import Outcomes, Ratings, Reducer
from rrm_plugin.specs import Entry, resolve

__all__ = [
    "Outcomes",
    "Ratings",
    "Reducer",
    "bradley_terry",
    "elo",
    "knockout_rank",
    "majority",
    "reducer",
    "win_rate",
]


def win_rate() -> Reducer:
    """Mean over a candidate's own matches of +1 (won), 0 (tied) and -1 (lost)."""
    return WinRate()


def majority() -> Reducer:
    """Mean over the opponents met of +1, 0 or -1: each pair is decided by the majority of its verdicts.

    Unlike `win_rate`, a pair judged more often weighs no more, and one verdict against two counts for nothing.
    """
    return Majority()


def elo(k: float = 32.0, initial: float = 0.0, sequential: bool = False) -> Reducer:
    """Elo ratings, the reducer of the RRM paper's round robin; k, start value and order of play are choices made here.

    By default the mean over all orders of play, so that the order of the verdicts does not matter. It is computed by an
    approximation without chance: against the exact mean over all orders of up to 7 verdicts among up to 4 candidates it
    is off by less than 0.5 points at k=32 and 2.5 at k=64. For 16 candidates, all pairs in both orders, it is off by
    about 2 points in a spread of 550 at k=32.

    Args:
        k: points at stake in a match.
        initial: the rating everybody starts from; ratings of a group have this mean. Zero suits rewards: where a
            trainer adds several, it takes an unscored response for 0.
        sequential: update verdict by verdict in the order of play instead, as Elo is used in chess.

    Raises:
        ConfigError: k is not above 0, or initial is not finite.
    """
    return Elo(k=k, initial=initial, sequential=sequential)


def bradley_terry(
    prior: float = 1.0, position_bias: bool = False, tolerance: float = 1e-8, max_iterations: int = 50
) -> Reducer:
    """Bradley-Terry log-strengths, with mean 0 over the scored candidates of a group; a tie is half a win for each.

    Args:
        prior: precision (1 / variance) of a Gaussian prior on each log-strength. It keeps the strength of a candidate
            that won or lost everything finite. 0 is plain maximum likelihood, which has no solution unless every
            candidate leads to every other by a chain of wins: `converged` is then False, and the values are those
            under a prior of 0.01.
        position_bias: estimate for each group the log-odds by which being shown first helps, under the same prior, and
            take them out of the strengths. Worth it where a pair is shown in one order only.
        tolerance: largest change of a log-odds in the last step.
        max_iterations: after so many, `converged` is False.

    Raises:
        ConfigError: a setting is out of range.
    """
    return BradleyTerry(prior=prior, position_bias=position_bias, tolerance=tolerance, max_iterations=max_iterations)


def knockout_rank() -> Reducer:
    """Rounds survived in a knockout: the last round played, plus 1 for having won there, 0.5 for having left it open.

    A round won by a bye or without a verdict counts through the next round played. In a schedule of one round, this is
    1, 0.5 or 0 for more, as many or fewer matches won than lost; in Swiss rounds only the last one counts, so use
    another reducer there.
    """
    return KnockoutRank()


_TABLE: dict[str, Entry[Reducer]] = {
    "win_rate": Entry(make=win_rate, usage="win_rate"),
    "majority": Entry(make=majority, usage="majority"),
    "elo": Entry(make=elo, usage="elo[:k][:sequential]", argument="k", flags=("sequential",)),
    "bradley_terry": Entry(
        make=bradley_terry, usage="bradley_terry[:prior][:position_bias]", argument="prior", flags=("position_bias",)
    ),
    "knockout_rank": Entry(make=knockout_rank, usage="knockout_rank"),
}


def reducer(spec: str | Reducer) -> Reducer:
    """The reducer that `spec` names, or `spec` itself where it is one.

    Raises:
        ConfigError: the name is not known (the message lists those that are) or its argument is out of range.
    """
    if isinstance(spec, str):
        return resolve("reducer", spec, _TABLE)
    if isinstance(spec, Reducer) and not isinstance(spec, type):
        return spec
    raise ConfigError(f"reducer={spec!r} must be a name such as 'bradley_terry', or a Reducer")
