"""One judge call: prompt, engine, parse, and the record of it.

A call ends in a `Judgement`, whatever happens: a failing engine, a reply cut off in its thinking or an answer without a
verdict are judgements without one, with the reason. Only a setting that cannot work (`ConfigError`) is raised. Votes,
orders and schedules are the tournament's.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rrm_plugin import verdicts
from rrm_plugin.engines.base import Engine, Reply, Sampling
from rrm_plugin.errors import BudgetSpentError, ConfigError, EngineError, LedgerError
from rrm_plugin.ledger import Ledger, Record, call_key
from rrm_plugin.prompts import Guarded, JudgePrompt
from rrm_plugin.types import Judgement, Match, Message, Reason, TokenLogprob, Usage, Verdict
from rrm_plugin.underway import UnderWay

__all__ = ["PairJudge"]

logger = logging.getLogger(__name__)

FORCED_VERDICT_TOKENS = 16
"""Enough for the rest of any preset's verdict; what a model writes after it is dropped."""


@dataclass(frozen=True, kw_only=True)
class PairJudge:
    """Shows two responses to an engine and reads its verdict.

    Args:
        engine: where the judge model is.
        prompt: how the two responses are laid out, and the grammar of the verdict.
        sampling: how the judge's tokens are drawn.
        force_verdict: let the engine end a thinking that ran into the token limit, by closing it and opening the
            verdict.
        ledger: where calls are recorded and looked up before they are made.
        under_way: calls that are being made; with a ledger, equal ones at the same time are made once.
    """

    engine: Engine
    prompt: JudgePrompt
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    force_verdict: bool = True
    ledger: Ledger | None = None
    under_way: UnderWay[Judgement] = dataclasses.field(default_factory=UnderWay, repr=False, compare=False)

    async def judge(
        self, query: Guarded, first: Guarded, second: Guarded, match: Match | None = None, vote: int = 0
    ) -> Judgement:
        """The verdict on two prepared responses, shown in this order.

        Args:
            query, first, second: made by `prompt.prepare`, once for all the matches that show them.
            match: carried into the judgement.
            vote: number of the call among equal ones; different votes are different samples.

        Raises:
            ConfigError: no call can succeed with the engine's settings.
        """
        messages = self.prompt.render(query, first, second)
        if self.ledger is None:
            return await self._ask(messages, vote, match, key="")
        try:
            key = await self._key(messages, vote)
        except EngineError as error:
            return await self._failed(error, match, key="")
        judgement, made_here = await self.under_way.once(key, lambda: self._find_or_ask(messages, vote, match, key))
        return judgement if made_here else dataclasses.replace(judgement, match=match, usage=Usage(), cached=True)

    async def _find_or_ask(self, messages: Sequence[Message], vote: int, match: Match | None, key: str) -> Judgement:
        recorded = await self._recorded(key)
        if recorded is not None:
            return self._read(_reply_of(recorded), match=match, key=key, forced=recorded.forced, recorded=recorded)
        return await self._ask(messages, vote, match, key)

    async def _ask(self, messages: Sequence[Message], vote: int, match: Match | None, key: str) -> Judgement:
        try:
            reply = await self.engine.generate(messages, self._sampling(vote))
        except (ConfigError, MemoryError):
            raise
        except Exception as error:
            return await self._failed(error, match, key)
        judgement, settled = self._read(reply, match=match, key=key), True
        if judgement.reason is Reason.CUT_OFF and self.force_verdict:
            judgement, reply, settled = await self._forced(messages, judgement, reply)
        await self._keep(judgement, finished=reply.finished, answered=settled)
        return judgement

    def _read(
        self,
        reply: Reply,
        *,
        match: Match | None,
        key: str,
        forced: bool = False,
        recorded: Record | None = None,
    ) -> Judgement:
        parsed = verdicts.parse(reply.text, self.prompt.grammar, finished=reply.finished)
        chance = None
        if parsed.verdict is not None:
            chance = self._chance(reply) if recorded is None else _chance_of(recorded, parsed.verdict)
        cached = recorded is not None
        return Judgement(
            verdict=parsed.verdict,
            reason=parsed.reason,
            detail=parsed.detail,
            match=match,
            text=reply.text,
            usage=Usage() if cached else _usage(reply, calls=2 if forced else 1),
            engine=reply.engine or self.engine.name,
            key=key,
            cached=cached,
            forced=forced,
            chance=chance,
        )

    def _chance(self, reply: Reply) -> float | None:
        """The probability of the verdict's tokens; None where it is not asked for, or the engine does not give it."""
        if not self.sampling.top_logprobs:
            return None
        chance, lack = None, "gives no log-probabilities"
        if reply.logprobs is not None:
            lack = "gives log-probabilities in which the verdict is not found"
            grammar = self.prompt.grammar
            chance = verdicts.chance_of_first(reply.text, reply.logprobs, grammar, finished=reply.finished)
        if chance is None:
            level = logging.DEBUG if _seen(self.engine.name, TokenLogprob) else logging.WARNING
            logger.log(
                level, "soft_verdicts: the engine %s %s; such a verdict counts as 1 or 0", self.engine.name, lack
            )
        return chance

    async def _forced(self, messages: Sequence[Message], cut: Judgement, reply: Reply) -> tuple[Judgement, Reply, bool]:
        """Has the engine state the verdict after thinking that was cut off, where it can continue a text.

        Returns:
            The judgement, the whole reply, and whether asking again could not change them: an engine that failed may
            do better another time.
        """
        closing = self.prompt.closing(reply.text)
        brief = dataclasses.replace(self.sampling, temperature=0.0, max_tokens=FORCED_VERDICT_TOKENS)
        try:
            rest = await self.engine.resume(messages, reply.text + closing, brief)
        except BudgetSpentError as error:
            # The judge was not cut off by its tokens alone; whoever stops where the budget is spent has to see it.
            return dataclasses.replace(cut, reason=error.reason, detail=str(error)), reply, False
        except Exception as error:
            return _unforced(cut, str(error) or type(error).__name__), reply, False
        if rest is None:
            return _unforced(cut, f"the engine {self.engine.name} cannot continue a text"), reply, True
        stated, complete = self._stated(closing + rest.text)
        logprobs = None
        if rest.logprobs is not None:
            # What was written for the judge was not in doubt; what it rambles on with is no part of the reply.
            opening = TokenLogprob(text=closing, logprob=0.0)
            logprobs = _spelling(stated, (opening, *rest.logprobs))
        whole = Reply(
            text=reply.text + stated,
            finished=complete or rest.finished,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens + rest.completion_tokens,
            seconds=reply.seconds + rest.seconds,
            engine=reply.engine,
            cost=reply.cost + rest.cost,
            logprobs=logprobs,
        )
        return self._read(whole, match=cut.match, key=cut.key, forced=True), whole, True

    def _stated(self, text: str) -> tuple[str, bool]:
        """A forced end of a reply up to its first verdict, and whether there is one: many models would ramble on."""
        end = next((mark.end for mark in self.prompt.grammar.marks(text) if not mark.unclosed), None)
        return text[:end], end is not None

    async def _failed(self, error: Exception, match: Match | None, key: str) -> Judgement:
        reason = error.reason if isinstance(error, EngineError) else Reason.ENGINE_ERROR
        if not isinstance(error, EngineError):
            # The same error may end thousands of calls: one traceback is enough, and each judgement has the message.
            level = logging.DEBUG if _seen(self.engine.name, type(error)) else logging.WARNING
            logger.log(level, "the engine %s raised an unexpected error", self.engine.name, exc_info=error)
        detail = str(error) or type(error).__name__
        judgement = Judgement(verdict=None, reason=reason, detail=detail, match=match, engine=self.engine.name, key=key)
        await self._keep(judgement, finished=False, answered=False)
        return judgement

    def _sampling(self, vote: int) -> Sampling:
        if vote == 0:
            return self.sampling
        # The same seed would make every vote the same vote.
        seed = None if self.sampling.seed is None else self.sampling.seed + vote
        return dataclasses.replace(self.sampling, seed=seed, draw=vote)

    async def _key(self, messages: Sequence[Message], vote: int) -> str:
        # An engine that leaves the choice of a model to its server has to ask before it has a name to file under.
        identify = getattr(self.engine, "identify", None)
        if identify is not None:
            await identify()
        engine = getattr(self.engine, "fingerprint", self.engine.name)
        more = {"force_verdict": self.force_verdict, "prompt": self.prompt.fingerprint}
        return call_key(engine, self.sampling.filed | more, messages, vote)

    async def _recorded(self, key: str) -> Record | None:
        if self.ledger is None:
            return None
        try:
            return await self.ledger.find(key)
        except LedgerError as error:
            logger.warning("asked the judge without looking into the ledger: %s", error)
            return None

    async def _keep(self, judgement: Judgement, *, finished: bool, answered: bool) -> None:
        if self.ledger is None or not judgement.key:
            return
        try:
            counted = bool(getattr(self.engine, "counts_in_ledger", False))
            await self.ledger.record(judgement, finished=finished, answered=answered, counted=counted)
        except LedgerError as error:
            # A full disk must not end a run of days; the reward itself is not in doubt.
            logger.error("a judgement was not recorded: %s", error)


_errors_seen: set[tuple[str, type]] = set()


def _seen(engine: str, trouble: type) -> bool:
    known = (engine, trouble) in _errors_seen
    _errors_seen.add((engine, trouble))
    return known


def _unforced(cut: Judgement, why: str) -> Judgement:
    return dataclasses.replace(cut, detail=f"{cut.detail}; no verdict could be forced: {why}")


def _spelling(text: str, logprobs: Iterable[TokenLogprob]) -> tuple[TokenLogprob, ...]:
    """The tokens up to the end of a text that they begin with; white space, which some lack, does not count."""
    taken: list[TokenLogprob] = []
    left = len("".join(text.split()))
    for token in logprobs:
        if left <= 0:
            break
        taken.append(token)
        left -= len("".join(token.text.split()))
    return tuple(taken)


def _usage(reply: Reply, calls: int) -> Usage:
    return Usage(
        calls=calls,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        seconds=reply.seconds,
        cost=reply.cost,
    )


def _chance_of(record: Record, verdict: Verdict) -> float | None:
    """That of the record, unless the verdict is read otherwise now than it was then."""
    return record.chance if record.verdict == verdict.value else None


def _reply_of(record: Record) -> Reply:
    return Reply(
        text=record.text,
        finished=record.finished,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        seconds=record.seconds,
        engine=record.engine,
    )
