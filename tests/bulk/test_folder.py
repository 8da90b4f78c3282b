"""The output of a bulk run: whole files or none, the first one stays, parts become one file with its own lines."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("pyarrow")

from rrm_plugin.bulk.folder import PartTally, Plan
from rrm_plugin.bulk.sources import File, Part
from rrm_plugin.errors import ConfigError

FILE = File(place="/", path="/data/a.jsonl", name="deep/a.jsonl", size=30, modified="1", cuts=((0, 10), (10, None)))


def test_a_file_is_whole_or_not_there(folder):
    with pytest.raises(ZeroDivisionError), folder.writing("a.jsonl") as write:
        write(b"half")
        assert not folder.names()
        raise ZeroDivisionError
    assert not folder.names()
    with folder.writing("a.jsonl") as write:
        write(b"whole")
    assert folder.names() == {"a.jsonl"} and folder.read("a.jsonl") == b"whole"


def test_the_first_that_is_whole_stays(folder):
    with folder.writing("a.jsonl") as slow:
        slow(b"slow")
        with folder.writing("a.jsonl") as fast:
            fast(b"fast")
    assert folder.read("a.jsonl") == b"fast"
    with folder.writing("a.jsonl", again=True) as write:
        write(b"another")
    assert folder.read("a.jsonl") == b"another"


def row(line, error=None) -> bytes:
    return json.dumps({"id": None, "line": line, "values": [0.1, None], "error": error}).encode() + b"\n"


def test_parts_become_one_file_with_its_own_lines(folder):
    first, second = FILE.parts
    for part, lines, rows in (
        (first, 4, [row(1), row(3, "line 3: broken")]),
        (second, 2, [row(1, "line 1: broken"), row(2)]),
    ):
        folder.keep_tally(part, PartTally(groups=2, lines=lines))
        with folder.writing(folder.target(part)) as write:
            for each in rows:
                write(each)
    folder.join(FILE)
    wanted = [row(1), row(3, "line 3: broken"), row(5, "line 5: broken"), row(6)]
    assert folder.read(FILE.name) == b"".join(wanted)
    assert not [name for name in folder.names() if "parts/" in name]
    assert sum(tally.groups for tally in folder.tallies(FILE.parts)) == 4


def test_a_part_that_is_missing_joins_nothing(folder):
    for part in FILE.parts:
        folder.keep_tally(part, PartTally(lines=1))
    with folder.writing(folder.target(FILE.parts[0])) as write:
        write(row(1))
    with pytest.raises(OSError):
        folder.join(FILE)
    assert FILE.name not in folder.names()


def test_a_file_that_another_run_has_joined_is_done(folder):
    for part in FILE.parts:
        folder.keep_tally(part, PartTally(lines=1))
    with folder.writing(FILE.name) as write:
        write(b"whole")
    folder.join(FILE)
    assert folder.read(FILE.name) == b"whole"


def test_a_file_of_one_part_is_written_to_its_place(folder):
    whole = File(place="/", path="/data/b.jsonl", name="b.jsonl", size=3, modified="1")
    assert folder.target(Part(file=whole, index=0)) == "b.jsonl"


def test_a_plan_comes_back(folder):
    assert folder.read_plan() is None
    plan = Plan(settings={"schedule": "circulant:3", "first_tokens": None}, files=[FILE])
    folder.write_plan(plan)
    assert folder.read_plan() == plan


def test_a_plan_of_another_kind_is_refused(folder):
    with folder.writing("_rank/plan.json") as write:
        write(b"[1]")
    with pytest.raises(ConfigError, match="is no plan that this version reads"):
        folder.read_plan()


def test_a_plan_goes_on_with_equal_settings_and_equal_files_only():
    plan = Plan(settings={"schedule": "circulant:3"}, files=[FILE])
    moved = File(**{**vars(FILE), "path": "/elsewhere/a.jsonl"})
    new = File(place="/", path="/data/z.jsonl", name="z.jsonl", size=1, modified="1")
    assert plan.continued({"schedule": "circulant:3"}, [moved, new]).files == [moved, new]
    assert plan.continued({"schedule": "circulant:3"}, [new]).files == [FILE, new]
    with pytest.raises(ConfigError, match="schedule was 'circulant:3' and is 'knockout'"):
        plan.continued({"schedule": "knockout"}, [FILE])
    with pytest.raises(ConfigError, match="has changed since it was first ranked"):
        plan.continued({"schedule": "circulant:3"}, [File(**{**vars(FILE), "modified": "2"})])
