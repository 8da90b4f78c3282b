"""The folder that runs write into."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(params=["a path", "an address"])
def folder(tmp_path: Any, request: pytest.FixtureRequest) -> Any:
    """A folder here, and the same by way of fsspec, which knows neither links nor fsync."""
    pytest.importorskip("pyarrow")
    from rrm_plugin.bulk.folder import Folder

    if request.param == "a path":
        return Folder(str(tmp_path / "out"))
    pytest.importorskip("fsspec")
    return Folder(f"memory://{tmp_path.name}/out")
