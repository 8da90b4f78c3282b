"""Ledgers and a browser, made once."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.viewer import ledgers

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


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


@pytest.fixture(scope="session")
def chromium() -> Callable[..., Any]:
    """`chromium(dark=True, size=(1280, 900))`: a headless Chromium that logs all its requests, as a context manager."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is part of the dev extra")
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")

    @contextlib.contextmanager
    def opened(dark: bool = False, size: tuple[int, int] = (1280, 900)) -> Iterator[Any]:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # Chromium's sandbox does not work for root, as whom tests in a container usually run.
            arguments.append("--no-sandbox")
        for argument in (*arguments, f"--window-size={size[0]},{size[1]}"):
            options.add_argument(argument)
        from selenium.webdriver.chrome.service import Service

        made = webdriver.Chrome(options=options, service=Service(driver))
        try:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            made.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            yield made
        finally:
            made.quit()

    return opened
