"""What can go wrong on a cluster, and what a user is told: rows, files and engines that fail, settings that changed."""

from __future__ import annotations

import json
import math
import os
import signal
import tracemalloc

import click
import pytest

from rrm_plugin.bulk import cluster as bulk_cluster
from rrm_plugin.cli.bulk import rank_on_ray
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.errors import ConfigError, EngineError, EngineUnavailableError
from tests.contract.with_ray.runs import outputs, write_groups

pytest.importorskip("ray", reason="needs Ray: make test-ray")

BULK = {"replicas": 2, "gpus": None, "part_mb": None, "max_calls": None}


@pytest.fixture
def here(cluster, monkeypatch):
    """`rrm rank --ray` in this process, where a test may change what it waits for."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)

    def run(places, out, settings, **bulk):
        rank_on_ray([str(place) for place in places], str(out), settings, **{**BULK, **bulk})

    return run


def deadly(messages) -> str:
    if "poison" in messages[-1]["content"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return "\\boxed{Assistant 1}"


def test_a_part_that_kills_its_replicas_is_left_out_and_named_and_takes_no_other_along(tmp_path, here, capsys):
    paths = write_groups(tmp_path / "in", 6, 3)
    paths[2].write_text(json.dumps({"prompt": "poison", "responses": ["a", "b"]}) + "\n")
    with pytest.raises(click.ClickException) as caught:
        here([tmp_path / "in"], tmp_path / "out", {"engine": ScriptedEngine(deadly)})
    assert "1 parts could not be ranked" in caught.value.message and str(paths[2]) in caught.value.message
    assert "died, 3 times" in caught.value.message
    assert set(outputs(tmp_path / "out")) == {path.name for path in paths} - {paths[2].name}


def test_a_damaged_file_is_named_and_costs_no_other(tmp_path, here, monkeypatch):
    monkeypatch.setattr(bulk_cluster, "PAUSES", (0.1, 0.1))
    write_groups(tmp_path / "in", 3, 3)
    (tmp_path / "in" / "damaged.jsonl.gz").write_bytes(b"\x1f\x8b\x08 no more")
    with pytest.raises(click.ClickException, match=r"1 parts could not be ranked.*damaged.jsonl.gz: on the machine"):
        here([tmp_path / "in"], tmp_path / "out", {"engine": "scripted:longer"})
    assert len(outputs(tmp_path / "out")) == 3


def test_an_engine_that_never_answers_ends_the_run_at_its_start(tmp_path, here):
    write_groups(tmp_path / "in", 3, 3)
    settings = {"engine": "http://127.0.0.1:9/v1", "model": "m", "timeout": 2}
    with pytest.raises(EngineUnavailableError, match="has answered none"):
        here([tmp_path / "in"], tmp_path / "out", settings)
    assert not outputs(tmp_path / "out")


def test_an_engine_that_goes_away_ends_the_run_and_leaves_no_row_unscored(tmp_path, server, monkeypatch, here):
    monkeypatch.setattr(bulk_cluster, "PAUSES", (0.1, 0.1))
    write_groups(tmp_path / "in", 12, 6)
    settings = {"engine": server.url, "model": "m", "temperature": 0, "concurrency": 8, "retry_for": 0}
    server.outage = (250, math.inf)
    with pytest.raises(EngineUnavailableError, match="out for lunch"):
        here([tmp_path / "in"], tmp_path / "out", settings)
    assert 0 < len(outputs(tmp_path / "out")) < 12
    assert unscored(tmp_path / "out") == 0

    server.recover()
    with pytest.raises(click.ClickException, match="12 of 84 rows could not be scored"):
        here([tmp_path / "in"], tmp_path / "out", settings)
    assert len(outputs(tmp_path / "out")) == 12 and unscored(tmp_path / "out") == 0


def test_an_engine_that_is_away_for_a_while_costs_nothing(tmp_path, server, monkeypatch, here):
    monkeypatch.setattr(bulk_cluster, "PAUSES", (2.0, 10.0))
    write_groups(tmp_path / "in", 8, 6)
    settings = {"engine": server.url, "model": "m", "temperature": 0, "concurrency": 8, "retry_for": 0}
    server.outage = (100, 1.0)
    with pytest.raises(click.ClickException, match="8 of 56 rows could not be scored"):
        # One, so that it has had an answer before: until then silence is taken for a wrong address.
        here([tmp_path / "in"], tmp_path / "out", settings, replicas=1)
    assert server.refused and unscored(tmp_path / "out") == 0


def unscored(out) -> int:
    """Rows without scores, other than those that cannot be read."""
    rows = [json.loads(line) for text in outputs(out).values() for line in text.splitlines()]
    return sum(row["error"] is not None for row in rows if row["id"] is not None)


def test_a_budget_is_never_exceeded_and_a_ledger_keeps_what_it_paid_for(tmp_path, server, here):
    write_groups(tmp_path / "in", 10, 6)
    settings = {"engine": server.url, "model": "m", "temperature": 0, "concurrency": 8}
    settings["ledger"] = str(tmp_path / "ledger.db")
    with pytest.raises(EngineError, match="budget of judge calls is spent"):
        here([tmp_path / "in"], tmp_path / "out", settings, max_calls=200)
    # The first refusal ends the run, and another replica may just have taken a call then that it did not make.
    assert 190 <= server.asked.total() <= 200
    assert all('"over_budget"' not in text.decode() for text in outputs(tmp_path / "out").values())
    with pytest.raises(click.ClickException, match="10 of 70 rows could not be scored"):
        here([tmp_path / "in"], tmp_path / "out", settings)
    assert server.again == 0 and len(server.asked) == 360


def test_other_settings_and_other_input_are_refused_before_a_replica_starts(tmp_path, here):
    paths = write_groups(tmp_path / "in", 2, 2)
    with pytest.raises(click.ClickException, match="could not be scored"):
        here([tmp_path / "in"], tmp_path / "out", {"engine": "scripted:longer"})
    with pytest.raises(ConfigError, match="begun with other settings: schedule was 'circulant:3' and is 'knockout'"):
        here([tmp_path / "in"], tmp_path / "out", {"engine": "scripted:longer", "schedule": "knockout"})
    paths[0].write_text(json.dumps({"prompt": "new", "responses": ["a", "bb"]}) + "\n")
    with pytest.raises(ConfigError, match="has changed since"):
        here([tmp_path / "in"], tmp_path / "out", {"engine": "scripted:longer"})


def test_files_that_came_since_are_ranked_and_those_that_went_are_left_as_they_are(tmp_path, here, capsys):
    paths = write_groups(tmp_path / "in", 3, 2)
    with pytest.raises(click.ClickException, match="2 of 6 rows could not be scored"):
        here(paths[:2], tmp_path / "out", {"engine": "scripted:longer"})
    paths[0].unlink()
    with pytest.raises(click.ClickException, match="2 of 6 rows could not be scored"):
        here([tmp_path / "in"], tmp_path / "out", {"engine": "scripted:longer"})
    assert len(outputs(tmp_path / "out")) == 3 and "1 files of earlier runs" in capsys.readouterr().err


def test_a_machine_that_does_not_see_the_folder_is_named(tmp_path, here, monkeypatch):
    write_groups(tmp_path / "in", 2, 2)

    class Elsewhere(bulk_cluster.Folder):
        def __reduce__(self):
            return bulk_cluster.Folder, (str(tmp_path / "not here"),)

    monkeypatch.setattr("rrm_plugin.cli.bulk.Folder", Elsewhere)
    with pytest.raises(ConfigError, match=r"does not see the folder .*not here"):
        here([tmp_path / "in"], tmp_path / "out", {"engine": "scripted:longer"})


def test_the_driver_holds_no_rows_however_many_files_there_are(tmp_path, here):
    peaks = []
    for files in (1, 20):
        write_groups(tmp_path / f"{files}", files, 8, size=4000)
        tracemalloc.start()
        with pytest.raises(click.ClickException, match=f"{files} of {9 * files} rows could not be scored"):
            here([tmp_path / f"{files}"], tmp_path / f"out {files}", {"engine": "scripted:longer"})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert sum(path.stat().st_size for path in (tmp_path / "20").iterdir()) > 7 * 2**20
    assert peaks[1] < peaks[0] + 2**20
