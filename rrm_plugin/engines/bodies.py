"""Bodies of requests: messages and settings as JSON, and what a user may add to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.types import Reason

__all__ = ["checked_extra", "checked_headers", "encode"]


def encode(fields: Mapping[str, Any]) -> bytes:
    """The body of a request.

    Raises:
        EngineError: the messages are no JSON.
    """
    try:
        # ASCII escapes: a lone surrogate in a judged text then is the server's to judge, not an exception here.
        return _ENCODE(fields).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise EngineError(f"the messages cannot be sent as JSON: {error}", Reason.REJECTED) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_ENCODE = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that can be sent.

    Raises:
        ConfigError: one cannot.
    """
    for name, value in headers.items():
        if not isinstance(value, str) or any(mark in f"{name}{value}" for mark in "\r\n\0"):
            raise ConfigError(f"headers[{name!r}] is not a header's text")
    return dict(headers)


def checked_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Further fields of each request.

    Raises:
        ConfigError: they are no JSON, or fields that the engine sets itself.
    """
    taken = sorted({"messages", "model", "stream", "n"} & set(extra))
    if taken:
        raise ConfigError(f"extra_body cannot set {', '.join(taken)}: the engine asks for one whole completion itself")
    try:
        json.dumps(extra)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra_body cannot be sent as JSON: {error}") from None
    return dict(extra)
