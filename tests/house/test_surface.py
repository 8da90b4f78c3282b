"""`__all__` is the public surface of a module, and all of it is explained.

Every class and function without a leading underscore is in it; a logger, a type variable or a constant need not be. A
method needs no text of its own where it fulfils one of the same name that a Protocol or abstract class explains.
"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator

import pytest

from tests.house.source import Module, modules

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
HOSTS = ("openrlhf", "ray", "verl")
"""Libraries of hosts that have test environments of their own; only adapters import them at module level."""
PUBLIC = [module for module in modules() if not module.is_private and module.name != "__main__"]
each_module = pytest.mark.parametrize("module", PUBLIC, ids=[module.dotted for module in PUBLIC])


def declared(module: Module) -> list[str] | None:
    """The names in `__all__`, read as a literal; None where there is none."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and "__all__" in [ast.unparse(target) for target in node.targets]:
            return list(ast.literal_eval(node.value))
    return None


def defined(module: Module) -> set[str]:
    """The classes and functions of a module that no underscore marks as its own business."""
    return {node.name for node in module.tree.body if isinstance(node, Definition) and not node.name.startswith("_")}


@each_module
def test_all_is_what_is_public(module: Module) -> None:
    names = declared(module) or []
    assert len(names) == len(set(names))
    missing = {name for name in defined(module) if not name.startswith("_")} - set(names)
    assert not missing, (
        f"{module.dotted} defines {sorted(missing)} without listing them in __all__; rename to _name or list"
    )


@each_module
def test_all_exists(module: Module) -> None:
    try:
        loaded = importlib.import_module(module.dotted)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in HOSTS:
            raise
        pytest.skip(f"needs {error.name}: make test-hosts")
    absent = [name for name in declared(module) or [] if not hasattr(loaded, name)]
    assert not absent


@functools.cache
def explained_methods() -> frozenset[str]:
    """Names of methods that a class meant to be fulfilled or inherited from explains."""
    return frozenset(
        method.name
        for module in modules()
        for node in module.tree.body
        if isinstance(node, ast.ClassDef)
        and any("Protocol" in ast.dump(base) or "ABC" in ast.dump(base) for base in node.bases)
        for method in node.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(method)
    )


def unexplained(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield "the module itself"
    public = set(declared(module) or [])
    for node in module.tree.body:
        if not isinstance(node, Definition) or node.name not in public:
            continue
        if not ast.get_docstring(node):
            yield node.name
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) or method.name.startswith("_"):
                    continue
                if not ast.get_docstring(method) and method.name not in explained_methods():
                    yield f"{node.name}.{method.name}"


@each_module
def test_public_names_are_explained(module: Module) -> None:
    assert not list(unexplained(module))
