"""What the tests against Ray share: one cluster of three nodes and a head without room, and a judge that counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.with_ray.runs import ROOT, CountingServer, serving

NODES = 3


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # Ray's processes take them along: what they load from, and that nobody is told.
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_COLOR_PREFIX", "0")
        running = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(NODES):
            running.add_node(num_cpus=1)
        running.wait_for_nodes()
        yield running
        running.shutdown()


@pytest.fixture
def server() -> Iterator[CountingServer]:
    with serving(CountingServer()) as running:
        yield running


@pytest.fixture(autouse=True)
def _leave_no_trace() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
