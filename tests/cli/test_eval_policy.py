"""`rrm eval-policy` as a user runs it, a killed run and its successor among them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main


class Policy:
    """A server that answers B to everything, and can be told to fail or to hold back."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.free = threading.Event()
        self.free.set()
        self.at_once: int | None = None
        self.failing: set[str] = set()
        policy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                policy.asked.append(body)
                if policy.at_once is not None and len(policy.asked) > policy.at_once:
                    policy.free.wait(60)
                status, answer = policy.answer(body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            # All calls come at once; a connection that finds no place is made again, and its call with it.
            request_queue_size = 256

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, body: dict) -> tuple[int, dict]:
        said = json.dumps(body)
        if any(mark in said for mark in self.failing):
            return 400, {"error": {"message": "no"}}
        message = {"role": "assistant", "content": "Hence \\boxed{B}"}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "text": "The answer is (B)."}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}


@pytest.fixture
def policy():
    policy = Policy()
    yield policy
    policy.free.set()
    policy.server.shutdown()
    policy.server.server_close()


@pytest.fixture
def gpqa(tmp_path):
    names = ["Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"]
    with (tmp_path / "gpqa_diamond.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "Record ID", "High-level domain"])
        writer.writerows(
            [f"<{n}>?", "right", "x", "y", "z", f"rec{n}", ["Physics", "Biology"][n % 2]] for n in range(20)
        )
    return f"gpqa_diamond={tmp_path / 'gpqa_diamond.csv'}"


@pytest.fixture
def mmlu(tmp_path):
    row = {"question": "?", "options": ["p", "q"], "answer": "A", "category": "law"}
    rows = [{**row, "question_id": n} for n in range(6)]
    (tmp_path / "mmlu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"mmlu_pro={tmp_path / 'mmlu.jsonl'}"


def run(tmp_path, *arguments, out="out.json"):
    result = CliRunner().invoke(main, ["eval-policy", *arguments, "--json", str(tmp_path / out)])
    return result, json.loads((tmp_path / out).read_text()) if (tmp_path / out).exists() else None


def test_it_asks_counts_and_says(tmp_path, policy, gpqa, mmlu):
    options = ("--engine", policy.url, "--model", "m", "--samples", "2", "--max-tokens", "77", "--top-p", "0.9")
    result, report = run(tmp_path, gpqa, mmlu, *options, "--temperature", "0.3", "--stop", "END")
    assert result.exit_code == 0, result.output
    assert len(policy.asked) == 52 and {body["max_tokens"] for body in policy.asked} == {77}
    assert {(body["temperature"], body["top_p"], *body["stop"]) for body in policy.asked} == {(0.3, 0.9, "END")}
    one = report["benchmarks"]["gpqa_diamond"]
    right = [name for name, each in one["questions_right"].items() if each == [1, 1]]
    assert one["accuracy"] == len(right) / 20 and 0 < len(right) < 15 and one["samples"] == 40
    assert set(one["categories"]) == {"Physics", "Biology"} and one["tokens"]["completion"] == 200
    assert report["settings"]["engine"] == "http:m" and report["settings"]["samples"] == 2
    assert f"gpqa_diamond: {one['accuracy']:.1%} [" in result.output and "mmlu_pro: " in result.output
    assert len((tmp_path / "out.json.replies.jsonl").read_text().splitlines()) == 52


def test_the_settings_file_is_the_policys(tmp_path, policy, gpqa, monkeypatch):
    (tmp_path / "policy.yaml").write_text(
        f"engine: {policy.url}\nmodel: m\nmax_tokens: 99\ntemperature: 0.1\nextra_body: {{stop_token_ids: [5]}}\n"
    )
    (tmp_path / "judge.yaml").write_text("engine: http://127.0.0.1:9/v1\nmodel: judge\n")
    monkeypatch.setenv("RRM_CONFIG", str(tmp_path / "judge.yaml"))
    result, report = run(
        tmp_path, gpqa, "--config", str(tmp_path / "policy.yaml"), "--temperature", "0.5", "--limit", "3"
    )
    assert result.exit_code == 0, result.output
    assert {(body["model"], body["max_tokens"], body["temperature"]) for body in policy.asked} == {("m", 99, 0.5)}
    assert policy.asked[0]["stop_token_ids"] == [5] and len(policy.asked) == 3
    assert report["settings"]["limit"] == 3 and report["benchmarks"]["gpqa_diamond"]["questions"] == 3


def test_a_base_model_is_asked_without_a_chat(tmp_path, policy, gpqa):
    result, report = run(tmp_path, gpqa, "--engine", policy.url, "--model", "m", "--style", "plain", "--limit", "2")
    assert result.exit_code == 0, result.output
    assert "prompt" in policy.asked[0] and report["benchmarks"]["gpqa_diamond"]["found"] == {"phrase": 2}


def test_two_runs_are_compared(tmp_path, policy, gpqa):
    run(tmp_path, gpqa, "--engine", policy.url, "--model", "m", out="before.json")
    compare = ("--compare", str(tmp_path / "before.json"))
    result, report = run(tmp_path, gpqa, "--engine", policy.url, "--model", "n", "--samples", "2", *compare)
    assert result.exit_code == 0, result.output
    assert report["compared"]["benchmarks"]["gpqa_diamond"]["difference"] == 0.0
    assert "+0.0 points; 0 of 20 questions better" in result.output and "samples 1 -> 2" in result.output


def test_failed_calls_are_wrong_and_an_exit_status(tmp_path, policy, gpqa):
    policy.failing = {"<3>", "<4>"}
    arguments = (gpqa, "--engine", policy.url, "--model", "m")
    result, report = run(tmp_path, *arguments)
    assert result.exit_code == 1 and "2 calls failed" in result.output and "failed rejected 2" in result.output
    assert report["benchmarks"]["gpqa_diamond"]["failures"] == {"rejected": 2}
    policy.failing, before = set(), len(policy.asked)
    result, report = run(tmp_path, *arguments)
    assert result.exit_code == 0 and len(policy.asked) == before + 2 and "18 read from disk" in result.output
    assert report["benchmarks"]["gpqa_diamond"]["failures"] == {}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX does")
def test_a_killed_run_repeats_no_call(tmp_path, policy, gpqa):
    policy.at_once = 12
    policy.free.clear()
    out = tmp_path / "out.json"
    replies = tmp_path / "out.json.replies.jsonl"
    arguments = ["eval-policy", gpqa, "--engine", policy.url, "--model", "m", "--concurrency", "16", "--json", str(out)]
    with subprocess.Popen([sys.executable, "-m", "rrm_plugin.cli", *arguments], stderr=subprocess.DEVNULL) as running:
        give_up = time.monotonic() + 60
        # All have been asked, so that none of this run's calls arrives after its end.
        while (lines_of(replies) < 12 or len(policy.asked) < 20) and time.monotonic() < give_up:
            time.sleep(0.01)
        running.kill()
    done = lines_of(replies)
    assert done == 12 and not out.exists()
    policy.free.set()
    policy.asked.clear()
    policy.at_once = None
    result, report = run(tmp_path, *arguments[1:-2])
    assert result.exit_code == 0, result.output
    assert len(policy.asked) == 8 and report["benchmarks"]["gpqa_diamond"]["questions"] == 20
    kept = {json.loads(line)["question"] for line in replies.read_text().splitlines()[:12]}
    asked = {json.dumps(body).partition("<")[2].partition(">")[0] for body in policy.asked}
    assert {f"rec{n}" for n in asked} | kept == {f"rec{n}" for n in range(20)}


def lines_of(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{gpqa}"], "where does the policy run?"),
        (["gpqa", "--engine", "{url}"], "no benchmark 'gpqa'"),
        (["{gpqa}", "{gpqa}", "--engine", "{url}"], "named twice"),
        (["{gpqa}", "--engine", "{url}", "--samples", "2", "--temperature", "0"], "same reply every time"),
        (["{gpqa}", "--engine", "scripted:longer", "--style", "plain"], "needs a server"),
        (["{gpqa}", "--engine", "{url}", "--compare", "{csv}"], "no report of rrm eval-policy"),
        (["mmlu_pro={csv}", "--engine", "{url}"], "is no row of it"),
        (["mmlu_pro=absent.parquet", "--engine", "{url}"], "no file"),
        (["{gpqa}", "--config", "{judge}"], "has no option"),
        (["gpqa_diamond={tmp}/out.json", "--engine", "{url}"], "same file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, policy, gpqa, arguments, message):
    (tmp_path / "judge.yaml").write_text(f"engine: {policy.url}\nmodel: m\nschedule: circulant:3\n")
    names = {"gpqa": gpqa, "url": policy.url, "tmp": tmp_path, "judge": tmp_path / "judge.yaml"}
    filled = [argument.format(csv=tmp_path / "gpqa_diamond.csv", **names) for argument in arguments]
    if "same file" in message:
        (tmp_path / "out.json").write_text("Question\n")
    before = (tmp_path / "out.json").read_text() if (tmp_path / "out.json").exists() else None
    result = CliRunner().invoke(main, ["eval-policy", *filled, "--json", str(tmp_path / "out.json")])
    assert result.exit_code != 0 and message in result.output and "Traceback" not in result.output
    assert not policy.asked and isinstance(result.exception, SystemExit)
    assert before is None or (tmp_path / "out.json").read_text() == before


def test_a_report_needs_a_file(tmp_path, policy, gpqa):
    result = CliRunner().invoke(main, ["eval-policy", gpqa, "--engine", policy.url, "--json", "-"])
    assert result.exit_code == 2 and "--json takes a file" in result.output and not os.path.exists("-.replies.jsonl")


def test_a_policy_that_is_not_there_is_said_at_once(tmp_path, gpqa):
    result, report = run(tmp_path, gpqa, "--engine", "http://127.0.0.1:9/v1", "--timeout", "5")
    assert result.exit_code == 1 and "no server answers" in result.output and report is None
