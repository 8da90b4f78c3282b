"""A judge that is a Python function, for tests and for trying a set-up out without a model.

    ScriptedEngine(lambda messages: "\\\\boxed{Assistant 1}")
    ScriptedEngine.named("longer")

The named judges read the two responses out of a prompt in the layout of the `rrm` preset and answer in its format;
they know no other layout. Token counts are counts of whitespace-separated words, not of any tokenizer's tokens.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rrm_plugin.engines.base import Reply, Sampling
from rrm_plugin.engines.fingerprints import mark
from rrm_plugin.errors import ConfigError, EngineError, RRMError
from rrm_plugin.prompts import EMPTY_RESPONSE
from rrm_plugin.types import Message, Reason

__all__ = ["NAMED_SCRIPTS", "ScriptedEngine"]

Answer = str | Reply
Script = Callable[[Sequence[Message]], Answer | Awaitable[Answer]]
Continuation = Callable[[Sequence[Message], str], Answer | Awaitable[Answer]]


class ScriptedEngine:
    """An engine whose replies come from a function.

    Args:
        reply: takes the messages and returns the judge's text, or a whole `Reply`; sync or async. It may raise
            `EngineError` to play a failing engine; any other exception becomes one.
        resume: the same for continuing a text, given the messages and the text so far; without it the engine is one
            that cannot continue a text.
        name: what judgements call it.
        special_tokens: tokens that a real tokenizer would reserve.

    A reply of more words than `sampling.max_tokens` is cut there and is not finished, as a model's would be; other
    sampling settings have no effect. It pickles where the functions do.
    """

    def __init__(
        self,
        reply: Script,
        *,
        resume: Continuation | None = None,
        name: str = "scripted",
        special_tokens: Sequence[str] = (),
    ) -> None:
        if not callable(reply):
            raise ConfigError(f"ScriptedEngine(reply=) takes a function of the messages, not {reply!r}")
        self.name = name
        self.fingerprint = name + mark(judge=type(self), reply=reply, resume=resume)
        """`name`, and a mark of the functions as they are now: their code, defaults and enclosed variables."""
        self.special_tokens = tuple(special_tokens)
        self._reply = reply
        self._resume = resume

    @classmethod
    def named(cls, name: str) -> ScriptedEngine:
        """One of the ready-made judges: `longer`, `first`, `second`, `random`.

        Raises:
            ConfigError: there is none of that name.
        """
        script = NAMED_SCRIPTS.get(name)
        if script is None:
            known = ", ".join(f"scripted:{known}" for known in NAMED_SCRIPTS)
            raise ConfigError(f"engine='scripted:{name}' is not known; known are {known}")
        return cls(script, name=f"scripted:{name}")

    def __repr__(self) -> str:
        return f"ScriptedEngine(name={self.name!r})"

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """What the function answers to `messages`."""
        return await self._answer(self._reply, (messages,), sampling)

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply | None:
        """What the `resume` function writes on after `text`; None without one."""
        if self._resume is None:
            return None
        return await self._answer(self._resume, (messages, text), sampling)

    async def close(self) -> None:
        """Nothing is held."""

    async def _answer(self, function: Callable[..., Any], arguments: tuple[Any, ...], sampling: Sampling) -> Reply:
        started = time.perf_counter()
        try:
            answer = function(*arguments)
            if inspect.isawaitable(answer):
                answer = await answer
        except RRMError:
            raise
        except Exception as error:
            raise EngineError(f"the scripted judge raised {type(error).__name__}: {error}") from error
        if isinstance(answer, Reply):
            return answer
        if not isinstance(answer, str):
            raise EngineError(f"the scripted judge returned {type(answer).__name__}, not text", Reason.BAD_REPLY)
        text, words = _cut(answer, sampling.max_tokens)
        return Reply(
            text=text,
            finished=len(text) == len(answer),
            prompt_tokens=_words_of(messages=arguments[0]),
            completion_tokens=words,
            seconds=time.perf_counter() - started,
            engine=self.name,
        )


def _words_of(messages: Sequence[Message]) -> int:
    return sum(len(str(message.get("content") or "").split()) for message in messages)


def _cut(text: str, limit: int) -> tuple[str, int]:
    words = len(text.split())
    if words <= limit:
        return text, words
    for index, word in enumerate(re.finditer(r"\S+", text), start=1):
        if index == limit:
            return text[: word.end()], limit
    return text, words


_FRAME = ("### Assistant 1", "### Assistant 2", "## Analysis")


def _responses(messages: Sequence[Message]) -> tuple[str, str]:
    """The two responses inside a rendered prompt of the `rrm` preset."""
    prompt = messages[-1].get("content") if messages else None
    lines = prompt.split("\n") if isinstance(prompt, str) else []
    places = [[index for index, line in enumerate(lines) if line.rstrip() == mark] for mark in _FRAME]
    if any(len(found) != 1 for found in places) or not places[0] < places[1] < places[2]:
        raise ConfigError(
            "engine='scripted:...' reads prompts in the layout of preset 'rrm' only (one line each of "
            f"{', '.join(map(repr, _FRAME))}); for another preset pass a ScriptedEngine(reply) of your own"
        )
    (first,), (second,), (end,) = places
    return "\n".join(lines[first + 1 : second]).strip(), "\n".join(lines[second + 1 : end]).strip()


def _boxed(thinking: str, first_wins: bool) -> str:
    return f"<think>\n{thinking}\n</think>\n\n\\boxed{{Assistant {1 if first_wins else 2}}}"


def _digest(*texts: str) -> int:
    joined = "\x1f".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(joined).digest()[:8], "big")


def _prefer_longer(messages: Sequence[Message]) -> str:
    first, second = _responses(messages)
    lengths = [0 if text == EMPTY_RESPONSE else len(text) for text in (first, second)]
    thinking = f"The responses have {lengths[0]} and {lengths[1]} characters."
    if lengths[0] != lengths[1]:
        return _boxed(thinking, lengths[0] > lengths[1])
    # The content decides and not the position, so that both orders name the same response.
    return _boxed(thinking, (_digest(first), _digest(second, first) % 2) > (_digest(second), 0))


def _prefer_first(messages: Sequence[Message]) -> str:
    _responses(messages)
    return _boxed("I name the first one, whatever it says.", True)


def _prefer_second(messages: Sequence[Message]) -> str:
    _responses(messages)
    return _boxed("I name the second one, whatever it says.", False)


def _prefer_random(messages: Sequence[Message]) -> str:
    first, second = _responses(messages)
    prompt = str(messages[-1]["content"])
    return _boxed("I toss a coin that depends on the text alone.", _digest(prompt, first, second) % 2 == 0)


NAMED_SCRIPTS: dict[str, Script] = {
    "longer": _prefer_longer,
    "first": _prefer_first,
    "second": _prefer_second,
    "random": _prefer_random,
}
"""The ready-made judges, by the name after `scripted:`."""
