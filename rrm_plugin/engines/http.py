"""A judge behind an OpenAI-compatible HTTP server: vLLM, SGLang, llama.cpp, or any provider.

One long-lived session per engine, as many requests at once as the server takes, retries that do not stampede, and
failover between several servers of the same model. Requests and answers are plain JSON; nothing is validated twice,
because at some hundred calls a second the client's own work is what limits a judge.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from yarl import URL

from rrm_plugin.engines.base import Reply, Sampling
from rrm_plugin.engines.bodies import checked_extra, checked_headers, encode
from rrm_plugin.engines.checks import number, whole
from rrm_plugin.engines.clients import Client
from rrm_plugin.engines.fingerprints import mark
from rrm_plugin.engines.keys import ApiKey
from rrm_plugin.engines.logprobs import logprobs_settings
from rrm_plugin.engines.pace import Pace
from rrm_plugin.engines.resuming import Continuation, plain_settings, resume_on
from rrm_plugin.engines.retries import Patience, Trouble
from rrm_plugin.engines.servers import Server, Servers, base_url
from rrm_plugin.engines.slots import Slots
from rrm_plugin.engines.transport import Transport
from rrm_plugin.engines.wire import Completion, Failure, parse_chat, parse_completion, parse_json
from rrm_plugin.errors import ConfigError, EngineError, EngineUnavailableError
from rrm_plugin.types import Message, Reason

__all__ = ["HttpEngine"]

A = TypeVar("A")
T = TypeVar("T")


class HttpEngine:
    """An engine that asks an OpenAI-compatible server for chat completions.

    Args:
        urls: base address, with or without `/v1`; or several addresses of servers of the same model.
        model: name under which it is served; None takes the only model that the server has.
        api_key: sent as a bearer token; by default the environment variable RRM_API_KEY, or OPENAI_API_KEY. It shows
            in no repr, error or pickle: in a process started afresh the environment has to hold it.
        concurrency: most requests under way at once, from one event loop; further calls wait for a slot. "auto" finds
            the number while it works: it is doubled for as long as more tokens a second then come back.
        timeout: seconds for one call once it has its slot, all its attempts and pauses included.
        attempt_timeout: seconds for one attempt, so that a server that hangs is left for another; None is `timeout`
            with one server and half of it with several. A reply that takes longer is lost, so with several servers
            `timeout` should be twice what the longest reply takes.
        connect_timeout: seconds to open a connection.
        retry_for: seconds for which calls are tried again, within their `timeout`, while no server gives a good answer
            (5xx, timeouts, lost connections): long enough for a server to be started anew. Then all are given up
            together, and further ones fail at once until a server is back. With 0 each server is asked once.
        backoff: seconds; the pause before a retry is drawn from 0 to this, doubled with each attempt up to 10 s.
        headers: sent with each request.
        extra_body: merged into each request, for what a server takes beyond OpenAI's interface; None as a value
            takes a field away.
        special_tokens: control tokens of the served model's tokenizer, if known.
        trust_env: whether to use the proxies that the environment names.

    Raises:
        ConfigError: a setting cannot work.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        model: str | None = None,
        api_key: str | None = None,
        concurrency: int | Literal["auto"] = "auto",
        timeout: float = 600.0,
        attempt_timeout: float | None = None,
        connect_timeout: float = 10.0,
        retry_for: float = 300.0,
        backoff: float = 0.5,
        headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        special_tokens: Sequence[str] = (),
        trust_env: bool = False,
    ) -> None:
        texts = [part for part in urls.split(",") if part.strip()] if isinstance(urls, str) else list(urls)
        if not texts:
            raise ConfigError("engine= names no server; write it like http://localhost:8001/v1")
        self.special_tokens = tuple(special_tokens)
        self._urls = tuple(dict.fromkeys(base_url(text) for text in texts))
        self._model = model
        self._concurrency = None if concurrency == "auto" else whole("concurrency", concurrency, least=1)
        self._timeout = number("timeout", timeout, above=0)
        self._attempt_timeout = _attempt_timeout(attempt_timeout, self._timeout, len(self._urls))
        self._connect_timeout = number("connect_timeout", connect_timeout, above=0, most=sys.float_info.max)
        self._patience = Patience(
            timeout=self._timeout,
            retry_for=number("retry_for", retry_for, least=0),
            backoff=number("backoff", backoff, above=0),
            slack=30.0 + self._connect_timeout,
        )
        self._headers = checked_headers(headers or {})
        self._extra = checked_extra(extra_body or {})
        self._mark = mark(extra_body=self._extra)
        self._trust_env = trust_env
        self._key = ApiKey(api_key)
        self._clients: dict[asyncio.AbstractEventLoop, Client] = {}
        self._ever_answered = False

    def __repr__(self) -> str:
        shown = ", ".join(str(url.with_query(None)) for url in self._urls)
        return f"HttpEngine({shown!r}, model={self._model!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_clients": {}, "_ever_answered": False}

    @property
    def name(self) -> str:
        """`http:` and the model; `http:?` until a server was asked which one it has (see `identify`)."""
        return f"http:{self._model or '?'}"

    @property
    def fingerprint(self) -> str:
        """`name`, and a mark of `extra_body` where there is one.

        The addresses do not count: a judge that was served elsewhere before is the same one. So what a server has under
        one name should be one model; another checkpoint should get another name, or another ledger.
        """
        return self.name + self._mark

    async def identify(self) -> str:
        """The engine's name, after asking the server for its model where none was given.

        Raises:
            ConfigError: the server has several models, or none.
            EngineError: it could not be asked.
        """
        if self._model is None:
            # Without a slot: all who wait here wait for one small request, and none for the calls under way.
            await self._served_model(self._here())
        return self.name

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """One chat completion, thinking included.

        Raises:
            EngineError: no completion came; `EngineUnavailableError` if no server has ever answered.
            ConfigError: no model was named, and the server has several.
        """
        client = self._here()
        async with client.slots:
            started = time.perf_counter()
            settings = self._settings(self._model or await self._served_model(client), sampling)
            body = encode({**settings, "messages": messages})
            tokens = client.servers.expected(len(body), sampling.max_tokens)
            completion = await self._retrying(client, tokens, parse_chat, _post_chat, body, settings)
        return self._reply(completion, started)

    async def complete(self, prompt: str, sampling: Sampling) -> Reply:
        """What the model writes on after a plain text, without any chat template: for base models.

        Raises:
            EngineError: no completion came; `EngineUnavailableError` if no server has ever answered.
            ConfigError: no model was named, and the server has several.
        """
        client = self._here()
        async with client.slots:
            started = time.perf_counter()
            settings = self._settings(self._model or await self._served_model(client), sampling)
            body = encode({**plain_settings(settings), "prompt": prompt})
            tokens = client.servers.expected(len(body), sampling.max_tokens)
            completion = await self._retrying(client, tokens, parse_completion, _post_plain, body, settings)
        return self._reply(completion, started)

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply | None:
        """The model's continuation of `text`, or None where the server cannot continue one.

        Raises:
            EngineError: the server can, but it failed.
        """
        client = self._here()
        async with client.slots.ahead:
            started = time.perf_counter()
            settings = self._settings(self._model or await self._served_model(client), sampling)
            wanted = Continuation(messages=[dict(each) for each in messages], text=text, settings=settings)

            async def attempt(client: Client, server: Server, seconds: float) -> Completion | None:
                ends = time.monotonic() + seconds

                async def ask(url: URL, fields: Mapping[str, Any] | None) -> bytes:
                    body = None if fields is None else encode(fields)
                    left = max(0.001, ends - time.monotonic())
                    return await client.transport.send(url, body, seconds=left, asked=settings)

                return await resume_on(server, ask, wanted)

            tokens = client.servers.expected(len(text), sampling.max_tokens)
            completion = await self._retrying(client, tokens, lambda found, _: found, attempt)
        return None if completion is None else self._reply(completion, started)

    async def probe(self, seconds: float = 5.0) -> dict[str, str]:
        """Which of its servers answer, whatever they say: for each address nothing, or what went wrong.

        Args:
            seconds: to wait for each.
        """
        client = self._here()

        async def of(server: Server) -> tuple[str, str]:
            try:
                await client.transport.send(server.at("models"), None, seconds=seconds, asked={})
            except Failure as failure:
                # A server without this page, or one that is busy, is one that answers.
                alive = failure.status is not None and 0 < failure.status < 500
                return str(server), "" if alive else self._key.hushed(str(failure.error))
            return str(server), ""

        return dict(await asyncio.gather(*map(of, client.servers.all)))

    def expect_late_start(self) -> None:
        """From now on a server that has never answered is tried for `retry_for` seconds, as one is that did.

        For a process that may well be started before its server, and says so if there is none.
        """
        self._patience = dataclasses.replace(self._patience, first_answer=math.inf)

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.transport.close()

    def _reply(self, completion: Completion, started: float) -> Reply:
        return Reply(
            text=completion.text,
            finished=completion.finished,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            seconds=time.perf_counter() - started,
            engine=self.name,
            logprobs=completion.logprobs,
        )

    def _settings(self, model: str, sampling: Sampling) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "model": model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.seed is not None:
            settings["seed"] = sampling.seed
        if sampling.stop:
            settings["stop"] = list(sampling.stop)
        settings |= logprobs_settings(sampling.top_logprobs)
        if self._extra:
            settings |= self._extra
            settings = {key: value for key, value in settings.items() if value is not None}
        return settings

    def _here(self) -> Client:
        """The client of the running event loop and process, made if there is none."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is not None and client.transport.fits_here():
            return client
        # Those of other loops stay, as judges may share an engine; those that nobody can use any more go.
        for other, gone in list(self._clients.items()):
            if other is loop or gone.transport.gone():
                self._clients.pop(other, None)
                gone.transport.leave()
        key = self._key.value()
        headers = {**self._headers, **({"Authorization": f"Bearer {key}"} if key else {})}
        pace = Pace(len(self._urls)) if self._concurrency is None else None
        client = self._clients[loop] = Client(
            transport=Transport(headers, connect_timeout=self._connect_timeout, trust_env=self._trust_env),
            servers=Servers(self._urls, cooldown=self._patience.backoff),
            slots=Slots(self._concurrency or Pace(len(self._urls)).limit),
            pace=pace,
        )
        return client

    async def _served_model(self, client: Client) -> str:
        if self._model is not None:
            return self._model
        failures_before, _ = client.unidentified
        async with client.identifying:
            if self._model is not None:
                return self._model
            failures, error = client.unidentified
            if failures > failures_before and error is not None:
                # Hundreds of calls wait here at once; were each to ask in its turn, they would take hours to fail.
                raise type(error)(str(error), error.reason, error.retryable) from error
            try:
                listing = await self._retrying(client, 0.0, parse_json, _get_models)
            except EngineError as error:
                client.unidentified = (failures + 1, error)
                raise
            self._model = _only_model(listing, str(client.servers))
        return self._model

    async def _retrying(
        self,
        client: Client,
        tokens: float,
        parse: Callable[[A, Server], T],
        attempt: Callable[..., Awaitable[A]],
        *arguments: Any,
    ) -> T:
        """Run attempts until one succeeds, none can, or the time is up.

        `tokens` is what the request is expected to take. `attempt` takes the client, a server, the seconds that it has,
        and `arguments`. They are handed through, not bound in a closure, because hundreds of calls wait here at once
        and each object of theirs is one more for the garbage collector to visit.
        """
        servers = client.servers
        if servers.silent_since is not None and (known := self._patience.hopeless(servers)):
            raise self._final(known, servers, None)
        began = now = servers.clock()
        trouble: Trouble | None = None
        failed_at: Server | None = None
        while True:
            server = servers.choose(failed_at)
            server.in_flight += 1
            server.tokens += tokens
            try:
                left = max(0.001, began + self._timeout - now)
                result = parse(await attempt(client, server, min(left, self._attempt_timeout), *arguments), server)
            except Failure as failure:
                failed_at = server
                trouble = trouble or Trouble(self._patience, servers, began)
                pause = self._after(client, server, self._understood(failure), trouble, now)
            else:
                self._succeeded(client, server)
                if isinstance(result, Completion):
                    client.replied(result.completion_tokens)
                return result
            finally:
                server.in_flight -= 1
                server.tokens -= tokens
            await asyncio.sleep(pause)
            now = servers.clock()

    def _understood(self, failure: Failure) -> Failure:
        """What an attempt failed with, for engines that know more of their server's errors."""
        return failure

    def _succeeded(self, client: Client, server: Server) -> None:
        self._ever_answered = True
        client.succeeded(server)

    def _after(self, client: Client, server: Server, failure: Failure, trouble: Trouble, began: float) -> float:
        """Seconds to wait after an attempt that failed.

        Raises:
            EngineError: the call is given up.
        """
        trouble.note(failure)
        self._note(client, server, failure, trouble, began)
        pause = trouble.pause(server, failure, client.random)
        if pause is None:
            raise self._final(failure, client.servers, trouble) from None
        return pause

    def _note(self, client: Client, server: Server, failure: Failure, trouble: Trouble, began: float) -> None:
        self._ever_answered = self._ever_answered or failure.status is not None
        servers = client.servers
        if failure.wait is not None or failure.status == 429:
            # Also where it names no time, or none at all: with several servers the next attempt would come at once.
            servers.busy(server, max(failure.wait or 0.0, trouble.backoff))
            client.refused()
        elif failure.at_fault:
            servers.failed(server, began)
        if failure.error.retryable:
            servers.unanswered(server, failure, began, trouble)
            if client.silence_is_news:
                client.tell_of_silence(self._patience.limit(failure, servers), self._key.hushed(str(failure.error)))

    def _final(self, failure: Failure, servers: Servers, trouble: Trouble | None) -> EngineError:
        """The error of a call that is given up: after its attempts, or without any where there was no hope."""
        error = failure.error
        if trouble is None:
            silent = servers.clock() - (servers.silent_since or 0.0)
            after = f" (not asked again, after {silent:.0f} s without a good answer to any call)"
        else:
            many = f" (after {trouble.attempts} attempts in {trouble.seconds():.0f} s)"
            after = many if trouble.attempts > 1 else ""
        if error.reason is Reason.UNREACHABLE and failure.status is None and not self._ever_answered:
            return EngineUnavailableError(
                f"no server answers at {servers}{after}: {error}; is engine (--engine) its address, and is it running?",
                Reason.UNREACHABLE,
                retryable=True,
            )
        wait = f"; it asks to wait {failure.wait:g} s" if failure.wait else ""
        return EngineError(self._key.hushed(f"{error}{wait}{after}"), error.reason, error.retryable)


def _post_chat(
    client: Client, server: Server, seconds: float, body: bytes, asked: Mapping[str, Any]
) -> Awaitable[bytes]:
    return client.transport.send(server.chat, body, seconds=seconds, asked=asked)


def _post_plain(
    client: Client, server: Server, seconds: float, body: bytes, asked: Mapping[str, Any]
) -> Awaitable[bytes]:
    return client.transport.send(server.at("completions"), body, seconds=seconds, asked=asked)


def _get_models(client: Client, server: Server, seconds: float) -> Awaitable[bytes]:
    return client.transport.send(server.at("models"), None, seconds=seconds, asked={})


def _only_model(listing: Mapping[str, Any], where: str) -> str:
    rows = listing.get("data")
    names = [row["id"] for row in rows if isinstance(row, dict) and row.get("id")] if isinstance(rows, list) else []
    if len(names) == 1:
        return str(names[0])
    served = f"serves {', '.join(map(repr, names[:20]))}" if names else "names no model that it serves"
    raise ConfigError(f"{where} {served}: say with model= which one judges")


def _attempt_timeout(given: float | None, timeout: float, servers: int) -> float:
    if given is not None:
        return number("attempt_timeout", given, above=0)
    # Half for any number of them: a share for each would be too short for a long thought.
    return timeout / 2 if servers > 1 else timeout
