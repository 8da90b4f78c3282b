"""Reading rows: every form of file, every broken line, and nothing held in memory that need not be."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest

from rrm_plugin import ConfigError, MissingExtraError
from rrm_plugin.training.sources import Reject, RejectReason, Row, source

ROWS = [{"prompt": "é", "n": 1}, {"prompt": "q", "n": 2}]


def lines(path, *data: bytes):
    path.write_bytes(b"\n".join(data) + b"\n")
    return path


def read(path, **options):
    return list(source(str(path)).read(**options))


def test_json_lines_have_numbers_and_a_name(tmp_path):
    path = lines(tmp_path / "reviews.v2.jsonl", json.dumps(ROWS[0]).encode(), b"", json.dumps(ROWS[1]).encode())
    first, second = read(path)
    assert (first.values, first.line, first.source, first.file) == (ROWS[0], 1, "reviews.v2", str(path))
    assert second.line == 3


def test_all_forms_of_a_file_hold_the_same_rows(tmp_path):
    text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + text)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(text))
    (tmp_path / "c.json").write_text(f" \n{json.dumps(ROWS)}")
    (tmp_path / "d.json").write_bytes(text)
    for name in ("a.jsonl", "b.jsonl.gz", "c.json", "d.json"):
        rows = read(tmp_path / name)
        assert [row.values for row in rows] == ROWS and [row.line for row in rows] == [1, 2]
        assert rows[0].source == name[0]


def test_parquet_rows_keep_their_messages(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="reads Parquet")
    parquet = pytest.importorskip("pyarrow.parquet")
    values = [{"chosen": [{"role": "user", "content": "q"}], "n": number} for number in range(200)]
    parquet.write_table(pyarrow.Table.from_pylist(values), tmp_path / "p.parquet")
    rows = read(tmp_path / "p.parquet")
    assert [row.values for row in rows] == values and rows[-1].line == 200


def test_a_data_set_folder_is_streamed(tmp_path):
    pytest.importorskip("datasets", reason="reads data sets")
    folder = tmp_path / "reviews"
    folder.mkdir()
    lines(folder / "train.jsonl", *(json.dumps(row).encode() for row in ROWS))
    lines(folder / "test.jsonl", json.dumps(ROWS[0]).encode())
    assert [row.values for row in read(folder)] == ROWS
    assert [row.values for row in source(f"own={folder}").read()] == ROWS
    (row,) = source(f"own={folder}?split=test").read()
    assert row.source == "own" and row.values == ROWS[0]
    with pytest.raises(ConfigError, match=r"reviews.*cannot be read"):
        list(source(f"{folder}?split=nothing").read())


@pytest.mark.parametrize(
    ("data", "reason", "column"),
    [
        (b'{"a": 1', RejectReason.BROKEN, 8),
        (b'{"a": nope}', RejectReason.BROKEN, 7),
        (b'{"a": "\xff"}', RejectReason.BROKEN, 8),
        (b"[" * 100_000, RejectReason.BROKEN, None),
        (b'{"a": ' + b"1" * 5000 + b"}", RejectReason.BROKEN, None),
        (b"[1, 2]", RejectReason.NO_ROW, None),
        (b"null", RejectReason.NO_ROW, None),
    ],
)
def test_a_line_that_is_no_row_is_passed_over_and_named(tmp_path, data, reason, column):
    path = lines(tmp_path / "a.jsonl", b'{"n": 1}', data, b'{"n": 3}')
    first, bad, last = read(path)
    assert isinstance(bad, Reject) and isinstance(first, Row) and isinstance(last, Row)
    assert (bad.reason, bad.column, bad.line, bad.file, bad.source) == (reason, column, 2, str(path), "a")


def test_a_line_of_100_mb_is_passed_over_in_little_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"n": 1}\n{"a": "')
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"n": 3}\n')
    tracemalloc.start()
    first, bad, last = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bad.reason is RejectReason.LINE_TOO_LONG and (first.line, bad.line, last.line) == (1, 2, 3)
    assert peak < 40 * 2**20


def test_the_limit_of_a_line_is_exact(tmp_path):
    path = lines(tmp_path / "a.jsonl", b'{"n": 10}', b'{"n": 100}', b'{"n": 1}')
    kinds = [type(row) for row in read(path, longest_line=9)]
    assert kinds == [Row, Reject, Row]


def test_a_last_line_without_an_end_counts(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n{"n": 2}')
    assert [row.values for row in read(tmp_path / "a.jsonl")] == [{"n": 1}, {"n": 2}]


def test_an_empty_file_has_no_rows(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert read(tmp_path / "a.jsonl") == []


def test_a_file_that_breaks_off_is_an_error_that_names_the_line(tmp_path):
    packed = gzip.compress(b"".join(b'{"n": %d}\n' % number for number in range(50_000)))
    (tmp_path / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    rows = []
    with pytest.raises(ConfigError, match=r"a\.jsonl\.gz: cannot be read after line (\d+)") as caught:
        for row in source(str(tmp_path / "a.jsonl.gz")).read():
            rows.append(row)
    assert rows and f"after line {rows[-1].line}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.json", b'[{"n": 1},\n {"n" 2}]'), ("a.parquet", b"PAR1 it is not"), ("a.json", b'["\xff"]')],
)
def test_a_file_that_is_broken_as_a_whole_is_an_error(tmp_path, name, data):
    pytest.importorskip("pyarrow", reason="reads Parquet")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize("spec", ["nowhere.jsonl", "no/where/at/all", "owner/file.parquet", "x=nowhere.jsonl", ""])
def test_what_is_not_there_is_said_at_once(spec):
    with pytest.raises(ConfigError, match="no file"):
        source(spec)


def test_specs_of_data_sets():
    found = source("helpsteer=nvidia/HelpSteer2?data_dir=preference&split=train")
    assert (found.name, found.path) == ("helpsteer", "nvidia/HelpSteer2")
    assert found.options == {"data_dir": "preference", "split": "train"}
    assert source("nvidia/HelpSteer3").name == "HelpSteer3"
    with pytest.raises(ConfigError, match="'config'"):
        source("nvidia/HelpSteer2?config=x")


def test_a_file_may_have_an_equals_sign_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "seed=1.jsonl", b'{"n": 1}')
    assert source("seed=1.jsonl").name == "seed=1"
    assert source("own=seed=1.jsonl").path == "seed=1.jsonl"


@pytest.mark.parametrize(("library", "spec"), [("pyarrow", "a.parquet"), ("datasets", "owner/name")])
def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch, library, spec):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(MissingExtraError, match=r"rrm-plugin\[training\]"):
        list(source(spec).read())


def test_rows_of_csv_are_texts(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfQuestion,n\r\n"two, or\r\nmore ""lines""",1\r\nq,\r\n')
    first, second = read(tmp_path / "a.csv")
    assert first.values == {"Question": 'two, or\r\nmore "lines"', "n": "1"}
    assert second.values == {"Question": "q", "n": ""} and second.source == "a"


@pytest.mark.parametrize("data", [b"a,b\n1\n", b"a,b\n1,2,3\n", b'a\n"never closed\n', b"a\n\xff\n"])
def test_a_broken_csv_is_an_error(tmp_path, data):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(ConfigError, match=r"a\.csv"):
        read(tmp_path / "a.csv")
