"""The templates, and how they write numbers, moments and what cannot be seen.

Whatever a template is given is escaped: judged texts are hostile, and this is the one place to check.
"""

from __future__ import annotations

import datetime
import functools
import re
from pathlib import Path

import jinja2
import jinja2.utils

from rrm_plugin.viewer.summary import Metric

__all__ = ["FOLDER", "Markup", "environment"]

Markup = jinja2.utils.markupsafe.Markup
"""HTML that was made by a template and is not escaped once more."""

FOLDER = Path(__file__).parent
"""Where the templates lie, and what the pages load."""

_UNKNOWN = "\u2013"


@functools.cache
def environment() -> jinja2.Environment:
    """The templates. Whatever is put into them is escaped, whatever their names end in."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": _number,
        "count": _count,
        "percent": _percent,
        "signed": _signed,
        "moment": _moment,
        "visible": _visible,
        "told": _told,
    }
    return made


def _number(value: float | None, digits: int = 2) -> str:
    return _UNKNOWN if value is None else f"{value:.{digits}f}".replace("-", "\u2212")


def _told(value: float | None, metric: Metric) -> str:
    """A number of a metric, in the form that it reads best in."""
    if metric.share:
        return _percent(value)
    return _count(value) if metric.name == "tokens" else _number(value)


def _signed(value: float | None, digits: int = 2) -> str:
    return _UNKNOWN if value is None else f"{value:+.{digits}f}".replace("-", "\u2212")


def _percent(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    if value in (0, 1):
        return f"{value:.0%}"
    # 100% is said of all, and 0% of none.
    near = 0 < value < 0.1 or 0.99 < value < 1
    return f"{min(max(value, 0.001), 0.999):.{1 if near else 0}%}"


def _count(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            scale = 1e3 if sign == "k" else size
            return f"{value / scale:.3g}{sign}"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.1f}"


def _moment(created: float | None) -> str:
    if created is None:
        return _UNKNOWN
    return datetime.datetime.fromtimestamp(created).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _visible(text: str) -> str:
    """A text with what cannot be seen, or turns the direction of what follows, told by its code."""
    return _ODD.sub(lambda run: run[0] if run[0].isprintable() else "".join(map(_seen, run[0])), text)


_ODD = re.compile(r"[^\n\t\x20-\x7e]+")


def _seen(character: str) -> str:
    if character.isprintable():
        return character
    return "" if character == "\r" else f"\u27e8U+{ord(character):04X}\u27e9"
