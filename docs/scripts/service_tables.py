"""The table of a service's endpoints, read off the application itself."""

from __future__ import annotations

import inspect

from estimate_tables import markdown
from fastapi.routing import APIRoute

from rrm_plugin import RRMJudge
from rrm_plugin.service.app import application
from rrm_plugin.service.counters import Counters
from rrm_plugin.service.desk import Desk
from rrm_plugin.service.settings import ServiceSettings

__all__ = ["endpoints"]


def endpoints() -> str:
    """Method, path and meaning of each endpoint, and the fields of its body."""
    with RRMJudge(engine="scripted:longer") as judge:
        routes = application(Desk(judge, ServiceSettings()), Counters()).routes
    rows = []
    for route in routes:
        if isinstance(route, APIRoute):
            meaning = " ".join((inspect.getdoc(route.endpoint) or "").split())
            rows.append([f"`{' '.join(sorted(route.methods or ()))} {route.path}`", meaning, _fields(route)])
    return markdown(["endpoint", "what it does", "fields of the body"], rows)


def _fields(route: APIRoute) -> str:
    if route.body_field is None:
        return ""
    fields = route.body_field.field_info.annotation.model_fields  # type: ignore[union-attr]
    needed = [f"`{name}`" for name, field in fields.items() if field.is_required()]
    optional = [f"`{name}`" for name, field in fields.items() if not field.is_required()]
    return ", ".join(needed) + ("; optional " + ", ".join(optional) if optional else "")
