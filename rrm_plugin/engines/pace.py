"""How many requests keep the servers of an engine busy, found while they work.

A server that batches answers more tokens a second the more requests it has, up to some number; beyond it they only
queue there, where no retry, no balance between servers and no order of ours reaches them. That number is a matter of
model, memory, lengths and of who else asks, so it is looked for: the limit is doubled for as long as the tokens a
second still rise, which is how TCP's BBR finds the bandwidth of a path (Cardwell et al., ACM Queue 2016).

Not by latency, as TCP Vegas and the limiters of that family do. A judge's replies have 64 to 8,192 tokens, so the
latency of a call says how long its reply is; and even for each token it doubles long before a batching server has
reached half of its throughput, at which such a limiter would have stopped. And not for each server: what a single one
answers in a window varies so much that equal servers come to have unequal limits. No clock of its own and no sockets
here.
"""

from __future__ import annotations

__all__ = ["Pace"]

START = 64
MOST = 4096
RISES = 1.25
"""A limit is worth keeping where it brings at least so many times the tokens a second of the one before."""
LONG = 32
"""Windows after which a found limit is looked at again: other clients come and go, and so do lengths."""


class Pace:
    """The limit of an engine.

    Its windows are as many replies as the limit allows requests: about once the time of a reply. Only replies that came
    while calls waited for a slot count, since otherwise it is not the limit that decides how much is done.

    Args:
        servers: how many there are.
        start: requests for each of them at first.
        most: requests that are never exceeded; None is as many as a process may well have connections.
    """

    def __init__(self, servers: int = 1, *, start: int = START, most: int | None = None) -> None:
        self._most = _connections() if most is None else most
        self.limit = min(start * servers, self._most)
        self._rising = True
        self._best = (0.0, self.limit)
        """Tokens a second, and the limit that brought them."""
        self._stalled = 0
        self._settled = 0
        self._since_refused: int | None = None
        """Replies since the last refusal, until they are a window of them."""
        self._replies = self._tokens = 0
        self._began: float | None = None

    def replied(self, tokens: int, now: float, *, short: bool) -> None:
        """A reply came.

        Args:
            tokens: of the reply.
            now: monotonic seconds.
            short: whether calls wait for a slot.
        """
        if self._since_refused is not None:
            self._since_refused += 1
            if self._since_refused >= self.limit:
                self._since_refused = None
        if not short or self._began is None:
            self._began, self._replies, self._tokens = (now if short else None), 0, 0
            return
        self._replies += 1
        # A server that counts no tokens still answers.
        self._tokens += max(tokens, 1)
        if self._replies >= self.limit and now > self._began:
            self._judge(self._tokens / (now - self._began))
            self._began, self._replies, self._tokens = now, 0, 0

    def refused(self, now: float) -> None:
        """The server said that it has too much. A burst of refusals is one piece of news: it counts once a window, be
        calls waiting for a slot in it or not.
        """
        if self._since_refused is not None:
            return
        self.limit = max(1, self.limit // 2)
        self._rising, self._settled, self._since_refused = False, 0, 0
        self._began, self._replies, self._tokens = now, 0, 0

    def _judge(self, rate: float) -> None:
        if not self._rising:
            self._settled += 1
            if self._settled >= LONG:
                self._rising, self._stalled, self._best = True, 0, (rate, self.limit)
                self.limit = min(2 * self.limit, self._most)
            return
        best, found = self._best
        if rate > RISES * best:
            self._best, self._stalled = (rate, self.limit), 0
            self.limit = min(2 * self.limit, self._most)
            return
        # Half of the replies of a limit's first window were begun under the one before, so a second one decides.
        self._stalled += 1
        if self._stalled >= 2:
            self.limit, self._rising, self._settled = found, False, 0


def _connections() -> int:
    """Half of the files that this process may have open, and no more than any server works on."""
    try:
        import resource

        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (ImportError, OSError, ValueError):
        return MOST
    return MOST if files == resource.RLIM_INFINITY else max(1, min(MOST, files // 2))
