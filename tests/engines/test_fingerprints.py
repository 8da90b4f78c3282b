from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rrm_plugin.engines.fingerprints import mark


def made(number, words):
    helper = {"words": words}

    def inner(messages):
        return f"{number} {helper}"

    return inner


class Judge:
    def __init__(self, bias, friend=None):
        self.bias, self.friend, self.lock = bias, friend, threading.Lock()

    def __call__(self, messages):
        return str(self.bias)

    def other(self, messages):
        return str(-self.bias)


class Plain:
    def __init__(self, value):
        self.value = value


def test_without_settings_there_is_no_mark():
    assert mark(extra={}, template=None, file="") == ""


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, 1.0),
        (1, True),
        (1, "1"),
        ([1, [2]], [[1], 2]),
        ({"a": 1}, {"a": 2}),
        ({1: "a"}, {"1": "a"}),
        ({"a", "b"}, {"a", "c"}),
        (b"ab", "ab"),
        (made(1, ["x"]), made(2, ["x"])),
        (made(1, ["x"]), made(1, ["y"])),
        (Judge(1), Judge(2)),
        (Judge(1).other, Judge(2).other),
        (Judge(1), Judge(1).other),
        (Judge(1, Plain(1)), Judge(1, Plain(2))),
        (functools.partial(made, 1), functools.partial(made, 2)),
        (lambda m: [x for x in m if x > 1], lambda m: [x for x in m if x > 2]),
        (lambda m: 1, lambda m, n=3: 1),
        (lambda m, n=3: 1, lambda m, n=4: 1),
        (lambda *, n=3: 1, lambda *, n=4: 1),
        (len, max),
        (Path("/a"), Path("/b")),
    ],
)
def test_what_differs_has_another_mark(one, two):
    assert mark(value=one) != mark(value=two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1, 2: 2}, {2: 2, "a": 1}),
        ((1, 2), [1, 2]),
        (made(1, ["x"]), made(1, ["x"])),
        (Judge(1), Judge(1)),
        (Plain(1), Plain(1)),
    ],
)
def test_what_is_equal_has_the_same_mark(one, two):
    assert mark(value=one) == mark(value=two)


def test_the_same_in_every_process(tmp_path):
    (tmp_path / "judged.py").write_text(
        "import threading\n"
        "lock = threading.Lock()\n"
        "def made(k):\n"
        "    seen = {'one', 'two', k}\n"
        "    def judge(messages, *, most={'a': 1}):\n"
        "        with lock:\n"
        "            return [m for m in messages if m in {'x', 'y', 'z'} or m in seen and (lambda: lock)()]\n"
        "    return judge\n"
    )
    code = "import judged; from rrm_plugin.engines.fingerprints import mark; print(mark(f=judged.made('three')))"
    root = str(Path(__file__).parents[2])

    def run(seed: str) -> str:
        # The second run reads the bytecode that the first one wrote.
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([root, str(tmp_path)])}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert run("1") == run("2")
    assert run("1").startswith("#")


def test_circles_and_shared_parts_end():
    circle: list = [1]
    circle.append({"again": circle})
    assert mark(value=circle) == mark(value=circle)
    shared: list = ["end"]
    for _ in range(200):
        shared = [shared, shared]
    assert mark(value=shared).startswith("#")


def test_what_refuses_to_be_shown_counts_by_its_class():
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert mark(value=Shy()) == mark(value=Shy()) != mark(value=Plain(1))
