"""Whether and when a failed call is tried again: a question of time, not of a number of attempts.

A server that is started anew is gone for seconds or minutes, and all calls meet that at once. So the count begins with
the moment since which no server has answered well, which all calls share: when it has lasted too long they are given
up together, and those that come later are not made to wait through it again. Three things are counted otherwise.

- A server that is busy (429) lives: a call asks it until its own time is up.
- A request that fails time after time while others are answered is itself the trouble: it has a few attempts.
- A server that has never answered anything is more likely a wrong address: that is known within seconds.

No sockets and no sleeping here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from rrm_plugin.engines.servers import Server, Servers
from rrm_plugin.engines.wire import Failure

__all__ = ["Patience", "Trouble"]

_LONGEST_BACKOFF = 10.0
"""Seconds; longer pauses would be waited through by calls whose server is long back."""

_FIRST_ANSWER = 10.0

_OWN_ATTEMPTS = 5
"""Attempts of a request that fails while others are answered."""

_LONE = 60.0
"""Seconds for which a single call is tried that meets what may be of its own, while no other call is there to tell."""

_FRESH = 2.0
"""Seconds; where calls have been given up, one that comes so soon after a failure need not see it again."""

_BUSY = 429
_PASSING = (408, 425, 429, 502, 503, 504)
"""Statuses that are about the server and not about the request, as a lost connection is."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long calls are tried again.

    Args:
        timeout: seconds for one call.
        retry_for: seconds without any good answer after which calls are given up; at most `timeout`. With 0 each server
            is asked once.
        backoff: seconds; the pause before a retry is drawn from 0 to this, doubled with each attempt.
        first_answer: seconds for which a server is tried that has never answered; at most the others.
        slack: seconds by which the next failure may come later than the pause before it, if nothing was well meanwhile.
    """

    timeout: float
    retry_for: float
    backoff: float
    first_answer: float = _FIRST_ANSWER
    slack: float = 30.0

    def limit(self, failure: Failure, servers: Servers) -> float:
        """Seconds that may pass without a good answer, where this is how the last attempt went."""
        if failure.status == _BUSY:
            return self.timeout
        if servers.answered_at is None and failure.status not in _PASSING:
            return min(self.retry_for, self.timeout, self.first_answer)
        if not servers.several and _may_be_of_the_request(failure):
            return min(self.retry_for, self.timeout, _LONE)
        return min(self.retry_for, self.timeout)

    def hopeless(self, servers: Servers) -> Failure | None:
        """What befell the last call, where calls have been given up and this was only just seen to be right."""
        since, last = servers.silent_since, servers.last_failure
        if since is None or last is None or not self.retry_for:
            return None
        now, (failure, at) = servers.clock(), last
        if not servers.several and _may_be_of_the_request(failure):
            # Only one call has met it: what comes after that one is asked for before it is given up.
            return None
        return failure if now - since >= self.limit(failure, servers) and now - at < _FRESH else None


class Trouble:
    """What has befallen one call: made when its first attempt failed.

    Args:
        patience: of its engine.
        servers: that it may ask.
        began: when the call did, by the clock of `servers`.
    """

    def __init__(self, patience: Patience, servers: Servers, began: float) -> None:
        self.attempts = 0
        self._patience = patience
        self._servers = servers
        self._deadline = began + patience.timeout
        self._failed_at = servers.clock()
        self._own = 0
        self._pause = 0.0

    @property
    def backoff(self) -> float:
        """Seconds of which the pause after the last attempt is drawn."""
        return min(_LONGEST_BACKOFF, self._patience.backoff * 2.0 ** min(self.attempts - 1, 30))

    def seconds(self) -> float:
        """How long ago the first attempt failed."""
        return self._servers.clock() - self._failed_at

    def note(self, failure: Failure) -> None:
        """Another attempt failed."""
        self.attempts += 1
        self._own += _may_be_of_the_request(failure)

    def pause(self, server: Server, failure: Failure, draw: random.Random) -> float | None:
        """Seconds until the next attempt, none where another server is ready for it; None where there is no next one.

        Args:
            server: that failed.
            failure: of the last attempt, noted.
            draw: where the length of the pause comes from.
        """
        alone = self.attempts >= len(self._servers)
        if (alone or not failure.only_elsewhere) and not failure.error.retryable:
            return None
        elsewhere = self._servers.seconds_to_another(server)
        wait = min(failure.wait or 0.0, elsewhere)
        pause = wait + draw.uniform(0.0, self.backoff) if elsewhere > 0 else 0.0
        now = self._servers.clock()
        since = self._servers.silent_since
        self._servers.expect_next(pause + self._patience.slack)
        if now + pause >= self._deadline:
            # Those after this one would only wait through the same silence.
            self._servers.given_up |= since is not None and since <= self._failed_at
            return None
        if not alone:
            return pause
        if not self._patience.retry_for:
            return None
        if since is not None and now + wait - since >= self._patience.limit(failure, self._servers):
            self._servers.given_up = True
            return None
        return None if self._is_its_own() else pause

    def _is_its_own(self) -> bool:
        answered_at = self._servers.answered_at
        return self._own >= _OWN_ATTEMPTS and answered_at is not None and answered_at > self._failed_at


def _may_be_of_the_request(failure: Failure) -> bool:
    """Whether another request may be answered where this one was not."""
    return failure.status is not None and failure.status not in _PASSING
