"""One run into a folder at a time: the second is refused, and a dead one is no hindrance."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

pytest.importorskip("pyarrow")

from rrm_plugin.bulk import holding as module
from rrm_plugin.bulk.folder import Folder
from rrm_plugin.bulk.holding import holding
from rrm_plugin.errors import ConfigError

NAME = "_rank/running.json"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    for name, seconds in (("BEAT", 0.05), ("SETTLE", 0.05), ("LOOK", 0.01), ("PATIENCE", 30.0)):
        monkeypatch.setattr(module, name, seconds)


def put(folder, holder):
    with folder.writing(NAME, again=True) as write:
        write(json.dumps(dataclasses.asdict(holder)).encode())


def elsewhere(**changes):
    """A run on another machine."""
    return dataclasses.replace(module._Holder.here(), host="gpu-7", home="another", pid=1, **changes)


def test_a_second_run_is_refused_and_named_who_has_the_folder(folder):
    with holding(folder) as hold:
        told = r"another run ranks into .* \(process \d+ on .*, since .*name another"
        with pytest.raises(ConfigError, match=told), holding(folder):
            raise AssertionError("both have it")
        hold.check()
    assert NAME not in folder.names()


def test_a_folder_that_was_given_back_is_taken_at_once(folder):
    told: list[str] = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), holding(folder, told.append):
            assert NAME in folder.names()
            raise ZeroDivisionError
    assert not told and NAME not in folder.names()


HOLDS = """
import sys, time
from rrm_plugin.bulk.folder import Folder
from rrm_plugin.bulk.holding import holding
with holding(Folder(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not module._home(), reason="this system does not tell its processes' namespace")
def test_a_run_that_was_killed_on_this_machine_is_no_hindrance(tmp_path):
    folder = Folder(str(tmp_path / "out"))
    process = subprocess.Popen([sys.executable, "-c", HOLDS, folder.place], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    assert NAME in folder.names()
    told: list[str] = []
    with holding(folder, told.append):
        assert not told


def test_a_run_elsewhere_that_stands_still_is_waited_for_and_then_dead(folder, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    put(folder, elsewhere())
    told: list[str] = []
    began = time.monotonic()
    with holding(folder, told.append) as hold:
        assert time.monotonic() - began >= 0.3
        hold.check()
    assert len(told) == 1 and "process 1 on gpu-7" in told[0]


def test_a_run_elsewhere_that_counts_on_lives_whatever_its_clock_says(folder):
    put(folder, elsewhere(since="1999-01-01 00:00:00"))
    later = threading.Timer(0.2, put, (folder, elsewhere(count=1)))
    later.start()
    with pytest.raises(ConfigError, match="process 1 on gpu-7"), holding(folder):
        raise AssertionError("both have it")
    later.join()


def test_a_run_elsewhere_that_ends_meanwhile_is_followed(folder):
    put(folder, elsewhere())
    later = threading.Timer(0.2, folder.remove, (NAME,))
    later.start()
    with holding(folder) as hold:
        hold.check()
    later.join()


def test_a_run_that_stood_still_and_was_taken_for_dead_is_told(folder):
    with holding(folder) as hold:
        hold.check()
        put(folder, elsewhere())
        ends = time.monotonic() + 20
        with pytest.raises(ConfigError, match=r"was taken by another run \(process 1 on gpu-7"):
            while time.monotonic() < ends:
                hold.check()
                time.sleep(0.01)
    # It is the other's now.
    assert NAME in folder.names()


@pytest.mark.parametrize("dead", [False, True])
def test_of_runs_that_begin_at_once_one_goes_on(tmp_path, monkeypatch, dead):
    monkeypatch.setattr(module, "SETTLE", 0.5)
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    folder = Folder(str(tmp_path / "out"))
    if dead:
        put(folder, elsewhere())
    barrier, ends, held = threading.Barrier(4), threading.Event(), []

    def run():
        with ExitStack() as stack:
            barrier.wait()
            try:
                stack.enter_context(holding(folder))
            except ConfigError:
                return
            held.append(1)
            ends.wait(30)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    while sum(thread.is_alive() for thread in threads) > 1:
        time.sleep(0.01)
    ends.set()
    for thread in threads:
        thread.join()
    assert held == [1]


@pytest.mark.parametrize("text", [b"", b"[1]", b"{}", b"no JSON"])
def test_what_stands_there_and_tells_of_nobody_is_no_run(folder, text):
    with folder.writing(NAME) as write:
        write(text)
    with holding(folder) as hold:
        hold.check()
