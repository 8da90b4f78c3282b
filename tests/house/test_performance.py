"""docs/performance.md: what stands above a table there stands above it in the benchmark's own page."""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

import pytest

from tests.house.source import ROOT

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
SECTIONS = {each[1]: each[0] for each in re.finditer(r"^## (?:(?!^## ).)*?results/(\w+)\.md\)\.$", PAGE, re.M | re.S)}
WRITTEN = """# Title

Written by a command.

Of the first.

| one | two |
| --- | --- |

Of the second.

| three | four |
| --- | --- |

## Under a heading

Of both.

| five | six |
| --- | --- |

| seven | eight |
| --- | --- |
"""


@pytest.fixture(scope="module")
def script() -> Any:
    sys.path.append(str(ROOT / "docs" / "scripts"))
    spec = importlib.util.spec_from_file_location("performance", ROOT / "docs" / "scripts" / "performance.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_a_table_has_above_it_what_it_has_in_its_own_page(name: str) -> None:
    blocks = re.split(r"\n{2,}", (ROOT / "benchmarks" / "results" / f"{name}.md").read_text(encoding="utf-8").strip())
    shown = re.split(r"\n{2,}", SECTIONS[name].strip())
    tables = [index for index, each in enumerate(shown) if each.startswith("|")]
    assert tables, "every benchmark shows a table"
    for index in tables:
        place = blocks.index(shown[index])
        while blocks[place].startswith("|"):
            place -= 1
        assert shown[index - 1].lstrip("#") == blocks[place].lstrip("#")


def test_the_first_table_with_its_paragraph_unless_others_are_chosen(script: Any) -> None:
    first = script._section("some", WRITTEN)
    assert "Of the first.\n\n| one" in first and "second" not in first and "heading" not in first


def test_chosen_tables_bring_their_heading_and_their_paragraph(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(script.CHOSEN, "some", [("", "three"), ("Under a heading", "seven")])
    section = script._section("some", WRITTEN)
    assert "Of the second.\n\n| three" in section and "### Under a heading\n\nOf both.\n\n| seven" in section
    assert "| one" not in section and "| five" not in section and "Of the first" not in section
    monkeypatch.setitem(script.CHOSEN, "some", [("", "nowhere")])
    with pytest.raises(ValueError, match=r"some\.md has no table.*nowhere"):
        script._section("some", WRITTEN)
