"""Progress is for a person; nobody has to be there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

from rrm_plugin.cli.progress import Progress, folded


class Broken(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        self.write("")


def test_a_stream_that_broke_is_no_concern_of_the_run():
    for terminal in (False, True):
        with Progress(3, "row", every=0, stream=Broken(terminal)) as progress:
            for _ in range(3):
                progress.advance("fine")


def test_lines_count_with_and_without_a_total():
    told = io.StringIO()
    with Progress(2, "row", every=0, stream=told) as progress:
        progress.advance("fine")
    with Progress(None, "row", every=60, stream=told) as progress:
        progress.advance("")
    assert told.getvalue().splitlines() == ["1/2 rows; fine", "1/2 rows; fine", "1 rows"]


def test_a_run_whose_messages_nobody_reads_is_completed(tmp_path):
    source, target = tmp_path / "g.jsonl", tmp_path / "out"
    source.write_text((json.dumps({"prompt": "q", "responses": ["a", "bb"]}) + "\n") * 3)
    receiver, sender = os.pipe()
    os.close(receiver)
    command = [sys.executable, "-m", "rrm_plugin.cli", "rank", str(source), "--output", str(target)]
    run = subprocess.run([*command, "--engine", "scripted:longer"], stdout=sender, stderr=sender)
    os.close(sender)
    assert run.returncode == 0
    assert len(target.read_text().splitlines()) == 3


def test_what_was_done_before_counts_and_says_nothing_new():
    told = io.StringIO()
    with Progress(9, "part", every=0, stream=told) as progress:
        progress.stand(4, "gone on with")
        progress.stand(4, "still")
        progress.stand(9, "done")
    assert [line.split("; ") for line in told.getvalue().splitlines()][-1] == ["9/9 parts", "done"]
    assert "4/9 parts; still" in told.getvalue()


def test_a_long_message_is_folded_between_words_in_a_terminal_only(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = "no server answers at http://127.0.0.1:9/v1: is that its address, and is it running?"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    lines = folded(text, Terminal(), before=7, indent=2).split("\n")
    assert len(lines) > 2 and len(lines[0]) <= 33 and all(len(line) <= 40 for line in lines)
    assert " ".join(line.strip() for line in lines) == text and folded(text, io.StringIO()) == text
