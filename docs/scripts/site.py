"""Builds the site of the docs into outputs/site: the pages as they lie in the repository, and a reference of the API.

    python docs/scripts/site.py

Every link of a page means on the site what it means in the repository: pages keep their folders, files that they link
to come along, and a link to a folder leads to its README. The reference is one page for each public module, made of its
docstrings. A link that leads nowhere ends the build (mkdocs.yml). Needs the extra "docs". Left out: publishing it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "outputs"
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**/*.md", "integrations/**/*.md", "examples/*.md")
RESULTS = "benchmarks/results/*.md"
REFERENCE = (
    "rrm_plugin",
    "rrm_plugin.types",
    "rrm_plugin.errors",
    "rrm_plugin.config",
    "rrm_plugin.prompts",
    "rrm_plugin.verdicts",
    "rrm_plugin.schedules",
    "rrm_plugin.reducers",
    "rrm_plugin.shaping",
    "rrm_plugin.metrics.names",
    "rrm_plugin.metrics.alarms",
    "rrm_plugin.engines",
    "rrm_plugin.ledger",
    "rrm_plugin.judge",
    "rrm_plugin.tournament",
    "rrm_plugin.cohorts",
    "rrm_plugin.service",
    "rrm_plugin.training",
    "rrm_plugin.evaluation",
    "rrm_plugin.evaluation.best_of_n",
    "rrm_plugin.adapters.trl",
    "rrm_plugin.adapters.openrlhf.policy",
    "rrm_plugin.adapters.verl",
)
"""The modules that a user may import; a package shows what it exports."""

SEARCH = "docs/scripts/iframe-worker.js"
"""The script of mkdocs.yml by which a site in a folder can be searched."""

_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def source() -> Path:
    """The folder in which what the site is built of is gathered."""
    return OUT / "site-source"


def pages() -> list[Path]:
    """The Markdown pages of the repository that are on the site."""
    return sorted({path for pattern in (*PAGES, RESULTS) for path in ROOT.glob(pattern)})


def gather() -> None:
    """Copies all pages, what they link to, and the pages of the reference into `source()`.

    Raises:
        FileNotFoundError: a page links to what is not there.
    """
    shutil.rmtree(source(), ignore_errors=True)
    for page in pages():
        _put(page, _with_pages_for_folders(page))
        for target in _linked(page):
            if target.is_file() and target.suffix != ".md":
                place = source() / target.relative_to(ROOT)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(target, place)
    (source() / SEARCH).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / SEARCH, source() / SEARCH)
    for module in REFERENCE:
        path = source() / "reference" / f"{module}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {module}\n\n::: {module}\n", encoding="utf-8")


def configuration() -> dict[str, Any]:
    """mkdocs.yml, with the pages in its menu that nobody has to list: hosts, results, the reference."""
    # Its tags are mkdocs' own, so the file is taken as it is and only the menu is added to.
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2])
    named = {path for section in menu for path in _paths(section)}
    rest = [str(page.relative_to(ROOT)) for page in pages() if str(page.relative_to(ROOT)) not in named]
    hosts = [name for name in rest if name.startswith(("integrations/", "examples/"))]
    results = [name for name in rest if name.startswith("benchmarks/")]
    others = [name for name in rest if name not in {*hosts, *results}]
    reference = [{module: f"reference/{module}.md"} for module in REFERENCE]
    menu[-1]["Reference"] += reference
    return {
        "INHERIT": str(ROOT / "mkdocs.yml"),
        "docs_dir": str(source()),
        "site_dir": str(OUT / "site"),
        "nav": [*menu, {"Recipes and examples": hosts}, {"Measured": results}, {"Project": others}],
    }


def build(*options: str) -> subprocess.CompletedProcess[str]:
    """Builds what was gathered; whatever mkdocs says stands in the result.

    Args:
        options: further ones of mkdocs.
    """
    config = OUT / "site.yml"
    config.write_text(yaml.safe_dump(configuration(), sort_keys=False), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "-f", str(config), *options]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True)


def main() -> int:
    """Gathers and builds; the exit status of mkdocs."""
    gather()
    done = build()
    print(done.stdout + done.stderr, end="", file=sys.stderr)
    if done.returncode == 0:
        print(OUT / "site" / "index.html")
    return done.returncode


def _put(page: Path, text: str) -> None:
    place = source() / page.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")


def _linked(page: Path) -> Iterator[Path]:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / link).resolve()
        if not target.exists():
            raise FileNotFoundError(f"{page.relative_to(ROOT)} links to {link}, which is not there")
        if target.is_relative_to(ROOT):
            yield target


def _with_pages_for_folders(page: Path) -> str:
    def replaced(link: re.Match[str]) -> str:
        target = (page.parent / link[1]).resolve()
        if not target.is_dir():
            return link[0]
        inside = next((name for name in ("README.md", "index.md") if (target / name).exists()), None)
        if inside is None:
            # A folder without a page of its own: the menu shows what is in it.
            return f"]({os.path.relpath(ROOT / 'docs' / 'index.md', page.parent)}"
        return f"]({link[1].rstrip('/')}/{inside}"

    return _LINK.sub(replaced, page.read_text(encoding="utf-8"))


def _paths(entry: Any) -> Iterable[str]:
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [path for value in values for path in _paths(value)]


if __name__ == "__main__":
    sys.exit(main())
