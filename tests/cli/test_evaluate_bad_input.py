"""`rrm eval` and `rrm bon` on files that are cut off, strange, unlabelled or doubled: an error that says what to do."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rrm_plugin.cli import main


def rrm(*words: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result: Result, out: Path) -> str:
    """What a run said that came to nothing: an error of one line, no traceback, no report."""
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.exception
    assert not out.exists()
    last = result.output.rstrip().splitlines()[-1]
    assert last.startswith("Error: ")
    return last


PAIR = {"prompt": "q", "chosen": "a good one", "rejected": "bad"}
GROUP = {"question": "q", "responses": [{"text": "a", "is_correct": True}, {"text": "b", "is_correct": False}]}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize(
    ("benchmark", "name", "content", "said"),
    [
        ("pairs", "a.jsonl", b"", "there is no pair in"),
        ("pairs", "a.jsonl", lines(PAIR, PAIR)[:-9], "row 2: broken: .* Is the file whole"),
        ("pairs", "a.jsonl", b"\xff\xfe{", "row 1: broken: not UTF-8. Is the file whole"),
        ("pairs", "a.jsonl.gz", gzip.compress(lines(*[PAIR] * 2000), mtime=0)[:100], "cannot be read after line"),
        ("pairs", "a.jsonl", lines({"text": "x"}), "no column with what was asked.* Map them with --columns"),
        ("pairs", "a.jsonl", lines({"prompt": "q", "response_1": "a", "response_2": "b"}), "which is better"),
        ("pairs", "a.jsonl", lines({"id": 7, **PAIR}, {"id": 7, **PAIR}), "'7' stands twice.* an id of its own"),
        ("llmbar", "a.json", b'[{"input": "i", "output_1": "a"', "line 1, column .* Is the file whole"),
        ("llmbar", "a.json", b"[]", "there is no pair in"),
        ("llmbar", "a.json", b'[{"input": "i", "output_1": "a", "output_2": "b"}]', "column 'label'.*needed are input"),
        ("llmbar", "a.jsonl", lines(PAIR), "the row has only prompt, chosen, rejected; needed are input"),
        ("rewardbench2", "a.jsonl", lines({"subset": "Ties"}), "column 'id'"),
        ("judgebench", "a.jsonl", lines({"pair_id": 1, "source": "s", "question": "q"}), "needed are pair_id, source"),
    ],
)
def test_pairs_that_cannot_be_read_say_why(
    tmp_path: Path, benchmark: str, name: str, content: bytes, said: str
) -> None:

    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out.json"
    told = refused(rrm("eval", benchmark, "--data", tmp_path / name, "--engine", "simulated:1", "--json", out), out)
    assert re.search(said, told), told


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there is no group in"),
        (lines(GROUP)[:-9], "row 1: broken: .* Is the file whole"),
        (lines(PAIR), "column 'responses': the row has only prompt, chosen, rejected. Needed are question"),
        (lines({"id": 1, **GROUP}, {"id": 1, **GROUP}), "row 2: the id '1' stands in a row before"),
        (lines({**GROUP, "responses": [{"text": "a"}, {"text": "b"}]}), "is no truth value"),
        (lines({**GROUP, "options": ["a", 2]}), "column 'options': a list of texts is needed"),
    ],
)
def test_groups_that_cannot_be_read_say_why(tmp_path: Path, content: bytes, said: str) -> None:

    (tmp_path / "a.jsonl").write_bytes(content)
    out = tmp_path / "out.json"
    told = refused(rrm("bon", tmp_path / "a.jsonl", "--engine", "simulated:1", "--json", out), out)
    assert re.search(said, told), told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seconds": "long"}, "column 'seconds': a number from 0 is needed, not 'long'"),
        ({"prompt_tokens": -3}, "column 'prompt_tokens': a number from 0 is needed"),
        ({"swapped": "no"}, "`swapped` has to be true or false"),
        ({"vote": -1}, "a vote a number from 0"),
        ({"text": 5}, "what the judge wrote has to be a text"),
        ({"text": None}, "neither a text .* nor a verdict"),
        ({"id": "2"}, "holds no call on a pair of this benchmark"),
    ],
)
def test_recorded_calls_that_make_no_sense_say_so(tmp_path: Path, change: dict[str, Any], said: str) -> None:

    (tmp_path / "a.jsonl").write_bytes(lines(PAIR))
    row = {"subset": "a", "id": "1", "swapped": False, "text": "\\boxed{Assistant 1}"}
    out, recorded = tmp_path / "out.json", tmp_path / "said.jsonl"
    words = ["eval", "pairs", "--data", tmp_path / "a.jsonl", "--replay", recorded, "--json", out]
    recorded.write_bytes(lines({**row, **change}))
    told = refused(rrm(*words), out)
    assert re.search(said, told), told
    recorded.write_bytes(lines(row))
    assert rrm(*words).exit_code == 0 and out.exists()


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["eval", "rewardbench"], "give the file with --data"),
        (["bon", "ppe_math"], "give the file with `rrm bon FILE`"),
    ],
)
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("Couldn't reach it on the Hub"), "cannot be fetched from https://huggingface.co/datasets/"),
        (PermissionError("401 Client Error: a gated repository"), "is gated: accept its terms at https://"),
    ],
)
def test_a_hub_that_gives_nothing_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], instead: str, error: OSError, said: str
) -> None:
    datasets = pytest.importorskip("datasets")

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    out = tmp_path / "out.json"
    told = refused(rrm(*words, "--engine", "simulated:1", "--json", out), out)
    assert said in told and instead in told


@pytest.mark.parametrize("questions", ['{"a": NaN}', '{"a": "x"}', '{"a": -1}', "[1]"])
def test_a_report_with_numbers_that_are_none_is_not_compared(tmp_path: Path, questions: str) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"benchmark": "pairs", "settings": {}, "questions": ' + questions + "}")
    result = rrm("eval", "compare", path, path)
    assert result.exit_code == 1 and "is no report of rrm eval" in result.output


def test_windows_line_ends_a_byte_order_mark_and_any_letters_are_read(tmp_path: Path) -> None:
    odd = {"prompt": "é\u2028x", "chosen": "die längere Antwort 😀", "rejected": "b"}
    path, out = tmp_path / "né 1.jsonl", tmp_path / "ö.json"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(odd, ensure_ascii=False).encode() + b"\r\n" + lines(PAIR)[:-1] + b"\r\n"
    )
    result = rrm("eval", "pairs", "--data", path, "--engine", "scripted:longer", "--json", out)
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text(encoding="utf-8"))["overall"]["accuracy"] == 1.0
