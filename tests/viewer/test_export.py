"""An exported run is one file that needs nothing else and lets nothing in it run but its own scripts."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import sys

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main as rrm
from rrm_plugin.viewer.export import export
from tests.viewer.test_app import Structure


@pytest.fixture
def exported(mixed, tmp_path):
    export(mixed, tmp_path / "run.html")
    return (tmp_path / "run.html").read_text(encoding="utf-8")


def test_it_holds_overview_groups_and_matches(exported):
    for name in ("overview", "group-1", "group-1-match-1", "group-2-match-12", "group-5"):
        assert f'id="{name}"' in exported
    targets = set(re.findall(r'href="#([^"]*)"', exported))
    assert targets and targets <= set(re.findall(r'id="([^"]*)"', exported))


def test_it_asks_for_nothing_and_names_the_hash_of_all_that_may_run(exported):
    found = Structure()
    found.feed(exported)
    assert not [to for to in found.addresses if not to.startswith("#")]
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', exported)
    assert "default-src &#39;none&#39;" in policy.replace("'", "&#39;")
    for tag, attributes, text in re.findall(r"<(script|style)([^>]*)>(.*?)</\1>", exported, re.DOTALL):
        if "application/json" not in attributes:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert digest.replace("+", "&#43;") in policy or digest in policy, tag


def test_hostile_texts_stay_texts(attacked, tmp_path):
    export(attacked, tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    found = Structure()
    found.feed(re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL))
    assert not found.tags & {"img", "iframe", "base", "object"}
    assert not [name for name in found.attributes if name.startswith("on")]


def test_of_a_larger_ledger_it_takes_a_sample_and_says_so(mixed, tmp_path):
    told = export(mixed, tmp_path / "run.html", groups=3)
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert (told.groups, told.of) == (3, 6) and "A sample: 3 of 6 groups" in text
    assert len(set(re.findall(r'<div class="section" id="(group-\d+)"', text))) == 3


def test_the_command_writes_it(mixed, tmp_path):
    result = CliRunner().invoke(rrm, ["view", str(mixed), "--export", str(tmp_path / "run.html")])
    assert result.exit_code == 0 and "6 of 6 groups" in result.output
    assert (tmp_path / "run.html").stat().st_size > 100_000


def test_it_needs_no_server(mixed, tmp_path, monkeypatch):
    for library in ("starlette", "uvicorn"):
        monkeypatch.setitem(sys.modules, library, None)
    assert export(mixed, tmp_path / "run.html").groups == 6


@pytest.mark.parametrize("arguments", [["no.db"], ["no.db", "--export", "x.html"]])
def test_a_ledger_that_is_not_there_is_a_plain_error(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(rrm, ["view", *arguments])
    assert result.exit_code == 1 and "there is no ledger" in result.output and not list(tmp_path.iterdir())


def test_the_ledger_is_not_replaced_by_its_page(mixed, tmp_path):
    ledger, other = tmp_path / "judge.db", tmp_path / "other.html"
    shutil.copy(mixed, ledger)
    other.symlink_to(ledger)
    before = ledger.read_bytes()
    for target in (ledger, other):
        result = CliRunner().invoke(rrm, ["view", str(ledger), "--export", str(target)])
        assert result.exit_code == 1 and "is a file of the ledger: name another one" in result.output
    assert ledger.read_bytes() == before and other.is_symlink()
