"""An engine with a budget and a pace, and a count of what it was asked.

    limited = LimitedEngine(engine, max_calls=100_000, calls_per_minute=600)
    limited.spent       a text once the budget is used up, None before
    limited.tally       calls, tokens and failures so far

What several judges or trainers share, they share because they share this object: it counts in its own process and
since it was made. Left out: prices, and budgets that outlive the process.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rrm_plugin.engines.base import Engine, Reply, Sampling
from rrm_plugin.engines.checks import number, whole
from rrm_plugin.errors import EngineError
from rrm_plugin.types import Message, Reason

__all__ = ["Lease", "LimitedEngine", "Tally"]

Lease = Callable[[int], Awaitable[int]]
"""Takes calls from a budget that others share: so many at most, 0 once it is spent."""
_LEASED_AT_A_TIME = 64


@dataclass(kw_only=True)
class Tally:
    """What an engine was asked, since it was made."""

    calls: int = 0
    """Requests that were answered."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Durations added up; calls overlap."""
    under_way: int = 0
    waiting: int = 0
    """For their turn, where there is a pace."""
    failures: Counter[str] = field(default_factory=Counter)
    """Requests that failed, by reason."""
    last_failure: str = ""
    """What the last request failed with, unless one was answered since."""

    @property
    def tokens(self) -> int:
        """Of prompts and replies."""
        return self.prompt_tokens + self.completion_tokens


class LimitedEngine:
    """An engine that hands calls on to another one, until the budget is used up and no faster than it may.

    Args:
        engine: the one that answers.
        max_calls: most requests that it may answer.
        max_tokens: tokens of prompts and replies after which it is not asked any more; what is under way then is
            finished, so they are exceeded by as much.
        calls_per_minute: how many requests may begin in a minute, evenly spread.
        lease: a budget that processes share; asked for more calls when those it gave are used.

    Raises:
        ConfigError: a limit is no number above 0.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        calls_per_minute: float | None = None,
        lease: Lease | None = None,
    ) -> None:
        self.engine = engine
        self.max_calls = None if max_calls is None else whole("max_calls", max_calls, least=1)
        self.max_tokens = None if max_tokens is None else whole("max_tokens", max_tokens, least=1)
        self._interval = 0.0
        if calls_per_minute is not None:
            self._interval = 60.0 / number("calls_per_minute", calls_per_minute, above=0)
        self.tally = Tally()
        self._turn: asyncio.Lock | None = None
        self._next = 0.0
        self._lease = lease
        self._leased = 0
        self._leasing: asyncio.Lock | None = None

    def __repr__(self) -> str:
        return f"LimitedEngine({self.engine!r}, max_calls={self.max_calls}, max_tokens={self.max_tokens})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_turn": None, "_next": 0.0, "_leased": 0, "_leasing": None}

    @property
    def name(self) -> str:
        """That of the engine which answers."""
        return self.engine.name

    @property
    def fingerprint(self) -> str:
        """That of the engine which answers."""
        return getattr(self.engine, "fingerprint", self.engine.name)

    @property
    def special_tokens(self) -> Sequence[str]:
        """Those of the engine which answers."""
        return self.engine.special_tokens

    @property
    def spent(self) -> str | None:
        """What of the budget is used up, for a person; None while there is some left."""
        if self.max_calls is not None and self.tally.calls >= self.max_calls:
            return f"the budget of {self.max_calls} judge calls is spent"
        if self.max_tokens is not None and self.tally.tokens >= self.max_tokens:
            return f"the budget of {self.max_tokens} tokens is spent"
        return None

    async def identify(self) -> str:
        """The engine's name, after it was asked for where it has to be."""
        identify = getattr(self.engine, "identify", None)
        return self.name if identify is None else await identify()

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """The engine's reply.

        Raises:
            EngineError: the budget is spent (`Reason.OVER_BUDGET`), or the engine failed.
        """
        await self._enter()
        reply = await self._counted(self.engine.generate(messages, sampling))
        assert reply is not None
        return reply

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply | None:
        """The engine's continuation; it counts as a call too.

        Raises:
            EngineError: the budget is spent (`Reason.OVER_BUDGET`), or the engine failed.
        """
        await self._enter()
        return await self._counted(self.engine.resume(messages, text, sampling))

    async def close(self) -> None:
        """Close the engine which answers; the count stays."""
        await self.engine.close()

    async def _enter(self) -> None:
        """Takes a call from the budget, in its turn; whoever calls this has to have the call counted."""
        self._refuse_spent()
        if self._interval:
            await self._pace()
            self._refuse_spent()
        if self._lease is not None:
            await self._take(self._lease)
        self.tally.under_way += 1

    def _refuse_spent(self) -> None:
        spent = self.spent
        # A call under way may still be answered, so its place is taken: the budget is never exceeded.
        promised = self.tally.calls + self.tally.under_way
        if spent is None and self.max_calls is not None and promised >= self.max_calls:
            spent = f"the last of the budget of {self.max_calls} judge calls are under way"
        if spent is not None:
            self.tally.failures[Reason.OVER_BUDGET.value] += 1
            raise EngineError(spent, Reason.OVER_BUDGET)

    async def _take(self, lease: Lease) -> None:
        if self._leasing is None:
            self._leasing = asyncio.Lock()
        async with self._leasing:
            self._leased = self._leased or await lease(_LEASED_AT_A_TIME)
            if not self._leased:
                self.tally.failures[Reason.OVER_BUDGET.value] += 1
                raise EngineError("the shared budget of judge calls is spent", Reason.OVER_BUDGET)
            self._leased -= 1

    async def _pace(self) -> None:
        if self._turn is None:
            self._turn = asyncio.Lock()
        self.tally.waiting += 1
        try:
            async with self._turn:
                # Under the lock, so that a caller who is cancelled while it waits has taken nobody's turn.
                await asyncio.sleep(max(0.0, self._next - time.monotonic()))
                self._next = time.monotonic() + self._interval
        finally:
            self.tally.waiting -= 1

    async def _counted(self, call: Awaitable[Reply | None]) -> Reply | None:
        tally = self.tally
        try:
            reply = await call
        except Exception as error:
            reason = error.reason if isinstance(error, EngineError) else Reason.ENGINE_ERROR
            tally.failures[reason.value] += 1
            tally.last_failure = str(error) or type(error).__name__
            raise
        finally:
            tally.under_way -= 1
        if reply is not None:
            tally.calls += 1
            tally.prompt_tokens += reply.prompt_tokens
            tally.completion_tokens += reply.completion_tokens
            tally.seconds += reply.seconds
            tally.last_failure = ""
        return reply
