"""What every request has to pass before the service looks at it, and what watches it from then on.

The token, the room that is left, the size of the body; then a client that is still there: one that leaves has its
request cancelled, which frees what it held. When the service stops, new requests are turned away here, and those that
did not end in time are answered here.

An ASGI application around another one; it knows no framework.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from rrm_plugin.service.problems import FULL, STOPPING, Problem
from rrm_plugin.service.settings import ServiceSettings

__all__ = ["GONE", "Guard"]

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

GONE = 499
"""In metrics: the client left before there was an answer."""

_BODY_SECONDS = 60.0
_PATIENT_FACTOR = 8
"""A body that is too large is read to its end up to this many times the limit, so that the answer is seen."""

_UNAUTHORIZED = Problem(
    status=401,
    type="unauthorized",
    message="this service demands its token: set RRM_SERVICE_TOKEN for the client, or send it as a bearer token",
)
_UNAUTHORIZED_IN_QUERY = Problem(
    status=401,
    type="unauthorized",
    message="this service demands its token, that of RRM_SERVICE_TOKEN: in the address, as ?token=..., with # and % "
    "written as %23 and %25, or as a bearer token",
)
_TOO_SLOW = Problem(status=408, type="too_slow", message=f"the body did not come within {_BODY_SECONDS:g} s")
_OPEN = ("/health",)
_TOKEN_IN_QUERY = ("/get_reward",)


class Guard:
    """Stands before an application.

    Args:
        application: an ASGI application.
        settings: token, capacity and size limit.
        paths: that the application knows, for the labels of metrics.
        observe: told path, status and seconds of each request.
    """

    def __init__(
        self,
        application: Application,
        settings: ServiceSettings,
        *,
        paths: Collection[str],
        observe: Callable[[str, int, float], None],
    ) -> None:
        self._application = application
        self._settings = settings
        self._paths = frozenset(paths)
        self._observe = observe
        self._token = settings.token.encode() if settings.token else None
        self._given_up: set[asyncio.Task[Any]] = set()
        self.under_way: set[asyncio.Task[Any]] = set()
        """Tasks of the requests that were let in and are not answered yet."""
        self.stopping = False
        """Whether new requests are turned away."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began = time.perf_counter()
        answer = _Answer(send)
        problem = self._refusal(scope)
        if problem is not None:
            await answer.give(problem)
        else:
            await self._let_in(scope, receive, answer)
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._observe(path, answer.status or GONE, time.perf_counter() - began)

    def give_up(self) -> None:
        """Ends the requests under way: each is answered that the service is being stopped."""
        for task in self.under_way - self._given_up:
            self._given_up.add(task)
            task.cancel()

    def _refusal(self, scope: Scope) -> Problem | None:
        if self.stopping:
            return STOPPING
        # A page that is open tells more to those who are known.
        scope["rrm.known"] = known = self._knows(scope)
        if not known and scope["path"] not in _OPEN:
            return _UNAUTHORIZED_IN_QUERY if scope["path"] in _TOKEN_IN_QUERY else _UNAUTHORIZED
        if scope["method"] == "POST" and len(self.under_way) >= self._settings.capacity:
            return FULL
        return None

    def _knows(self, scope: Scope) -> bool:
        if self._token is None:
            return True
        headers = dict(scope["headers"])
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            given = b""
        if not given and scope["path"] in _TOKEN_IN_QUERY:
            # OpenRLHF's client can send no header.
            return any(hmac.compare_digest(one.strip(), self._token) for one in _in_query(scope["query_string"]))
        return hmac.compare_digest(given.strip(), self._token)

    async def _let_in(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.under_way.add(task)
        watcher: asyncio.Task[None] | None = None
        try:
            body = await self._body(scope, receive)
            if isinstance(body, Problem):
                await answer.give(body)
            elif body is not None:
                watcher = asyncio.ensure_future(_left(receive))
                # Cancelled with it, where the answer was not complete: what the request holds is then given back.
                watcher.add_done_callback(lambda _: None if answer.complete else task.cancel())
                await self._application(scope, _replay(body, watcher), answer)
        except asyncio.CancelledError:
            if task in self._given_up:
                task.uncancel()
                if not answer.status:
                    await answer.give(STOPPING)
            elif watcher is not None and watcher.done() and not watcher.cancelled():
                task.uncancel()
            else:
                raise
        except Exception:
            logger.exception("a request to %s ended in an error", scope["path"])
            if not answer.status:
                await answer.give(Problem(status=500, type="internal", message="the service's log has the error"))
        finally:
            answer.complete = True
            self.under_way.discard(task)
            self._given_up.discard(task)
            if watcher is not None:
                watcher.cancel()

    async def _body(self, scope: Scope, receive: Receive) -> bytes | Problem | None:
        """The body, or why there is none; None where the client left."""
        limit = self._settings.max_body
        too_large = Problem(
            status=413, type="too_large", message=f"the body is larger than {limit} bytes, the most that is taken"
        )
        if _declared(scope) > _PATIENT_FACTOR * limit:
            return too_large
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size <= limit:
                        chunks.append(chunk)
                    if not message.get("more_body", False) or size > _PATIENT_FACTOR * limit:
                        return b"".join(chunks) if size <= limit else too_large
        except TimeoutError:
            return _TOO_SLOW


class _Answer:
    """What was sent of an answer so far; it is the `send` of the application."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        await self._send(message)

    async def give(self, problem: Problem) -> None:
        named = {"content-type": "application/json", "content-length": str(len(problem.body)), **problem.headers}
        if problem.status in (408, 413):
            # The rest of the body may still be on its way.
            named["connection"] = "close"
        headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in named.items()]
        await self({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self({"type": "http.response.body", "body": problem.body})


def _replay(body: bytes, watcher: asyncio.Task[None]) -> Receive:
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            await asyncio.shield(watcher)
            return {"type": "http.disconnect"}
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _left(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _declared(scope: Scope) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _in_query(query: bytes) -> list[bytes]:
    """What may be meant as the token: people write it as it is, with `+` and `&`, and clients escape it, or not."""
    begin = query.find(b"token=")
    if begin < 0:
        return []
    written = query[begin + len(b"token=") :]
    return [written, unquote_to_bytes(written), parse_qs(query).get(b"token", [b""])[-1]]
