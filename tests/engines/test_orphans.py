"""What a process started ends with it, even when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from rrm_plugin.engines.orphans import reap

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux alone")

PARENT = """
import signal, subprocess, sys, time
from rrm_plugin.engines import orphans
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf if sys.argv[1] == "deaf" else "print(1, flush=True); import time; "
                          "time.sleep(600)"], stdout=subprocess.PIPE)
child.stdout.readline()
orphans._LOOKS_EVERY = 0.1
orphans._WATCH = orphans._WATCH.replace("+ 10", "+ 0.3")
reaper = orphans.reap([child.pid])
print(child.pid, reaper._process.pid, flush=True)
time.sleep(600)
"""


def has_ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for_end(pid: int) -> None:
    ends = time.monotonic() + 60
    while not has_ended(pid):
        assert time.monotonic() < ends, f"{pid} lives on"
        time.sleep(0.02)


@pytest.mark.parametrize("kind", ["ordinary", "deaf"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_leaves_none_of_its_own_behind(kind, how):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, kind], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child, reaper = map(int, parent.stdout.readline().split())
    parent.send_signal(how)
    parent.wait()
    wait_for_end(child)
    wait_for_end(reaper)


def test_what_ended_by_itself_or_is_watched_no_more_is_left_alone():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        reaper = reap([child.pid])
        watching = reaper._process
        assert watching is not None
        reaper.stop()
        reaper.stop()
        assert watching.poll() is not None and child.poll() is None
        reaper = reap([child.pid])
        watching = reaper._process
        assert watching is not None
        child.kill()
        child.wait()
        # Nothing is left to watch.
        assert watching.wait(60) == 0
        reaper.stop()


def test_nothing_to_watch_takes_no_process():
    reaper = reap([])
    assert reaper._process is None
    reaper.stop()
