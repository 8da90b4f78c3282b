"""Servers on 127.0.0.1 for the tests of HttpEngine: a well-behaved one whose answers a test writes, and raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]


class Recorded:
    """A running server: its address, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body in self.calls]


@asynccontextmanager
async def serve(handler: Handler, port: int = 0) -> AsyncIterator[Recorded]:
    """Run a server that answers every request with what `handler(request, json body or None)` returns."""

    async def answer(request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        recorded.calls.append((request.path, body))
        recorded.headers.append(dict(request.headers))
        return await handler(request, body)

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    port = runner.addresses[0][1]
    recorded = Recorded(f"http://127.0.0.1:{port}/v1")
    try:
        yield recorded
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serve_raw(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Run a server that reads one request's head and then does what `talk` does to the connection."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


def dead_url() -> str:
    """An address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def chat(content: Any = "\\boxed{Assistant 1}", *, finish: str | None = "stop", **message: Any) -> web.Response:
    """The answer of `/chat/completions`."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 7}})


def completion(text: str, finish: str = "stop") -> web.Response:
    """The answer of `/completions`."""
    choice = {"index": 0, "finish_reason": finish, "text": text}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 21, "completion_tokens": 3}})


def failing(status: int, message: str = "no", **headers: str) -> web.Response:
    """An error in OpenAI's form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response({"error": {"message": message, "type": "x"}}, status=status, headers=named)
