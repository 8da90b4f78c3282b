"""The one long-lived HTTP session of an engine: it belongs to an event loop and a process, and turns every way in
which a request can go wrong into a `Failure`. Retries and the choice of a server are not its business.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import ssl
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from yarl import URL

from rrm_plugin.engines.deadlines import Deadlines
from rrm_plugin.engines.wire import Failure, refusal, retry_after
from rrm_plugin.errors import EngineError
from rrm_plugin.types import Reason

__all__ = ["Transport"]

_LARGEST_REPLY = 64 * 2**20
_LARGE_BODY = 2**20
_KEEPALIVE = 4.0
"""Seconds; below the 5 s after which uvicorn, under vLLM and SGLang, closes an idle connection."""

_INHERITED: list[aiohttp.ClientSession] = []
"""Sessions that came with a fork: closing one would reach into the parent's event loop, so they are just kept."""


class Transport:
    """A session on the running event loop.

    Args:
        headers: sent with each request, authorization included.
        connect_timeout: seconds to open a connection.
        trust_env: whether to use the proxies that the environment names.
    """

    def __init__(self, headers: Mapping[str, str], *, connect_timeout: float, trust_env: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._connect_timeout = connect_timeout
        self._deadlines = Deadlines(self._loop)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE, ttl_dns_cache=300),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Not aiohttp's total timeout: see `Deadlines` for why.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
            trust_env=trust_env,
        )

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.leave()

    def fits_here(self) -> bool:
        """Whether it may be used by the running event loop of this process."""
        here = self._loop is asyncio.get_running_loop() and self._pid == os.getpid()
        return here and not self._session.closed

    def gone(self) -> bool:
        """Whether it can be used no more: closed, or of a loop or process that is not there."""
        return self._session.closed or self._loop.is_closed() or self._pid != os.getpid()

    async def close(self) -> None:
        """Close the connections; from another event loop, ask the session's own loop to."""
        if self._loop is asyncio.get_running_loop() and self._pid == os.getpid():
            await self._session.close()
        else:
            self.leave()

    def leave(self) -> None:
        """Let go of the session from outside its event loop, or without waiting for it."""
        if self._pid != os.getpid():
            _INHERITED.append(self._session)
        elif self._session.closed:
            return
        elif self._loop.is_closed() or self._loop is _running_loop():
            _close_now(self._session)
        else:
            self._loop.call_soon_threadsafe(_close_now, self._session)

    async def send(self, url: URL, body: bytes | None, *, seconds: float, asked: Mapping[str, Any]) -> bytes:
        """Post a body, or get where it is None.

        Args:
            url: the address.
            body: JSON.
            seconds: until it is given up.
            asked: model and max_tokens, for what to say where the server refuses.

        Returns:
            The body of an answer with status 200.

        Raises:
            Failure: anything else came, or nothing.
        """
        where = str(url.with_query(None)) if url.query_string else str(url)
        if self._session.closed:
            raise Failure(EngineError("the engine was closed"), at_fault=False)
        method, data = ("GET", None) if body is None else ("POST", _payload(body))
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        self._deadlines.enter(task, seconds)
        try:
            async with self._session.request(method, url, data=data, allow_redirects=False) as response:
                payload = await _read(response, where)
        except asyncio.CancelledError:
            if self._deadlines.leave(task) and task.uncancel() <= cancelling:
                raise self._lost(TimeoutError(), where, seconds) from None
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Not chained: an aiohttp error may carry the request's headers, and with them the key.
            raise self._lost(error, where, seconds) from None
        finally:
            if self._deadlines.leave(task):
                task.uncancel()
        if response.status == 200:
            return payload
        wait = retry_after(response.headers.get("Retry-After"), time.time())
        raise refusal(response.status, payload, where, asked=asked, wait=wait)

    def _lost(self, error: Exception, where: str, seconds: float) -> Failure:
        status: int | None = None
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            reason = Reason.UNREACHABLE
            said = f"no connection to {where} within connect_timeout={self._connect_timeout:g} s"
        elif isinstance(error, TimeoutError):
            reason, said = (
                Reason.TIMEOUT,
                f"no answer from {where} within {seconds:.3g} s; raise timeout= or attempt_timeout= to wait longer",
            )
        elif isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
            reason, said = Reason.UNREACHABLE, f"{where} closed the connection before its answer was complete"
        elif isinstance(error, aiohttp.ClientConnectionError | OSError):
            reason, said = Reason.UNREACHABLE, f"no connection to {where}: {_plain(error)}"
        else:
            # Something did answer there, so this is not the error of an address at which there is nothing.
            reason, status = Reason.BAD_REPLY, 0
            said = f"{where} answered with something that is not HTTP: {str(error)[:200]!r}"
        return Failure(EngineError(said, reason, retryable=True), status=status)


def _plain(error: Exception) -> str:
    """What went wrong, without what aiohttp says before it: the address, and its settings of TLS even for http://."""
    found = getattr(error, "os_error", error)
    if not isinstance(found, OSError) or isinstance(found, ssl.SSLError):
        return str(error)
    # A resolver's numbers are below 0 and none of the system's.
    number = found.errno or 0
    return os.strerror(number) if number > 0 else found.strerror or str(found)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _close_now(session: aiohttp.ClientSession) -> None:
    """Close the connections at once: the first step of closing does that, and the others only wait."""
    closing = session.close()
    with contextlib.suppress(StopIteration, RuntimeError):
        closing.send(None)
    closing.close()


def _payload(body: bytes) -> aiohttp.Payload:
    # Made here rather than left to aiohttp, whose search for the fitting kind costs more than the payload.
    if len(body) > _LARGE_BODY:
        return aiohttp.BytesIOPayload(io.BytesIO(body), content_type="application/json")
    return aiohttp.BytesPayload(body, content_type="application/json")


async def _read(response: aiohttp.ClientResponse, where: str) -> bytes:
    body = await response.content.readany()
    if response.content.at_eof():
        return body
    chunks, size = [body], len(body)
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_REPLY:
            said = f"{where} answered with more than {_LARGEST_REPLY // 2**20} MiB"
            raise Failure(EngineError(said, Reason.BAD_REPLY), status=response.status)
    return b"".join(chunks)
