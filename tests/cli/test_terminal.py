"""Every command in a terminal of 80 columns and in a log file: help, errors and progress, lines that fit, no control
characters where nobody's terminal would act on them.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main
from rrm_plugin.cli.progress import _fitting
from tests.house.source import ROOT

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
RRM = (sys.executable, "-m", "rrm_plugin.cli")


def paths(command: click.Command = main, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, groups included."""
    yield words
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from paths(inner, (*words, name))


COMMANDS = list(paths())
each_command = pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(("rrm", *words)))


def environment(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "RRM_CONFIG", "NO_COLOR")}
    return plain | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | more


def said(words: Sequence[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command that ends before it does anything."""
    done = CliRunner().invoke(main, list(words), prog_name="rrm")
    return done.exit_code, done.stdout, done.stderr


def to_file(words: Sequence[str], folder: Path) -> tuple[int, str, str]:
    """The same of one that runs, in a process of its own whose output nobody watches."""
    done = subprocess.run(
        [*RRM, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def in_terminal(words: Sequence[str], folder: Path, columns: int = 80) -> tuple[int, list[str]]:
    """Exit status of a command in a terminal of its own, and all that stood in a line of it, one after the other."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([*RRM, *words], cwd=folder, env=environment(), stdin=its, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    while True:
        try:
            more = os.read(mine, 65536)
        except OSError:
            break
        if not more:
            break
        shown += more
    os.close(mine)
    return process.wait(), shown.decode().replace("\r\n", "\n").replace("\n", "\r").split("\r")


@each_command
def test_help_fits_80_columns_and_is_plain_text(words):
    status, told, complained = said([*words, "--help"])
    assert (status, complained) == (0, "")
    assert told.startswith(f"Usage: rrm {' '.join(words)}".rstrip())
    assert [line for line in told.splitlines() if len(line) > 80] == []
    assert not CONTROL.search(told)


def test_help_in_a_terminal_is_the_same(tmp_path):
    status, lines = in_terminal(["rank", "--help"], tmp_path)
    assert status == 0 and all(len(line) <= 80 and not CONTROL.search(line) for line in lines)
    assert "".join(lines) == to_file(["rank", "--help"], tmp_path)[1].replace("\n", "")


@each_command
def test_a_wrong_option_is_an_error_of_a_few_lines_that_names_it(words):
    status, told, complained = said([*words, "--no-such-option"])
    assert (status, told) == (2, "")
    assert "--no-such-option" in complained and "--help" in complained
    assert "Traceback" not in complained and not CONTROL.search(complained)
    assert all(len(line) <= 80 for line in complained.splitlines())


NEEDED = [words for words in COMMANDS if words and words not in (("doctor",), ("serve",), ("eval",))]
"""Commands that do nothing without arguments; `eval` alone shows its help."""


@pytest.mark.parametrize("words", NEEDED, ids=lambda words: " ".join(("rrm", *words)))
def test_a_command_without_what_it_needs_says_what_is_missing(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, told, complained = said(words)
    assert (status, told) == (2, "")
    assert re.search(r"^Error: .*(Missing|needs|give|name)", complained, flags=re.MULTILINE), complained
    assert "Traceback" not in complained and not CONTROL.search(complained)


@pytest.fixture
def groups(tmp_path):
    rows = [{"id": str(n), "prompt": f"{n}?", "responses": ["a", "bb", "ccc"]} for n in range(300)]
    (tmp_path / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [
        {
            "id": n,
            "question": f"{n}?",
            "responses": [{"text": "x" * (1 + place), "is_correct": place == 1} for place in (0, 1)],
        }
        for n in range(40)
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    pairs = [{"prompt": f"{n}?", "chosen": "yes", "rejected": "no"} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    questions = [{"question": f"what is {n}?", "answer": str(n)} for n in range(40)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    return tmp_path


RUNS = {
    "rank": ["rank", "groups.jsonl", "--output", "out.jsonl", "--engine", "scripted:longer", "--ledger", "judge.db"],
    "bon": ["bon", "answers.jsonl", "--engine", "scripted:longer", "--json", "out.json"],
    "train-data": ["train-data", "pairs.jsonl", "--out", "train.jsonl"],
    "policy-data": ["policy-data", "questions.jsonl", "--out", "policy.jsonl"],
}


@pytest.mark.parametrize("words", RUNS.values(), ids=RUNS)
def test_progress_in_a_terminal_keeps_to_one_line(words, groups):
    status, lines = in_terminal(words, groups)
    assert status == 0, lines
    bars = [line for line in lines if re.search(r"\d+%\|| \[\d\d:\d\d\]", line)]
    assert bars and all(len(line) <= 80 for line in bars)
    assert not [line for line in lines if "WARNING" in line and not line.lstrip("\x1b[K").startswith("WARNING")]


@pytest.mark.parametrize("words", RUNS.values(), ids=RUNS)
def test_progress_in_a_log_file_is_lines_of_text(words, groups):
    status, told, complained = to_file(words, groups)
    assert status == 0, complained
    assert not CONTROL.search(told + complained) and "%|" not in complained
    assert complained.endswith("\n") or not complained


def test_a_warning_goes_above_the_bar(groups):
    _, lines = in_terminal(RUNS["rank"], groups)
    warned = [line for line in lines if "alarm length_correlation" in line]
    assert len(warned) == 1 and warned[0].startswith("WARNING rrm_plugin.reporting.lookout: rrm: alarm")


def test_a_narrow_terminal_loses_parts_of_the_note_and_no_half_words(groups):
    status, lines = in_terminal(RUNS["rank"], groups, columns=60)
    bars = [line for line in lines if "%|" in line]
    assert status == 0 and bars and all(len(line) <= 60 for line in bars)
    assert _fitting("3 groups, 6 judge calls, 0 without", 20) == "3 groups"
    assert _fitting("a note without parts", 10) == ""


def test_an_error_of_a_run_is_a_line_and_no_traceback(groups):
    words = ["rank", "groups.jsonl", "--output", "out.jsonl", "--engine", "http://127.0.0.1:9/v1", "--model", "m"]
    status, told, complained = to_file([*words, "--timeout", "2"], groups)
    assert (status, told) == (1, "")
    assert complained.splitlines()[-1].startswith("Error: ") and "127.0.0.1:9" in complained
    assert "Traceback" not in complained and not CONTROL.search(complained)
