"""A server on 127.0.0.1 that works on so many requests at a time, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from loaded.replies import reply

__all__ = ["served"]


class _Server:
    """First come, first served; a token takes `pace` seconds."""

    def __init__(self, seed: int, slots: int, pace: float) -> None:
        self.seed, self.free, self.pace = seed, slots, pace
        self.waiting: deque[tuple[_Connection, bytes]] = deque()

    def ask(self, connection: _Connection, body: bytes) -> None:
        self.waiting.append((connection, body))
        self.work()

    def work(self) -> None:
        while self.free and self.waiting:
            self.free -= 1
            connection, body = self.waiting.popleft()
            tokens, text = reply(self.seed, json.loads(body)["messages"])
            asyncio.get_running_loop().call_later(tokens * self.pace, self.done, connection, tokens, text)

    def done(self, connection: _Connection, tokens: int, text: str) -> None:
        self.free += 1
        connection.answer(tokens, text)
        self.work()


class _Connection(asyncio.Protocol):
    """As little HTTP as keeps a client content."""

    def __init__(self, server: _Server) -> None:
        self._server, self._buffer = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if end:
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(rest) >= length:
                self._buffer = rest[length:]
                self._server.ask(self, rest[:length])

    def answer(self, tokens: int, text: str) -> None:
        if self._transport.is_closing():
            return
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 100, "completion_tokens": tokens}
        body = json.dumps({"choices": [choice], "usage": usage}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self._transport.write(head + body)  # type: ignore[attr-defined]


async def _serve(seed: int, slots: int, pace: float) -> None:
    server = _Server(seed, slots, pace)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: _Connection(server), "127.0.0.1", 0, backlog=4096)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


@contextlib.contextmanager
def served(seed: int, slots: int, pace: float) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, __file__, str(seed), str(slots), str(pace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
