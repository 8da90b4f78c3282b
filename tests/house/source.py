"""The source of the package as syntax trees, for the tests that check the house rules.

Read with `ast` and never imported, so that a rule can be checked for a module whose libraries are not installed.
"""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "rrm_plugin"


@dataclass(frozen=True, kw_only=True)
class Module:
    """One file of the package."""

    name: str
    """Dotted name without the package's own: "engines.http"; "" for the package itself."""
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def dotted(self) -> str:
        return f"{PACKAGE}.{self.name}" if self.name else PACKAGE

    @property
    def is_private(self) -> bool:
        return any(part.startswith("_") and part != "__main__" for part in self.name.split("."))


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module."""

    target: str
    """Dotted name; for `from a import b` this is "a.b" where that is a module of the package, else "a"."""
    line: int
    at_import: bool
    """Whether it happens when the module is imported: not in a function, not under TYPE_CHECKING."""


@functools.cache
def modules() -> tuple[Module, ...]:
    """Every module of the package, by name."""
    return tuple(_read(path) for path in sorted((ROOT / PACKAGE).rglob("*.py")) if "__pycache__" not in path.parts)


def _read(path: Path) -> Module:
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name=name, path=path, tree=ast.parse(path.read_text(encoding="utf-8"), str(path)))


def imports(module: Module) -> list[Import]:
    """All that a module imports, wherever in the file it does so."""
    known = {known.dotted for known in modules()}
    found = []
    for node, at_import in _walk(module.tree, at_import=True):
        for target in _targets(node, module, known):
            found.append(Import(target=target, line=getattr(node, "lineno", 0), at_import=at_import))
    return found


def _walk(node: ast.AST, *, at_import: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, at_import
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _walk(child, at_import=False)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for statement in child.body:
                yield statement, False
                yield from _walk(statement, at_import=False)
            for statement in child.orelse:
                yield statement, at_import
                yield from _walk(statement, at_import=at_import)
        else:
            yield from _walk(child, at_import=at_import)


def _targets(node: ast.AST, module: Module, known: set[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module.dotted.split(".")
            package = package if module.is_package else package[:-1]
            package = package[: len(package) - node.level + 1]
            base = ".".join([*package, base] if base else package)
        names = [f"{base}.{alias.name}" for alias in node.names]
        return list(dict.fromkeys(name if name in known else base for name in names))
    return []


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """The files under version control, also those just added; without version control, the folders of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        folders = (PACKAGE, "integrations", "examples", "tests", "docs", "benchmarks", "constraints", ".ci")
        paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
        paths += [path for path in ROOT.iterdir() if path.is_file()]
    return tuple(sorted(path for path in paths if path.is_file()))
