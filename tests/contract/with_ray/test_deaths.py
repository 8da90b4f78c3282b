"""A node, a driver and a replica die in the middle of a run: nothing is lost, and nothing comes out twice."""

from __future__ import annotations

import signal

import pytest

from tests.contract.with_ray.runs import judge_options, outputs, ranked_alone, start, wait_for, write_groups

FILES, GROUPS = 40, 6
CALLS_OF_A_FILE = GROUPS * 6
PARTS_AT_A_TIME = 4


@pytest.mark.parametrize("ledger", [False, True], ids=["without a ledger", "with a ledger"])
def test_a_node_that_dies_loses_nothing_and_doubles_nothing(tmp_path, cluster, server, ledger):
    paths = write_groups(tmp_path / "in", FILES, GROUPS)
    options = judge_options(server)
    alone = ranked_alone(paths, tmp_path / "alone", options)
    server.asked.clear()
    doomed = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    more = ["--ledger", str(tmp_path / "ledger.db")] if ledger else []
    run = start(cluster.address, [str(tmp_path / "in")], tmp_path / "out", [*options, *more])
    run.until(8)
    cluster.remove_node(doomed, allow_graceful=False)
    status, said = run.ended()

    assert outputs(tmp_path / "out") == alone
    assert f"{FILES} of {FILES * (GROUPS + 1)} rows could not be scored" in said and status == 1
    assert "a replica died, and another one takes its place" in said
    assert len(server.asked) == FILES * CALLS_OF_A_FILE
    # What was under way on the node that died: the calls of the moment, and without a ledger those of its parts.
    assert server.again <= (8 if ledger else PARTS_AT_A_TIME * CALLS_OF_A_FILE)
