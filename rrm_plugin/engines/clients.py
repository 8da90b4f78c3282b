"""What an engine over HTTP has on one event loop of one process: a session, its servers, and how many calls go at once.

It also tells the log when no server answers, and when one does again: one line each, though thousands of calls meet it.
Left out: what is asked, and when a call is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field

from rrm_plugin.engines.pace import Pace
from rrm_plugin.engines.servers import Server, Servers
from rrm_plugin.engines.slots import Slots
from rrm_plugin.engines.transport import Transport
from rrm_plugin.errors import EngineError

__all__ = ["Client"]

logger = logging.getLogger(__name__)

_NEWS = 2.0
"""Seconds after which a silence is worth a line in the log."""


@dataclass(eq=False)
class Client:
    """What lives on one event loop of one process."""

    transport: Transport
    servers: Servers
    slots: Slots
    pace: Pace | None
    """Of `concurrency="auto"`."""
    identifying: asyncio.Lock = field(default_factory=asyncio.Lock)
    unidentified: tuple[int, EngineError | None] = (0, None)
    """How often the model's name could not be learnt, and what went wrong the last time."""
    told_of: float | None = None
    """When the silence began of which the log has a line."""
    random: random.Random = field(default_factory=random.Random)
    """Its own, so that backing off does not draw from the random numbers of a training run."""

    def replied(self, tokens: int) -> None:
        """A reply of so many tokens came: what is known of their length, and of how many requests keep servers busy."""
        self.servers.replied(tokens)
        if self.pace is not None:
            self.pace.replied(tokens, self.servers.clock(), short=self.slots.short)
            if self.pace.limit != self.slots.limit:
                self.slots.resize(self.pace.limit)

    def refused(self) -> None:
        """A server said that it has too much."""
        if self.pace is not None:
            self.pace.refused(self.servers.clock())
            self.slots.resize(self.pace.limit)

    def succeeded(self, server: Server) -> None:
        """A server gave a good answer."""
        if self.told_of is not None:
            since, self.told_of = self.told_of, None
            logger.warning("the judge answers again, after %.0f s", self.servers.clock() - since)
        self.servers.succeeded(server)

    @property
    def silence_is_news(self) -> bool:
        """Whether no server has answered for a while, and the log does not know it yet."""
        since = self.servers.silent_since
        return since is not None and self.told_of is None and self.servers.clock() - since >= _NEWS

    def tell_of_silence(self, limit: float, said: str) -> None:
        """Tells the log that no server answers.

        Args:
            limit: seconds for which calls are tried again.
            said: what the last one met.
        """
        since = self.told_of = self.servers.silent_since or 0.0
        logger.warning(
            "no judge has answered at %s for %.0f s, and calls are tried again for up to %.0f s: %s",
            self.servers,
            self.servers.clock() - since,
            limit,
            said,
        )
