"""A client of a judge service, for code that wants judgements, or has members of groups to be judged.

    with ServiceClient("rrm://localhost:8100") as client:
        client.compare(prompt, first, second)           Judgement
        client.score(prompt, responses)                 Scores
        await client.ajoin(key, Member(...), size=8)    Outcome, when the group is judged

Synchronous methods work anywhere, inside a running event loop too; their `a...` twins are awaited. A client may be used
from any thread and loop, and pickles. What may pass is tried again: a service that is started anew, one that is full,
a connection that is lost. All requests may be repeated without harm, and a member with an id is counted once.

To play the tournament here and have only the model there, use `RRMJudge(engine="rrm://localhost:8100")` instead.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from rrm_plugin.background import BackgroundLoop
from rrm_plugin.cohorts import Member, Outcome
from rrm_plugin.engines.checks import number
from rrm_plugin.engines.keys import ApiKey
from rrm_plugin.engines.service import OF_THE_ENGINE, TOKEN_VARIABLE, service_url
from rrm_plugin.engines.wire import retry_after
from rrm_plugin.errors import ConfigError, EngineError, GroupError, ServiceError
from rrm_plugin.service.wire import encode, judgement_from, outcome_from, scores_from
from rrm_plugin.types import Judgement, Prompt, Response, Scores

__all__ = ["ServiceClient"]

logger = logging.getLogger(__name__)

_NEWS = 2.0
"""Seconds of failing after which the log is told, so that a wrong address is not waited for in silence."""

_AGAIN = (408, 429, 500, 502, 503, 504)
_FINAL = ("budget_spent", "config_error", "internal")
"""Problems that another attempt would meet again."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LEEWAY = 30.0


class ServiceClient:
    """A judge service, seen from elsewhere.

    Args:
        url: its address, `rrm://host:port` or `http://host:port`; `rrms://` or `https://` behind TLS.
        token: that it demands; by default the environment variable RRM_SERVICE_TOKEN. It shows in no repr or pickle.
        timeout: seconds for one attempt. A member waits for its whole group, so this should be above the longest that
            a group takes; with `patience` it is longer than that in any case.
        retry_for: seconds since its first failure after which a call is given up.
        connect_timeout: seconds to open a connection.

    Raises:
        ConfigError: a setting cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 1800.0,
        retry_for: float = 300.0,
        connect_timeout: float = 10.0,
    ) -> None:
        self._url = service_url(url).rstrip("/")
        self._key = ApiKey(token, (TOKEN_VARIABLE,))
        self._timeout = number("timeout", timeout, above=0, most=sys.float_info.max)
        self._retry_for = number("retry_for", retry_for, least=0)
        self._connect_timeout = number("connect_timeout", connect_timeout, above=0, most=sys.float_info.max)
        self._random = random.Random()
        self._warned = False
        self._start()

    def compare(self, prompt: Prompt, first: Response, second: Response, *, both_orders: bool = False) -> Judgement:
        """Which of two responses is better; see `RRMJudge.compare`.

        Raises:
            EngineError: the service's engine answered none of the calls.
            ServiceError: the service refused the request, or could not be reached.
        """
        return self._loop.run(self._compare(prompt, first, second, both_orders))

    async def acompare(
        self, prompt: Prompt, first: Response, second: Response, *, both_orders: bool = False
    ) -> Judgement:
        """`compare`, awaited."""
        return await self._loop.run_async(self._compare(prompt, first, second, both_orders))

    def score(
        self,
        prompt: Prompt,
        responses: Sequence[Response],
        *,
        reference: Response | None = None,
        judgements: bool = False,
    ) -> Scores:
        """Scores of the responses to one prompt; see `RRMJudge.score`.

        Args:
            judgements: bring the judgements and the judge's texts along.

        Raises:
            GroupError: there are no responses, or too many.
            EngineError: the service's engine answered none of the calls.
            ServiceError: the service refused the request, or could not be reached.
        """
        return self._loop.run(self._score(prompt, responses, reference, judgements))

    async def ascore(
        self,
        prompt: Prompt,
        responses: Sequence[Response],
        *,
        reference: Response | None = None,
        judgements: bool = False,
    ) -> Scores:
        """`score`, awaited."""
        return await self._loop.run_async(self._score(prompt, responses, reference, judgements))

    def rank(self, prompt: Prompt, responses: Sequence[Response], *, reference: Response | None = None) -> Scores:
        """`score`, for those who look for this name: `.ranking` lists the responses' indices, best first."""
        return self.score(prompt, responses, reference=reference)

    async def arank(
        self, prompt: Prompt, responses: Sequence[Response], *, reference: Response | None = None
    ) -> Scores:
        """`rank`, awaited."""
        return await self.ascore(prompt, responses, reference=reference)

    def join(self, key: str, member: Member, *, size: int | None = None, patience: float | None = None) -> Outcome:
        """Waits until a member's group is judged; see `Gate.join`.

        A thread of its own for each member is needed here; `ajoin` needs none.

        Raises:
            GroupError: the size of the group is not known, or differs from what was said before.
            ServiceError: the service refused the request, or could not be reached.
        """
        return self._loop.run(self._join(key, member, size, patience))

    async def ajoin(
        self, key: str, member: Member, *, size: int | None = None, patience: float | None = None
    ) -> Outcome:
        """`join`, awaited; to cancel it is to leave."""
        return await self._loop.run_async(self._join(key, member, size, patience))

    def withdraw(self, key: str, id: str | None = None, *, size: int | None = None) -> None:
        """A member will never come: its group no longer waits for it; see `Gate.withdraw`.

        Raises:
            ServiceError: the service refused the request, or could not be reached.
        """
        self._loop.run(self._withdraw(key, id, size))

    async def awithdraw(self, key: str, id: str | None = None, *, size: int | None = None) -> None:
        """`withdraw`, awaited."""
        await self._loop.run_async(self._withdraw(key, id, size))

    def health(self) -> dict[str, Any]:
        """What the service says of itself; "status" is "ok" where it can judge. Asked once.

        Raises:
            ServiceError: it could not be reached.
        """
        return self._loop.run(self._health())

    async def ahealth(self) -> dict[str, Any]:
        """`health`, awaited."""
        return await self._loop.run_async(self._health())

    def close(self) -> None:
        """Closes the connections; a later call opens them again."""
        self._loop.close(_closed(self._sessions))

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ServiceClient({self._url!r})"

    async def _compare(self, prompt: Prompt, first: Response, second: Response, both_orders: bool) -> Judgement:
        body = {"prompt": prompt, "first": first, "second": second, "both_orders": both_orders}
        return judgement_from(await self._post("/v1/compare", body))

    async def _score(
        self, prompt: Prompt, responses: Sequence[Response], reference: Response | None, judgements: bool
    ) -> Scores:
        if isinstance(responses, str) or not responses:
            raise GroupError("responses must be a list of at least one response")
        body = {"prompt": prompt, "responses": list(responses), "reference": reference, "judgements": judgements}
        return scores_from(await self._post("/v1/score", body))

    async def _join(self, key: str, member: Member, size: int | None, patience: float | None) -> Outcome:
        body = {"key": key, **vars(member), "size": size, "patience": patience}
        timeout = self._timeout if patience is None else max(self._timeout, patience + _LEEWAY)
        return outcome_from(await self._post("/v1/cohort", body, timeout))

    async def _withdraw(self, key: str, id: str | None, size: int | None) -> None:
        await self._post("/v1/cohort/withdraw", {"key": key, "id": id, "size": size})

    async def _health(self) -> dict[str, Any]:
        _, found, _ = await self._ask("GET", "/health", None, self._timeout)
        return found

    async def _post(self, path: str, fields: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """The answer to a request, tried again where that may help."""
        body = encode({name: _plain(value) for name, value in fields.items() if value is not None})
        failed_at: float | None = None
        pause = _SHORTEST_PAUSE
        while True:
            try:
                status, found, wait = await self._ask("POST", path, body, timeout or self._timeout)
                if status == 200:
                    self._warned = False
                    return found
                error = _error(found, status)
            except ServiceError as lost:
                error, wait = lost, 0.0
            now = time.monotonic()
            # A member may have waited for long before its connection was lost: the failure is what begins the count.
            failed_at = now if failed_at is None else failed_at
            if not _passes(error) or now + wait - failed_at >= self._retry_for:
                raise error
            if now - failed_at >= _NEWS and not self._warned:
                self._warned = True
                logger.warning("%s; tried again for up to %g s", error, self._retry_for)
            await asyncio.sleep(wait + self._random.uniform(0.5, 1.0) * pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)

    async def _ask(
        self, method: str, path: str, body: bytes | None, timeout: float
    ) -> tuple[int, dict[str, Any], float]:
        """Of one attempt the status, the JSON, and the seconds that the service asks to wait.

        Raises:
            ServiceError: no answer came, or one that is not the service's.
        """
        session = self._session()
        key = self._key.value()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=self._connect_timeout)
        try:
            async with session.request(
                method,
                f"{self._url}{path}",
                data=body,
                headers={**headers, "Content-Type": "application/json"},
                timeout=limits,
                allow_redirects=False,
            ) as response:
                status, text = response.status, await response.read()
                wait = retry_after(response.headers.get("Retry-After"), time.time())
        except TimeoutError:
            raise ServiceError(f"no answer from the judge service at {self._url} within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # Not chained: an aiohttp error may carry the request's headers, and with them the token.
            said = f"no answer from the judge service at {self._url}: {error or type(error).__name__}"
            raise ServiceError(said) from None
        found = _object(text)
        if found is None or (status != 200 and path != "/health" and "error" not in found):
            raise ServiceError(f"{self._url}{path} answered {status} and is no judge service", status, "foreign")
        return status, found, wait or 0.0

    def _session(self) -> aiohttp.ClientSession:
        """The session of the client's event loop, made anew after a fork or a close."""
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            # limit: members wait on a connection each, however many there are.
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300), cookie_jar=aiohttp.DummyCookieJar()
            )
            self._sessions[loop] = session
        return session

    def _start(self) -> None:
        self._loop = BackgroundLoop("rrm-client")
        self._sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession]
        self._sessions = weakref.WeakKeyDictionary()
        self._end = weakref.finalize(self, _shut, self._loop, self._sessions)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_loop", "_sessions", "_end")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()


def _passes(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, EngineError):
        return error.retryable
    if not isinstance(error, ServiceError):
        return False
    return (error.status is None or error.status in _AGAIN) and error.type not in _FINAL


def _error(found: Mapping[str, Any], status: int) -> Exception:
    """The error of this package that an answer stands for."""
    told = found["error"]
    kind, message = str(told.get("type", "")), str(told.get("message", ""))
    if kind == "group_error":
        return GroupError(message)
    if kind == "config_error":
        return ConfigError(message)
    if kind in OF_THE_ENGINE:
        # The engine has been tried again by the service already; only a busy one is worth another attempt from here.
        return EngineError(message, OF_THE_ENGINE[kind], retryable=kind == "engine_busy")
    return ServiceError(f"the judge service answered {status}: {message}", status, kind)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _plain(value: Any) -> Any:
    """Messages may be any mappings and sequences; JSON knows dicts and lists."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(each) for each in value]
    return value


async def _closed(sessions: Mapping[asyncio.AbstractEventLoop, aiohttp.ClientSession]) -> None:
    session = sessions.get(asyncio.get_running_loop())
    if session is not None:
        await session.close()


def _shut(loop: BackgroundLoop, sessions: Mapping[asyncio.AbstractEventLoop, aiohttp.ClientSession]) -> None:
    loop.close(_closed(sessions))
