"""Processes that end when the one that started them is killed.

    reaper = reap([pid, ...])      from now on they end with this process, however it ends
    reaper.stop()                  they have ended; nothing is watched any more

A process that is killed has no moment left to end its own, and a model server among them would keep its GPU memory. So
a small process of its own looks whether this one is still there. Left out: systems but Linux, where there is none.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable

__all__ = ["Reaper", "reap"]

_WATCH = """
import os, select, signal, sys, time
parent, seconds, *pids = sys.argv[1:]
watched = []
for pid in map(int, pids):
    try:
        watched.append(os.pidfd_open(pid))
    except OSError:
        pass
while watched and os.getppid() == int(parent):
    # Not by the numbers of processes, which another one may have by then.
    ended = select.select(watched, [], [], float(seconds))[0]
    watched = [each for each in watched if each not in ended]
for number in (signal.SIGTERM, signal.SIGKILL):
    for each in watched:
        try:
            signal.pidfd_send_signal(each, number)
        except OSError:
            pass
    ends = time.monotonic() + 10
    while watched and time.monotonic() < ends:
        ended = select.select(watched, [], [], max(0, ends - time.monotonic()))[0]
        watched = [each for each in watched if each not in ended]
"""
_LOOKS_EVERY = 1.0


class Reaper:
    """What watches; None of a process where there is nothing to watch."""

    def __init__(self, process: subprocess.Popen[bytes] | None = None) -> None:
        self._process = process

    def stop(self) -> None:
        """Watch no more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def reap(pids: Iterable[int]) -> Reaper:
    """Has these processes ended, first kindly and after ten seconds by force, as soon as this one is no more."""
    numbers = [str(pid) for pid in pids]
    if not numbers or not hasattr(os, "pidfd_open"):
        return Reaper()
    words = [sys.executable, "-S", "-E", "-c", _WATCH, str(os.getpid()), str(_LOOKS_EVERY), *numbers]
    with contextlib.suppress(OSError):
        # In a session of its own: what is sent to the group of this process, Ctrl-C say, is not for it.
        return Reaper(
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        )
    return Reaper()
