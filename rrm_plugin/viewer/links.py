"""Addresses of pages: what a page links to, whether a server has it or an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from rrm_plugin.viewer.reading import Listing

__all__ = ["ALL", "Links", "ServerLinks"]

ALL = Listing()
"""All groups, the newest first."""


class Links(Protocol):
    """Addresses of pages; None where there is no such page."""

    def home(self) -> str | None:
        """Of the overview."""
        ...

    def groups(self, listing: Listing = ..., page: int = ...) -> str | None:
        """Of a list of groups."""
        ...

    def group(self, id: int, listing: Listing = ...) -> str | None:
        """Of a group, come to from a list."""
        ...

    def match(self, id: int, number: int, listing: Listing = ...) -> str | None:
        """Of a match."""
        ...

    def search(self, text: str = ..., place: str = ..., before: int | None = ...) -> str | None:
        """Of a search."""
        ...


class ServerLinks:
    """Addresses on the server."""

    def home(self) -> str:
        """Of the overview."""
        return "/"

    def groups(self, listing: Listing = ALL, page: int = 1) -> str:
        """Of a list of groups."""
        return _address("/groups", _query(listing) | ({"page": page} if page > 1 else {}))

    def group(self, id: int, listing: Listing = ALL) -> str:
        """Of a group, come to from a list."""
        return _address(f"/group/{id}", _query(listing))

    def match(self, id: int, number: int, listing: Listing = ALL) -> str:
        """Of a match."""
        return _address(f"/group/{id}/match/{number}", _query(listing))

    def search(self, text: str = "", place: str = "all", before: int | None = None) -> str:
        """Of a search."""
        asked = {"q": text, "in": "" if place == "all" else place, "before": before or ""}
        return _address("/search", {name: value for name, value in asked.items() if value})


def _query(listing: Listing) -> dict[str, Any]:
    asked = {"show": listing.shown, "step": listing.step, "name": listing.name}
    return {name: value for name, value in asked.items() if value not in ("", None)}


def _address(path: str, query: Mapping[str, Any]) -> str:
    return f"{path}?{urlencode(query, errors='replace')}" if query else path
