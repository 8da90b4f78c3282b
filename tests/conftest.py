"""What every test stands on: real data if it is there, no network but this machine, nothing phoned home.

Left out: fixtures of one subject (they stand beside their tests) and the host trainers' tiny models (`tests/tiny.py`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before any import of the libraries that read them once.
os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    WANDB_MODE="disabled",
    DO_NOT_TRACK="1",
)

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# A busy machine may stall any example, so no deadlines; the same examples each run, so that a failure is due to the
# change at hand. HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """`shared_data(name)`: the path of a file or folder of real data, or a skip that says where it was looked for.

    The data is no part of the project: it lies in `../shared/data` beside the checkout, or where RRM_SHARED_DATA says.
    """
    folder = Path(os.environ.get("RRM_SHARED_DATA") or ROOT.parent / "shared" / "data")

    def locate(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f"no real data {name!r}: put it into ../shared/data beside the checkout or set RRM_SHARED_DATA")
        return path

    return locate


def _is_local(address: Any) -> bool:
    """Whether a socket address stays on this machine. Unix sockets are plain strings or bytes."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0]).partition("%")[0]
    if host in ("", "localhost"):
        return True
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return False
    return parsed.is_loopback or parsed.is_unspecified


@pytest.fixture(scope="session", autouse=True)
def _outside_calls() -> Iterator[list[str]]:
    """Refuses connections to other machines, as an unplugged cable would, and writes down who tried.

    Names other than localhost do not resolve. Session-wide, so that fixtures of any scope are covered; subprocesses are
    not.
    """
    attempts: list[str] = []
    real_getaddrinfo = socket.getaddrinfo

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if not _is_local(address):
                attempts.append(str(address))
                raise OSError(101, f"Network is unreachable (tests may only connect to this machine, not {address})")
            return real(self, address)

        return connect

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not _is_local((name,)) and not _is_address(name):
            raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known (tests resolve no names: {name!r})")
        return real_getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield attempts


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


@pytest.fixture(autouse=True)
def _no_network(_outside_calls: list[str]) -> Iterator[None]:
    """Fails the test during which a connection to another machine was tried, even where the code caught the error."""
    _outside_calls.clear()
    yield
    if _outside_calls:
        pytest.fail(f"connected to another machine: {', '.join(_outside_calls)}")


CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


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
