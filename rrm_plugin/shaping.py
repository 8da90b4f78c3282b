"""Scores of one group to the rewards that a trainer gets.

A shaping maps the values of a group to as many rewards. An unscored response stays None and takes no part in any mean,
spread or rank. Values that differ by no more than rounding are equal: dividing by a spread of rounding errors would
make rewards of full size of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rrm_plugin.errors import ConfigError
from rrm_plugin.specs import Entry, number, resolve

__all__ = ["Shaping", "length_adjusted", "rank", "raw", "rewards_of", "shaping", "unit_interval", "z_score"]

FloatArray = NDArray[np.float64]

_ROUNDING = 1e-9
"""Difference up to which values are equal; relative to the largest one where that is above 1."""


@runtime_checkable
class Shaping(Protocol):
    """Makes rewards of the scores of one group. Frozen, comparable and picklable."""

    @property
    def name(self) -> str:
        """Text from which `shaping(name)` makes the same shaping."""
        ...

    def __call__(self, values: Sequence[float | None], lengths: Sequence[int]) -> list[float | None]:
        """The rewards of a group.

        Args:
            values: one score per response; None, or a number that is not finite, is unscored.
            lengths: of the responses, in any one unit.

        Raises:
            ValueError: `values` and `lengths` differ in number.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class _Elementary:
    name: str
    shape: Callable[[FloatArray, FloatArray], FloatArray]
    """(m,) values and (m,) lengths of the scored responses, m > 0, to (m,) rewards."""

    def __call__(self, values: Sequence[float | None], lengths: Sequence[int]) -> list[float | None]:
        return _shaped(self.shape, values, lengths)


@dataclass(frozen=True, kw_only=True)
class _LengthAdjusted:
    alpha: float

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < np.inf:
            raise ConfigError(f"length_adjusted alpha={self.alpha!r} must be 0 or a number above 0")

    @property
    def name(self) -> str:
        return f"length_adjusted:{number(self.alpha)}"

    def __call__(self, values: Sequence[float | None], lengths: Sequence[int]) -> list[float | None]:
        return _shaped(self._shape, values, lengths)

    def _shape(self, values: FloatArray, lengths: FloatArray) -> FloatArray:
        shortness = 1.0 - _unit_interval(lengths, lengths)
        return values + self.alpha * (shortness - shortness.mean())


@dataclass(frozen=True, kw_only=True)
class _Composed:
    parts: tuple[Shaping, ...]

    @property
    def name(self) -> str:
        return ",".join(part.name for part in self.parts)

    def __call__(self, values: Sequence[float | None], lengths: Sequence[int]) -> list[float | None]:
        rewards = list(values)
        for part in self.parts:
            rewards = part(rewards, lengths)
        return rewards


def raw() -> Shaping:
    """The scores as they are."""
    return _Elementary(name="raw", shape=_raw)


def z_score() -> Shaping:
    """Minus the mean, over the population standard deviation; equal scores give 0 each."""
    return _Elementary(name="z_score", shape=_z_score)


def rank() -> Shaping:
    """Place in the group from -1 (last) to 1 (best); equals share the mean of their places, one alone gets 0."""
    return _Elementary(name="rank", shape=_rank)


def unit_interval() -> Shaping:
    """From 0 (the lowest score) to 1 (the highest), linear between; equal scores give 0.5 each."""
    return _Elementary(name="unit_interval", shape=_unit_interval)


def length_adjusted(alpha: float = 0.5) -> Shaping:
    """Favour the shorter responses of the group, leaving the mean of the group as it is.

    With the shortness s = (longest - own) / (longest - shortest), from 0 to 1, and 0.5 for all where lengths are equal,
    the reward is value + alpha (s - mean of s). This is the group-relative length penalty of NeMo Gym's genrm_compare
    server (resources_servers/genrm_compare), which Nemotron 3 was trained with; the responses without a score are left
    out of it here. `alpha` is in units of the scores, so it means the same for every reducer only after a shaping that
    sets their scale: `shaping(["z_score", "length_adjusted:0.5"])`.

    Raises:
        ConfigError: alpha is below 0.
    """
    return _LengthAdjusted(alpha=alpha)


def _shaped(
    shape: Callable[[FloatArray, FloatArray], FloatArray],
    values: Sequence[float | None],
    lengths: Sequence[int],
) -> list[float | None]:
    if len(values) != len(lengths):
        raise ValueError(f"{len(values)} values but {len(lengths)} lengths")
    given = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    scored = np.flatnonzero(np.isfinite(given))
    rewards: list[float | None] = [None] * len(values)
    if len(scored):
        shaped = shape(given[scored], np.asarray(lengths, dtype=np.float64)[scored])
        for index, reward in zip(scored.tolist(), shaped.tolist(), strict=True):
            rewards[index] = reward
    return rewards


def _equal_up_to(values: FloatArray) -> float:
    """The difference up to which two of the values are equal."""
    return _ROUNDING * max(1.0, float(np.max(np.abs(values))))


def _raw(values: FloatArray, lengths: FloatArray) -> FloatArray:
    return values


def _z_score(values: FloatArray, lengths: FloatArray) -> FloatArray:
    if np.ptp(values) <= _equal_up_to(values):
        return np.zeros_like(values)
    return (values - values.mean()) / values.std()


def _unit_interval(values: FloatArray, lengths: FloatArray) -> FloatArray:
    if np.ptp(values) <= _equal_up_to(values):
        return np.full_like(values, 0.5)
    return (values - values.min()) / np.ptp(values)


def _rank(values: FloatArray, lengths: FloatArray) -> FloatArray:
    order = np.argsort(values, kind="stable")
    steps = np.diff(values[order]) > _equal_up_to(values)
    tied_group = np.concatenate(([0], np.cumsum(steps)))
    places = np.arange(len(values), dtype=np.float64)
    shared = np.bincount(tied_group, weights=places) / np.bincount(tied_group)
    ranks = np.empty_like(values)
    ranks[order] = shared[tied_group]
    return 2.0 * ranks / max(len(values) - 1, 1) - (1.0 if len(values) > 1 else 0.0)


_TABLE: dict[str, Entry[Shaping]] = {
    "raw": Entry(make=raw, usage="raw"),
    "z_score": Entry(make=z_score, usage="z_score"),
    "rank": Entry(make=rank, usage="rank"),
    "unit_interval": Entry(make=unit_interval, usage="unit_interval"),
    "length_adjusted": Entry(make=length_adjusted, usage="length_adjusted[:alpha]", argument="alpha"),
}


def shaping(spec: str | Shaping | Sequence[str | Shaping]) -> Shaping:
    """The shaping that `spec` names, or `spec` itself where it is one.

    Several, in a sequence or with commas between their names, are applied one after another.

    Raises:
        ConfigError: a name is not known (the message lists those that are), an argument does not fit, or there is none.
    """
    if isinstance(spec, str):
        names = spec.split(",")
        return resolve("shaping", spec, _TABLE) if len(names) == 1 else shaping(names)
    if isinstance(spec, Shaping) and not isinstance(spec, type):
        return spec
    if not isinstance(spec, Sequence) or not spec:
        raise ConfigError(f"shaping={spec!r} must be a name such as 'z_score', a Shaping, or a sequence of them")
    parts = tuple(shaping(part) for part in spec)
    return parts[0] if len(parts) == 1 else _Composed(parts=parts)


def rewards_of(shape: Shaping, values: Sequence[float | None], lengths: Sequence[int]) -> list[float | None]:
    """The rewards of a group by a shaping that anybody may have written; one that is not finite is None.

    Raises:
        ConfigError: it did not give one reward for each value: the next group would get what is this one's.
    """
    rewards = list(shape(values, lengths))
    if len(rewards) != len(values):
        raise ConfigError(
            f"shaping={shape.name!r} gave {len(rewards)} rewards for {len(values)} responses: it has to give one for "
            "each, None where there is none"
        )
    return [None if reward is None or not np.isfinite(reward) else float(reward) for reward in rewards]
