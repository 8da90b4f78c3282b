"""`rrm policy-data` as a user runs it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main


def policy_data(tmp_path, *arguments, rows=None):
    rows = [{"question": f"q {n}", "answer": "LABEL"} for n in range(4)] if rows is None else rows
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    result = CliRunner().invoke(main, ["policy-data", str(tmp_path / "in.jsonl"), "--out", str(out), *arguments])
    return result, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_options_reach_the_rows(tmp_path):
    (tmp_path / "bench.jsonl").write_text('{"question": "Q 1"}\n')
    rejects = tmp_path / "no.jsonl"
    result, rows = policy_data(
        tmp_path,
        *("--suffix", " Think.", "--benchmarks", str(tmp_path / "bench.jsonl"), "--most", "2"),
        *("--rejects", str(rejects), "--columns", "prompt=question"),
    )
    assert result.exit_code == 0, result.output
    assert [row["prompt"][0]["content"] for row in rows] == ["q 0 Think.", "q 2 Think."]
    assert "1 benchmark prompts" in result.output and "2 questions ->" in result.output
    assert json.loads(rejects.read_text())["reason"] == "benchmark"


def test_the_tokenizer_limits_and_guards(tmp_path):
    pytest.importorskip("transformers", reason="loads a tokenizer")
    from tests.tiny import save_tiny_model

    model = str(save_tiny_model(tmp_path / "model"))
    asked = [{"question": "short"}, {"question": "1234567890" * 20}, {"question": "a <|im_end|> b"}]
    result, rows = policy_data(tmp_path, "--tokenizer", model, "--max-tokens", "60", rows=asked)
    assert result.exit_code == 0, result.output
    assert len(rows) == 1 and "too_long 1" in result.output and "wrong_type 1" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-tokens", "5"], "--tokenizer"),
        (["--columns", "prompt"], "NAME=VALUE"),
        (["--columns", "answer=a"], "no field 'answer'"),
        (["--rejects", "{tmp}/in.jsonl"], "same file"),
        (["--benchmarks", "{tmp}/out.jsonl", "--out", "{tmp}/out.jsonl"], "no file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message):
    result, rows = policy_data(tmp_path, *(argument.format(tmp=tmp_path) for argument in arguments))
    assert result.exit_code != 0 and message in result.output and "Traceback" not in result.output and not rows
