"""`rrm rank` and `rrm compare`: results in order, errors by line, killed runs resumed, output fit for a log file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main
from rrm_plugin.engines import scripted
from rrm_plugin.errors import EngineError
from rrm_plugin.types import Reason


def write(path, rows) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rank(tmp_path, rows, *options):
    source, target = write(tmp_path / "groups.jsonl", rows), tmp_path / "out.jsonl"
    result = CliRunner().invoke(main, ["rank", source, "--output", str(target), *options])
    return result, read(target) if target.exists() else None


GROUPS = [{"prompt": f"q{n}", "responses": ["a" * n, "b" * (n + 1), "c" * (n + 2)], "id": n} for n in range(1, 30)]


def test_rows_come_out_in_order_with_scores(tmp_path):
    result, rows = rank(tmp_path, GROUPS, "--engine", "scripted:longer", "--reducer", "win_rate")
    assert result.exit_code == 0, result.output
    assert [row["id"] for row in rows] == [str(n) for n in range(1, 30)]
    assert [row["line"] for row in rows] == list(range(1, 30))
    assert all(row["ranking"] == [2, 1, 0] and row["values"] == [-1.0, 0.0, 1.0] for row in rows)
    assert all(row["calls"] == 6 and row["agreement"] == 1.0 and row["error"] is None for row in rows)
    assert "29 groups, 174 judge calls, 0 without a verdict" in result.output


def test_broken_rows_are_named_and_cost_no_other(tmp_path):
    rows = [
        {"prompt": "q", "responses": ["a", "bb"]},
        "{not json",
        {"prompt": "q"},
        {"prompt": "q", "responses": "text"},
        {"prompt": 3, "responses": ["a", "bb"]},
        ["a", "list"],
        "",
        {"prompt": "q", "responses": []},
        {"prompt": "q", "responses": [1, 2]},
        {"prompt": "q", "responses": ["a", "bb"], "reference": "r"},
    ]
    result, out = rank(tmp_path, rows, "--engine", "scripted:longer")
    assert result.exit_code == 1
    assert "7 of 9 rows could not be scored" in result.output
    errors = {row["line"]: row["error"] for row in out}
    assert [line for line, error in errors.items() if error is None] == [1, 10]
    assert "line 2" in errors[2] and "'responses'" in errors[3] and "'prompt'" in errors[5] and "object" in errors[6]


def test_a_ledger_pays_nothing_twice(tmp_path):
    options = ("--engine", "scripted:longer", "--ledger", str(tmp_path / "l.db"))
    _, first = rank(tmp_path, GROUPS, *options)
    result, second = rank(tmp_path, GROUPS, *options)
    assert "0 judge calls, 174 read from the ledger" in result.output
    assert [row["values"] for row in first] == [row["values"] for row in second]


SLOW = """
import sys, time
from rrm_plugin.cli import main
from rrm_plugin.engines import scripted
from rrm_plugin.errors import EngineError
from rrm_plugin.types import Reason
from rrm_plugin.engines import scripted

def slow(messages):
    time.sleep(0.004)
    return scripted.NAMED_SCRIPTS["first"](messages)

scripted.NAMED_SCRIPTS["longer"] = slow
main(sys.argv[1:])
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    source, target, ledger = write(tmp_path / "g.jsonl", GROUPS), tmp_path / "out.jsonl", tmp_path / "l.db"
    arguments = ["rank", source, "--output", str(target), "--engine", "scripted:longer", "--ledger", str(ledger)]
    command = [sys.executable, "-c", SLOW, *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        give_up = time.monotonic() + 60
        while _recorded(ledger) < 10 and time.monotonic() < give_up:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    paid = _recorded(ledger)
    assert 10 <= paid < 174 and not target.exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{174 - paid} judge calls, {paid} read from the ledger" in again.stderr
    assert len(read(target)) == len(GROUPS)


def _recorded(ledger) -> int:
    if not ledger.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM judgements").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_a_dead_engine_is_an_error_that_names_it_and_leaves_an_earlier_output_alone(tmp_path):
    (tmp_path / "out.jsonl").write_text('{"id": "earlier"}\n')
    result, rows = rank(tmp_path, GROUPS, "--engine", "http://127.0.0.1:9/v1", "--model", "m", "--timeout", "2")
    assert result.exit_code == 1
    assert "127.0.0.1:9" in result.output and "Traceback" not in result.output
    assert rows == [{"id": "earlier"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--engine"),
        (("--engine", "scripted:longest"), "scripted"),
        (("--engine", "scripted:longer", "--schedule", "league"), "schedule='league'"),
        (("--engine", "scripted:longer", "--orders", "none"), "--orders"),
        (("--engine", "scripted:longer", "--config", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_wrong_options_are_explained_without_a_traceback(tmp_path, options, message):
    result, _ = rank(tmp_path, GROUPS, *options)
    assert result.exit_code in (1, 2)
    assert message in result.output and "Traceback" not in result.output


def test_options_go_before_the_settings_file(tmp_path):
    (tmp_path / "judge.yaml").write_text("engine: scripted:first\norders: fixed\nreducer: win_rate\n")
    options = ("--config", str(tmp_path / "judge.yaml"), "--engine", "scripted:longer")
    _, rows = rank(tmp_path, GROUPS[:1], *options)
    assert rows[0]["values"] == [-1.0, 0.0, 1.0] and rows[0]["calls"] == 3


def test_a_log_file_gets_lines_and_no_control_characters(tmp_path):
    source, target = write(tmp_path / "g.jsonl", GROUPS), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "rrm_plugin.cli", "rank", source, "--output", str(target)]
    run = subprocess.run([*command, "--engine", "scripted:longer"], capture_output=True, text=True, check=True)
    assert run.stdout == ""
    assert all(letter.isprintable() or letter == "\n" for letter in run.stderr)
    assert "29/29 groups" in run.stderr


@pytest.mark.parametrize("command", [[], ["rank"], ["compare"]])
def test_help_fits_80_columns(command):
    result = CliRunner().invoke(main, [*command, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80


def test_compare_says_the_verdict_and_shows_the_judge(tmp_path):
    (tmp_path / "second.txt").write_text("a longer answer")
    arguments = ["compare", "q", "short", f"@{tmp_path / 'second.txt'}", "--engine", "scripted:longer"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert result.output.rstrip().endswith("verdict: second") and "characters" in result.output
    row = json.loads(CliRunner().invoke(main, [*arguments, "--json", "--orders", "fixed"]).output)
    assert row["verdict"] == "second" and row["calls"] == 1 and len(row["texts"]) == 1


def test_compare_without_a_verdict_exits_with_1(tmp_path):
    texts = write(tmp_path / "none.jsonl", [])
    result = CliRunner().invoke(main, ["compare", "q", "a", "b", "--engine", f"replay:{texts}"])
    assert result.exit_code == 1 and "no verdict (not_recorded)" in result.output


def test_compare_names_a_file_that_is_not_there():
    result = CliRunner().invoke(main, ["compare", "@nowhere.txt", "a", "b", "--engine", "scripted:longer"])
    assert result.exit_code == 2 and "nowhere.txt" in result.output


@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs signals")
def test_an_interrupt_says_how_to_go_on(tmp_path):
    source, ledger = write(tmp_path / "g.jsonl", GROUPS), tmp_path / "l.db"
    arguments = [
        "rank",
        source,
        "--output",
        str(tmp_path / "o"),
        "--engine",
        "scripted:longer",
        "--ledger",
        str(ledger),
    ]
    with subprocess.Popen([sys.executable, "-c", SLOW, *arguments], stderr=subprocess.PIPE, text=True) as running:
        give_up = time.monotonic() + 60
        while _recorded(ledger) < 5 and time.monotonic() < give_up:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "run the same command again" in said and "Traceback" not in said


def test_odd_rows_cost_no_other(tmp_path):
    good = {"prompt": "q", "responses": ["a", "bb"]}
    odd = [
        {**good, "id": "\ud83d"},
        {**good, "prompt": "\ud83d"},
        {**good, "responses": ["\udc00", "bb"]},
        "[" * 200_000,
    ]
    ledger = ("--ledger", str(tmp_path / "l.db"))
    result, out = rank(tmp_path, [*odd, good], "--engine", "scripted:longer", *ledger)
    assert [row["line"] for row in out] == [1, 2, 3, 4, 5]
    assert out[0]["id"] == "\ud83d" and [row["ranking"] for row in out] == [[1, 0]] * 3 + [[]] + [[1, 0]]
    assert "recursion" in out[3]["error"] and "1 of 5 rows" in result.output and result.exit_code == 1


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    (tmp_path / "g.jsonl").write_text(json.dumps(GROUPS[0]) + "\n", encoding="utf-8-sig")
    arguments = ["rank", str(tmp_path / "g.jsonl"), "--output", str(tmp_path / "o"), "--engine", "scripted:longer"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert read(tmp_path / "o")[0]["ranking"] == [2, 1, 0]


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="needs /dev/fd")
def test_a_pipe_is_read_once(tmp_path):
    source, target = write(tmp_path / "g.jsonl", GROUPS), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "rrm_plugin.cli", "rank", "/dev/stdin", "--output", str(target)]
    with subprocess.Popen(["cat", source], stdout=subprocess.PIPE) as cat:
        subprocess.run([*command, "--engine", "scripted:longer"], stdin=cat.stdout, check=True)
    assert len(read(target)) == len(GROUPS)


def silent_rows(monkeypatch, *silent):
    """A judge who cannot be reached for the groups of these numbers; says how often it was asked."""
    asked: list[int] = []

    def judge(messages) -> str:
        number = int(messages[-1]["content"].split("question ")[1].split()[0])
        asked.append(number)
        if number in silent:
            raise EngineError("nobody is there", Reason.UNREACHABLE)
        return "\\boxed{Assistant 1}"

    monkeypatch.setitem(scripted.NAMED_SCRIPTS, "longer", judge)
    return asked


def numbered(count):
    return [{"prompt": f"question {n} ?", "responses": ["a", "bb"]} for n in range(count)]


def test_rows_without_an_answer_end_no_run_that_has_others(tmp_path, monkeypatch):
    silent_rows(monkeypatch, *range(7))
    result, rows = rank(tmp_path, numbered(20), "--engine", "scripted:longer")
    assert result.exit_code == 1 and "7 of 20 rows could not be scored" in result.output
    assert [row["failures"] for row in rows] == [{"unreachable": 2}] * 7 + [{}] * 13
    assert ["nobody is there" in (row["error"] or "") for row in rows] == [True] * 7 + [False] * 13


def test_a_judge_that_answers_nothing_ends_the_run_early(tmp_path, monkeypatch):
    asked = silent_rows(monkeypatch, *range(2000))
    result, rows = rank(tmp_path, numbered(2000), "--engine", "scripted:longer")
    assert result.exit_code == 1 and "nobody is there" in result.output and "Traceback" not in result.output
    assert rows is None and len(set(asked)) < 2000


def test_a_short_file_without_an_answer_is_an_error_too(tmp_path, monkeypatch):
    silent_rows(monkeypatch, 0, 1)
    single = {"prompt": "question 2 ?", "responses": ["alone"]}
    result, rows = rank(tmp_path, [*numbered(2), single], "--engine", "scripted:longer")
    assert result.exit_code == 1 and "nobody is there" in result.output and rows is None


def test_the_word_does_not_wait_for_a_row_that_hangs(tmp_path, monkeypatch):
    async def hanging(messages) -> str:
        if "question 0 " in messages[-1]["content"]:
            await asyncio.Event().wait()
        raise EngineError("nobody is there", Reason.UNREACHABLE)

    monkeypatch.setitem(scripted.NAMED_SCRIPTS, "longer", hanging)
    result, rows = rank(tmp_path, numbered(20), "--engine", "scripted:longer")
    assert result.exit_code == 1 and "nobody is there" in result.output and rows is None


def test_a_spent_budget_ends_the_run_and_a_larger_one_goes_on(tmp_path):
    source, target = tmp_path / "groups.jsonl", tmp_path / "scores.jsonl"
    rows = [{"prompt": f"Count to {number}.", "responses": ["one", "one two"]} for number in range(6)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["rank", str(source), "--output", str(target), "--engine", "scripted:longer"]
    words += ["--ledger", str(tmp_path / "judge.db"), "--prices", "prompt=10,completion=10", "--budget"]
    stopped = CliRunner().invoke(main, [*words, "calls=5"])
    assert stopped.exit_code == 1 and "the budget of 5 judge calls" in stopped.output
    assert "scores.jsonl.partial; with a larger one the same command goes on" in stopped.output
    assert not target.exists()
    done = CliRunner().invoke(main, [*words, "calls=12"])
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["calls"] + row["cached"] for row in found] == [2] * 6 and sum(row["calls"] for row in found) == 7
    assert "7 judge calls for 0." in done.output
    assert all((row["cost"] > 0) is (row["calls"] > 0) for row in found)


@pytest.mark.parametrize("wrong", ["calls", "calls=x", "calls=0", "call=3"])
def test_a_budget_that_cannot_be_is_a_usage_error(tmp_path, wrong):
    (tmp_path / "groups.jsonl").write_text("")
    words = ["rank", str(tmp_path / "groups.jsonl"), "--output", str(tmp_path / "out.jsonl"), "--budget", wrong]
    found = CliRunner().invoke(main, [*words, "--engine", "scripted:longer"])
    assert found.exit_code == 2 and "--budget" in found.output


def test_the_first_error_stands_in_the_message(tmp_path):
    result, rows = rank(tmp_path, [GROUPS[0], "{not json", {"prompt": "q"}], "--engine", "scripted:longer")
    assert result.exit_code == 1 and len(rows) == 3
    assert "the first: line 2: is not JSON" in result.output and "has no 'responses'" not in result.output
