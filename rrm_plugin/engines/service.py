"""A judge model that `rrm serve` has: `engine="rrm://HOST:PORT"`.

The prompt, the schedule, the votes and the verdicts are those of the judge that uses this engine; the service has the
model, the ledger, the budget and the limits, which all of its clients share. What goes over the wire is OpenAI's chat
completion with two fields more: `draw`, the number among equal calls, so that the votes on a match stay different
samples in the service's ledger; and `continue_final_message`, to write on from a text.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rrm_plugin.engines.base import Reply, Sampling
from rrm_plugin.engines.bodies import encode
from rrm_plugin.engines.http import HttpEngine
from rrm_plugin.engines.keys import ApiKey
from rrm_plugin.engines.wire import Completion, Failure, parse_chat
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.types import Message, Reason

__all__ = ["CANNOT_CONTINUE", "OF_THE_ENGINE", "TOKEN_VARIABLE", "ServiceEngine", "service_url"]

TOKEN_VARIABLE = "RRM_SERVICE_TOKEN"
"""The environment variable that holds the token of a service, for the service and for its clients."""

CANNOT_CONTINUE = 409
"""Status with which a service says that its engine cannot continue a text."""

OF_THE_ENGINE = {
    "budget_spent": Reason.OVER_BUDGET,
    "engine_busy": Reason.RATE_LIMITED,
    "engine_timeout": Reason.TIMEOUT,
    "engine_rejected": Reason.REJECTED,
    "engine_failed": Reason.ENGINE_ERROR,
}
"""What the engine behind a service met, by the type of the service's error."""

_SETTLED = ("budget_spent", "engine_timeout", "engine_failed", "config_error")
"""Errors that the same service would give again: it has no budget, or has tried its engine for as long as it may."""

_SCHEMES = {"rrm": "http", "rrms": "https"}


def service_url(text: str) -> str:
    """The http address behind `rrm://host:port`, or `rrms://` for https; an http address stays as it is.

    Raises:
        ConfigError: it is none of them.
    """
    scheme, mark, rest = text.strip().partition("://")
    if mark and rest and scheme in (*_SCHEMES, *_SCHEMES.values()):
        return f"{_SCHEMES.get(scheme, scheme)}://{rest}"
    raise ConfigError(f"{text!r} is not the address of a judge service; write it like rrm://localhost:8100")


class ServiceEngine(HttpEngine):
    """An engine that asks a judge service.

    Args:
        urls: address of the service, `rrm://host:port`, or `rrms://` behind TLS; several services in a list.
        model: which model the service has to have; None takes the one that it has.
        token: of the service; by default the environment variable RRM_SERVICE_TOKEN.
        concurrency: most requests under way at once; further calls wait for a slot.
        timeout: seconds for one call once it has its slot, retries included; at least the service's own.
        connect_timeout: seconds to open a connection.
        retry_for: seconds for which calls are tried again, within their `timeout`, while the service gives no good
            answer: long enough for it to be started anew. Then all are given up together, and further ones fail at once
            until it is back.
        backoff: seconds; the pause before a retry is drawn from 0 to this, doubled with each attempt up to 10 s.
        special_tokens: control tokens of the judge model's tokenizer, if known.

    Raises:
        ConfigError: a setting cannot work.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        model: str | None = None,
        token: str | None = None,
        concurrency: int = 256,
        timeout: float = 600.0,
        connect_timeout: float = 10.0,
        retry_for: float = 300.0,
        backoff: float = 0.5,
        special_tokens: Sequence[str] = (),
    ) -> None:
        texts = [part for part in urls.split(",") if part.strip()] if isinstance(urls, str) else list(urls)
        super().__init__(
            [service_url(text) for text in texts],
            model=model,
            concurrency=concurrency,
            timeout=timeout,
            connect_timeout=connect_timeout,
            retry_for=retry_for,
            backoff=backoff,
            special_tokens=special_tokens,
        )
        # Not the keys of a provider, which are none of the service's business.
        self._key = ApiKey(token, (TOKEN_VARIABLE,))

    @property
    def name(self) -> str:
        """`rrm:` and what the service calls its engine; `rrm:?` until it was asked."""
        return f"rrm:{self._model or '?'}"

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply | None:
        """The continuation of `text`, or None where the service's engine cannot continue one.

        Raises:
            EngineError: it can, but it failed.
        """
        client = self._here()
        async with client.slots.ahead:
            started = time.perf_counter()
            settings = self._settings(self._model or await self._served_model(client), sampling)
            begun = [*messages, {"role": "assistant", "content": text}]
            body = encode({**settings, "messages": begun, "continue_final_message": True})

            async def attempt(client: Any, server: Any, seconds: float) -> bytes | None:
                try:
                    return await client.transport.send(server.chat, body, seconds=seconds, asked=settings)
                except Failure as failure:
                    if failure.status == CANNOT_CONTINUE:
                        return None
                    raise

            tokens = client.servers.expected(len(body), sampling.max_tokens)
            completion = await self._retrying(client, tokens, _parsed, attempt)
        return None if completion is None else self._reply(completion, started)

    def _understood(self, failure: Failure) -> Failure:
        if failure.kind not in _SETTLED:
            return failure
        reason = OF_THE_ENGINE.get(failure.kind, failure.error.reason)
        return Failure(EngineError(str(failure.error), reason), status=failure.status, only_elsewhere=True)

    def _settings(self, model: str, sampling: Sampling) -> dict[str, Any]:
        settings = super()._settings(model, sampling)
        return {**settings, "draw": sampling.draw} if sampling.draw else settings


def _parsed(body: bytes | None, server: Any) -> Completion | None:
    return None if body is None else parse_chat(body, server)
