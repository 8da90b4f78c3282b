"""Sampling: what it takes, what it makes of it, and what it says of the rest."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from rrm_plugin.engines import Sampling
from rrm_plugin.errors import ConfigError


def as_json(**settings) -> str:
    return json.dumps(dataclasses.asdict(Sampling(**settings)))


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": -0.0}, {"temperature": 0.0}),
        ({"temperature": np.float32(0.5)}, {"temperature": 0.5}),
        ({"top_p": 1}, {"top_p": 1.0}),
        ({"max_tokens": 512.0}, {"max_tokens": 512}),
        ({"max_tokens": np.int64(512)}, {"max_tokens": 512}),
        ({"seed": np.int64(2**62 + 1)}, {"seed": 2**62 + 1}),
        ({"seed": 7.0}, {"seed": 7}),
        ({"stop": ["END"]}, {"stop": ("END",)}),
    ],
)
def test_equal_settings_are_equal_in_every_form(given, plain):
    assert Sampling(**given) == Sampling(**plain)
    assert as_json(**given) == as_json(**plain)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": -1}, "temperature must be 0 or more.*-1"),
        ({"temperature": "0.5"}, "temperature.*'0.5'; write 0.5 without quotes"),
        ({"temperature": True}, "temperature must be a number, not True"),
        ({"temperature": None}, "temperature must be a number, not None"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature must be 0 or more and finite"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1, not 0"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": "1"}, "top_p"),
        ({"max_tokens": 0}, "max_tokens must be 1 or more"),
        ({"max_tokens": 0.5}, "max_tokens must be a whole number, not 0.5"),
        ({"max_tokens": float("inf")}, "max_tokens"),
        ({"max_tokens": "8192"}, "max_tokens.*; write 8192 without quotes"),
        ({"max_tokens": "many"}, "max_tokens must be a whole number, not 'many'$"),
        ({"max_tokens": False}, "max_tokens"),
        ({"seed": "7"}, "seed"),
        ({"seed": True}, "seed"),
        ({"stop": "x"}, "stop"),
        ({"stop": None}, "stop"),
        ({"stop": [3]}, "stop"),
    ],
)
def test_what_cannot_work_is_named(wrong, says):
    with pytest.raises(ConfigError, match=says):
        Sampling(**wrong)
