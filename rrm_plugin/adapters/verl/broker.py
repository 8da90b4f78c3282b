"""Where the members of all reward-loop workers meet: one gate and one judge for the whole cluster.

verl hands each sample to a worker drawn at random, so that siblings land in different processes. `Broker` is what they
share; `rendezvous.py` makes a Ray actor of it. Left out here is all that needs Ray.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from rrm_plugin.adapters.verl.batches import Batches
from rrm_plugin.adapters.verl.rows import Row
from rrm_plugin.adapters.verl.settings import PolicySettings
from rrm_plugin.adapters.verl.validation import ValidationPrompts
from rrm_plugin.cohorts import Gate, Outcome
from rrm_plugin.errors import ConfigError
from rrm_plugin.reporting.outcomes import numbers_of
from rrm_plugin.reward import RRMJudge

__all__ = ["Answer", "Broker", "answer_of"]

logger = logging.getLogger(__name__)

Answer = dict[str, Any]
"""What verl wants of a reward manager: `reward_score` and `reward_extra_info`."""

GROUPS_TO_A_LINE = 64
"""Groups after which the log is told how the judge does."""


def answer_of(outcome: Outcome | None, seconds: float, name: str = "rrm") -> Answer:
    """A reward in verl's shape: always a number, and the same keys with each.

    Args:
        outcome: what the gate said; None where nothing could be found out, which is unscored and gets 0.
        seconds: that it took.
        name: of the judge.
    """
    number = 0.0 if outcome is None else outcome.number
    return {
        "reward_score": number,
        "reward_extra_info": {"score": number, **numbers_of(outcome, seconds, name)},
    }


class Broker:
    """The judge and its gate.

    Args:
        settings: of the run.
        validation: says which prompts are of a validation.

    Raises:
        ConfigError: a setting cannot work.
    """

    def __init__(self, settings: PolicySettings, validation: ValidationPrompts | None = None) -> None:
        self._settings = settings
        self._groups: list[Mapping[str, float]] = []
        gate = {"capacity": max(65_536, 4 * settings.in_flight), "on_judged": self._note} | dict(settings.gate)
        quiet = gate.pop("quiet", 3.0)
        judge = RRMJudge(**settings.judge)
        try:
            self._gate = Gate(judge, **gate)
        except TypeError as error:
            raise ConfigError(f"gate must hold settings of a gate: {error}") from error
        self._size = self._gate.size or settings.size
        self._batches = Batches(self._gate, size=self._size, quiet=quiet, validation_size=settings.validation_size)
        self._validation = validation or ValidationPrompts()
        if settings.starving:
            logger.warning("%s", settings.starving)

    async def ready(self) -> str:
        """The judge's reference column, once all is set up and the judge's server answers.

        Raises:
            EngineUnavailableError: it does not answer.
        """
        await self._gate.ready()
        return self._gate.judge.reference_column

    async def join(self, row: Row) -> Answer:
        """The answer for one row, once its group is judged.

        Raises:
            ConfigError: a setting of the judge cannot work.
        """
        began = time.perf_counter()
        if row.told:
            outcome = await self._gate.join(row.key, row.member, size=await self._size_of(row))
        else:
            outcome = await self._batches.join(row)
        return answer_of(outcome, time.perf_counter() - began, self._gate.judge.__name__)

    async def metrics(self) -> dict[str, float]:
        """Counts since the start, of all workers together."""
        return self._gate.metrics()

    async def _size_of(self, row: Row) -> int:
        if self._settings.validation_size == self._size:
            return self._size
        noted = await self._validation.includes(row.key)
        validation = row.validation if noted is None else noted
        return self._settings.validation_size if validation else self._size

    def _note(self, judged: Mapping[str, float]) -> None:
        """verl's training log shows no number of a reward manager but the reward, so the others are logged here."""
        self._groups.append(judged)
        if len(self._groups) < GROUPS_TO_A_LINE:
            return
        groups, self._groups = self._groups, []
        names = sorted({name for group in groups for name in group})
        means = {name: float(np.mean([group[name] for group in groups if name in group])) for name in names}
        told = ", ".join(f"{name}={value:.4g}" for name, value in (means | self._gate.metrics()).items())
        logger.info("means of %d groups, and counts since the start: %s", len(groups), told)
