"""An import may only point down: the floors of the package, and what each module may load when it is imported.

An import inside a function or under TYPE_CHECKING is an arrow too: it says who knows whom. What may be loaded when a
module is imported is another rule; there only the imports that happen then count.
"""

from __future__ import annotations

import sys

import pytest

from tests.house.source import PACKAGE, Import, Module, imports, modules

FLOORS = {
    "types": 0,
    "errors": 0,
    # 1: pure, no I/O
    "specs": 1,
    "prompts": 1,
    "verdicts": 1,
    "schedules": 1,
    "reducers": 1,
    "consistency": 1,
    "shaping": 1,
    "metrics": 1,
    "notes": 1,
    # 2: one judge call
    "background": 2,
    "processes": 2,
    "underway": 2,
    "engines": 2,
    "miniature": 2,
    "ledger": 2,
    "ledger_numbers": 2,
    "judge": 2,
    # 3: whole groups, and the object a user builds; "" is the package's own __init__
    "tournament": 3,
    "cohorts": 3,
    "early": 3,
    "looks": 3,
    "rows": 3,
    "reporting": 3,
    "reward": 3,
    "config": 3,
    "": 3,
    # 4: towards the hosts
    "adapters": 4,
    "service": 4,
    "training": 4,
    "doctor": 4,
    "evaluation": 4,
    "bulk": 4,
    "viewer": 4,
    # 5: the command line
    "cli": 5,
    "__main__": 5,
}

CORE = {"aiohttp", "click", "jinja2", "numpy", "tqdm", "yaml", "yarl"}
"""What may be imported at module level beside the standard library: the dependencies that are always installed.

yarl is aiohttp's type for URLs and comes with it.
"""

WEB = {
    "service.app": {"fastapi", "starlette"},
    "service.counters": {"prometheus_client"},
    "service.models": {"pydantic"},
    "viewer.app": {"starlette"},
}
"""Modules that are made of a library of an extra of their own; whoever imports them raises MissingExtraError."""


def room(dotted: str) -> str | None:
    """The key of FLOORS a module belongs to; None where the table does not know it."""
    name = dotted.removeprefix(PACKAGE).removeprefix(".")
    key = name.split(".")[0]
    return key if key in FLOORS else None


def own_imports(module: Module) -> list[Import]:
    return [found for found in imports(module) if found.target.split(".")[0] == PACKAGE]


def each_module(*, but: str = "-") -> pytest.MarkDecorator:
    chosen = [module for module in modules() if room(module.dotted) != but]
    return pytest.mark.parametrize("module", chosen, ids=[module.dotted for module in chosen])


@each_module()
def test_module_has_a_floor(module: Module) -> None:
    assert room(module.dotted) is not None, f"{module.dotted} stands on no floor: add it to FLOORS in {__file__}"


@each_module()
def test_arrows_point_down(module: Module) -> None:
    mine = FLOORS.get(room(module.dotted) or "", 99)
    up = [
        f"{module.path.name}:{found.line} imports {found.target}"
        for found in own_imports(module)
        if (theirs := room(found.target)) is not None and FLOORS[theirs] > mine
    ]
    assert not up, f"{module.dotted} (floor {mine}) looks up: {up}"


@each_module()
def test_adapters_do_not_know_each_other(module: Module) -> None:
    parts = module.name.split(".")
    if parts[0] != "adapters" or len(parts) < 2:
        return
    siblings = [
        found.target
        for found in own_imports(module)
        if found.target.startswith(f"{PACKAGE}.adapters.") and found.target.split(".")[2] != parts[1]
    ]
    assert not siblings, f"{module.dotted} imports its sibling {siblings}; move what both need down a floor"


@each_module(but="adapters")
def test_only_core_dependencies_at_import(module: Module) -> None:
    heavy = [
        f"{module.path.name}:{found.line} imports {found.target}"
        for found in imports(module)
        if found.at_import
        and found.target.split(".")[0] not in {PACKAGE, *CORE, *sys.stdlib_module_names, *WEB.get(module.name, ())}
    ]
    assert not heavy, f"{heavy}: import it where it is used and raise MissingExtraError if it is absent"


def test_no_module_needs_itself() -> None:
    """No circle of imports at module level."""
    needs = {
        module.dotted: {found.target for found in own_imports(module) if found.at_import} - {module.dotted}
        for module in modules()
    }
    while leaves := [name for name, targets in needs.items() if not targets & needs.keys()]:
        for name in leaves:
            del needs[name]
    assert not needs, f"these modules import each other in a circle: {sorted(needs)}"
