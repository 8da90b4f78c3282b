"""Judges' texts from a file, and the recorder that writes such a file.

A file holds one JSON object a line:

    {"key": "<sha256>", "text": "...", "finished": true, "prompt_tokens": 0, "completion_tokens": 0, "engine": "..."}

Only `text` and one of `key` and `messages` are needed; the key is `messages_key(messages)`. Several lines with the
same key are successive replies to the same request: the votes of a match, in order. `logprobs` may hold those of its
tokens, as a chat completion of OpenAI's interface does.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rrm_plugin.engines.base import Engine, Reply, Sampling
from rrm_plugin.engines.fingerprints import mark
from rrm_plugin.engines.logprobs import logprobs_from, logprobs_row
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.types import Message, Reason

__all__ = ["RecordingEngine", "ReplayEngine", "messages_key"]


def messages_key(messages: Sequence[Message]) -> str:
    """The name of a request: the SHA-256 of its messages as JSON with sorted keys and no white space."""
    text = json.dumps([dict(message) for message in messages], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _resumed_key(messages: Sequence[Message], text: str) -> str:
    return messages_key([*messages, {"role": "assistant", "content": text}])


class ReplayEngine:
    """An engine that answers with recorded texts.

    Args:
        path: of the file; see the module docstring.
        repeat: whether a request asked more often than it was recorded begins again with its first text. Without it
            such a request has no reply: a vote that was not cast is not made up.

    Raises:
        ConfigError: the file cannot be read, or a line is not of the form.
    """

    def __init__(self, path: str | Path, *, repeat: bool = False) -> None:
        self._path = Path(path)
        self._repeat = repeat
        self.name = f"replay:{self._path.name}"
        self.special_tokens: tuple[str, ...] = ()
        self._replies = _read(self._path, self.name)
        content = hashlib.sha256(self._path.read_bytes()).hexdigest()
        self.fingerprint = self.name + mark(content=content, repeat=repeat)
        """`name`, and a mark of what the file holds: another file of that name is another judge, a copy is not."""
        self._asked: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"ReplayEngine({str(self._path)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_asked": Counter()}

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """The next text recorded for these messages; `sampling` has no effect.

        Raises:
            EngineError: there is none (`Reason.NOT_RECORDED`).
        """
        return self._next(messages_key(messages))

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply | None:
        """The next continuation recorded for this text, None where none was ever recorded for it."""
        key = _resumed_key(messages, text)
        return self._next(key) if key in self._replies else None

    async def close(self) -> None:
        """Begin again with the first text of each request."""
        self._asked.clear()

    def _next(self, key: str) -> Reply:
        replies, asked = self._replies.get(key, []), self._asked[key]
        self._asked[key] += 1
        if replies and (self._repeat or asked < len(replies)):
            return replies[asked % len(replies)]
        held = f"{len(replies)} replies to this request, and this is call {asked + 1}" if replies else "no reply to it"
        raise EngineError(f"{self._path} holds {held} (key {key[:12]})", Reason.NOT_RECORDED)


class RecordingEngine:
    """An engine that hands calls on to another one and writes its replies to a file for `ReplayEngine`.

    Args:
        engine: the one that answers.
        path: of the file; replies are added to what is in it.
    """

    def __init__(self, engine: Engine, path: str | Path) -> None:
        self._engine = engine
        self._path = Path(path)

    def __repr__(self) -> str:
        return f"RecordingEngine({self._engine!r}, {str(self._path)!r})"

    @property
    def name(self) -> str:
        """That of the engine which answers."""
        return self._engine.name

    @property
    def fingerprint(self) -> str:
        """That of the engine which answers."""
        return getattr(self._engine, "fingerprint", self._engine.name)

    async def identify(self) -> str:
        """The engine's name, after it was asked for where it has to be."""
        identify = getattr(self._engine, "identify", None)
        return self.name if identify is None else await identify()

    @property
    def special_tokens(self) -> Sequence[str]:
        """Those of the engine which answers."""
        return self._engine.special_tokens

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """The engine's reply, written down before it is returned. Failures are not written."""
        reply = await self._engine.generate(messages, sampling)
        self._write(messages_key(messages), reply)
        return reply

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply | None:
        """The engine's continuation, written down before it is returned."""
        reply = await self._engine.resume(messages, text, sampling)
        if reply is not None:
            self._write(_resumed_key(messages, text), reply)
        return reply

    async def close(self) -> None:
        """Close the engine which answers."""
        await self._engine.close()

    def _write(self, key: str, reply: Reply) -> None:
        row = {
            "key": key,
            "text": reply.text,
            "finished": reply.finished,
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "seconds": round(reply.seconds, 6),
            "engine": reply.engine,
            **({} if reply.logprobs is None else {"logprobs": logprobs_row(reply.logprobs)}),
        }
        line = json.dumps(row).encode() + b"\n"
        # Opened for each line and without a buffer: a whole line in one write, whoever else writes to the file.
        with open(self._path, "ab", buffering=0) as file:
            file.write(line)


def _read(path: Path, name: str) -> Mapping[str, list[Reply]]:
    replies: dict[str, list[Reply]] = defaultdict(list)
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    key, reply = _parse(line, f"{path}, line {number}", name)
                    replies[key].append(reply)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"engine='replay:{path}' cannot be read: {error}") from error
    return dict(replies)


def _parse(line: str, where: str, name: str) -> tuple[str, Reply]:
    try:
        row = json.loads(line)
        key = row["key"] if "key" in row else messages_key(row["messages"])
        reply = Reply(
            text=row["text"],
            finished=row.get("finished", True),
            prompt_tokens=row.get("prompt_tokens", 0),
            completion_tokens=row.get("completion_tokens", 0),
            seconds=row.get("seconds", 0.0),
            engine=row.get("engine") or name,
            logprobs=logprobs_from(row.get("logprobs")),
        )
    except (ValueError, KeyError, TypeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise ConfigError(f'{where} is not {{"key" or "messages": ..., "text": ...}} ({said})') from None
    if not isinstance(key, str) or not isinstance(reply.text, str):
        raise ConfigError(f'{where}: "key" and "text" have to be texts')
    return key, reply
