"""Marks that tell engines apart by all that shapes their replies, the same in each process and on each machine.

A ledger files a call under its engine's fingerprint, and two engines with one fingerprint get each other's replies
from it. So a mark rather differs without need, which only costs a call, than that it is equal without reason.

Left out: what only says where a model runs or how it is fetched, and keys. Each engine chooses what it hands over.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["mark"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 40
_MOST = 20_000
"""Objects that are looked into: a function may enclose half a program."""


def mark(**settings: Any) -> str:
    """`#` and 16 hex digits that change with the settings, or nothing where each is None or empty.

    A function counts with its code, its defaults and the variables that it encloses, not with the globals that it
    reads; any other object with its class and its variables, or with its repr where it has one of its own.
    """
    given = {name: value for name, value in settings.items() if value}
    return f"#{_Walk().digest(given)[:16]}" if given else ""


class _Walk:
    """One pass over a value and what it is made of, in which each object is looked into once."""

    def __init__(self) -> None:
        self._open: list[int] = []
        # With the objects themselves, so that no id is given to another one meanwhile.
        self._done: dict[int, tuple[Any, str]] = {}

    def digest(self, value: Any) -> str:
        """A text that is equal for equal values; of bounded length, so that shared parts do not multiply."""
        if value is None or isinstance(value, (bool, int, float, str)):
            # With the type: 1 is neither True nor "1".
            return f"{type(value).__name__} {value!r}"
        if id(value) in self._done:
            return self._done[id(value)][1]
        if id(value) in self._open:
            return f"again {len(self._open) - self._open.index(id(value))}"
        self._open.append(id(value))
        enough = len(self._open) > _DEEPEST or len(self._done) > _MOST
        kind, parts = (_name_of(type(value)), []) if enough else self._parts(value)
        self._open.pop()
        digest = hashlib.sha256(json.dumps([kind, parts]).encode()).hexdigest()
        self._done[id(value)] = (value, digest)
        return digest

    def _parts(self, value: Any) -> tuple[str, Sequence[Any]]:
        if isinstance(value, Mapping):
            return "mapping", sorted([self.digest(key), self.digest(each)] for key, each in value.items())
        if isinstance(value, (set, frozenset)):
            return "set", sorted(map(self.digest, value))
        if isinstance(value, (list, tuple)):
            return "sequence", [self.digest(each) for each in value]
        if isinstance(value, _NAMED):
            return "named", [_name_of(value)]
        for kind, parts in _MADE_OF.items():
            if isinstance(value, kind):
                return _name_of(value), [self.digest(part) for part in parts(value)]
        return _name_of(type(value)), [self._object(value)]

    def _object(self, value: Any) -> str:
        method = getattr(value, "__call__", None)  # noqa: B004 (the method itself is wanted)
        if isinstance(method, types.MethodType):
            return self.digest(method)
        if type(value).__repr__ is object.__repr__ and hasattr(value, "__dict__"):
            return self.digest(dict(vars(value)))
        try:
            return _ADDRESS.sub("", repr(value))
        except Exception:
            return ""


_NAMED = (type, types.ModuleType, types.BuiltinFunctionType)


def _name_of(value: Any) -> str:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or type(value).__name__
    return f"{getattr(value, '__module__', '')}.{name}"


def _of_function(function: types.FunctionType) -> list[Any]:
    return [function.__code__, function.__defaults__, function.__kwdefaults__, _enclosed(function)]


def _enclosed(function: types.FunctionType) -> list[Any]:
    enclosed = []
    for cell in function.__closure__ or ():
        try:
            enclosed.append(cell.cell_contents)
        except ValueError:
            # A name that is bound only later.
            enclosed.append(None)
    return enclosed


def _of_code(code: types.CodeType) -> list[Any]:
    # No file and no lines: moving a function does not change what it does.
    signature = [code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount]
    return [code.co_code, code.co_consts, code.co_names, code.co_varnames, code.co_freevars, signature]


def _of_method(method: types.MethodType) -> list[Any]:
    owner = method.__self__
    return [method.__func__, type(owner), owner if isinstance(owner, type) else getattr(owner, "__dict__", repr(owner))]


def _of_partial(partial: functools.partial[Any]) -> list[Any]:
    return [partial.func, partial.args, partial.keywords]


_MADE_OF: dict[type, Callable[[Any], list[Any]]] = {
    types.FunctionType: _of_function,
    types.CodeType: _of_code,
    types.MethodType: _of_method,
    functools.partial: _of_partial,
}
