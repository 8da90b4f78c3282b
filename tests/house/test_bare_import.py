"""The package works where nothing but its own dependencies is installed.

A subprocess refuses every library of the hosts and engines, as if absent, and imports each module of the package.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest

from tests.house.source import ROOT, modules
from tests.house.test_arrows import WEB

ABSENT = (
    "accelerate",
    "datasets",
    "fastapi",
    "gguf",
    "huggingface_hub",
    "openai",
    "openrlhf",
    "pandas",
    "peft",
    "prometheus_client",
    "pydantic",
    "ray",
    "scipy",
    "sglang",
    "starlette",
    "tensordict",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
    "uvicorn",
    "verl",
    "vllm",
)

SCRIPT = """
import importlib, json, sys, traceback

absent, names = json.loads(sys.argv[1])

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r} (refused by the test)", name=name)

sys.meta_path.insert(0, Refuse())
results = {}
for name in names:
    try:
        importlib.import_module(name)
        results[name] = ""
    except BaseException:
        results[name] = traceback.format_exc()
print(json.dumps(results))
"""

# Adapters and the web's own modules load their library by nature; a module `__main__` runs the program.
NAMES = [
    module.dotted
    for module in modules()
    if module.name.split(".")[0] not in ("adapters", "__main__") and module.name not in WEB
]


@functools.cache
def import_results() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([ABSENT, NAMES])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_imports_without_hosts_and_engines(name: str) -> None:
    assert import_results()[name] == ""
