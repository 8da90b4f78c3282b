"""Where `rrm rank` writes, and what it must never write over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import click
import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main
from rrm_plugin.cli.output import json_line, output, refuse_overlap

GROUP = {"prompt": "q", "responses": ["a", "bb"]}
RRM = (sys.executable, "-m", "rrm_plugin.cli")


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.jsonl").write_text(json.dumps(GROUP) + "\n")
    (tmp_path / "judge.yaml").write_text("engine: scripted:longer\nledger: filed.db\n")
    return tmp_path


def rank(*arguments):
    return CliRunner().invoke(main, ["rank", *arguments])


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


SCRIPTED = ("--engine", "scripted:longer")


@pytest.mark.parametrize(
    "arguments",
    [
        ("g.jsonl", "--output", "g.jsonl", *SCRIPTED),
        ("g.jsonl", "--output", "./below/../g.jsonl", *SCRIPTED),
        ("g.jsonl", "--output", "soft", *SCRIPTED),
        ("soft", "--output", "g.jsonl", *SCRIPTED),
        ("g.jsonl", "--output", "hard", *SCRIPTED),
        ("g.jsonl", "--output", "linked/g.jsonl", *SCRIPTED),
        ("out.partial", "--output", "out", *SCRIPTED),
        ("g.jsonl", "--output", "l.db", "--ledger", "l.db", *SCRIPTED),
        ("g.jsonl", "--output", "l", "--ledger", "l.partial", *SCRIPTED),
        ("g.jsonl", "--output", "l.db-wal", "--ledger", "l.db", *SCRIPTED),
        ("g.jsonl", "--output", "out", "--ledger", "g.jsonl", *SCRIPTED),
        ("empty", "--output", "out", "--ledger", "empty", *SCRIPTED),
        ("g.jsonl", "--output", "judge.yaml", "--config", "judge.yaml"),
        ("g.jsonl", "--output", "out", "--config", "judge.yaml", "--ledger", "judge.yaml"),
        ("g.jsonl", "--output", "filed.db", "--config", "judge.yaml"),
        ("g.jsonl", "--output", "texts", "--engine", "replay:texts"),
        ("g.jsonl", "--output", "prompt.yaml", "--prompt", "prompt.yaml", *SCRIPTED),
    ],
)
def test_a_file_that_is_read_or_recorded_in_is_never_written_over(work, arguments):
    (work / "below").mkdir()
    (work / "soft").symlink_to("g.jsonl")
    (work / "linked").symlink_to(".")
    os.link(work / "g.jsonl", work / "hard")
    for name in ("out.partial", "texts", "prompt.yaml", "empty"):
        (work / name).write_text("" if name == "empty" else json.dumps(GROUP) + "\n")
    before = contents(work)
    result = rank(*arguments)
    assert result.exit_code == 2 and "same file" in result.output, result.output
    assert contents(work) == before


def test_a_name_of_a_preset_may_be_the_name_of_an_output(work):
    assert rank("g.jsonl", "--output", "rrm", "--prompt", "rrm", *SCRIPTED).exit_code == 0


def test_a_link_stays_a_link_and_its_file_is_replaced(work):
    (work / "far").mkdir()
    (work / "link").symlink_to("far/real")
    for _ in range(2):
        assert rank("g.jsonl", "--output", "link", *SCRIPTED).exit_code == 0
    assert (work / "link").is_symlink()
    assert json.loads((work / "far" / "real").read_text())["ranking"] == [1, 0]
    assert os.listdir(work / "far") == ["real"]


def test_a_dash_is_standard_input_and_output(work):
    result = CliRunner().invoke(main, ["rank", "-", "--output", "-", *SCRIPTED], input=json.dumps(GROUP))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ranking"] == [1, 0]
    assert "1 groups, " in result.stderr


# Devices only through links of our own: as root, a defect here would put a file in the place of the device itself.
@pytest.mark.parametrize("name", ["link", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_its_path_is_added_to(work, name):
    if not os.path.exists("/proc/self/fd/1"):
        pytest.skip("there is no /proc here")
    if name == "link":
        (work / name).symlink_to("/proc/self/fd/1")
    with (work / "all").open("ab") as stdout:
        stdout.write(b"earlier\n")
        stdout.flush()
        subprocess.run([*RRM, "rank", "g.jsonl", "--output", name, *SCRIPTED], stdout=stdout, check=True)
    earlier, row = (work / "all").read_text().splitlines()
    assert earlier == "earlier" and json.loads(row)["ranking"] == [1, 0]
    assert not (work / "all.partial").exists()


def test_standard_output_that_leads_to_the_input_is_refused(work):
    before = (work / "g.jsonl").read_bytes()
    with (work / "g.jsonl").open("ab") as stdout:
        run = subprocess.run([*RRM, "rank", "g.jsonl", "--output", "-", *SCRIPTED], stdout=stdout, stderr=-1)
    assert run.returncode == 2 and b"same file" in run.stderr
    assert (work / "g.jsonl").read_bytes() == before


def test_a_pipe_is_written_to_and_stays_a_pipe(work):
    os.mkfifo(work / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((work / "pipe").read_text()))
    reader.start()
    result = rank("g.jsonl", "--output", "pipe", *SCRIPTED)
    reader.join(timeout=30)
    assert result.exit_code == 0, result.output
    assert json.loads(read[0])["ranking"] == [1, 0] and (work / "pipe").is_fifo()


def test_a_reader_of_the_rows_that_leaves_ends_the_run_without_a_traceback(work):
    (work / "g.jsonl").write_text((json.dumps(GROUP) + "\n") * 50)
    receiver, sender = os.pipe()
    os.close(receiver)
    run = subprocess.run([*RRM, "rank", "g.jsonl", "--output", "-", *SCRIPTED], stdout=sender, stderr=-1)
    os.close(sender)
    assert run.returncode == 1 and b"groups" in run.stderr
    assert b"Traceback" not in run.stderr and b"Exception ignored" not in run.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [("no/such/out", "no folder"), ("g.jsonl/out", "g.jsonl/out"), ("out", "not a plain file"), ("loop", "loop")],
)
def test_an_output_that_cannot_be_made_is_said_before_a_call_is_paid(work, name, message):
    (work / "out.partial").symlink_to("elsewhere")
    (work / "loop").symlink_to("loop")
    result = rank("g.jsonl", "--output", name, "--ledger", "l.db", *SCRIPTED)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert not (work / "l.db").exists() and not (work / "elsewhere").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error_that_names_itself(work):
    (work / "full").symlink_to("/dev/full")
    result = rank("g.jsonl", "--output", "full", *SCRIPTED)
    assert result.exit_code == 1 and "No space left" in result.output and "Traceback" not in result.output


def test_a_run_that_fails_leaves_the_earlier_file(work):
    (work / "out").write_text("earlier")
    target = output("out")
    with pytest.raises(RuntimeError), target.rows() as write:
        write({"id": "1"})
        raise RuntimeError
    assert (work / "out").read_text() == "earlier"
    assert (work / "out.partial").read_text() == '{"id": "1"}\n'


def test_files_that_are_only_read_may_be_one(work):
    refuse_overlap({"out": "out"}, {"a": "g.jsonl", "b": "g.jsonl", "c": os.devnull})
    refuse_overlap({"out": os.devnull}, {"a": os.devnull})
    with pytest.raises(click.UsageError, match="out and b are the same file"):
        refuse_overlap({"out": "absent"}, {"a": "g.jsonl", "b": "./absent"})


def test_any_text_has_a_line():
    row = {"id": "\ud83d", "text": "é \U0001f600 \n"}
    line = json_line(row)
    assert line.count(b"\n") == 1 and "é \U0001f600".encode() in line
    assert json.loads(line) == row
