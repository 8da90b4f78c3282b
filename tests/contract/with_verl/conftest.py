"""What the tests against verl share: a tiny policy, and one Ray for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.with_verl.recipes import ROOT
from tests.tiny import save_tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="session")
def tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that RRM_CONFIG names in all of Ray's processes; whoever starts a reward loop writes it before."""
    import ray

    path = tmp_path_factory.mktemp("settings") / "judge.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRM_CONFIG", str(path))
        patch.setenv("TRANSFORMERS_VERBOSITY", "error")
        # What stands in for vLLM is imported by verl's workers.
        patch.setenv("PYTHONPATH", str(ROOT))
        ray.init(address="local", num_cpus=8, include_dashboard=False, namespace="test")
        yield path
        ray.shutdown()
