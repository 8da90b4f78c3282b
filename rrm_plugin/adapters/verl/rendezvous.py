"""The way from a reward-loop worker to the broker, which is a named Ray actor of the run.

Whoever comes first makes it, and whoever finds it dead makes it anew and brings its member again, so that groups come
together again; with a ledger no call is paid twice. It outlives the worker that made it, and ends with the last one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

from rrm_plugin.adapters.verl.broker import Answer, Broker, answer_of
from rrm_plugin.adapters.verl.rows import Row
from rrm_plugin.adapters.verl.settings import PolicySettings
from rrm_plugin.errors import AlarmError, ConfigError

__all__ = ["Rendezvous", "broker_name"]

logger = logging.getLogger(__name__)

NAMESPACE = "rrm_plugin"
NAME = "broker"
PATIENCE = 180.0
"""Seconds for which a member is brought again before it is given up: Ray takes up to a minute to see that a node is
gone, and finds the dead broker by its name until then.
"""

PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds before it is brought again the first time, doubled each time, and at most."""

ROUND = 30.0
"""Seconds between two looks after the workers."""


def broker_name() -> str:
    """The actor's name: another in each run, so that none finds the broker of one that has just ended."""
    return f"{NAME}_{ray.get_runtime_context().get_job_id()}"


class Rendezvous:
    """Brings members to the broker and carries its answers back.

    Args:
        settings: of the run, with which the broker is made.
    """

    def __init__(self, settings: PolicySettings) -> None:
        self._settings = settings
        self._actor: Any = None

    def begin(self) -> str:
        """Makes the broker, or finds it, and waits until it is set up.

        Returns:
            the judge's reference column.

        Raises:
            ConfigError: it cannot be set up.
        """
        try:
            # Not ray.get, which complains when it is called while an async actor is made.
            return self._broker().ready.remote().future().result()
        except RayActorError as error:
            raise _no_broker(error) from error

    async def join(self, row: Row) -> Answer:
        """The answer for one row: a number, whatever becomes of the broker.

        Raises:
            ConfigError: a setting of the judge cannot work.
            AlarmError: an alarm is to stop the run.
        """
        began = time.perf_counter()
        lost_at: float | None = None
        pause = PAUSE
        while True:
            actor, brought = self._broker(), time.perf_counter()
            try:
                return await actor.join.remote(row)
            except RayActorError as error:
                self._drop(actor)
                logger.warning("the broker of groups is gone, and is made anew: %s", str(error).splitlines()[0])
            except (AlarmError, ConfigError):
                raise
            except Exception:
                logger.exception("a response could not be judged, and gets 0")
                break
            now = time.perf_counter()
            if lost_at is None or now - brought > PATIENCE:
                # It lived for long meanwhile, so this is another death.
                lost_at, pause = now, PAUSE
            if now - lost_at > PATIENCE:
                logger.error("no broker of groups has lived for %g s; a response is unscored, and gets 0", PATIENCE)
                break
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
        return answer_of(None, time.perf_counter() - began, self._settings.judge.get("name", "rrm"))

    def _broker(self) -> Any:
        if self._actor is None:
            made = ray.remote(_Process).options(
                name=broker_name(),
                namespace=NAMESPACE,
                get_if_exists=True,
                # Otherwise it would end with the worker that happens to make it.
                lifetime="detached",
                # An async actor answers 1000 calls at a time unless told otherwise; each member is a call that waits.
                max_concurrency=max(10_000, 4 * self._settings.in_flight),
                num_cpus=0,
            )
            self._actor = made.remote(self._settings)
            worker = _this_actor()
            if worker is not None:
                self._actor.watch.remote(worker)
        return self._actor

    def _drop(self, actor: Any) -> None:
        if self._actor is actor:
            self._actor = None


class _Process(Broker):
    """The broker in a process of its own, which may say what is logged there, and ends with the last worker."""

    def __init__(self, settings: PolicySettings) -> None:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("rrm_plugin").setLevel(logging.INFO)
        super().__init__(settings)
        self._workers: list[Any] = []
        self._watching: asyncio.Task[None] | None = None

    async def watch(self, worker: Any) -> None:
        """This worker needs the broker."""
        self._workers.append(worker)
        if self._watching is None:
            self._watching = asyncio.ensure_future(self._watch())

    async def process(self) -> int:
        """The process id, for those who want to see it."""
        return os.getpid()

    async def _watch(self) -> None:
        while self._workers:
            await asyncio.sleep(ROUND)
            watched = list(self._workers)
            alive = await asyncio.gather(*map(_lives, watched))
            # Others may have come during the look.
            self._workers = [worker for worker, lives in zip(watched, alive, strict=True) if lives] + [
                worker for worker in self._workers if all(worker is not one for one in watched)
            ]
        logger.info("no reward-loop worker is left: the broker ends")
        ray.kill(_this_actor())


async def _lives(worker: Any) -> bool:
    try:
        await asyncio.wait_for(worker.__ray_ready__.remote(), ROUND)
    except (ActorUnavailableError, TimeoutError):
        # Out of reach for the moment, or busy: all of its places are taken by members that wait.
        return True
    except RayActorError:
        return False
    return True


def _this_actor() -> Any:
    context = ray.get_runtime_context()
    return context.current_actor if context.get_actor_id() else None


def _no_broker(error: RayActorError) -> ConfigError:
    # Ray puts the actor's own traceback into the text; its last line is the error that a person can act on.
    told = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ConfigError(f"the judge cannot be set up: {told[-1] if told else error}")
