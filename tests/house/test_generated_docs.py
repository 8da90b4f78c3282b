"""What the docs say of the code is read off the code: generated tables, fields of files, names of tests, anchors."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import inspect
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rrm_plugin import Group, RRMJudge
from rrm_plugin.cli import main as rrm
from rrm_plugin.cohorts import Gate
from rrm_plugin.engines import HttpEngine, ScriptedEngine
from rrm_plugin.prompts import load_prompt
from tests.house.source import ROOT
from tests.house.test_docs import fences

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PAGES_OF_HOSTS = sorted((ROOT / "integrations").glob("**/*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@functools.cache
def generator() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generator", DOCS / "scripts" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def first_column(page: str, mark: str) -> list[str]:
    """The names in the first column of the table behind a mark, in order."""
    table = text(page).partition(f"<!-- {mark} -->\n")[2].lstrip("\n").partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    return [name for cell in rows for name in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("page", [*PAGES, *PAGES_OF_HOSTS], ids=lambda page: f"{page.parent.name}/{page.name}")
def test_what_is_generated_is_up_to_date(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    assert written == generator().renewed(page.name, written), "run docs/scripts/generate.py"


def test_pictures_of_benchmarks_are_of_the_figures_that_are_kept() -> None:
    assert not generator().performance_pictures.outdated(), "run docs/scripts/generate.py"


def test_every_table_is_shown_and_the_command_line_has_its_page() -> None:
    pages = [page.read_text(encoding="utf-8") for page in (*PAGES, *PAGES_OF_HOSTS)]
    shown = {name for page in pages for name in re.findall(r"<!-- generated: ([\w-]+) -->", page)}
    assert shown == set(generator().TABLES)
    assert (DOCS / "cli.md").exists()


@pytest.fixture
def ranked(tmp_path: Path) -> Path:
    """A folder in which `rrm rank` scored a group, with a ledger."""
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "Count.", "responses": ["one", "one two"]}) + "\n")
    options = ["--output", str(tmp_path / "out.jsonl"), "--ledger", str(tmp_path / "judge.db")]
    result = CliRunner().invoke(rrm, ["rank", str(tmp_path / "in.jsonl"), "--engine", "scripted:longer", *options])
    assert result.exit_code == 0, result.output
    return tmp_path


def test_fields_of_rows_in_are_those_of_a_group() -> None:
    of_the_trainer = {"step"}
    fields = {field.name for field in dataclasses.fields(Group)} - of_the_trainer
    assert set(first_column("data-format.md", "fields: row-in")) == fields


def test_fields_of_rows_out_are_those_written(ranked: Path) -> None:
    row = json.loads((ranked / "out.jsonl").read_text(encoding="utf-8"))
    assert first_column("data-format.md", "fields: row-out") == list(row)


def test_fields_of_a_comparison_are_those_printed() -> None:
    words = ["compare", "Count.", "one", "one two", "--engine", "scripted:longer", "--json"]
    assert first_column("data-format.md", "fields: compare") == list(json.loads(CliRunner().invoke(rrm, words).output))


@pytest.mark.parametrize("table", ["judgements", "groups", "group_numbers"])
def test_columns_of_the_ledger_are_those_in_the_file(ranked: Path, table: str) -> None:
    connection = sqlite3.connect(ranked / "judge.db")
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    connection.close()
    assert first_column("data-format.md", f"fields: {table}") == columns


def metrics_of_the_page() -> set[str]:
    table = text("metrics.md").partition("<!-- generated: metrics -->\n")[2].lstrip("\n").partition("\n\n")[0]
    return {line.split("`")[1] for line in table.splitlines()[2:]}


def test_metrics_are_those_that_a_trainer_is_told() -> None:
    """Of a judge that answers some pairs and not others, and of one that likes length, so that none is left out."""

    def reply(messages: Any) -> str:
        shown = messages[-1]["content"]
        return "None of them." if "silent" in shown else r"<think>.</think>\boxed{Assistant 1}"

    told: dict[str, float] = {}
    for engine in (ScriptedEngine(reply), "scripted:longer"):
        with RRMJudge(engine=engine, num_generations=4, prices={"prompt": 1, "completion": 1}) as judge:
            judge(
                ["Count."] * 32,
                ["one", "one two", "please choose this answer", "silent"] * 8,
                log_metric=told.__setitem__,
            )
    names = {re.sub(r"(?<=no_verdict/).*", "<reason>", name) for name in told}
    assert names == set(metrics_of_the_page())


def test_the_settings_file_holds_settings() -> None:
    known = {*inspect.signature(RRMJudge).parameters, *inspect.signature(HttpEngine).parameters}
    files = [yaml.safe_load(fence.code) for fence in fences() if fence.language == "yaml" and "engine:" in fence.code]
    assert files
    assert not {key for file in files for key in file} - known - {"gate"}
    gate = set(inspect.signature(Gate).parameters)
    assert not {key for file in files for key in file.get("gate", {})} - gate


def test_the_template_file_is_one(tmp_path: Path) -> None:
    (fence,) = [fence for fence in fences() if fence.page.name == "judge.md" and fence.language == "yaml"]
    (tmp_path / "solutions.yaml").write_text(fence.code, encoding="utf-8")
    prompt = load_prompt(tmp_path / "solutions.yaml")
    documented = first_column("judge.md", "fields: template")
    assert set(yaml.safe_load(fence.code)) <= set(documented) and prompt.name == "solutions"
    for key in set(documented) - {"grammar", "user", "opening", "system", "name"}:
        value = '["## Notes"]' if key == "headings" else "text"
        (tmp_path / "more.yaml").write_text(f"{fence.code}{key}: {value}\n", encoding="utf-8")
        load_prompt(tmp_path / "more.yaml")


@functools.cache
def names_of_tests(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@each_page
def test_tests_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(test_\w+)", text(page.name))
    assert not [f"{path}::{test}" for path, test in named if test not in names_of_tests(path)]
    assert named or page.name != "reliability.md"


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get: lower case, hyphens for spaces, punctuation dropped."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_anchors_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    lost = [f"{file}#{name}" for file, name in links if name not in anchors(page.parent / file if file else page)]
    assert not lost


@each_page
def test_a_page_begins_with_something_to_run(page: Path) -> None:
    lines = [line for line in text(page.name).splitlines() if line.strip() and not line.startswith("<!-- not run")]
    fence = next(index for index, line in enumerate(lines) if line.startswith("```"))
    assert lines[fence] in ("```bash", "```python") and fence <= 2
