"""What `rrm serve` says of its judge when it starts: whether it answers yet, and which setting to check if not.

A service is often started before the server of its judge, or beside it, and answers requests from its first second: so
a wrong address would only be noticed by the first trainer. Nothing waits for what is said here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.service.desk import Desk

__all__ = ["announce", "state_of"]

_LOOK_EVERY = 5.0
"""Seconds between two looks after a judge that does not answer yet."""


async def announce(desk: Desk, tell: Callable[[str], None]) -> None:
    """Tells whether the judge answers, and again when it does at last.

    Args:
        desk: of the service.
        tell: told one line, or two.
    """
    answers, said = await state_of(desk)
    tell(said)
    while not answers:
        await asyncio.sleep(_LOOK_EVERY)
        answers, said = await state_of(desk)
        if answers:
            tell(said)


async def state_of(desk: Desk) -> tuple[bool, str]:
    """Whether there is nothing more to wait for, and a line for a person."""
    if not desk.has_servers:
        return True, f"The judge {desk.engine.name} is in this process."
    servers = await desk.servers()
    silent = {server: error for server, error in servers.items() if error}
    if len(silent) == len(servers):
        told = "; ".join(f"{server}: {error}" for server, error in silent.items())
        return False, (
            f"No judge answers yet ({told}). Start its server, or correct --engine (engine in the settings file). "
            "Requests wait for it, for retry_for seconds at most."
        )
    try:
        name = await desk.engine.identify()
    except ConfigError as error:
        return True, f"The judge cannot be asked: {error}"
    except EngineError as error:
        return (
            False,
            f"No judge answers yet: {error}. Check --engine and --model (in the settings file: engine, model).",
        )
    missing = "".join(f", but nothing does at {server} ({error})" for server, error in silent.items())
    return True, f"The judge {name} answers{missing}."
