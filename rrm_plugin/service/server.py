"""A service that runs, and stops without losing what is under way.

    with serving(judge, settings) as url: ...      in a thread, for a program that goes on
    run(judge, settings, ready=print)              until SIGTERM or SIGINT, for `rrm serve`

uvicorn runs on the judge's own event loop: a request meets its group, and the group its engine, without a thread in
between. To stop is to turn new requests away, to let those go on that still can, for `grace` seconds at most, and to
answer the others with 503. A request can go on while the engine works; where it does not, what still waits is waiting
for members that can no longer come.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from rrm_plugin.errors import ConfigError, MissingExtraError
from rrm_plugin.reward import RRMJudge
from rrm_plugin.service.announcing import announce
from rrm_plugin.service.desk import Desk
from rrm_plugin.service.guard import Guard
from rrm_plugin.service.settings import ServiceSettings

__all__ = ["Service", "run", "serving"]

logger = logging.getLogger(__name__)

_BACKLOG = 4096
_KEEP_ALIVE = 75
"""Seconds; above what clients keep an idle connection for, so that none is closed while a request is on its way."""
_LOOK_EVERY = 0.05
_QUIET = 0.25
"""Seconds without a model call after which a stopping service waits for nothing more."""


class Service:
    """One service; made, then awaited with `serve` on the judge's event loop.

    Args:
        judge: judges; it stays the caller's, who closes it.
        settings: address and limits.
        tokenizer: of the policy that OpenRLHF trains, to undo its chat template.

    Raises:
        MissingExtraError: fastapi, uvicorn or prometheus-client is not installed.
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, judge: RRMJudge, settings: ServiceSettings, *, tokenizer: Any = None) -> None:
        try:
            import uvicorn

            from rrm_plugin.service.app import application
            from rrm_plugin.service.counters import Counters
        except ImportError as error:
            raise MissingExtraError("the judge service", "service") from error
        self.settings = settings
        self._counters = Counters(judge.__name__)
        self.desk = Desk(judge, settings, tokenizer=tokenizer, on_judged=self._counters.judged)
        app = application(self.desk, self._counters)
        paths = [path for route in app.routes if (path := getattr(route, "path", None))]
        self.guard = Guard(app, settings, paths=paths, observe=self._counters.request)
        self._counters.watch(self.desk, self.guard.under_way)
        self._socket = _listening(settings.host, settings.port)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.guard,  # pyright: ignore[reportArgumentType]
                log_config=None,
                # It would show the token in a query; /metrics counts requests.
                access_log=False,
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=int(settings.grace) + 5,
                backlog=_BACKLOG,
            )
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self._socket.getsockname()[1]}"

    async def serve(
        self, ready: Callable[[str], None] = lambda _: None, tell: Callable[[str], None] | None = None
    ) -> None:
        """Answers requests until it is stopped.

        Args:
            ready: told the address when requests are answered.
            tell: told then whether the judge answers, and when it does at last; see `announcing.py`.
        """
        serving = asyncio.ensure_future(self._server.serve([self._socket]))
        announcing: asyncio.Task[None] | None = None
        try:
            while not self._server.started and not serving.done():
                await asyncio.sleep(0.005)
            if self._server.started:
                logger.info("the judge service listens at %s", self.url)
                ready(self.url)
                announcing = None if tell is None else asyncio.ensure_future(announce(self.desk, tell))
            await serving
        finally:
            if announcing is not None:
                announcing.cancel()
            self._socket.close()
            await self.desk.close()

    async def stop(self, grace: float | None = None) -> None:
        """Turns new requests away, lets those under way end, and answers the rest; called again, at once.

        Args:
            grace: seconds; that of the settings without it.
        """
        ends = time.monotonic() + (self.settings.grace if grace is None else grace)
        if self.guard.stopping:
            ends = 0.0
        self.guard.stopping = True
        self._server.should_exit = True
        busy = time.monotonic()
        while self.guard.under_way and time.monotonic() < ends:
            if self.desk.engine.tally.under_way or self.desk.engine.tally.waiting:
                busy = time.monotonic()
            elif time.monotonic() - busy > _QUIET:
                break
            await asyncio.sleep(_LOOK_EVERY)
        left = len(self.guard.under_way)
        if left:
            logger.warning("the service stops with %d requests that could not be finished", left)
        self.guard.give_up()


@contextlib.contextmanager
def serving(judge: RRMJudge, settings: ServiceSettings, *, tokenizer: Any = None) -> Iterator[str]:
    """A service as long as the block; gives its address.

    Raises:
        MissingExtraError, ConfigError: see `Service`.
    """
    service = Service(judge, settings, tokenizer=tokenizer)
    ready: concurrent.futures.Future[str] = concurrent.futures.Future()

    def work() -> None:
        try:
            asyncio.run(service.desk.judge.on_loop(service.serve(ready.set_result)))
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
                return
            raise

    thread = threading.Thread(target=work, name="rrm-service", daemon=True)
    thread.start()
    try:
        yield ready.result(30)
    finally:
        asyncio.run(service.desk.judge.on_loop(service.stop()))
        thread.join(settings.grace + 10)


def run(
    judge: RRMJudge,
    settings: ServiceSettings,
    *,
    tokenizer: Any = None,
    ready: Callable[[str], None] = lambda _: None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; a second one ends it at once.

    Args:
        judge, settings, tokenizer: see `Service`.
        ready: told the address when requests are answered.
        tell: told then whether the judge answers.

    Raises:
        MissingExtraError, ConfigError: see `Service`.
    """
    _raise_file_limit(2 * settings.capacity + 1024)
    service = Service(judge, settings, tokenizer=tokenizer)
    _collect_less()
    asyncio.run(_until_told(service, ready, tell))


async def _until_told(service: Service, ready: Callable[[str], None], tell: Callable[[str], None] | None) -> None:
    loop = asyncio.get_running_loop()
    judge = service.desk.judge
    stops: set[asyncio.Task[None]] = set()

    def stop() -> None:
        stops.add(asyncio.ensure_future(judge.on_loop(service.stop())))

    def told(*_: object) -> None:
        loop.call_soon_threadsafe(stop)

    # Not the loop's own way to take signals, which Windows does not have.
    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        await judge.on_loop(service.serve(ready, tell))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        await asyncio.gather(*stops, return_exceptions=True)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that the port is known and a failure is told by name."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}: {error}") from error
    try:
        # A service that is started again must not wait for the connections of the one before.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return listener


def _collect_less() -> None:
    """Has Python look for garbage in circles more seldom: thousands of members that wait are all looked through each
    time, and hold none. By default that is a third of the service's processor time (benchmarks/service_stress.py).
    """
    gc.collect()
    gc.freeze()
    # Few generations at a time: a pause is as long as what came since the last one is large.
    gc.set_threshold(10_000, 5, 200)


def _raise_file_limit(wanted: int) -> None:
    """Each request that waits holds a connection, and the usual limit of 1024 files is soon reached."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and allowed > soft:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
