from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin import RRMJudge
from rrm_plugin.errors import ConfigError
from rrm_plugin.specs import Entry, number, resolve

TABLE = {
    "plain": Entry(make=lambda: ("plain",), usage="plain"),
    "sized": Entry(
        make=lambda size=1, fast=False: ("sized", size, fast),
        usage="sized[:n][:fast]",
        argument="size",
        read=int,
        flags=("fast",),
    ),
}


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ("plain", ("plain",)),
        ("sized", ("sized", 1, False)),
        ("sized:3", ("sized", 3, False)),
        ("sized:fast", ("sized", 1, True)),
        ("sized:3:fast", ("sized", 3, True)),
        (" sized : fast:3 ", ("sized", 3, True)),
    ],
)
def test_a_name_makes_what_its_table_says(spec: str, made: tuple) -> None:
    assert resolve("thing", spec, TABLE) == made


@pytest.mark.parametrize("spec", ["other", "", ":3", "Plain"])
def test_an_unknown_name_lists_the_known_ones(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"thing='.*' is not known; write one of: plain, sized\[:n\]\[:fast\]"):
        resolve("thing", spec, TABLE)


@pytest.mark.parametrize("spec", ["plain:1", "plain:", "sized:1:2", "sized:fast:fast", "sized:quick", "sized:"])
def test_an_argument_that_does_not_fit_is_named(spec: str) -> None:
    name = spec.split(":")[0]
    with pytest.raises(ConfigError, match=rf"thing='{spec}': cannot (use|read) '.*'; write {name}"):
        resolve("thing", spec, TABLE)


def test_numbers_are_written_short() -> None:
    assert [number(value) for value in (32, 32.0, 0.5, 0, 1e-6, 1e20)] == ["32", "32", "0.5", "0", "1e-06", "1e+20"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_back_exactly(value: float) -> None:
    assert float(number(value)) == value


@pytest.mark.parametrize(
    ("setting", "value", "meant"),
    [("schedule", "roundrobin", "round_robin"), ("schedule", "cirulant:3", "circulant"),
     ("reducer", "bradley-terry", "bradley_terry")],
)  # fmt: skip
def test_a_misspelt_name_is_told_the_one_that_is_near(setting, value, meant):
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        RRMJudge(engine="scripted:longer", **{setting: value})
