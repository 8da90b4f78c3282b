"""Where requests go: base addresses, and which of several servers takes the next one.

A request goes to the server with the fewest under way, and of equal ones to that with the fewest tokens under way. A
server that fails is put aside for a cool-down that doubles with each further failure; when it is over, a single request
probes it. While all are put aside, the one whose cool-down ends first is tried. Since when none of them has answered is
kept here too, for all calls to share. No sockets here.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yarl import URL

from rrm_plugin.engines.wire import Failure
from rrm_plugin.errors import ConfigError
from rrm_plugin.types import Reason

__all__ = ["Server", "Servers", "base_url"]


def base_url(text: str) -> URL:
    """The address under which `/chat/completions` lies, `/v1` added where the path names no version.

    Raises:
        ConfigError: `text` is not the http(s) address of a server.
    """
    try:
        url = URL(text.strip())
        host, _ = url.host, url.port
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"engine={text!r} is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not host:
        raise ConfigError(f"engine={text!r} is not a server's address; write it like http://localhost:8001/v1")
    if url.user or url.password:
        raise ConfigError("engine= holds a user or password; give credentials with api_key= or headers=")
    path = url.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    if not any(re.match(r"v\d", segment) for segment in path.split("/")):
        path += "/v1"
    return _with_path(url, path)


def _with_path(url: URL, path: str) -> URL:
    return url.with_path(path).with_query(url.query or None)


@dataclass(eq=False)
class Server:
    """One address, and what is known of the server behind it."""

    base: URL
    in_flight: int = 0
    tokens: float = 0.0
    """Of the requests under way: those of their prompts, and those expected of their replies."""
    failures: int = 0
    """In a row."""
    aside_until: float = 0.0
    """By the clock of `Servers`."""
    put_aside_at: float = -math.inf
    failing_since: float | None = None
    """When it began to give nothing but failures; None after a good answer."""
    resume_way: str | None = None
    """How it continues a text; None until tried."""
    prompt_end: str | None = None
    """How its rendered prompts end, as far as it shows whether they open the thinking; None until seen."""

    def __post_init__(self) -> None:
        self.chat = self.at("chat/completions")
        root = self.base.path.removesuffix("/v1").rstrip("/")
        self._root = root

    def __str__(self) -> str:
        # A query may carry a key.
        return str(self.base.with_query(None))

    def at(self, path: str) -> URL:
        """An address under the base, version included."""
        return _with_path(self.base, f"{self.base.path}/{path}")

    def at_root(self, path: str) -> URL:
        """An address beside the version, where servers put what OpenAI's interface does not have."""
        return _with_path(self.base, f"{self._root}/{path}")


class Servers:
    """The servers of one engine; used from one event loop, so without locks.

    Args:
        urls: at least one.
        cooldown: seconds for which a server is put aside after its first failure.
        longest_cooldown: seconds at which the doubling ends, and most for which a server is put aside at its own wish.
        clock: of monotonic seconds.
    """

    def __init__(
        self,
        urls: Sequence[URL],
        *,
        cooldown: float = 1.0,
        longest_cooldown: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.all = [Server(base=url) for url in urls]
        self._reply_tokens = 0.0
        self.clock = clock
        self.answered_at: float | None = None
        """When any of them gave the last good answer."""
        self.silent_since: float | None = None
        """Since when none of them has given a good answer; None where one may."""
        self.given_up = False
        """Whether calls have been given up in this silence."""
        self.several = False
        """Whether more than one call has met this silence."""
        self._met_by: object = None
        self._same_until = -math.inf
        self.last_failure: tuple[Failure, float] | None = None
        """What the last failed attempt met, and when."""
        self._cooldown = cooldown
        self._longest = longest_cooldown

    def __len__(self) -> int:
        return len(self.all)

    def __str__(self) -> str:
        return ", ".join(map(str, self.all))

    def choose(self, but: Server | None = None) -> Server:
        """The server that should take the next request.

        Args:
            but: at which the same call has just failed: it is not the one to probe it while another may be asked.
        """
        if len(self.all) == 1:
            return self.all[0]
        now = self.clock()
        asked = [server for server in self.all if server is not but and server.aside_until <= now] or self.all
        due = [server for server in asked if server.failures and server.aside_until <= now]
        if due:
            # Only this request is the probe: the others stay away until it is known how it went.
            due[0].aside_until = now + self._pause(due[0])
            return due[0]
        ready = [server for server in asked if server.aside_until <= now]
        if ready:
            return min(ready, key=lambda server: (server.in_flight, server.tokens))
        return min(self.all, key=lambda server: server.aside_until)

    def expected(self, prompt: int, most: int) -> float:
        """Tokens that a request is expected to take.

        Args:
            prompt: bytes of it; some four are a token.
            most: tokens of the reply.
        """
        return prompt / 4 + min(self._reply_tokens or most, most)

    def replied(self, tokens: int) -> None:
        """A reply came, of so many tokens."""
        self._reply_tokens += 0.05 * (tokens - self._reply_tokens) if self._reply_tokens else tokens

    def seconds_to_another(self, server: Server) -> float:
        """How long a request that `server` just failed has to wait for another one; infinite where there is none."""
        now = self.clock()
        others = (max(0.0, other.aside_until - now) for other in self.all if other is not server)
        return min(others, default=math.inf)

    def succeeded(self, server: Server) -> None:
        """The server is well."""
        server.failures = 0
        server.aside_until = 0.0
        server.failing_since = self.silent_since = self._met_by = None
        self.given_up = self.several = False
        self.answered_at = self.clock()

    def unanswered(self, server: Server, failure: Failure, began: float, call: object = None) -> None:
        """The server gave no good answer, for reasons that may pass.

        A failure long after the one before begins another silence: meanwhile nobody asked, or long calls were under way
        and did not fail.

        Args:
            began: when the attempt did, all of which a timeout was silence.
            call: whose attempt it was; one call alone may itself be the trouble.
        """
        now = self.clock()
        self.last_failure = failure, now
        if not self.given_up and (began if failure.error.reason is Reason.TIMEOUT else now) > self._same_until:
            self.silent_since = self._met_by = None
            self.several = False
            for each in self.all:
                each.failing_since = None
        self.several |= self._met_by is not None and call is not self._met_by
        self._met_by = self._met_by or call
        if server.failing_since is None:
            server.failing_since = now
            begun = [each.failing_since for each in self.all if each.failing_since is not None]
            self.silent_since = max(begun) if len(begun) == len(self.all) else None

    def expect_next(self, seconds: float) -> None:
        """A failure within this time belongs to the same silence."""
        self._same_until = max(self._same_until, self.clock() + seconds)

    def failed(self, server: Server, began: float | None = None) -> None:
        """The server is put aside, for longer each time.

        Args:
            began: when the attempt did; many that were under way together fail together, which counts once.
        """
        if began is not None and began <= server.put_aside_at:
            return
        server.failures += 1
        server.put_aside_at = self.clock()
        server.aside_until = server.put_aside_at + self._pause(server)

    def busy(self, server: Server, seconds: float) -> None:
        """The server has enough for now; it is not failing. However long it asks for, it is tried again before long."""
        server.aside_until = max(server.aside_until, self.clock() + min(seconds, self._longest))

    def _pause(self, server: Server) -> float:
        return min(self._longest, self._cooldown * 2.0 ** min(server.failures - 1, 30))
