"""Reads settings written as text, `name[:argument]...`, such as "circulant:3" or "elo:16:sequential".

Schedules, reducers and shapings all have such names. A table says for each name what makes it and how its argument is
read; one reader gives all of them the same grammar and the same messages. It leaves out what the names mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rrm_plugin.errors import ConfigError

__all__ = ["Entry", "number", "resolve"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[T]):
    """What stands behind one name.

    Attributes:
        make: called with what was read.
        argument: the keyword that takes a bare argument; None where there is none.
        read: turns the text of that argument into its value; raises ValueError on what it does not understand.
        flags: keywords that are set to True by naming them.
        usage: how to write it, for the error message.
    """

    make: Callable[..., T]
    usage: str
    argument: str | None = None
    read: Callable[[str], Any] = float
    flags: tuple[str, ...] = ()


def resolve(setting: str, spec: str, table: Mapping[str, Entry[T]]) -> T:
    """Make what `spec` names.

    Raises:
        ConfigError: the name is not in the table, or an argument does not fit; the message lists what is known.
    """
    name, *arguments = (part.strip() for part in spec.strip().split(":"))
    entry = table.get(name)
    if entry is None:
        known = ", ".join(sorted(item.usage for item in table.values()))
        close = difflib.get_close_matches(name.replace("-", "_"), table, n=1, cutoff=0.75)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{setting}={spec!r} is not known; write one of: {known}{meant}")
    settings: dict[str, Any] = {}
    for argument in arguments:
        keyword = argument if argument in entry.flags else entry.argument
        if keyword is None or keyword in settings:
            raise ConfigError(f"{setting}={spec!r}: cannot use {argument!r}; write {entry.usage}")
        settings[keyword] = True if argument in entry.flags else _read(setting, spec, entry, argument)
    return entry.make(**settings)


def _read(setting: str, spec: str, entry: Entry[Any], argument: str) -> Any:
    try:
        return entry.read(argument)
    except ValueError as error:
        raise ConfigError(f"{setting}={spec!r}: cannot read {argument!r}; write {entry.usage}") from error


def number(value: float) -> str:
    """Write a number so that it is read back exactly, without a decimal point where none is needed."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
