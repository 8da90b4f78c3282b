"""What the tests of the service stand on: services in this process and in one of their own, OpenRLHF's client, and a
judge model behind HTTP that can be told to misbehave.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rrm_plugin.engines.scripted import NAMED_SCRIPTS
from tests.conftest import ROOT
from tests.engines.local_servers import chat, failing

pytest.importorskip("fastapi", reason="the service needs fastapi: make test installs it")

from rrm_plugin.service.server import serving
from rrm_plugin.service.settings import ServiceSettings

TOKEN = "a secret of some length"


@contextlib.contextmanager
def service(judge: Any, **settings: Any) -> Iterator[str]:
    """The address of a service in this process."""
    with serving(judge, ServiceSettings(**{"port": 0, "grace": 5.0, **settings})) as url:
        yield url


def asked(url: str, path: str, body: Any = None, *, method: str | None = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, JSON (or text) and headers of one request; `body` may be bytes."""

    async def go() -> tuple[int, Any, Any]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method or ("GET" if data is None else "POST"), url + path, data=data, headers=given) as got,
        ):
            text = await got.text()
            found = json.loads(text) if got.content_type == "application/json" else text
            return got.status, found, got.headers

    return asyncio.run(go())


async def openrlhf_post(url: str, query: str, prompt: str, label: Any, timeout: float = 180.0) -> Any:
    """A reward request as OpenRLHF 0.11 sends it: a session of its own, lists of one, any JSON taken for the reply."""
    payload = {"query": [query], "prompts": [prompt], "labels": [label]}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session,
        session.post(url, json=payload) as response,
    ):
        response.raise_for_status()
        return await response.json()


class Model:
    """A judge model behind an OpenAI-compatible server, on a thread of its own."""

    def __init__(self, script: str = "random") -> None:
        self.asked: Counter[str] = Counter()
        """Requests that came, by what they held."""
        self.answered: Counter[str] = Counter()
        self.models = ["judge"]
        self.behaviour: Callable[[], Any] | None = None
        """Awaited before each answer; what it returns, if anything, is the answer."""
        self._script = NAMED_SCRIPTS[script]
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def up(self) -> None:
        """Listens, on the same port as before."""
        self.call(self._up())

    def down(self) -> None:
        """Listens no more, and drops what is under way."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self.call(runner.cleanup())

    def close(self) -> None:
        self.down()
        self.call(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def call(self, work: Any) -> Any:
        """Runs a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _up(self) -> None:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in self.models]})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        held = body["messages"][-1]["content"]
        self.asked[held] += 1
        if self.behaviour is not None and (answer := await self.behaviour()) is not None:
            return answer
        self.answered[held] += 1
        return chat(self._script(body["messages"]))


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def broken(status: int = 500) -> Callable[[], Any]:
    """A behaviour that answers with an error."""

    async def behave() -> web.Response:
        return failing(status, "broken")

    return behave


class Served:
    """A service in a process of its own, as `rrm serve` runs it."""

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "rrm_plugin.cli", "serve", *options]
        known = {name: text for name, text in os.environ.items() if not name.startswith("RRM_")}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**known, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        """Its address, once it is ready."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line.startswith("http://"), (line, self.process.stderr and self.process.stderr.read())
        return line

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=20)

    def stop(self) -> tuple[int, str, str]:
        """SIGTERM; exit status and what it said."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that was free a moment ago."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    yield port
