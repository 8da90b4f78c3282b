"""What a user installs: built as for a release, put into an empty folder, and used from there."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, tracked_files

pytest.importorskip("hatchling", reason="the build backend is part of the dev extra")

USE = """
import importlib, importlib.metadata, pathlib
import rrm_plugin
from rrm_plugin.prompts import load_prompt

home = pathlib.Path(rrm_plugin.__file__).parent
print(home)
presets = sorted(path.stem for path in home.glob("prompts/presets/*.yaml"))
assert "rrm" in presets, presets
for preset in presets:
    assert load_prompt(preset).name == preset
version = importlib.metadata.version("rrm-plugin")
assert getattr(rrm_plugin, "__version__", version) == version
[script] = importlib.metadata.distribution("rrm-plugin").entry_points.select(group="console_scripts")
assert script.name == "rrm" and callable(script.load())
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    [path] = folder.glob("*.whl")
    return path


def test_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {str(path.relative_to(ROOT)) for path in tracked_files()}
    assert names == {name for name in files if name.startswith(f"{PACKAGE}/")}


def test_a_users_installation_is_not_pinned(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    required = metadata.get_all("Requires-Dist") or []
    extras = "trl openrlhf verl vllm transformers training service view plots ray docs dev"
    assert set(extras.split()) == set(metadata.get_all("Provides-Extra") or [])
    bounds = [requirement.partition(";")[0] for requirement in required]
    assert not [bound for bound in bounds if re.search(r"==|<|~=|!=", bound)]


def test_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    run(*pip, "--target", str(site), str(wheel), cwd=tmp_path)
    # Before site-packages on the path, where the checkout itself may be installed.
    assert Path(run(sys.executable, "-c", USE, cwd=tmp_path, PYTHONPATH=str(site)).strip()) == site / PACKAGE
