"""What may stand in the files of the project, and which files there have to be.

The project speaks of itself alone: no path of the machine it was written on, no host of a package registry, no notes it
was made from. This file is read too, so its patterns do not match themselves.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.source import ROOT, tracked_files

FORBIDDEN = {
    "an absolute path of one machine": r"(?<![\w.*})\]~:/-])/(?:work|root|home|Users)(?:/\w|\b(?![/\w]))",
    "a temporary path of one machine": r"(?<![\w.*})\]~:/-])/(?:tmp|opt|mnt)/\w",
    "the host of a package registry": r"(?:pypi|pythonhosted|npmjs|anaconda|pytorch)\.(?:org|com)\b",
    "working notes": r"\b(?:facts|design|shared/facts|shared/design)/[a-z_-]+\.md|\bhouse\.md",
    "the number of a work item": r"\b[Ii]ssue #?\d+(?! of)\b",
    "how it was written": r"[Cc]o-[Aa]uthored-[Bb]y|\b[Ss]ub-?agents?\b",
}
TEXT = [path for path in tracked_files() if b"\0" not in path.read_bytes()[:8192]]


@pytest.mark.parametrize("path", TEXT, ids=lambda path: str(path.relative_to(ROOT)))
def test_speaks_of_itself_alone(path: Path) -> None:
    found = [
        f"line {number}: {what}: {match.group()!r}"
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if (match := re.search(pattern, line))
    ]
    assert not found


@pytest.mark.parametrize(
    "parts",
    [
        ("see ", "/", "work/main"),
        ("cd ", "/", "root"),
        ("'", "/", "home/ann/x'"),
        ("", "/", "tmp/x"),
        ("https://pypi", ".org/simple"),
        ("as facts", "/paper.md says"),
    ],
)
def test_patterns_find(parts: tuple[str, ...]) -> None:
    line = "".join(parts)
    assert any(re.search(pattern, line) for pattern in FORBIDDEN.values())


@pytest.mark.parametrize(
    "line", ["http://localhost/work/x", "path/root", "{url}/tmp/x", "tmp_path / 'x'", "a/home/b", "1/opt"]
)
def test_patterns_leave_alone(line: str) -> None:
    assert not any(re.search(pattern, line) for pattern in FORBIDDEN.values())


@pytest.mark.parametrize(
    "name",
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "pyproject.toml", "rrm_plugin/py.typed"],
)
def test_file_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size or name.endswith("py.typed")


def test_licence_is_the_one_declared() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_integrations_are_no_packages() -> None:
    """A folder `integrations/trl` with an `__init__.py` would shadow the real trl for whoever starts beside it."""
    packages = list((ROOT / "integrations").rglob("__init__.py"))
    assert not packages
