"""The pages in a real browser: opened, clicked and typed at, in light and dark; hostile texts do nothing, nothing is
asked of another machine, and axe finds nothing to complain of.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rrm_plugin.ledger import Ledger
from rrm_plugin.types import Group, Judgement, Match, Scores, Verdict
from rrm_plugin.viewer.export import export
from rrm_plugin.viewer.server import viewing
from tests.viewer.ledgers import PAYLOADS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
VIEWS = {
    "overview": "/",
    "groups": "/groups",
    "filter": "/groups?show=disagreements",
    "none": "/groups?step=99",
    "group": "/group/1",
    "knockout": "/group/2",
    "reference": "/group/3",
    "not scored": "/group/5",
    "match": "/group/1/match/1",
    "votes": "/group/4/match/1",
    "search": "/search?q=scatter",
    "nothing asked": "/search",
    "not found": "/group/999",
}


@pytest.fixture(scope="module")
def url(mixed: Path) -> Iterator[str]:
    with viewing(mixed) as address:
        yield address


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Any]:
    with chromium() as made:
        yield made


def until(condition: Any, seconds: float = 15.0) -> Any:
    """Waits until something is so, and gives it."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def at(browser: Any, path: str) -> bool:
    return until(lambda: re.sub(r"^https?://[^/]*", "", browser.current_url) == path)


def requests(browser: Any) -> set[str]:
    """All addresses that the browser asked for since the last time."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}


def complaints(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if "404" not in entry["message"]]


def violations(browser: Any) -> list[str]:
    """What axe says of the page as it is. Run beside the page's own policy, as an extension would be."""
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE})
    told = browser.execute_cdp_cmd(
        "Runtime.evaluate",
        {
            "expression": "axe.run(document).then(found => JSON.stringify(found.violations.map(one => "
            "`${one.id}: ${one.nodes.map(node => node.target + ' ' + node.failureSummary).join('; ')}`)))",
            "awaitPromise": True,
        },
    )
    assert "value" in told["result"], told
    return json.loads(told["result"]["value"])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_opens_reads_well_and_asks_nobody_else(chromium, url, dark):
    found = {}
    with chromium(dark=dark) as browser:
        for name, path in VIEWS.items():
            browser.get(url + path)
            assert browser.execute_script("return document.documentElement.dataset.bsTheme") == (
                "dark" if dark else "light"
            )
            # A page that is wider than its window hides what stands at its edge.
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), name
            found[name] = violations(browser)
        assert not {name: told for name, told in found.items() if told}
        assert complaints(browser) == []
        assert [asked for asked in requests(browser) if not asked.startswith((url + "/", "data:image/"))] == []


def test_views_fit_a_narrow_window(chromium, url):
    with chromium(size=(500, 800)) as browser:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        )
        for name, path in VIEWS.items():
            browser.get(url + path)
            assert browser.execute_script("return document.documentElement.scrollWidth <= 390"), name
            assert violations(browser) == [], name


def test_curves_are_drawn_and_lead_to_their_step(chromium, sums):
    with viewing(sums) as url, chromium() as browser:
        browser.get(url + "/")
        until(lambda: len(browser.find_elements("css selector", ".plot canvas")) >= 6)
        drawn = browser.execute_script(
            "return [...document.querySelectorAll('.plot canvas')].map(c => "
            "c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0))"
        )
        assert all(drawn)
        assert browser.find_element("css selector", ".curve-value").text
        browser.find_element("css selector", ".plot .u-over").click()
        until(lambda: "/groups?step=" in browser.current_url)
        press(browser, "n")
        until(lambda: browser.find_elements("css selector", "[rel=prev]"))
        assert complaints(browser) == []


def test_alarms_are_read_as_well_as_the_rest(chromium, tmp_path):
    ledger = Ledger(tmp_path / "run.db")

    async def write() -> None:
        for step in range(1, 13):
            group = Group(prompt="q", responses=["a", "b"], step=step)
            for _ in range(8):
                await ledger.record_group(group, Scores(values=[0.0, 1.0], agreement=0.1))

    asyncio.run(write())
    ledger.close()
    for dark in (False, True):
        with viewing(ledger.path) as url, chromium(dark=dark) as browser:
            browser.get(url + "/")
            assert "order_agreement" in browser.find_element("css selector", ".warnings").text
            assert violations(browser) == []


def test_it_is_read_by_clicking(browser, url):
    browser.get(url + "/")
    browser.find_element("link text", "Orders disagree").click()
    assert at(browser, "/groups?show=disagreements")
    browser.find_element("css selector", "tbody [data-row] a").click()
    until(lambda: "/group/" in browser.current_url and "show=disagreements" in browser.current_url)
    browser.get(url + "/group/1")
    browser.find_element("css selector", ".standings summary").click()
    assert browser.find_element("css selector", ".standings details[open] .text").is_displayed()
    browser.find_element("css selector", ".matrix .doubt a").click()
    until(lambda: "/match/" in browser.current_url)
    browser.find_element("css selector", "[data-other]").click()
    until(lambda: "orders disagree" in browser.find_element("css selector", ".verdict").text)
    marks = browser.find_element("css selector", "[data-marks]")
    shown = "return getComputedStyle(document.querySelector('.side mark')).backgroundColor"
    before = browser.execute_script(shown)
    marks.click()
    assert marks.get_attribute("aria-pressed") == "false" and browser.execute_script(shown) != before


def test_it_is_read_by_keys_alone(browser, url):
    from selenium.webdriver.common.keys import Keys

    browser.get(url + "/")
    press(browser, "g")
    assert at(browser, "/groups")
    press(browser, "j", "j", "k", "j", Keys.ENTER)
    assert at(browser, "/group/5")
    press(browser, "n")
    assert at(browser, "/group/4")
    press(browser, "n", "n", "n")
    assert at(browser, "/group/1")
    press(browser, "j", Keys.ENTER)
    assert at(browser, "/group/1/match/1")
    press(browser, "o")
    assert at(browser, "/group/1/match/2")
    press(browser, "p", "d")
    assert at(browser, "/group/1/match/1")
    press(browser, "u")
    assert at(browser, "/group/1")
    press(browser, "u", "h")
    assert at(browser, "/")
    press(browser, "/", "ozone", Keys.ENTER)
    assert at(browser, "/search?q=ozone")
    press(browser, "?")
    assert browser.find_element("id", "help").is_displayed()
    press(browser, "h", Keys.ESCAPE)
    assert not browser.find_element("id", "help").is_displayed() and at(browser, "/search?q=ozone")


def test_the_tabulator_reaches_content_first_and_shows_where_it_is(browser, url):
    from selenium.webdriver.common.keys import Keys

    browser.get(url + "/group/1")
    press(browser, Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
    press(browser, Keys.ENTER, Keys.TAB)
    focused = browser.switch_to.active_element
    assert browser.execute_script("return document.querySelector('main').contains(arguments[0])", focused)
    assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", focused) == "solid"


def test_light_and_dark_are_chosen_and_kept(chromium, url):
    theme = "return document.documentElement.dataset.bsTheme"
    with chromium(dark=True) as browser:
        browser.get(url + "/")
        press(browser, "t")
        assert browser.execute_script(theme) == "light"
        browser.get(url + "/groups")
        assert browser.execute_script(theme) == "light"
        browser.find_element("id", "theme").click()
        assert browser.execute_script(theme) == "dark"


def test_hostile_texts_do_nothing(chromium, attacked):
    groups = 2 * len(PAYLOADS)
    paths = ["/", "/groups", "/groups?show=failures", "/search?q=hacked"]
    paths += [f"/group/{id}" for id in range(1, groups + 1)]
    paths += [f"/group/{id}/match/1" for id in range(1, groups + 1)]
    with viewing(attacked) as url, chromium() as browser:
        for path in paths:
            browser.get(url + path)
            assert browser.execute_script("return window.hacked") is None, path
            assert browser.execute_script("return document.querySelector('main').getClientRects().length"), path
            assert browser.title != "hacked", path
        time.sleep(0.3)
        assert browser.execute_script("return window.hacked") is None
        assert complaints(browser) == []
        assert [asked for asked in requests(browser) if not asked.startswith((url + "/", "data:image/"))] == []


def test_hostile_texts_do_nothing_in_an_exported_file(chromium, attacked, tmp_path):
    page = tmp_path / "run.html"
    export(attacked, page)
    with chromium() as browser:
        for part in ("", "#group-1", "#group-1-match-1", "#group-9-match-2"):
            browser.get(page.as_uri() + part)
            assert browser.execute_script("return window.hacked") is None
        assert [asked for asked in requests(browser) if not asked.startswith(("file://", "data:image/"))] == []
        assert complaints(browser) == []


def test_what_would_get_past_the_escaping_is_stopped_by_the_policy(browser, url):
    """The second lock by itself: a script, a handler and a style that are put into a page do nothing there."""
    browser.get(url + "/")
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s);"
        "const d = document.createElement('div'); d.innerHTML = '<img src=x onerror=\"window.hacked = 2\">"
        '<p id=styled style="position:fixed">x</p>\'; document.body.append(d);'
    )
    time.sleep(0.3)
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return getComputedStyle(document.getElementById('styled')).position") == "static"
    assert browser.get_log("browser")


def test_a_page_that_is_open_follows_the_run(chromium, tmp_path):
    ledger = Ledger(tmp_path / "run.db")

    def add(step: int) -> None:
        match = Match(first=0, second=1)
        judged = Judgement(verdict=Verdict.FIRST, match=match, key=str(step), text="well", engine="e")
        group = Group(prompt=f"question {step}", responses=["a", "b"], step=step)
        scores = Scores(values=[1.0, 0.0], judgements=(judged,))
        asyncio.run(ledger.record(judged, finished=True, answered=True))
        asyncio.run(ledger.record_group(group, scores))

    with viewing(ledger.path) as url, chromium() as browser:
        browser.get(url + "/")
        assert "No group is recorded yet" in browser.page_source
        writer = threading.Thread(target=lambda: [add(step) for step in range(1, 4)])
        writer.start()
        writer.join()
        until(lambda: browser.find_elements("css selector", "#newest [data-row]"))
        add(4)
        until(lambda: "question 4" in browser.page_source)
        assert browser.find_element("id", "live").is_displayed()
        assert "4" in browser.find_element("css selector", "#tiles dd").text
        assert complaints(browser) == []
    ledger.close()


def test_a_search_goes_on_by_itself(chromium, tmp_path, monkeypatch):
    from rrm_plugin.viewer import searching

    monkeypatch.setattr(searching.search, "__defaults__", ("all", None, 0.0))
    ledger = Ledger(tmp_path / "run.db")
    for number in range(30):
        group = Group(prompt=f"needle {number}" if number % 10 == 0 else "hay", responses=["a", "b"])
        asyncio.run(ledger.record_group(group, Scores(values=[0.0, 1.0])))
    ledger.close()
    with viewing(ledger.path) as url, chromium() as browser:
        browser.get(url + "/search?q=needle")
        until(lambda: "all is read" in browser.find_element("id", "search-state").text)
        assert len(browser.find_elements("css selector", "#hits > li")) == 3


def test_an_exported_file_is_read_like_the_pages(chromium, mixed, tmp_path):
    from selenium.webdriver.common.keys import Keys

    export(mixed, tmp_path / "run.html")
    with chromium() as browser:
        browser.get((tmp_path / "run.html").as_uri())
        until(lambda: browser.find_elements("css selector", "#overview .plot canvas"))
        assert violations(browser) == []
        browser.find_element("css selector", "#overview tbody [data-row] a[href='#group-2']").click()
        until(lambda: browser.find_element("id", "group-2").is_displayed())
        assert not browser.find_element("id", "overview").is_displayed()
        press(browser, "j", Keys.ENTER)
        until(lambda: browser.current_url.endswith("#group-2-match-1"))
        press(browser, "n", "u")
        until(lambda: browser.current_url.endswith("#group-2"))
        press(browser, "h")
        until(lambda: browser.find_element("id", "overview").is_displayed())
        assert [asked for asked in requests(browser) if not asked.startswith(("file://", "data:image/"))] == []
        assert complaints(browser) == []
