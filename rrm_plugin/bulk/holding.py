"""One run into a folder at a time: a file that a run renews, and that the next one looks for.

    with holding(folder, say) as hold:
        hold.check()        raises where another run has taken the folder meanwhile

Clocks of two machines cannot be compared, so a run counts up in its file, and who comes later watches whether the
count goes on. A run that was killed is known as such at once on its own machine, and elsewhere when its count has stood
still for `PATIENCE`. Object stores have no way to create a file that fails where there is one, so two that begin in the
same second may both believe to be the one: each reads its file before it counts, and the one that finds another's
stops, a beat later at most. Left out: runs of other tools.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rrm_plugin.bulk.folder import Folder
from rrm_plugin.errors import ConfigError

__all__ = ["Hold", "holding"]

BEAT = 10.0
"""Seconds between two counts."""
PATIENCE = 90.0
"""Seconds of standing still after which a run elsewhere counts as dead: NFS may show an old file for 60."""
SETTLE = 1.0
LOOK = 0.5
_NAME = "_rank/running.json"


@dataclass(frozen=True, kw_only=True)
class _Holder:
    """Who ranks into a folder."""

    host: str
    home: str
    """Where its number of a process means something; empty where that is not known."""
    pid: int
    since: str
    token: str
    count: int = 0

    @classmethod
    def here(cls) -> _Holder:
        """This process."""
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(host=socket.gethostname(), home=_home(), pid=os.getpid(), since=since, token=uuid.uuid4().hex)

    @property
    def is_gone(self) -> bool:
        """Whether it is known to be dead: it ran here, and its process is no more."""
        if not self.home or self.home != _home():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False

    def __str__(self) -> str:
        """For a person."""
        return f"process {self.pid} on {self.host}, since {self.since} there"


class Hold:
    """The right to rank into a folder.

    Args:
        folder: the output.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._own = _Holder.here()
        self._taken: _Holder | None = None
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="rrm-hold", daemon=True)

    def check(self) -> None:
        """Sees whether the folder is still this run's.

        Raises:
            ConfigError: another run has taken it.
        """
        if self._taken is not None:
            raise ConfigError(
                f"{self._folder.place} was taken by another run ({self._taken}) while this one stood still; what was "
                "finished stays"
            )

    def take(self, say: Callable[[str], Any]) -> None:
        """Takes the folder, from a run that is dead if need be.

        Raises:
            ConfigError: a run that lives has it.
        """
        before = _read(self._folder)
        if before is not None:
            self._outwait(before, say)
        self._write(again=before is not None)
        # Who wrote in the same moment has written by then.
        time.sleep(SETTLE)
        found = _read(self._folder)
        if found is not None and found.token != self._own.token:
            raise _taken(self._folder, found)
        if found is None:
            # Something else stood there, which a first write leaves alone.
            self._write(again=True)
        self._beating.start()

    def release(self) -> None:
        """Gives the folder back."""
        self._ended.set()
        if self._beating.ident is not None:
            self._beating.join()
        with contextlib.suppress(OSError):
            found = _read(self._folder)
            if found is not None and found.token == self._own.token:
                self._folder.remove(_NAME)

    def _outwait(self, holder: _Holder, say: Callable[[str], Any]) -> None:
        """Returns when the holder is dead, or has ended.

        Raises:
            ConfigError: it lives.
        """
        ends = time.monotonic() + PATIENCE
        if not holder.is_gone:
            say(f"another run has ranked into {self._folder.place} ({holder}): looking whether it lives")
        while not holder.is_gone and time.monotonic() < ends:
            time.sleep(LOOK)
            found = _read(self._folder)
            if found is None:
                return
            if (found.token, found.count) != (holder.token, holder.count):
                raise _taken(self._folder, found)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            # Where the file system is away for a while, so are the rows; another run may come in meanwhile.
            with contextlib.suppress(OSError):
                found = _read(self._folder)
                if found is not None and found.token != self._own.token:
                    self._taken = found
                    return
                self._own = dataclasses.replace(self._own, count=self._own.count + 1)
                self._write(again=True)

    def _write(self, *, again: bool) -> None:
        with self._folder.writing(_NAME, again=again) as write:
            write(json.dumps(dataclasses.asdict(self._own)).encode())


@contextlib.contextmanager
def holding(folder: Folder, say: Callable[[str], Any] = lambda _: None) -> Iterator[Hold]:
    """Keeps a folder to this run as long as the block.

    Args:
        folder: the output.
        say: is told what a person should know, a line each.

    Raises:
        ConfigError: another run ranks into it.
        OSError: it cannot be written.
    """
    hold = Hold(folder)
    hold.take(say)
    try:
        yield hold
    finally:
        hold.release()


def _taken(folder: Folder, holder: _Holder) -> ConfigError:
    return ConfigError(
        f"another run ranks into {folder.place} ({holder}): wait for its end and run the same command again, or name "
        "another folder"
    )


def _read(folder: Folder) -> _Holder | None:
    """Who has a folder; None where nobody has, or what stands there tells nobody."""
    try:
        return _Holder(**json.loads(folder.read(_NAME)))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _home() -> str:
    """Tells machines, their starts and containers apart; on Linux alone."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
