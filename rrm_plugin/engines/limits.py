"""An engine with a budget, prices and a pace, and a count of what it was asked.

    limited = LimitedEngine(engine, budget=Budget(calls=100_000), calls_per_minute=600)
    limited.spent       a text once the budget is used up, None before
    limited.tally       calls, tokens and failures so far

What several judges or trainers share, they share because they share this object, or a ledger: with one, what was spent
on the engine stands in its file, and earlier runs and other processes count too. Left out: calls that a server may have
billed although they failed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rrm_plugin.engines.base import Engine, Reply, Sampling
from rrm_plugin.engines.budgets import Budget, Prices
from rrm_plugin.engines.checks import number
from rrm_plugin.errors import BudgetSpentError, ConfigError, EngineError, LedgerError
from rrm_plugin.ledger import Ledger
from rrm_plugin.types import Message, Reason, Usage

__all__ = ["Lease", "LimitedEngine", "Tally", "limited"]

Lease = Callable[[int], Awaitable[int]]
"""Takes calls from a budget that others share: so many at most, 0 once it is spent."""
_LEASED_AT_A_TIME = 64

logger = logging.getLogger(__name__)


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


class _Locks:
    """Locks by name, each for one event loop: judges that share an engine, or one that was closed, have others."""

    def __init__(self) -> None:
        self._held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]]
        self._held = weakref.WeakKeyDictionary()

    def here(self, name: str) -> asyncio.Lock:
        """Of the running loop."""
        return self._held.setdefault(asyncio.get_running_loop(), {}).setdefault(name, asyncio.Lock())

    def __reduce__(self) -> tuple[type[_Locks], tuple[()]]:
        return (_Locks, ())


class LimitedEngine:
    """An engine that hands calls on to another one, until the budget is used up and no faster than it may.

    Args:
        engine: the one that answers.
        budget: what its calls may take in all.
        prices: of its tokens; replies then say what they cost.
        ledger: where a budget is counted, for all processes that share the file and for those that come after.
        calls_per_minute: how many requests may begin in a minute, evenly spread.
        lease: a budget that processes share; asked for more calls when those it gave are used.

    Raises:
        ConfigError: the pace is no number above 0, or a budget of money has no prices.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        budget: Budget | None = None,
        prices: Prices | None = None,
        ledger: Ledger | None = None,
        calls_per_minute: float | None = None,
        lease: Lease | None = None,
    ) -> None:
        self.engine = engine
        self.budget = budget or Budget()
        self.prices = prices
        if self.budget.cost is not None and prices is None:
            raise ConfigError("a budget of cost needs prices: give prices={'prompt': ..., 'completion': ...}")
        self._ledger = ledger if self.budget else None
        self._interval = 0.0
        if calls_per_minute is not None:
            self._interval = 60.0 / number("calls_per_minute", calls_per_minute, above=0)
        self.tally = Tally()
        self._elsewhere: Usage | None = None
        """What others spent, and earlier runs; None while that was not looked up."""
        self._noted = Usage()
        """What of the own calls is in the ledger."""
        self._next = 0.0
        self._lease = lease
        self._leased = 0
        self._locks = _Locks()

    @classmethod
    def around(cls, engine: Engine, *, ledger: Ledger | None, calls_per_minute: float | None) -> LimitedEngine:
        """An engine with a pace, and with the budget and prices that it has already."""
        if not isinstance(engine, LimitedEngine):
            return cls(engine, calls_per_minute=calls_per_minute)
        inner, budget, prices = engine.engine, engine.budget, engine.prices
        return cls(inner, budget=budget, prices=prices, ledger=ledger, calls_per_minute=calls_per_minute)

    def __repr__(self) -> str:
        return f"LimitedEngine({self.engine!r}, budget={self.budget}, prices={self.prices})"

    def __getstate__(self) -> dict[str, Any]:
        # What a copy spends from now on is its own; what was spent so far it finds in the ledger. Calls under way are
        # not the copy's.
        tally = dataclasses.replace(self.tally, under_way=0, waiting=0, failures=self.tally.failures.copy())
        fresh = {"tally": tally} if self._ledger is None else {"tally": Tally(), "_elsewhere": None, "_noted": Usage()}
        return {**self.__dict__, **fresh, "_next": 0.0, "_leased": 0, "_locks": _Locks()}

    def __getattr__(self, name: str) -> Any:
        # What else an engine has (`probe`) is that of the one which answers.
        if name.startswith("_") or name == "engine":
            raise AttributeError(name)
        return getattr(self.engine, name)

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
    def counts_in_ledger(self) -> bool:
        """Whether a ledger is told of each call for the sake of a budget."""
        return self._ledger is not None or bool(getattr(self.engine, "counts_in_ledger", False))

    @property
    def total(self) -> Usage:
        """What counts against the budget: the own calls, and those of earlier runs and other processes that are known
        of.
        """
        tally, before = self.tally, self._elsewhere or Usage()
        total = Usage(
            calls=tally.calls + before.calls,
            prompt_tokens=tally.prompt_tokens + before.prompt_tokens,
            completion_tokens=tally.completion_tokens + before.completion_tokens,
        )
        return total if self.prices is None else dataclasses.replace(total, cost=self.prices.cost(total))

    @property
    def spent(self) -> str | None:
        """What of the budget is used up, for a person; None while there is some left."""
        spent, before = self.budget.spent(self.total), self._elsewhere
        if spent is None or self._ledger is None or before is None or not before.calls:
            return spent
        return f"{spent}, as {self._ledger.path.name} has it"

    async def identify(self) -> str:
        """The engine's name, after it was asked for where it has to be."""
        identify = getattr(self.engine, "identify", None)
        return self.name if identify is None else await identify()

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """The engine's reply.

        Raises:
            BudgetSpentError: the budget is spent.
            EngineError: the engine failed.
        """
        reply = await self._limited(lambda: self.engine.generate(messages, sampling))
        assert reply is not None
        return reply

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply | None:
        """The engine's continuation; it counts as a call too.

        Raises:
            BudgetSpentError: the budget is spent.
            EngineError: the engine failed.
        """
        return await self._limited(lambda: self.engine.resume(messages, text, sampling))

    @property
    def complete(self) -> Callable[[str, Sampling], Awaitable[Reply | None]]:
        """The engine's continuation of a plain text, where it has that; a call as the others are."""
        inner: Callable[[str, Sampling], Awaitable[Reply]] = getattr(self.engine, "complete")  # noqa: B009
        return lambda prompt, sampling: self._limited(lambda: inner(prompt, sampling))

    async def close(self) -> None:
        """Close the engine which answers; the count stays."""
        await self.engine.close()

    async def _limited(self, call: Callable[[], Awaitable[Reply | None]]) -> Reply | None:
        if self._ledger is not None and self._elsewhere is None:
            await self._learn()
        self._refuse_spent()
        if self._interval:
            await self._pace()
            self._refuse_spent()
        if self._lease is not None:
            await self._take(self._lease)
            self._refuse_spent()
        self.tally.under_way += 1
        reply = await self._counted(call)
        if reply is None:
            return None
        usage = Usage(calls=1, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        if self._ledger is not None:
            # Shielded: a caller who leaves must not leave the count wrong.
            await asyncio.shield(asyncio.ensure_future(self._note(usage)))
        return reply if self.prices is None else dataclasses.replace(reply, cost=self.prices.cost(usage))

    def _refuse_spent(self) -> None:
        spent = self.spent
        # A call under way may still be answered, so its place is taken: the budget is never exceeded.
        promised = self.total.calls + self.tally.under_way
        if spent is None and self.budget.calls is not None and promised >= self.budget.calls:
            spent = f"the last of the budget of {self.budget.calls} judge calls are under way"
        if spent is not None:
            self.tally.failures[Reason.OVER_BUDGET.value] += 1
            raise BudgetSpentError(spent)

    async def _take(self, lease: Lease) -> None:
        async with self._locks.here("lease"):
            if not self._leased:
                # Shielded: calls that were taken are there for others, when who asked for them has left.
                await asyncio.shield(asyncio.ensure_future(self._lease_more(lease)))
            if not self._leased:
                self.tally.failures[Reason.OVER_BUDGET.value] += 1
                raise BudgetSpentError("the shared budget of judge calls is spent")
            self._leased -= 1

    async def _lease_more(self, lease: Lease) -> None:
        self._leased += await lease(_LEASED_AT_A_TIME)

    def _give_back(self) -> None:
        """A call that failed was not paid; one that was cancelled may have been, so its share stays taken."""
        self._leased += self._lease is not None

    async def _pace(self) -> None:
        self.tally.waiting += 1
        try:
            async with self._locks.here("turn"):
                # Under the lock, so that a caller who is cancelled while it waits has taken nobody's turn; looked at
                # again, since a caller on another loop may have taken this one.
                while (wait := self._next - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                self._next = time.monotonic() + self._interval
        finally:
            self.tally.waiting -= 1

    async def _counted(self, call: Callable[[], Awaitable[Reply | None]]) -> Reply | None:
        tally = self.tally
        try:
            reply = await call()
        except Exception as error:
            reason = error.reason if isinstance(error, EngineError) else Reason.ENGINE_ERROR
            tally.failures[reason.value] += 1
            tally.last_failure = str(error) or type(error).__name__
            self._give_back()
            raise
        finally:
            tally.under_way -= 1
        if reply is None:
            self._give_back()
        else:
            tally.calls += 1
            tally.prompt_tokens += reply.prompt_tokens
            tally.completion_tokens += reply.completion_tokens
            tally.seconds += reply.seconds
            tally.last_failure = ""
        return reply

    async def _learn(self) -> None:
        """Looks up what was spent before."""
        assert self._ledger is not None
        try:
            before = await self._ledger.spend(self.name, Usage())
        except LedgerError as error:
            logger.warning("the budget counts the calls of this process alone: %s", error)
            before = Usage()
        if self._elsewhere is None:
            self._elsewhere = before

    async def _note(self, usage: Usage) -> None:
        """Writes down what a call took, and learns what others spent meanwhile."""
        assert self._ledger is not None
        try:
            total = await self._ledger.spend(self.name, usage)
        except LedgerError as error:
            logger.warning("a call is counted against the budget in this process alone: %s", error)
            return
        # Answers come in the order of writing, so that the own share of each total is known.
        self._noted += usage
        self._elsewhere = Usage(
            calls=total.calls - self._noted.calls,
            prompt_tokens=total.prompt_tokens - self._noted.prompt_tokens,
            completion_tokens=total.completion_tokens - self._noted.completion_tokens,
        )


def limited(
    engine: Engine, budget: Mapping[str, float] | None, prices: Mapping[str, float] | None, ledger: Ledger | None
) -> Engine:
    """The engine within a budget and at prices by name; itself where there is neither.

    Raises:
        ConfigError: they are no such budget or prices.
    """
    most, told = Budget.of(budget), Prices.of(prices)
    if not most and told is None:
        return engine
    return LimitedEngine(engine, budget=most, prices=told, ledger=ledger)
