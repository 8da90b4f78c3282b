"""A run on two nodes, in a process of its own: Ray's own nodes, all on this machine. Writes told.json into FOLDER.

python -m tests.contract.with_verl.two_nodes MODEL FOLDER
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from transformers import AutoTokenizer

from tests.contract.with_verl.policy_runs import (
    Run,
    bring,
    in_any_order,
    kill_broker,
    reward_loop,
    until,
    write_settings,
)

ROOT = Path(__file__).resolve().parents[3]


def node_of(actor: Any) -> str:
    return ray.get(actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()))


def process_of(actor: Any) -> int:
    return ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))


def whole_groups(run: Run) -> list[list[float]]:
    answers = asyncio.run(in_any_order(run, range(8), 8))
    return [[answers[group, index][0] for index in range(8)] for group in range(8)]


async def broker_on(node: str, run: Run, workers: list[Any]) -> str:
    """Has the broker made anew until Ray, which chooses, has put it on that node; where it is at the end."""
    home = ""
    for group in range(60, 90):
        kill_broker()
        await bring(run, group, workers=workers)
        home = await asyncio.to_thread(node_of, run.broker())
        if home == node:
            break
    return home


async def node_lost(run: Run, here: list[Any], there: list[Any], cluster: Cluster, node: Any) -> Any:
    """The broker is made on the other node, which is killed when six of eight members have come.

    Ray ends the node's own process; the broker's would follow it some time later, and might answer the rest before.
    """
    home = await broker_on(node.node_id, run, there)
    process = await asyncio.to_thread(process_of, run.broker())
    waiting = [asyncio.ensure_future(bring(run, 99, [index], workers=here)) for index in range(6)]
    await until(run, "members", 6)
    await asyncio.to_thread(cluster.remove_node, node, False)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    rest = await bring(run, 99, [6, 7], workers=here)
    return [*(answers[0] for answers in await asyncio.gather(*waiting)), *rest], home


def main(model: str, folder: Path) -> None:
    settings = folder / "judge.json"
    write_settings(settings, gate={"deadline": 300.0})
    os.environ |= {"RRM_CONFIG": str(settings), "PYTHONPATH": str(ROOT), "TRANSFORMERS_VERBOSITY": "error"}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    node = cluster.add_node(num_cpus=4)
    ray.init(address=cluster.address, namespace="test", log_to_driver=False)
    with reward_loop(model, AutoTokenizer.from_pretrained(model), workers=2) as run:
        nodes = [node_of(worker) for worker in run.workers]
        other = node.node_id
        here = [worker for worker, where in zip(run.workers, nodes, strict=True) if where != other]
        there = [worker for worker, where in zip(run.workers, nodes, strict=True) if where == other]
        told: dict[str, Any] = {"nodes": len(set(nodes)), "groups": whole_groups(run)}
        answers, home = asyncio.run(node_lost(run, here, there, cluster, node))
        told |= {"home": home, "other": other, "now": node_of(run.broker()), "survivors": answers}
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
