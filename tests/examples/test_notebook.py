"""The notebook runs from top to bottom in a kernel of its own, and lies in the repository without what it printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.house.source import ROOT

nbformat = pytest.importorskip("nbformat", reason="runs notebooks with nbclient, of the extra dev")
nbclient = pytest.importorskip("nbclient", reason="runs notebooks with nbclient, of the extra dev")
pytest.importorskip("ipykernel", reason="runs notebooks with nbclient and ipykernel, of the extra dev")

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert cells and all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert str(Path.home()) not in text and str(ROOT) not in text


@pytest.mark.trl
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_looking_at_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl", reason="needs a real TRL: pip install 'rrm-plugin[trl]'")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    (tmp_path / "examples").mkdir()
    book = read(ROOT / "examples" / "05_look_at_a_run.ipynb")
    client = nbclient.NotebookClient(
        book, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(tmp_path / "examples")}}
    )
    client.execute()
    printed = [
        "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")
        for cell in book.cells
        if cell.cell_type == "code"
    ]
    assert "75" in printed[1].splitlines()[0] and "judge calls" in printed[1]
    assert printed[2].count("-> ") == 4 and "boxed{Assistant" in printed[2]
    steps = printed[4].splitlines()
    assert len(steps) == 11 and steps[0].split()[::7] == ["step", "alarms"] and "verdict_rate" in steps[0].split()
    assert {line.split()[-1] for line in steps[1:]} == {"0.00"} and len(set(map(len, steps))) == 1
    assert "step 10:" in printed[5]
    assert "=?" in printed[6].splitlines()[0] and "boxed{Assistant" in printed[6]
    assert "run.html: 24 of " in printed[7]
    page = (tmp_path / "outputs" / "look" / "run.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "boxed{Assistant" in page
