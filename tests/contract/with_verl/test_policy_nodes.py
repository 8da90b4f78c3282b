"""The reward manager `rrm` on two of Ray's nodes: groups whose members come from both, and a node that dies."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.contract.with_verl.policy_runs import offline
from tests.contract.with_verl.recipes import ROOT

REASON = "needs verl: make test-verl"
pytest.importorskip("verl.experimental.reward_loop", reason=REASON, exc_type=ImportError)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_groups_of_two_nodes_are_whole_and_survive_the_loss_of_one(model, tmp_path):
    """Its process has a cluster of its own, since that of the other tests is one node."""
    command = [sys.executable, "-m", "tests.contract.with_verl.two_nodes", str(model), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=390, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))
    assert told["nodes"] == 2
    assert told["groups"] == [pytest.approx(offline(group)) for group in range(8)]
    assert told["home"] == told["other"] != told["now"], "the broker was on the node that died, and is elsewhere now"
    assert [reward for reward, _ in told["survivors"]] == pytest.approx(offline(99))
    assert {extra["rrm_missing"] for _, extra in told["survivors"]} == {0.0}
