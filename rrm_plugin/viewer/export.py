"""A run in one HTML file: the overview, and some groups with all their matches, readable without a server.

Where a ledger holds more groups than the file, it takes those most worth a look, of each kind, and fills up with
groups from all over the run; the file says so. It is a snapshot: nothing in it renews itself, and its own content
security policy lets nothing run but the scripts whose hashes it names, and nothing be fetched. Left out: search and
lists.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrm_plugin.errors import ConfigError, LedgerError
from rrm_plugin.viewer.links import ALL
from rrm_plugin.viewer.pages import Pages
from rrm_plugin.viewer.reading import SHOWN, LedgerReader, Listing
from rrm_plugin.viewer.summary import Summary
from rrm_plugin.viewer.templating import FOLDER, Markup, environment

__all__ = ["Exported", "export"]

LARGEST = 32 * 2**20
"""Bytes after which no further group is taken."""
_SCRIPTS = ("theme.js", "vendor/uPlot.iife.min.js", "view.js")
_STYLES = ("vendor/bootstrap.min.css", "vendor/uPlot.min.css", "view.css")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a file holds."""

    groups: int
    of: int
    """Groups of the ledger."""


class _FileLinks:
    """Addresses inside the file; None for what is not in it."""

    def __init__(self, groups: set[int]) -> None:
        self._groups = groups

    def home(self) -> str:
        return "#overview"

    def groups(self, listing: Listing = ALL, page: int = 1) -> None:
        return None

    def group(self, id: int, listing: Listing = ALL) -> str | None:
        return f"#group-{id}" if id in self._groups else None

    def match(self, id: int, number: int, listing: Listing = ALL) -> str | None:
        return f"#group-{id}-match-{number}" if id in self._groups else None

    def search(self, text: str = "", place: str = "all", before: int | None = None) -> None:
        return None


def export(
    ledger: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    groups: int = 24,
    on_counted: Callable[[int], None] = lambda _: None,
) -> Exported:
    """Writes a ledger as one HTML file.

    Args:
        ledger: the file to read.
        target: the file to write; replaced when it is whole.
        groups: most groups to take.
        on_counted: told how many groups of a ledger of an older version are counted so far.

    Raises:
        LedgerError: there is no such ledger.
        ConfigError: the target is the ledger.
        OSError: the target cannot be written.
    """
    reader = LedgerReader(ledger, on_counted)
    _refuse(reader.path, Path(target))
    chosen = _chosen(reader, groups)
    links = _FileLinks(set(chosen))
    pages = Pages(reader, Summary(reader), links)
    sections: list[dict[str, Any]] = []
    size = 0
    for id in chosen:
        if size > LARGEST:
            links._groups.discard(id)
            continue
        made = _sections(pages, id)
        if not made:
            links._groups.discard(id)
        size += sum(len(section["html"].encode("utf-8", "replace")) for section in made)
        sections += made
    of = reader.sizes()[0]
    taken = len(links._groups)
    overview = {
        "id": "overview",
        "title": pages.reader.path.name,
        "html": _block(pages, "overview.html", pages.overview()),
    }
    html = (
        environment()
        .get_template("export.html")
        .render(
            ledger=reader.path.name,
            sections=[overview, *sections],
            groups=taken,
            of=of,
            scripts=[_inline(name) for name in _SCRIPTS],
            styles=[_inline(name) for name in _STYLES],
            links=links,
            listed=reader.rows(sorted(links._groups, reverse=True)),
            Listing=Listing,
        )
    )
    partial = Path(f"{os.fspath(target)}.partial")
    partial.write_text(html, encoding="utf-8", errors="replace")
    os.replace(partial, target)
    return Exported(groups=taken, of=of)


def _refuse(ledger: Path, target: Path) -> None:
    """Checks that a run's record is not replaced by a page about it."""
    for ending in ("", "-wal", "-shm"):
        # SQLite keeps what is not yet in the file in two others beside it.
        own = Path(f"{ledger}{ending}")
        if own.exists() and target.exists() and own.samefile(target):
            raise ConfigError(f"{target} is a file of the ledger: name another one for the page")


def _chosen(reader: LedgerReader, most: int) -> list[int]:
    """Numbers of the groups to take: all, or in turn the next most telling one of each kind, half of them, and then
    from all over the run.
    """
    of = reader.sizes()[0]
    if of <= most:
        return [row.id for row in reader.groups(ALL, most)]
    chosen: dict[int, None] = {}
    telling = [[row.id for row in reader.groups(Listing(shown=shown), most)] for shown in SHOWN]
    for place in range(most):
        for ids in telling:
            if place < len(ids) and len(chosen) < max(1, most // 2):
                chosen[ids[place]] = None
    left = most - len(chosen)
    spread = [of - round(place * (of - 1) / max(1, 2 * left - 1)) for place in range(2 * left)]
    for row in reader.rows(spread):
        if len(chosen) < most:
            chosen[row.id] = None
    return list(chosen)


def _sections(pages: Pages, id: int) -> list[dict[str, Any]]:
    """The section of a group, and those of its matches; none where it cannot be read."""
    try:
        shown = pages.group(id)
    except LedgerError:
        shown = None
    if shown is None:
        return []
    made = [{"id": f"group-{id}", "title": shown["title"], "html": _block(pages, "group.html", shown)}]
    for match in shown["group"].matches:
        told = pages.match(id, match.number) or {}
        name = f"group-{id}-match-{match.number}"
        made.append({"id": name, "title": told["title"], "html": _block(pages, "match.html", told)})
    return made


def _block(pages: Pages, template: str, shown: dict[str, Any]) -> Markup:
    """The main part of a page."""
    found = environment().get_template(template)
    return Markup("".join(found.blocks["main"](found.new_context(shown))))


def _inline(name: str) -> dict[str, Any]:
    """One of the package's own files, and its hash for the content security policy."""
    text = (FOLDER / "static" / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return {"text": Markup(text), "hash": f"'sha256-{digest}'"}
