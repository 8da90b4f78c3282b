"""`rrm eval` as a user runs it: recorded texts, a judge, a killed run and its successor, two runs compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rrm_plugin.cli import main
from rrm_plugin.evaluation.benchmarks import BENCHMARKS


def rrm(*words: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def llmbar(tmp_path: Path) -> Path:
    folder = tmp_path / "LLMBar"
    folder.mkdir()
    for name in ("Natural", "Adversarial_Manual"):
        pairs = [
            {"input": f"{name} {i}", "output_1": "a longer answer", "output_2": f"short {i}", "label": 1 + i % 2}
            for i in range(6)
        ]
        (folder / f"LLMBar_{name}.json").write_text(json.dumps(pairs))
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """What two judges said of the pairs of `llmbar`: X is always right, Y names the first shown."""
    made = []
    for subset in ("LLMBar/Natural", "LLMBar/Adversarial/Manual"):
        for i in range(6):
            for swapped in (False, True):
                right = "ab"[(i % 2) ^ swapped]
                for judge, letter in (("X", right), ("Y", "a")):
                    winner = "1" if (letter == "a") is not swapped else "2"
                    made.append(
                        {
                            "subset": subset,
                            "evaluator": judge,
                            "idx": i,
                            "swapped": swapped,
                            "raw": f"Output ({letter}) is better.",
                            "finish": "stop",
                            "parsed_winner": winner,
                        }
                    )
    made[0]["parsed_winner"] = "2"
    path = tmp_path / "said.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def test_recorded_texts_give_one_row_a_subset(tmp_path: Path, llmbar: Path, texts: Path) -> None:
    out = tmp_path / "x.json"
    options = ["--data", llmbar, "--replay", texts, "--json", out]
    result = rrm("eval", "llmbar", *options, "--where", "evaluator=X", "--differences", tmp_path / "differ.jsonl")
    assert result.exit_code == 0, result.output
    (report,) = rows(out)
    told = {row["subset"]: (row["accuracy"], row["agreement"], row["n"], row["failures"]) for row in report["rows"]}
    assert told == {"LLMBar/Natural": (1.0, 1.0, 6, {}), "LLMBar/Adversarial/Manual": (1.0, 1.0, 6, {})}
    (difference,) = rows(tmp_path / "differ.jsonl")
    assert (difference["id"], difference["source"], difference["here"]) == ("0", "2", "1")
    assert report["settings"]["where"] == {"evaluator": "X"} and report["settings"]["grammar"] == "llmbar"
    rrm("eval", "llmbar", *options, "--where", "evaluator=Y")
    (report,) = rows(out)
    assert [(row["accuracy"], row["agreement"], row["first_rate"]) for row in report["rows"]] == [(0.5, 0.0, 1.0)] * 2


def test_recorded_verdicts_may_be_taken_as_they_are(tmp_path: Path, llmbar: Path, texts: Path) -> None:
    options = ["--data", llmbar, "--replay", texts, "--where", "evaluator=X", "--from", "verdicts"]
    assert rrm("eval", "llmbar", *options, "--json", tmp_path / "x.json").exit_code == 0
    assert rows(tmp_path / "x.json")[0]["overall"]["accuracy"] == pytest.approx(23 / 24)


def test_a_judge_is_asked_and_its_texts_score_the_same(tmp_path: Path, llmbar: Path) -> None:
    out = tmp_path / "longer.json"
    pages = ["--markdown", tmp_path / "a.md", "--html", tmp_path / "a.html"]
    result = rrm("eval", "llmbar", "--data", llmbar, "--engine", "scripted:longer", "--json", out, *pages)
    assert result.exit_code == 0, result.output
    (report,) = rows(out)
    assert report["overall"]["accuracy"] == 0.5 and report["overall"]["agreement"] == 1.0
    assert report["overall"]["cost"]["calls"] == report["overall"]["cost"]["paid"] == 24
    assert len(rows(tmp_path / "longer.json.texts.jsonl")) == 24
    assert "| LLMBar/Natural | 6 |" in (tmp_path / "a.md").read_text()
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    again = tmp_path / "again.json"
    replayed = ["--replay", tmp_path / "longer.json.texts.jsonl", "--json", again]
    assert rrm("eval", "llmbar", "--data", llmbar, *replayed).exit_code == 0
    first, second = report["rows"], rows(again)[0]["rows"]
    same = ("subset", "n", "accuracy", "both", "agreement", "first_rate", "failures", "interval")
    assert [[row[name] for name in same] for row in first] == [[row[name] for name in same] for row in second]


def test_a_second_run_reads_the_ledger(tmp_path: Path, llmbar: Path) -> None:
    words = ["eval", "llmbar", "--data", llmbar, "--engine", "scripted:first", "--json", tmp_path / "a.json"]
    rrm(*words)
    before = rows(tmp_path / "a.json")[0]["overall"]["cost"]
    rrm(*words)
    after = rows(tmp_path / "a.json")[0]["overall"]["cost"]
    assert (before["paid"], after["paid"]) == (24, 0) and before["completion_tokens"] == after["completion_tokens"]


def test_a_simulated_judge_subsets_and_limits(tmp_path: Path, llmbar: Path) -> None:
    out = tmp_path / "a.json"
    words = ["eval", "llmbar", "--data", llmbar, "--engine", "simulated:1", "--votes", 3, "--json", out]
    assert rrm(*words, "--subset", "LLMBar/Natural", "--limit", 4).exit_code == 0
    (report,) = rows(out)
    assert [(row["subset"], row["n"], row["accuracy"]) for row in report["rows"]] == [("LLMBar/Natural", 4, 1.0)]
    assert [point["votes"] for point in report["scaling"]["votes"]] == [1, 2, 3]
    result = rrm(*words, "--subset", "Natural")
    assert (
        result.exit_code == 2 and "there is no subset 'Natural'; there are LLMBar/Adversarial/Manual" in result.output
    )


def test_two_runs_are_compared(tmp_path: Path, llmbar: Path) -> None:
    for name, engine in (("a", "simulated:1"), ("b", "simulated:0")):
        rrm("eval", "llmbar", "--data", llmbar, "--engine", engine, "--json", tmp_path / f"{name}.json")
    result = rrm("eval", "compare", tmp_path / "a.json", tmp_path / "b.json", "--json", tmp_path / "c.json")
    assert f"accuracy of {tmp_path / 'a.json'} over {tmp_path / 'b.json'}: +100.0 points" in result.output
    assert "a.json does better on 12 and worse on 0; sign test p = 0.000488" in result.output
    assert rows(tmp_path / "c.json")[0]["p_value"] == pytest.approx(2 / 2**12)
    refused = rrm("eval", "compare", tmp_path / "a.json", tmp_path / "b.json", "--json", tmp_path / "a.json")
    assert refused.exit_code == 2 and "are the same file" in refused.output


def test_several_runs_make_a_curve(tmp_path: Path, llmbar: Path) -> None:
    for name, engine in (("a", "scripted:longer"), ("b", "scripted:first")):
        rrm("eval", "llmbar", "--data", llmbar, "--engine", engine, "--json", tmp_path / f"{name}.json")
    pages = ["--png", tmp_path / "c.png", "--markdown", tmp_path / "c.md", "--json", tmp_path / "c.json"]
    result = rrm("eval", "curve", tmp_path / "a.json", tmp_path / "b.json", *pages)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    (told,) = rows(tmp_path / "c.json")
    assert told["benchmark"] == "llmbar" and len(told["points"]) == 2
    refused = rrm("eval", "curve", tmp_path / "a.json", "--json", tmp_path / "a.json")
    assert refused.exit_code == 2 and "are the same file" in refused.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval", "gsm8k"], "no benchmark 'gsm8k'; known are rewardbench"),
        (["eval", "BENCHMARK", "--json", "a.json"], "BENCHMARK is one of rewardbench"),
        (["eval", "llmbar", "--json", "-"], "--json takes a file"),
        (["eval", "llmbar", "--data", "LLMBar", "--json", "a.json"], "which judge?"),
        (["eval", "llmbar", "--data", "LLMBar", "--json", "a.json", "--engine", "simulated:2"], "between 0 and 1"),
        (["eval", "llmbar", "--data", "LLMBar", "--json", "a.json", "--where", "a=b"], "give --replay FILE as well"),
        (
            [
                "eval",
                "llmbar",
                "--data",
                "LLMBar",
                "--json",
                "a.json",
                "--engine",
                "scripted:first",
                "--orders",
                "balanced",
            ],
            "both, random or fixed",
        ),
        (
            ["eval", "llmbar", "--data", "LLMBar", "--json", "a.json", "--columns", "prompt=input"],
            "for `rrm eval pairs`",
        ),
        (
            [
                "eval",
                "llmbar",
                "--data",
                "LLMBar",
                "--json",
                "LLMBar/LLMBar_Natural.json",
                "--engine",
                "scripted:first",
            ],
            "are the same file",
        ),
        (
            ["eval", "llmbar", "--data", "LLMBar", "--json", "LLMBar/LLMBar_Natural.json", "--engine", "simulated:1"],
            "are the same file",
        ),
        (["eval", "llmbar", "--data", "LLMBar", "--replay", "said.jsonl", "--json", "said.jsonl"], "are the same file"),
        (
            ["eval", "llmbar", "--data", "LLMBar", "--replay", "said.jsonl", "--json", "a.json", "--votes", "2"],
            "--replay asks no judge: leave --votes out",
        ),
        (["eval", "llmbar", "--data", "LLMBar", "--json", "a.json", "--html", "no/where.html"], "there is no folder"),
    ],
)
def test_what_cannot_work_says_so(
    tmp_path: Path, llmbar: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = rrm(*words)
    assert result.exit_code != 0 and said in result.output and not isinstance(result.exception, KeyError)
    assert {path: path.read_bytes() for path in before} == before


def test_every_benchmark_is_a_command_and_the_help_shows_the_options_once() -> None:
    for name in BENCHMARKS:
        assert "--replay" in rrm("eval", name, "--help").output
        assert name in rrm("eval", "--help").output.replace("\n  ", " ")


def test_pairs_of_ones_own(tmp_path: Path) -> None:
    made = [{"q": f"q{i}", "good": "the better answer", "bad": "worse"} for i in range(4)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    columns = ["--columns", "prompt=q,chosen=good,rejected=bad"]
    words = ["eval", "pairs", "--data", tmp_path / "mine.jsonl", "--engine", "scripted:longer", *columns]
    assert rrm(*words, "--json", tmp_path / "a.json").exit_code == 0
    assert rows(tmp_path / "a.json")[0]["overall"]["accuracy"] == 1.0


class Judge:
    """A server that names the first, and can hold replies back or fail."""

    def __init__(self) -> None:
        self.asked = 0
        self.free = threading.Event()
        self.free.set()
        self.at_once: int | None = None
        self.status = 200
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                judge.asked += 1
                if judge.at_once is not None and judge.asked > judge.at_once:
                    judge.free.wait(60)
                data = json.dumps(judge.reply()).encode()
                self.send_response(judge.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            request_queue_size = 256

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self) -> dict[str, Any]:
        if self.status != 200:
            return {"error": {"message": "no"}}
        message = {"role": "assistant", "content": "\\boxed{Assistant 1}"}
        usage = {"prompt_tokens": 30, "completion_tokens": 12}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


@pytest.fixture
def server():
    made = Judge()
    yield made
    made.free.set()
    made.server.shutdown()
    made.server.server_close()


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, llmbar: Path, server: Judge) -> None:
    server.at_once = 10
    server.free.clear()
    out = tmp_path / "a.json"
    words = ["eval", "llmbar", "--data", str(llmbar), "--engine", server.url, "--model", "m", "--json", str(out)]
    command = [sys.executable, "-m", "rrm_plugin.cli", *words, "--concurrency", "4"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while server.asked < 14 and time.monotonic() < limit and run.poll() is None:
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert server.asked == 14 and not out.exists()
    server.at_once = None
    server.free.set()
    result = rrm(*words)
    assert result.exit_code == 0, result.output
    # Ten were answered before the kill, four were under way and are asked again.
    assert server.asked == 24 + 4
    (report,) = rows(out)
    assert report["overall"]["cost"]["paid"] == 14 and report["overall"]["cost"]["tokens_per_call"] == 42
    assert "read from the ledger" in result.output


def test_two_runs_of_one_report_do_not_write_into_each_other(tmp_path: Path, llmbar: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    words = ["eval", "llmbar", "--data", llmbar, "--engine", "simulated:1", "--json", tmp_path / "a.json"]
    unfinished = tmp_path / "a.json.texts.jsonl.partial"
    with unfinished.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"of the other run")
        other.flush()
        result = rrm(*words)
        assert result.exit_code == 1 and "another run is writing" in result.output
        assert unfinished.read_bytes() == b"of the other run" and not (tmp_path / "a.json").exists()
    assert rrm(*words).exit_code == 0 and len(rows(tmp_path / "a.json.texts.jsonl")) == 24


def test_calls_that_failed_are_wrong_said_and_asked_again(tmp_path: Path, llmbar: Path, server: Judge) -> None:
    words = ["eval", "llmbar", "--data", llmbar, "--engine", server.url, "--model", "m", "--json", tmp_path / "a.json"]
    words += ["--limit", 3]
    server.status = 400
    result = rrm(*words)
    assert result.exit_code == 1 and "6 calls failed and count as wrong; run the same command again" in result.output
    (report,) = rows(tmp_path / "a.json")
    assert report["overall"]["failures"] == {"rejected": 6} and report["overall"]["accuracy"] == 0.0
    server.status = 200
    assert rrm(*words).exit_code == 0
    assert rows(tmp_path / "a.json")[0]["overall"]["failures"] == {}
