"""Model calls of clients that judge themselves: through the service's engine, and its ledger where there is one.

A call that was answered before, with the same messages, sampling and draw, is answered from the ledger, unless it wants
log-probabilities, which no ledger keeps; equal ones at the same time are made once. What the reply says is the client's
to read, so the record has no verdict.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from rrm_plugin.engines import Engine, Reply, Sampling
from rrm_plugin.errors import LedgerError
from rrm_plugin.ledger import Ledger, call_key
from rrm_plugin.types import Judgement, Message, Usage
from rrm_plugin.underway import UnderWay

__all__ = ["Chats"]

logger = logging.getLogger(__name__)


class Chats:
    """Calls of one engine.

    Args:
        engine: answers.
        ledger: where answers are kept and looked up.
    """

    def __init__(self, engine: Engine, ledger: Ledger | None) -> None:
        self._engine = engine
        self._ledger = ledger
        self._under_way: UnderWay[Reply | None] = UnderWay()

    async def model(self) -> str:
        """The engine's fingerprint, after it was asked for its model where it has to be.

        Raises:
            EngineError: it could not be asked.
        """
        identify = getattr(self._engine, "identify", None)
        if identify is not None:
            await identify()
        return getattr(self._engine, "fingerprint", self._engine.name)

    async def reply(self, messages: Sequence[Message], sampling: Sampling, begun: str | None = None) -> Reply | None:
        """The model's turn after the messages.

        Args:
            begun: the beginning of that turn, to be continued.

        Returns:
            A reply, with `begun` only what is new; None where the engine cannot continue a text.

        Raises:
            EngineError: the call failed.
        """
        ledger = self._ledger
        if ledger is None:
            return await self._ask(messages, sampling, begun)
        settings: dict[str, Any] = {**sampling.filed, "begun": begun}
        key = call_key(await self.model(), settings, messages, sampling.draw)
        reply, _ = await self._under_way.once(key, lambda: self._find_or_ask(key, messages, sampling, begun, ledger))
        return reply

    async def _ask(self, messages: Sequence[Message], sampling: Sampling, begun: str | None) -> Reply | None:
        if begun is None:
            return await self._engine.generate(messages, sampling)
        return await self._engine.resume(messages, begun, sampling)

    async def _find_or_ask(
        self, key: str, messages: Sequence[Message], sampling: Sampling, begun: str | None, ledger: Ledger
    ) -> Reply | None:
        try:
            # A ledger has no log-probabilities to answer with.
            record = None if sampling.top_logprobs else await ledger.find(key)
        except LedgerError as error:
            logger.warning("asked the engine without looking into the ledger: %s", error)
            record = None
        if record is not None:
            return Reply(
                text=record.text,
                finished=record.finished,
                prompt_tokens=record.prompt_tokens,
                completion_tokens=record.completion_tokens,
                seconds=record.seconds,
                engine=record.engine,
            )
        reply = await self._ask(messages, sampling, begun)
        if reply is not None:
            counted = bool(getattr(self._engine, "counts_in_ledger", False))
            await _keep(key, reply, begun, ledger, counted=counted)
        return reply


async def _keep(key: str, reply: Reply, begun: str | None, ledger: Ledger, *, counted: bool) -> None:
    judgement = Judgement(
        verdict=None,
        detail="a model call of a client, which reads the verdict itself",
        text=reply.text,
        usage=Usage(
            calls=1,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            seconds=reply.seconds,
        ),
        engine=reply.engine,
        key=key,
        forced=begun is not None,
    )
    try:
        await ledger.record(judgement, finished=reply.finished, answered=True, counted=counted)
    except LedgerError as error:
        logger.error("a model call was not recorded: %s", error)
