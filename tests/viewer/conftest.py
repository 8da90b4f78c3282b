"""Ledgers, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.viewer import ledgers


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledgers")


@pytest.fixture(scope="session")
def mixed(folder: Path) -> Path:
    return ledgers.mixed(folder / "mixed.db")


@pytest.fixture(scope="session")
def attacked(folder: Path) -> Path:
    return ledgers.attacked(folder / "attacked.db")


@pytest.fixture(scope="session")
def sums(folder: Path) -> Path:
    pytest.importorskip("transformers", reason="the miniature judge runs in transformers")
    return ledgers.sums(folder / "sums.db")
