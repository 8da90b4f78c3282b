"""API keys that do not leak: not into a repr, a log, an error message, a copy or a pickle.

A key given as an argument stays in this process, and the objects that use it hold only a random name for it. A
process started afresh finds no key under that name and takes the one of its environment instead.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence

from rrm_plugin.errors import ConfigError

__all__ = ["ApiKey"]

_VARIABLES = ("RRM_API_KEY", "OPENAI_API_KEY")
_HELD: dict[str, str] = {}


class ApiKey:
    """A key, or the lack of one, that may be copied and pickled with whatever uses it.

    Args:
        key: None takes the environment's, at each use.
        variables: the environment variables that may hold it.

    Raises:
        ConfigError: the key cannot be sent in a header.
    """

    def __init__(self, key: str | None, variables: Sequence[str] = _VARIABLES) -> None:
        if key and any(mark in key for mark in "\r\n\0"):
            raise ConfigError("api_key holds a line break; was it read from a file together with its last newline?")
        self._variables = tuple(variables)
        self._name = uuid.uuid4().hex if key else None
        if self._name and key:
            _HELD[self._name] = key

    def __repr__(self) -> str:
        return "ApiKey(***)"

    def value(self) -> str | None:
        """The key, None where there is none.

        Raises:
            ConfigError: it was given in another process, and the environment of this one has none.
        """
        if self._name in _HELD:
            return _HELD[self._name]
        key = next((os.environ[name] for name in self._variables if os.environ.get(name)), None)
        if key is None and self._name:
            raise ConfigError(
                "api_key was given to this engine in another process, and a key does not travel with a pickle: "
                f"set the environment variable {self._variables[0]} instead"
            )
        return key

    def hushed(self, message: str) -> str:
        """`message` without the key, which some servers quote when they refuse it."""
        try:
            key = self.value()
        except ConfigError:
            return message
        return message.replace(key, "***") if key else message
