"""How a judge service is reached, and its limits."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from rrm_plugin.engines.checks import number, whole
from rrm_plugin.engines.service import TOKEN_VARIABLE
from rrm_plugin.errors import ConfigError

__all__ = ["LARGEST_GROUP", "ServiceSettings", "read_token"]

LARGEST_GROUP = 256
"""Most responses of one group."""

_SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of a judge service.

    Args:
        group_size: members of a group, where a request does not say it; OpenRLHF's requests never do.
        host: address to listen on; any other than this machine's own demands a token.
        port: 0 takes a free one.
        token: that every request has to bring; None where none is demanded.
        deadline: seconds from the first member of a group until those who are there are judged.
        reward_deadline: the same for /get_reward, whose client gives up after 180 s.
        reward_patience: seconds after which /get_reward answers in any case.
        just_in_time: begin to judge a group with its second member.
        capacity: most requests at a time; more are refused with status 429.
        max_body: bytes of a request's body; a larger one is refused with status 413.
        grace: seconds that requests under way have after the service was told to stop.
        calls_per_minute: most model calls that begin in a minute.

    Raises:
        ConfigError: a setting cannot work.
    """

    group_size: int | None = None
    host: str = "127.0.0.1"
    port: int = 8100
    token: str | None = field(default=None, repr=False)
    deadline: float = 600.0
    reward_deadline: float = 100.0
    reward_patience: float = 165.0
    just_in_time: bool = True
    capacity: int = 65_536
    max_body: int = 16 * 2**20
    grace: float = 30.0
    calls_per_minute: float | None = None

    def __post_init__(self) -> None:
        if self.group_size is not None and whole("group_size", self.group_size, least=1) > LARGEST_GROUP:
            raise ConfigError(f"group_size must be at most {LARGEST_GROUP}, not {self.group_size}")
        if not 0 <= whole("port", self.port) <= 65_535:
            raise ConfigError(f"port must be a number from 0 to 65535, not {self.port}")
        for name in ("deadline", "reward_deadline", "reward_patience"):
            number(name, getattr(self, name), above=0)
        number("grace", self.grace, least=0)
        whole("capacity", self.capacity, least=2)
        whole("max_body", self.max_body, least=1024)
        if self.reward_deadline >= self.reward_patience:
            raise ConfigError(
                f"reward_deadline={self.reward_deadline:g} must be below reward_patience={self.reward_patience:g}: "
                "between the two the judge has to answer"
            )
        self._check_token()

    def _check_token(self) -> None:
        if self.token is None:
            if not _is_this_machine(self.host):
                raise ConfigError(
                    f"host={self.host!r} can be reached from other machines, which may then spend the judge's budget: "
                    f"set {TOKEN_VARIABLE} to a secret, or name a file that holds one with --token-file"
                )
        elif len(self.token) < _SHORTEST_TOKEN or not self.token.isascii() or not self.token.isprintable():
            raise ConfigError(f"the token must be {_SHORTEST_TOKEN} or more printable ASCII characters")


def read_token(file: str | os.PathLike[str] | None = None) -> str | None:
    """The token in a file, or else in the environment variable RRM_SERVICE_TOKEN; None where there is none.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token file {file}: {error}") from error
    if not token:
        raise ConfigError(f"the token file {file} is empty")
    return token


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
