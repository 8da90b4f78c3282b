"""`rrm train-data` as a user runs it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main


def write(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def pairs(count, start=0):
    return [{"prompt": f"q {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(start, start + count)]


def train_data(tmp_path, *arguments, rows=None):
    source = [write(tmp_path / "in.jsonl", pairs(6) if rows is None else rows)] if rows != [] else []
    out = tmp_path / "out.jsonl"
    result = CliRunner().invoke(main, ["train-data", *source, "--out", str(out), *arguments])
    written = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    return result, written


def test_it_writes_rows_and_says_what_became_of_the_others(tmp_path):
    result, rows = train_data(tmp_path, rows=[*pairs(6), *pairs(2), "{broken"])
    assert result.exit_code == 0, result.output
    assert len(rows) == 6
    header, line = (line.split() for line in result.output.splitlines()[-3:-1])
    assert header == ["source", "read", "pairs", "rows", "label", "1", "duplicate", "broken"]
    assert line[:4] == ["in", "9", "6", "6"] and line[-2:] == ["2", "1"]
    assert f"6 pairs in 6 rows -> {tmp_path / 'out.jsonl'}" in result.output
    assert len((tmp_path / "out.jsonl.rejects.jsonl").read_text().splitlines()) == 3


def test_options_reach_the_rows(tmp_path):
    rejects = tmp_path / "refused.jsonl"
    result, rows = train_data(
        tmp_path,
        *("--orders", "both", "--prompt", "arena", "--most", "2", "--seed", "5", "--rejects", str(rejects)),
        *("--columns", "prompt=q,first=a", "--columns", "second=b", "--columns", "label=l", "--labels", "0=1,1=2"),
        rows=[{"q": f"q {n}", "a": f"x {n}", "b": f"y {n}", "l": n % 2} for n in range(4)],
    )
    assert result.exit_code == 0, result.output
    assert len(rows) == 4 and "[[A>>B]]" in json.dumps(rows[0]["prompt"])
    user = next(row for row in rows if row["label"] == 1)["prompt"][-1]["content"]
    assert "x 0" in user and user.index("x 0") < user.index("y 0")
    assert rejects.exists()


def test_sources_are_mixed(tmp_path):
    write(tmp_path / "b.jsonl", pairs(6, start=100))
    result, rows = train_data(tmp_path, f"other={tmp_path / 'b.jsonl'}", "--mix", "in=2,other=1")
    assert result.exit_code == 0, result.output
    assert [row["source"] for row in rows[:6]].count("in") == 4 and "ran out" in result.output


def test_prompts_of_benchmarks_are_kept_out(tmp_path):
    bench = write(tmp_path / "bench.jsonl", [{"question": "Q 3"}])
    result, rows = train_data(tmp_path, "--benchmarks", bench)
    assert result.exit_code == 0 and len(rows) == 5 and "1 benchmark prompts" in result.output


def test_pairs_that_the_judge_finds_easy_are_dropped(tmp_path):
    rows = [{"prompt": f"q {n}", "chosen": "long" * (1 + n % 2), "rejected": "middle"} for n in range(4)]
    result, written = train_data(tmp_path, "--difficulty", "2", "--engine", "scripted:longer", rows=rows)
    assert result.exit_code == 0, result.output
    assert [row["extra_info"]["origin"][-1] for row in written] == ["1", "3"] and "too_easy" in result.output


def test_the_settings_file_of_the_judge_gives_its_template(tmp_path):
    (tmp_path / "judge.yaml").write_text("prompt: rm_r1\nengine: scripted:first\n")
    _, rows = train_data(tmp_path, "--config", str(tmp_path / "judge.yaml"))
    _, same = train_data(tmp_path, "--preset", "rm_r1")
    assert rows == same and "[[A]]" in json.dumps(rows[0]["prompt"])


def test_lengths_are_counted_with_the_judges_tokenizer(tmp_path):
    pytest.importorskip("transformers", reason="loads a tokenizer")
    from tests.tiny import save_tiny_model

    model = save_tiny_model(tmp_path / "model")
    rows = [*pairs(1), {"prompt": "q", "chosen": "word " * 900, "rejected": "x <|im_end|>"}]
    result, written = train_data(tmp_path, "--tokenizer", str(model), "--max-tokens", "2000", rows=rows)
    assert result.exit_code == 0, result.output
    assert len(written) == 1 and "too_long" in result.output
    result, written = train_data(tmp_path, "--tokenizer", str(model), rows=rows)
    assert len(written) == 2 and "<|im_end|>" not in json.dumps(written, ensure_ascii=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-tokens", "100"), "--tokenizer"),
        (("--mix", "in=much"), "must be a number"),
        (("--mix", "other=1"), "'other'"),
        (("--mix", "in"), "NAME=VALUE"),
        (("--columns", "promt=q"), "'promt'"),
        (("--labels", "0=draw"), "'draw'"),
        (("--prompt", "nothing"), "nothing"),
        (("--verifier", "magic"), "'magic'"),
        (("--difficulty", "2"), "--engine"),
        (("--benchmarks", "nowhere.jsonl"), "nowhere.jsonl"),
        (("nowhere.jsonl",), "nowhere.jsonl"),
        (("--config", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_wrong_options_are_explained_without_a_traceback(tmp_path, arguments, message):
    result, rows = train_data(tmp_path, *arguments)
    assert result.exit_code in (1, 2) and rows == []
    assert message in result.output and "Traceback" not in result.output


def test_help_fits_80_columns():
    result = CliRunner().invoke(main, ["train-data", "--help"], terminal_width=80)
    assert result.exit_code == 0 and max(map(len, result.output.splitlines())) <= 80


def test_nothing_is_written_over_what_is_read(tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(6))
    link = tmp_path / "link.jsonl"
    link.symlink_to(source)
    out = str(tmp_path / "out.jsonl")
    for arguments in (
        ["train-data", source, "--out", source],
        ["train-data", source, "--out", str(link)],
        ["train-data", source, "--out", out, "--rejects", source],
        ["train-data", source, "--out", out, "--rejects", out],
        ["train-data", source, "--out", out, "--benchmarks", out],
        ["cold-start", source, "--out", str(link), "--engine", "scripted:longer"],
    ):
        (tmp_path / "out.jsonl").write_text("earlier\n")
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code != 0 and "Traceback" not in result.output, arguments
        assert (tmp_path / "out.jsonl").read_text() == "earlier\n"
        assert len((tmp_path / "in.jsonl").read_text().splitlines()) == 6
