"""The judge as an HTTP service, and its client.

    settings   how a service is reached, and its limits
    models     the bodies of its requests                      needs the extra "service"
    app        its endpoints                                   needs the extra "service"
    counters   what Prometheus reads                           needs the extra "service"
    guard      what every request has to pass: token, size, room, a client that is still there
    problems   errors as statuses and JSON
    wire       judgements, scores and outcomes as JSON, and back
    chats      model calls of clients that judge themselves, through the service's ledger
    server     a service that runs and stops
    client     `ServiceClient`, for whoever wants judgements of a service

    with ServiceClient("rrm://localhost:8100") as client:
        client.compare(prompt, first, second)

Left out: TLS, which is a proxy's, and more than one process, since a group has to come together in one.
"""

from __future__ import annotations

from rrm_plugin.service.client import ServiceClient
from rrm_plugin.service.settings import ServiceSettings

__all__ = ["ServiceClient", "ServiceSettings"]
