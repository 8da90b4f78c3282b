"""Takes the pictures of docs/view/ anew: pages of `rrm view` over ledgers that the tests make.

    python docs/scripts/view_pictures.py          needs Chromium and chromedriver, as tests/viewer does

Left out: choosing what to show; look at the pictures before they are kept.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from rrm_plugin.viewer.server import viewing
from tests.viewer import ledgers

PICTURES = Path(__file__).resolve().parent.parent / "view"
SHOTS = (
    ("overview-light", "sums", "/", 1280, False),
    ("overview-dark", "sums", "/", 1280, True),
    ("group-light", "mixed", "/group/1", 1280, False),
    ("group-dark", "mixed", "/group/2", 1280, True),
    ("match-light", "mixed", "/group/1/match/1", 1280, False),
    ("match-dark", "mixed", "/group/1/match/1", 1280, True),
    ("groups-light", "mixed", "/groups", 1280, False),
    ("group-narrow", "mixed", "/group/1", 390, False),
)
TALLEST = 1600


def shoot(url: str, target: Path, width: int, dark: bool) -> None:
    """One picture of a page, as tall as the page is."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,900"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(url)
        height = min(browser.execute_script("return document.querySelector('main').scrollHeight") + 60, TALLEST)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics | {"height": height})
        time.sleep(0.7)
        browser.save_screenshot(str(target))
    finally:
        browser.quit()


def compress(picture: Path) -> None:
    """Fewer colours: pages have few, and a picture of one is then a third as large."""
    from PIL import Image

    with Image.open(picture) as image:
        image.convert("RGB").quantize(96, dither=Image.Dither.NONE).save(picture, optimize=True)


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = {"sums": ledgers.sums(Path(folder) / "sums.db", steps=40, groups=4)}
        made["mixed"] = ledgers.mixed(Path(folder) / "mixed.db")
        for name, ledger, path, width, dark in SHOTS:
            with viewing(made[ledger]) as url:
                shoot(url + path, PICTURES / f"{name}.png", width, dark)
            compress(PICTURES / f"{name}.png")
            print(f"{name}: {(PICTURES / f'{name}.png').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
