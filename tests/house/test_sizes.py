"""Functions and files stay small enough to be read at one sitting."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, functions, modules, tracked_files

LONGEST_FUNCTION = 80
LONGEST_FILE = 500
CODE = [
    path
    for path in tracked_files()
    if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in (PACKAGE, "examples", "benchmarks", "integrations")
]


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_too_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE, "a file this long has more than one subject"
    long = [f"{node.name}: {lines(node)}" for node in functions(ast.parse(text)) if lines(node) > LONGEST_FUNCTION]
    assert not long, f"functions over {LONGEST_FUNCTION} lines: {long}"


def test_most_functions_are_short() -> None:
    sizes = sorted(lines(node) for module in modules() for node in functions(module.tree))
    assert statistics.median(sizes) <= 17
    assert sizes[int(len(sizes) * 0.9)] < 50
