"""Numbers as settings: taken in each form that is a number, refused by name in any other.

A settings file and a shell hand over texts easily, and `"60" > 0` is a raw TypeError far from the cause. A bool counts
as a number to Python and never is one here. What comes out is a plain float or int, so that equal settings are also
equal as JSON, which is what a ledger compares.
"""

from __future__ import annotations

import math
import sys
from numbers import Integral, Real
from typing import Any

from rrm_plugin.errors import ConfigError

__all__ = ["number", "whole"]

_INF = math.inf


def number(name: str, value: Any, *, least: float = -_INF, above: float = -_INF, most: float = _INF) -> float:
    """`value` as a float; infinity is one.

    Args:
        name: of the setting.
        value: what was given for it.
        least, above, most: bounds; it may be equal to `least` and `most`, not to `above`.

    Raises:
        ConfigError: it is no number, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"{name} must be a number, not {value!r}{_unquoted(value)}")
    # Adding 0.0 makes one zero of the two.
    result = float(value) + 0.0
    if not (least <= result <= most and (result > above or above == -_INF)):
        raise ConfigError(f"{name} must be {_range(least, above, most)}, not {value!r}")
    return result


def whole(name: str, value: Any, *, least: int | None = None) -> int:
    """`value` as an int, from `least` where that is given; 8192.0 is one too.

    Raises:
        ConfigError: it is no whole number, or below `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"{name} must be a whole number, not {value!r}{_unquoted(value)}")
    given: Any = value
    if not isinstance(value, Integral) and not float(given).is_integer():
        raise ConfigError(f"{name} must be a whole number, not {value!r}")
    result = int(given)
    if least is not None and result < least:
        raise ConfigError(f"{name} must be {least} or more, not {value!r}")
    return result


def _range(least: float, above: float, most: float) -> str:
    low = f"above {above:g}" if above > -_INF else f"{least:g} or more" if least > -_INF else ""
    high = "finite" if most == sys.float_info.max else f"at most {most:g}" if most < _INF else ""
    return " and ".join(part for part in (low, high) if part)


def _unquoted(value: Any) -> str:
    try:
        return f"; write {float(value):g} without quotes" if isinstance(value, str) else ""
    except ValueError:
        return ""
