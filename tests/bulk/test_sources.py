"""Files of groups: found by file, folder, pattern or address, cut into parts, and read as any text file is read."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

from rrm_plugin.bulk import sources  # noqa: E402
from rrm_plugin.bulk.sources import File, PartReader, find_files, locate  # noqa: E402
from rrm_plugin.errors import ConfigError  # noqa: E402

OUT = "/nowhere/out"


def found(*places, part_size=2**30, known=None):
    return find_files([str(place) for place in places], but=OUT, part_size=part_size, known=known or {})


def read(file: File) -> list[tuple[int, object]]:
    """All rows of a file by its parts, with the lines of the file."""
    rows, before = [], 0
    for part in file.parts:
        reader = PartReader(part)
        rows += [(before + line, row) for line, row in reader]
        before += reader.lines
    return rows


LINES = st.lists(
    st.tuples(
        st.sampled_from([b"abc", b"", b" ", b"\xff\xfe", b"\xe2\x82", b'{"a": 1}', b"x" * 30]),
        st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"]),
    ),
    max_size=20,
)


@given(
    lines=LINES,
    mark=st.booleans(),
    tail=st.sampled_from([b"", b"end"]),
    part_size=st.integers(1, 50),
    chunk=st.integers(1, 9),
)
def test_parts_hold_the_lines_of_a_text_file_each_once(tmp_path_factory, lines, mark, tail, part_size, chunk):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" * mark + b"".join(itertools.chain(*lines)) + tail)
    with path.open(encoding="utf-8-sig", errors="replace") as text:
        wanted = [(number, line) for number, line in enumerate(text, 1) if line.strip()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_CHUNK", chunk)
        (file,) = found(path, part_size=part_size)
        assert read(file) == wanted


def test_a_big_file_is_cut_and_what_is_compressed_is_not(tmp_path):
    text = b"".join(b'{"n": %d}\n' % number for number in range(1000))
    (tmp_path / "a.jsonl").write_bytes(text)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(text[:5000]) + gzip.compress(text[5000:]))
    (tmp_path / "c.ndjson.bz2").write_bytes(bz2.compress(text))
    files = found(tmp_path, part_size=1000)
    assert [(file.name, len(file.parts)) for file in files] == [
        ("a.jsonl", 11),
        ("b.jsonl.gz.jsonl", 1),
        ("c.ndjson.bz2.jsonl", 1),
    ]
    assert read(files[0]) == read(files[1]) == read(files[2])
    assert sum(len(list(PartReader(part))) > 0 for part in files[0].parts) == 11


def test_rows_of_parquet_are_those_of_json_lines(tmp_path):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "hm"}]
    rows = [
        {
            "id": n,
            "prompt": messages[: 1 + n % 2],
            "responses": ["a", "b" * n],
            "reference": "r" if n % 2 else None,
            "n": n,
        }
        for n in range(40)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=7)
    (file,) = found(tmp_path, part_size=1000)
    assert file.name == "a.parquet.jsonl" and len(file.parts) > 2
    bare = [{k: v for k, v in row.items() if v is not None and k != "n"} for row in rows]
    assert read(file) == list(enumerate(bare, 1))


def test_parquet_without_the_columns_is_refused(tmp_path):
    pq.write_table(pa.table({"prompt": ["q"], "answers": [["a", "b"]]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="no column responses"):
        found(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        found(tmp_path)


def test_a_damaged_file_is_an_error_of_reading(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(bytes(range(250)) * 1000)[:300])
    with pytest.raises(OSError, match="Truncated"):
        read(found(tmp_path)[0])


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("", ["a.jsonl", "deep/b.jsonl"]),
        ("*.jsonl", ["a.jsonl"]),
        ("**/*.jsonl", ["_old/c.jsonl", "a.jsonl", "deep/b.jsonl"]),
        ("d*/*", ["deep/b.jsonl"]),
        (".*", [".hidden.jsonl"]),
        ("notes.txt", ["notes.txt.jsonl"]),
    ],
)
def test_places(tmp_path, place, names):
    for name in ("a.jsonl", "deep/b.jsonl", "_old/c.jsonl", ".hidden.jsonl", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    files = found(f"{tmp_path}/{place}" if place else tmp_path)
    assert [file.name for file in files] == names


def test_the_output_is_no_input(tmp_path):
    for name in ("a.jsonl", "out/a.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    files = find_files([str(tmp_path)], but=str(tmp_path / "out"), part_size=10, known={})
    assert [file.name for file in files] == ["a.jsonl"]


def test_the_output_is_no_input_by_another_way_either(tmp_path):
    (tmp_path / "data/out").mkdir(parents=True)
    for name in ("a.jsonl", "out/a.jsonl"):
        (tmp_path / "data" / name).write_text("{}\n")
    (tmp_path / "way").symlink_to(tmp_path / "data")
    for place, out in (("way", "data/out"), ("data", "way/out")):
        files = find_files([str(tmp_path / place)], but=str(tmp_path / out), part_size=10, known={})
        assert [file.name for file in files] == ["a.jsonl"]


def test_what_cannot_be_found_is_said(tmp_path):
    with pytest.raises(ConfigError, match="there is nothing at"):
        found(tmp_path / "nowhere.jsonl")
    with pytest.raises(ConfigError, match="there is no file to rank"):
        found(tmp_path)
    with pytest.raises(ConfigError, match="neither pyarrow nor fsspec"):
        found("nosuch://bucket/data")


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="would both be written to"):
        found(tmp_path / "x", tmp_path / "y")
    assert len(found(tmp_path / "x", tmp_path / "x" / "a.jsonl")) == 1


def test_a_file_that_has_not_changed_keeps_its_cuts(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n" * 100)
    (before,) = found(path, part_size=100)
    assert found(path, part_size=7, known={before.name: before}) == [before]
    path.write_text("{}\n" * 101)
    assert found(path, part_size=7, known={before.name: before}) != [before]


def test_an_address_of_fsspec_will_do(tmp_path):
    pytest.importorskip("fsspec")
    import fsspec

    with fsspec.open("memory://data/a.jsonl", "w") as stream:
        stream.write('{"n": 1}\n{"n": 2}\n' * 10)
    (file,) = found("memory://data", part_size=30)
    assert len(file.parts) > 2 and [line for line, _ in read(file)] == list(range(1, 21))
    assert locate(f"file://{tmp_path}")[1] == str(Path(tmp_path))
    assert json.loads(read(file)[1][1]) == {"n": 2}
