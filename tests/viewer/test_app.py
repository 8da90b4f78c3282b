"""The pages over HTTP: each opens, links lead somewhere, hostile texts are text, and strangers are refused."""

from __future__ import annotations

import asyncio
import html
import http.client
import json
import math
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from html.parser import HTMLParser

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.engines import Reply, ScriptedEngine
from rrm_plugin.errors import ConfigError, LedgerError, MissingExtraError
from rrm_plugin.ledger import Ledger
from rrm_plugin.types import Group, Scores, TokenLogprob
from rrm_plugin.viewer.export import export
from rrm_plugin.viewer.links import ServerLinks
from rrm_plugin.viewer.pages import Pages
from rrm_plugin.viewer.reading import LedgerReader
from rrm_plugin.viewer.server import view, viewing
from rrm_plugin.viewer.summary import Summary
from tests.viewer.ledgers import PAYLOADS

pytestmark = pytest.mark.timeout(300)


def get(address: str, **headers: str):
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def links(page: str) -> set[str]:
    return {html.unescape(found) for found in re.findall(r'(?:href|src)="(/[^"]*)"', page)}


class Structure(HTMLParser):
    """What a browser would make elements of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("href", "src", "action"):
                self.addresses.add(value or "")


@pytest.fixture(scope="module")
def url(mixed):
    with viewing(mixed) as address:
        yield address


@pytest.mark.parametrize("ledger", ["mixed", "attacked", "sums"])
def test_every_page_opens_and_every_link_leads_somewhere(ledger, request):
    with viewing(request.getfixturevalue(ledger)) as url:
        seen, waiting = set(), ["/"]
        while waiting:
            path = waiting.pop()
            # One match of each group and list is enough to have seen them all.
            kind = re.sub(r"match/\d+", "match", path)
            if kind in seen:
                continue
            seen.add(kind)
            status, page, headers = get(url + path)
            assert status == 200, path
            if "text/html" in headers["Content-Type"]:
                waiting += sorted(links(page))
    assert len(seen) > 20


def test_the_overview_tells_numbers_and_what_is_worth_a_look(url):
    _, page, _ = get(url + "/")
    assert "scripted:" in page and "Worth a look" in page and 'id="curves-data"' in page
    curves = json.loads(re.search(r'id="curves-data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    assert curves["axis"] == "group" and curves["metrics"][0]["name"] == "spread"


def test_steps_of_a_training_run_are_the_axis(sums):
    with viewing(sums) as url:
        _, page, _ = get(url + "/")
        curves = json.loads(re.search(r'id="curves-data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
        assert curves["axis"] == "step" and curves["x"] == [1, 2, 3, 4, 5, 6]
        assert curves["links"][0] == "/groups?step=1"
        _, page, _ = get(url + "/groups?step=2")
    assert 'rel="prev" href="/groups?step=1"' in page and 'rel="next" href="/groups?step=3"' in page
    assert page.count("data-row") == 3


def test_warnings_stand_at_their_step_and_on_top_while_they_last(sums):
    reader = LedgerReader(sums)
    asked = []

    def warnings(steps):
        asked.extend(steps)
        return [["<b>spread</b> is low"] if place % 2 else [] for place in range(len(steps))]

    pages = Pages(reader, Summary(reader), ServerLinks(), warnings)
    page = pages.render("overview.html", pages.overview())
    assert page.count("1 warning<") == 3 and "<li>&lt;b&gt;spread&lt;/b&gt; is low</li>" in page
    assert len(asked) == 6 and {"rrm/spread", "rrm/verdict_rate", "rrm/groups"} <= set(asked[0])
    assert asked[0]["rrm/groups"] == 3.0


@pytest.mark.parametrize(("agreement", "raised"), [(0.2, True), (0.95, False)])
def test_alarms_of_the_log_stand_on_the_page_too(tmp_path, agreement, raised):
    ledger = Ledger(tmp_path / "run.db")

    async def write():
        for step in range(1, 13):
            group = Group(prompt="q", responses=["a", "bb"], step=step)
            for _ in range(8):
                await ledger.record_group(group, Scores(values=[0.0, 1.0 + step % 2], agreement=agreement))

    asyncio.run(write())
    ledger.close()
    with viewing(ledger.path) as url:
        page = get(url + "/")[1]
    assert ("rrm/order_agreement is 0.2" in page) is raised
    assert (re.search(r'class="flag warn" title="[^"]*rrm/order_agreement', page) is not None) is raised


@pytest.mark.parametrize(
    ("shown", "there", "absent"),
    [
        ("cycles", "Rock, paper or scissors?", "alone"),
        ("failures", "Why is the sky blue?", "Rock, paper"),
        ("disagreements", "Why is the sky blue?", "Rock, paper"),
        ("unscored", "alone", "Rock, paper"),
        ("steering", "Why is the sky blue?", "alone"),
    ],
)
def test_a_filter_shows_its_groups_alone(url, shown, there, absent):
    _, page, _ = get(f"{url}/groups?show={shown}")
    titles = " ".join(re.findall(r'class="title">([^<]*)', page))
    assert there in titles and absent not in titles


def test_a_list_without_groups_says_so(url):
    assert "No group is recorded under this step or name" in get(url + "/groups?step=99")[1]
    assert "No group of this step has any of this" in get(url + "/groups?step=99&show=cycles")[1]


def test_a_group_is_a_tournament(url):
    knockout, robin = get(url + "/group/2")[1], get(url + "/group/1")[1]
    assert "Bracket" in knockout and "Final" in knockout and "Who met whom" not in knockout
    assert "Who met whom" in robin and "Bracket" not in robin
    assert "goes on without a match" in knockout
    assert "shown first against" in robin


def test_a_group_that_could_not_be_played_says_why(url):
    page = get(url + "/group/5")[1]
    assert "Not scored." in page and "nothing to be compared with" in page and "No match was played" in page


def test_a_match_shows_prompt_both_responses_and_the_judge(url):
    page = get(url + "/group/1/match/1")[1]
    assert "Why is the sky blue?" in page and "Let me compare the two" in page and r"\boxed{Assistant" in page
    assert page.count('class="side') >= 2 and "<mark>" in page
    votes = get(url + "/group/4/match/1")[1]
    assert "Vote 1" in votes and "Vote 2" in votes


def test_a_reference_takes_part(url):
    page = get(url + "/group/3")[1]
    assert "Reference answer" in page and ">ref<" in page
    assert "ref</b> <span>shown" in get(url + "/group/3/match/1")[1]


def test_a_search_finds_and_marks(url):
    _, page, _ = get(url + "/search?q=OZONE")
    assert "<mark>ozone</mark>" in page and 'href="/group/1"' in page
    _, page, _ = get(url + "/search?q=explains+the+cause&in=judge")
    assert re.search(r'href="/group/1/match/\d+">judge, match', page)
    assert "Nothing found" in get(url + "/search?q=nowhere")[1]
    assert "What to look for?" in get(url + "/search")[1]


@pytest.mark.parametrize(
    "path",
    [
        "/group/999",
        "/group/0",
        "/group/99999999999999999999999",
        "/group/" + "9" * 5000,
        "/group/1/match/" + "9" * 5000,
        "/group/1/match/0",
        "/group/1/match/999",
        "/nowhere",
        "/static/../reading.py",
        "/static/nothing.css",
    ],
)
def test_what_is_not_there_is_not_found(url, path):
    status, page, headers = get(url + path)
    assert status == 404 and "Traceback" not in page
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "query",
    ["step=x", "step=" + "9" * 40, "page=-3", "page=x", "show=nothing", "name=%00%ff", "page=999999999", "step=\u0663"],
)
def test_a_query_that_makes_no_sense_is_passed_over(url, query):
    from urllib.parse import quote

    assert get(f"{url}/groups?{quote(query, safe='=&%')}")[0] == 200


def test_every_answer_lets_nothing_but_the_packages_own_files_run(url):
    for path in ("/", "/group/1", "/static/view.js", "/live", "/nowhere"):
        headers = get(url + path)[2]
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert (
            policy["default-src"] == "'none'" and policy["script-src"] == "'self'" and policy["style-src"] == "'self'"
        )
        assert policy["base-uri"] == "'none'" and policy["frame-ancestors"] == "'none'"
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_a_request_for_another_host_is_refused(url, host):
    status, page, _ = get(url + "/", Host=host)
    assert status == 400 and "sky" not in page


def test_the_host_of_a_tunnel_is_fine(url):
    assert get(url + "/", Host="localhost:8765")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(url, method):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request(method, "/group/1")
    assert connection.getresponse().status == 405
    connection.close()


def test_it_listens_on_this_machine_alone(url):
    assert url.startswith("http://127.0.0.1:")


def test_hostile_texts_make_no_element_no_attribute_and_no_address(attacked):
    with viewing(attacked) as url:
        groups = 2 * len(PAYLOADS)
        paths = ["/", "/groups", "/groups?show=failures", "/search?q=hacked", "/search?q=%3Cscript%3E"]
        paths += [f"/group/{id}" for id in range(1, groups + 1)]
        paths += [f"/group/{id}/match/{number}" for id in range(1, groups + 1) for number in (1, 3)]
        for path in paths:
            _, page, _ = get(url + path)
            found = Structure()
            found.feed(page)
            assert not found.tags & {"img", "iframe", "style", "base", "object"}, path
            assert not [name for name in found.attributes if name.startswith("on")], path
            assert not [to for to in found.addresses if not re.match(r"[/#]", to)], path
            assert not re.search(r"[\u202e\u200b\x00]", page), path
            assert "49" not in re.findall(r"\{\{ 7\*7 \}\}|49", page)


def test_a_query_is_as_hostile_as_a_text(url):
    for payload in PAYLOADS[:7]:
        from urllib.parse import quote

        for path in (
            f"/search?q={quote(payload)}",
            f"/groups?name={quote(payload)}",
            f"/group/1?name={quote(payload)}",
        ):
            found = Structure()
            found.feed(get(url + path)[1])
            assert not found.tags & {"img", "iframe", "style", "base"} and not {"onerror", "onload"} & found.attributes


def test_a_page_follows_what_is_written_and_no_writer_waits(tmp_path):
    path = tmp_path / "run.db"
    ledger = Ledger(path)
    with viewing(path) as url:
        assert "No group is recorded yet" in get(url + "/")[1]
        assert json.loads(get(url + "/live")[1]) == {"groups": 0, "calls": 0}
        for number in range(3):
            group = Group(prompt=f"question {number}", responses=["a", "b"], step=number)
            asyncio.run(ledger.record_group(group, Scores(values=[0.0, 1.0])))
            assert f"question {number}" in get(url + "/")[1]
            assert json.loads(get(url + "/live")[1])["groups"] == number + 1
    ledger.close()


@pytest.fixture
def old(mixed, tmp_path):
    """A ledger of version 1."""
    path = tmp_path / "old.db"
    shutil.copy(mixed, path)
    connection = sqlite3.connect(path)
    connection.executescript(
        "DROP TABLE group_numbers; ALTER TABLE groups DROP COLUMN lengths;"
        "UPDATE meta SET value = '1' WHERE name = 'schema'"
    )
    connection.close()
    return path


def test_an_older_ledger_is_counted_when_it_is_opened(old):
    with viewing(old) as url:
        assert "Rock, paper or scissors?" in get(url + "/groups?show=cycles")[1]


@pytest.mark.parametrize("damaged", [(1,), (2, 4), (6,)])
def test_an_older_ledger_is_shown_but_for_the_groups_that_cannot_be_read(old, damaged):
    """The first, some between, and the last."""
    connection = sqlite3.connect(old)
    ways = [("matches", "{"), ("responses", "null"), ("scores", '["many"]')]
    for id, (column, wrong) in zip(damaged, ways, strict=False):
        connection.execute(f"UPDATE groups SET {column} = ? WHERE id = ?", (wrong, id))
    connection.commit()
    connection.close()
    for _ in range(2):
        with viewing(old) as url:
            page = get(url + "/")[1]
            assert f"{len(damaged)} {'group' if len(damaged) == 1 else 'groups'} cannot be read" in page
            assert all(f'href="/group/{id}"' in page for id in damaged)
            assert f"<dt>Groups</dt><dd>{6 - len(damaged)}</dd>" in page
            rows = set(re.findall(r'href="/group/(\d+)"', get(url + "/groups")[1]))
            assert rows == {str(id) for id in range(1, 7) if id not in damaged}
            assert f"<span>{6 - len(damaged)} groups</span>" in get(url + "/groups")[1]
            assert [get(f"{url}/group/{id}")[0] for id in damaged] == [503] * len(damaged)
            assert get(url + "/search?q=sky")[0] == 200
    # What is known to be damaged is not looked for again each time.
    told: list[int] = []
    LedgerReader(old, told.append)
    assert not told


def test_a_damaged_group_costs_an_export_no_other(mixed, tmp_path):
    path = tmp_path / "broken.db"
    shutil.copy(mixed, path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE groups SET matches = '{' WHERE id = (SELECT max(id) FROM groups)")
    connection.commit()
    connection.close()
    made = export(path, tmp_path / "run.html")
    assert (made.groups, made.of) == (5, 6)
    assert 'id="group-5"' in (tmp_path / "run.html").read_text(encoding="utf-8")
    with viewing(path) as url:
        assert get(url + "/")[0] == 200 and get(url + "/search?q=sky")[0] == 200


def test_a_soft_verdict_shows_its_probability_on_the_page_of_its_match(tmp_path):
    tokens = (TokenLogprob(text="1", logprob=-0.3, top=(("1", math.log(0.73)), ("2", math.log(0.27)))),)
    text = "\\boxed{Assistant 1}"
    opening, closing = (TokenLogprob(text=part, logprob=0.0) for part in ("\\boxed{Assistant ", "}"))
    reply = Reply(
        text=text,
        finished=True,
        prompt_tokens=1,
        completion_tokens=3,
        seconds=0.1,
        logprobs=(opening, *tokens, closing),
    )
    path = tmp_path / "soft.db"
    with RRMJudge(engine=ScriptedEngine(lambda _: reply), ledger=path, soft_verdicts=True, votes=3) as judge:
        judge.score("Why?", ["one", "two"])
    export(path, tmp_path / "run.html")
    with viewing(path) as url:
        for page in (get(url + "/group/1/match/1")[1], (tmp_path / "run.html").read_text(encoding="utf-8")):
            assert page.count("first better with probability 0.73") >= 3


def test_a_ledger_without_the_column_is_viewed_and_left_as_it_is(mixed, tmp_path):
    """One of version 2, which may lie where nobody may write."""
    path = tmp_path / "old.db"
    shutil.copy(mixed, path)
    connection = sqlite3.connect(path)
    connection.executescript(
        "ALTER TABLE judgements DROP COLUMN chance; UPDATE meta SET value = '2' WHERE name = 'schema'"
    )
    connection.close()
    with viewing(path) as url, viewing(mixed) as new:
        assert get(url + "/group/1/match/1")[1].replace("old.db", "mixed.db") == get(new + "/group/1/match/1")[1]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == ("2",)
    connection.close()


def test_a_group_that_cannot_be_read_is_an_error_of_its_own_page(mixed, tmp_path):
    path = tmp_path / "broken.db"
    shutil.copy(mixed, path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE groups SET matches = '{' WHERE id = 1")
    connection.commit()
    connection.close()
    with viewing(path) as url:
        status, page, _ = get(url + "/group/1")
        assert status == 503 and "group 1 of the ledger cannot be read" in page
        assert get(url + "/group/2")[0] == 200


@pytest.mark.parametrize("content", [None, b"no database at all, but long enough to be looked at" * 9])
def test_what_is_no_ledger_is_a_clear_error(tmp_path, content):
    path = tmp_path / "file.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"there is no ledger|cannot read the ledger"), viewing(path):
        pass
    assert path.exists() is (content is not None)


def test_another_database_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="is no ledger of a judge"), viewing(path):
        pass
    assert path.read_bytes() == before


def test_a_taken_port_is_a_clear_error(mixed, url):
    port = int(url.rpartition(":")[2])
    with pytest.raises(ConfigError, match="leave out --port"):
        view(mixed, port=port)


def test_the_command_prints_its_address_serves_and_ends_quietly(mixed):
    command = [sys.executable, "-c", "from rrm_plugin.cli import main; main()", "view", str(mixed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            address = running.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address) and get(address + "/groups")[0] == 200
            running.send_signal(signal.SIGINT)
            out, errors = running.communicate(timeout=30)
        finally:
            running.kill()
    assert (running.returncode, out, errors) == (0, "", "")


def test_a_missing_library_names_the_extra(mixed, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"rrm-plugin\[view\]"):
        view(mixed)
