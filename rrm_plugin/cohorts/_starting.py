"""Waiting at the start for a judge that is still being loaded somewhere."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

import numpy as np

from rrm_plugin.errors import EngineUnavailableError

__all__ = ["answering"]

logger = logging.getLogger(__name__)

PROBE_SECONDS, PAUSE_SECONDS, NEWS_SECONDS = 5.0, 2.0, 60.0
"""While a server is waited for: for one answer, between two tries, and between two lines in the log."""


async def answering(probe: Callable[[float], Awaitable[Mapping[str, str]]], seconds: float) -> None:
    """Returns when one of an engine's servers answers.

    Args:
        probe: takes the seconds to wait for an answer; gives for each server nothing, or what is wrong with it.
        seconds: to wait at most.

    Raises:
        EngineUnavailableError: none answers in time.
    """
    began, told = time.monotonic(), -np.inf
    while wrong := await probe(PROBE_SECONDS):
        if not all(wrong.values()):
            return
        waited = time.monotonic() - began
        said = "; ".join(f"{server}: {error}" for server, error in wrong.items())
        if waited >= seconds:
            raise EngineUnavailableError(
                f"no server of the judge answers after {seconds:g} s ({said}); start it, or correct engine="
            )
        if waited - told >= NEWS_SECONDS:
            told = waited
            logger.warning("waiting for a server of the judge to answer, for %d s yet: %s", seconds - waited, said)
        await asyncio.sleep(min(PAUSE_SECONDS, seconds - waited))
