"""The pages over HTTP: who may ask, what a browser may do with the answer, and which page an address is.

A ledger may hold anything, so nothing but the package's own files may run, be drawn or be called from its pages; and
any page of the web can make a browser ask this address, so a request for another host's name is refused. Left out:
HTML (`pages.py`) and the socket (`server.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from rrm_plugin.errors import LedgerError
from rrm_plugin.viewer.pages import Pages
from rrm_plugin.viewer.reading import SHOWN, Listing
from rrm_plugin.viewer.templating import FOLDER

__all__ = ["application"]

_HOSTS = ["127.0.0.1", "localhost"]
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class _Number(Convertor[int]):
    """A number of a group or match: of no more digits than Python and SQLite take."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())


def application(pages: Pages) -> Starlette:
    """The web application over one ledger."""
    return Starlette(
        routes=[
            Route("/", _page("overview.html", lambda _: pages.overview(), pages)),
            Route("/groups", _page("groups.html", lambda asked: _groups(pages, asked), pages)),
            Route("/group/{id:number}", _page("group.html", lambda asked: _group(pages, asked), pages)),
            Route(
                "/group/{id:number}/match/{number:number}",
                _page("match.html", lambda asked: _match(pages, asked), pages),
            ),
            Route("/search", _page("search.html", lambda asked: _search(pages, asked), pages)),
            Route("/live", lambda _: _live(pages)),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=_guarded),
            Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False),
        ],
        exception_handlers={
            404: lambda *_: _problem(pages, "Not here", "There is no such page.", 404),
            LedgerError: lambda _, error: _problem(pages, "The ledger cannot be read", str(error), 503),
        },
    )


async def _guarded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await answer(request)
    response.headers.update(_HEADERS)
    return response


def _page(
    template: str, shown: Callable[[Request], Mapping[str, Any] | None], pages: Pages
) -> Callable[[Request], Response]:
    """A route's function; Starlette runs it in a thread, since it reads a file."""

    def answer(request: Request) -> Response:
        found = shown(request)
        if found is None:
            return _problem(pages, "Not here", "The ledger has no group or match of this number.", 404)
        return HTMLResponse(pages.render(template, found))

    return answer


def _groups(pages: Pages, request: Request) -> Mapping[str, Any]:
    return pages.groups(_listing(request), _whole(request.query_params.get("page")) or 1)


def _group(pages: Pages, request: Request) -> Mapping[str, Any] | None:
    return pages.group(request.path_params["id"], _listing(request))


def _match(pages: Pages, request: Request) -> Mapping[str, Any] | None:
    id, number = request.path_params["id"], request.path_params["number"]
    return pages.match(id, number, _listing(request))


def _search(pages: Pages, request: Request) -> Mapping[str, Any]:
    asked = request.query_params
    return pages.search(asked.get("q", ""), asked.get("in", "all"), _whole(asked.get("before")))


def _live(pages: Pages) -> Response:
    groups, calls = pages.reader.sizes()
    return JSONResponse({"groups": groups, "calls": calls})


def _problem(pages: Pages, title: str, problem: str, status: int) -> Response:
    shown = {
        "title": title,
        "problem": problem,
        "links": pages.links,
        "ledger": pages.reader.path.name,
        "sizes": (0, 0),
    }
    return HTMLResponse(pages.render("problem.html", shown), status)


def _listing(request: Request) -> Listing:
    asked = request.query_params
    shown = asked.get("show", "")
    return Listing(
        shown=shown if shown in SHOWN else "", step=_whole(asked.get("step")), name=asked.get("name", "")[:1000]
    )


def _whole(text: str | None) -> int | None:
    """A whole number that SQLite can hold; None for anything else."""
    if text is None or not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 18:
        return None
    return int(text)
