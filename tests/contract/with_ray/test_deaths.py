"""A node, a driver and a replica die in the middle of a run: nothing is lost, and nothing comes out twice."""

from __future__ import annotations

import signal
import time

import pytest

from tests.contract.with_ray.runs import (
    but_who_paid,
    judge_options,
    outputs,
    ranked_alone,
    start,
    wait_for,
    write_groups,
)

pytest.importorskip("ray", reason="needs Ray: make test-ray")

GROUPS = 6
CALLS_OF_A_FILE = GROUPS * 6
PARTS_AT_A_TIME = 4


@pytest.mark.parametrize(("files", "ledger"), [(40, False), (16, True)], ids=["without a ledger", "with a ledger"])
def test_a_node_that_dies_loses_nothing_and_doubles_nothing(tmp_path, cluster, server, files, ledger):
    paths = write_groups(tmp_path / "in", files, GROUPS)
    options = judge_options(server)
    alone = ranked_alone(paths, tmp_path / "alone", options)
    server.asked.clear()
    # A quick machine would be through before Ray has noticed that the node is gone.
    server.latency = 0.5 if ledger else 0.2
    doomed = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    more = ["--ledger", str(tmp_path / "ledger.db")] if ledger else []
    run = start(cluster.address, [str(tmp_path / "in")], tmp_path / "out", [*options, *more])
    run.until(files // 4)
    cluster.remove_node(doomed, allow_graceful=False)
    status, said = run.ended()

    found = outputs(tmp_path / "out")
    assert but_who_paid(found) == but_who_paid(alone) if ledger else found == alone
    assert f"{files} of {files * (GROUPS + 1)} rows could not be scored" in said and status == 1
    assert "a replica died, and another one takes its place" in said
    assert len(server.asked) == files * CALLS_OF_A_FILE
    # What was under way on the node that died: the calls of the moment, those whose record was on its way to the
    # ledger, and without a ledger those of its parts.
    assert server.again <= (24 if ledger else PARTS_AT_A_TIME * CALLS_OF_A_FILE)


def test_a_driver_that_is_killed_is_gone_on_with(tmp_path, cluster, server):
    server.latency = 0.05
    paths = write_groups(tmp_path / "in", 6, GROUPS)
    (big,) = write_groups(tmp_path / "big", 1, 24)
    paths.append(big.rename(tmp_path / "in" / "a-big-one.jsonl"))
    options = [*judge_options(server), "--part-mb", "0.005"]
    alone = ranked_alone(paths, tmp_path / "alone", judge_options(server))
    server.asked.clear()
    first = start(cluster.address, [str(tmp_path / "in")], tmp_path / "out", options)
    first.until(2)
    # Some parts of the big file, too, and on a busy machine they may come a little later.
    wait_for(lambda: len(finished(tmp_path / "out")) > len(outputs(tmp_path / "out")))
    first.process.send_signal(signal.SIGKILL)
    first.process.communicate()
    wait_until_quiet(server)
    done = finished(tmp_path / "out")
    files = outputs(tmp_path / "out")
    assert 2 <= len(files) < 7 and len(done) > len(files)
    assert all(alone[name] == text for name, text in files.items())
    paid = server.asked.total()

    status, said = start(cluster.address, [str(tmp_path / "in")], tmp_path / "out", options).ended()
    assert outputs(tmp_path / "out") == alone
    assert status == 1 and "67 groups" in said
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files} == {
        name: done[name] for name in files
    }
    # Of what was finished nothing is asked again, and of the rest everything.
    assert server.again < paid and server.asked.total() - paid <= 360 - 6 * (len(done) - len(files))
    assert not list((tmp_path / "out" / "_rank").glob("unfinished/*")) and not list(
        (tmp_path / "out" / "_rank").glob("parts/*")
    )


def test_an_interrupt_says_how_to_go_on(tmp_path, cluster, server):
    server.latency = 0.2
    write_groups(tmp_path / "in", 8, GROUPS)
    run = start(cluster.address, [str(tmp_path / "in")], tmp_path / "out", judge_options(server))
    run.until(1)
    run.process.send_signal(signal.SIGINT)
    status, said = run.ended()
    assert status == 1 and "run the same command again to go on" in said and "Traceback" not in said
    assert all(letter.isprintable() or letter == "\n" for letter in said)


def finished(out) -> dict[str, int]:
    """Files and parts that are whole, with the time of their last change."""
    parts = [*out.glob("*.jsonl"), *(out / "_rank" / "parts").rglob("*.jsonl")]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in parts if path.is_file()}


def wait_until_quiet(server) -> None:
    """Until no replica asks any more."""
    while True:
        before = server.asked.total()
        time.sleep(1)
        if server.asked.total() == before:
            return
