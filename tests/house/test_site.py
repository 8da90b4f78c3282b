"""The site of the docs: it builds, holds every page and every public name, and loads nothing from another machine."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.house.source import ROOT

pytest.importorskip("mkdocs", reason="needs the extra docs")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Any:
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "docs" / "scripts" / "site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.OUT = tmp_path_factory.mktemp("site")
    return module


@pytest.fixture(scope="module")
def built(site: Any) -> Path:
    site.gather()
    done = site.build()
    assert done.returncode == 0, done.stdout + done.stderr
    return site.OUT / "site"


def html(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))


def test_every_page_is_there_and_in_the_menu(built: Path, site: Any) -> None:
    menu = (built / "index.html").read_text(encoding="utf-8")
    for page in site.pages():
        place = page.relative_to(ROOT).with_suffix(".html")
        if place.name == "README.html":
            place = place.with_name("index.html")
        assert (built / place).exists(), place
        assert f'href="{place}"' in menu or str(place) == "index.html", f"{place} is not in the menu"


def test_the_reference_has_every_public_name(built: Path, site: Any) -> None:
    everything = "".join(page.read_text(encoding="utf-8") for page in html(built / "reference"))
    shown = {anchor.rpartition(".")[2] for anchor in re.findall(r'id="?(rrm_plugin[\w.]+)', everything)}
    for name in site.REFERENCE:
        missing = set(importlib.import_module(name).__all__) - shown
        assert not missing, f"{name}: {missing}"


def test_nothing_is_loaded_from_another_machine(built: Path) -> None:
    loaded = r'<(?:script|img|iframe)[^>]* src="?(?:https?:)?//|<link[^>]*rel="?stylesheet[^>]*href="?(?:https?:)?//'
    loading = re.compile(loaded)
    own = [page for page in html(built) if "experiment/" not in str(page)]
    assert len(own) > 40
    assert not [str(page) for page in own if loading.search(page.read_text(encoding="utf-8"))]
    assert not [page for page in own if '<div class="mermaid"' in page.read_text(encoding="utf-8")], (
        "mermaid is fetched"
    )


def test_a_site_in_a_folder_can_be_searched_and_asks_no_other_machine(built: Path, chromium: Any) -> None:
    with chromium() as browser:
        browser.get((built / "docs" / "index.html").as_uri())
        browser.find_element("css selector", "input.md-search__input").send_keys("knockout_rank")
        deadline = time.monotonic() + 30
        while not (found := browser.find_elements("css selector", ".md-search-result__link")):
            assert time.monotonic() < deadline, browser.find_element("css selector", ".md-search-result").text
        told = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
        asked = {each["params"]["request"]["url"] for each in told if each["method"] == "Network.requestWillBeSent"}
        assert any("reducers.html" in each.get_attribute("href") for each in found)
        assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


@pytest.mark.parametrize("link", ["nowhere.md", "judge.md#nothing"])
def test_a_link_that_leads_nowhere_fails(built: Path, site: Any, link: str) -> None:
    page = site.source() / "docs" / "index.md"
    before = page.read_text(encoding="utf-8")
    try:
        page.write_text(f"{before}\n[lost]({link})\n", encoding="utf-8")
        done = site.build("-d", str(site.OUT / "broken"))
    finally:
        page.write_text(before, encoding="utf-8")
    assert done.returncode != 0 and link in done.stdout + done.stderr


def test_a_file_that_a_page_links_to_has_to_exist(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text("[lost](lost.yaml)\n", encoding="utf-8")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "OUT", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"README\.md links to lost\.yaml"):
        site.gather()
