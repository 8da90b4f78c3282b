"""What a service does with a request, apart from HTTP: one judge, its engine within limits, and two gates.

The members that a host names (`/v1/cohort`) and the anonymous ones of OpenRLHF wait at gates of their own: their keys
must not meet, and OpenRLHF's groups have to be closed before its client gives up.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rrm_plugin import metrics
from rrm_plugin.adapters.openrlhf.endpoint import get_reward
from rrm_plugin.cohorts import Gate, Member, Outcome
from rrm_plugin.engines import LimitedEngine, Reply, Sampling
from rrm_plugin.errors import EngineError, GroupError, LedgerError
from rrm_plugin.reporting.lookout import Lookout
from rrm_plugin.reporting.trainer_log import warn_of_unscored
from rrm_plugin.reward import RRMJudge
from rrm_plugin.service.chats import Chats
from rrm_plugin.service.problems import silence
from rrm_plugin.service.settings import ServiceSettings
from rrm_plugin.types import Group, Judgement, Message, Prompt, Response, Scores, Usage

__all__ = ["Desk", "Health", "package_version"]

logger = logging.getLogger(__name__)

_PROBE_SECONDS = 5.0
_PROBE_EVERY = 5.0
"""Seconds for which an answer about the engine is good: a page that is looked at often must not be its load."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Health:
    """Whether the service can judge, and what it knows about that."""

    well: bool
    details: Mapping[str, Any]


class Desk:
    """Answers the requests of a service; all of it on the judge's event loop.

    Args:
        judge: judges; it stays the caller's, who closes it.
        settings: sizes, deadlines and limits.
        tokenizer: of the policy that OpenRLHF trains, to undo its chat template.
        on_judged: told the metrics of each group and pair that was judged.
    """

    def __init__(
        self,
        judge: RRMJudge,
        settings: ServiceSettings,
        *,
        tokenizer: Any = None,
        on_judged: Callable[[Mapping[str, float]], None] = lambda _: None,
    ) -> None:
        pairs = judge.tournament.judge
        self.engine = LimitedEngine.around(
            pairs.engine, ledger=pairs.ledger, calls_per_minute=settings.calls_per_minute
        )
        expect_late_start = getattr(pairs.engine, "expect_late_start", None)
        if expect_late_start is not None:
            expect_late_start()
        self.judge = judge.variant(judge=dataclasses.replace(pairs, engine=self.engine))
        # Clients decide what a spent budget means to them.
        self.judge.over_budget = "unscored"
        if self.judge.lookout.alarms.action == "stop":
            logger.warning('alarms="stop" cannot end the runs of a service\'s clients: alarms are warned of')
            self.judge.lookout = Lookout(dataclasses.replace(self.judge.lookout.alarms, action="warn"), judge.__name__)
        self.settings = settings
        self.on_judged = on_judged
        self.gates = {"cohort": self._gate(settings.deadline), "reward": self._gate(settings.reward_deadline)}
        """By the name that metrics give them."""
        self._chats = Chats(self.engine, pairs.ledger)
        self._tokenizer = tokenizer
        self._probed: tuple[float, dict[str, str]] | None = None
        self._probing = asyncio.Lock()

    async def compare(self, prompt: Prompt, first: Response, second: Response, *, both_orders: bool) -> Judgement:
        """The judgement of a pair.

        Raises:
            EngineError: the engine answered none of the calls.
        """
        judgement = await self.judge.acompare(prompt, first, second, both_orders=both_orders)
        usage = sum((ballot.usage for ballot in judgement.ballots), Usage())
        judged = Scores(values=[], judgements=(judgement,), usage=usage)
        self.on_judged(metrics.summary([judged], [[]], self.judge.__name__))
        if failed := silence(judgement.ballots):
            raise failed
        return judgement

    async def score(self, group: Group, lengths: Sequence[int] | None) -> tuple[Scores, list[float | None]]:
        """Scores and rewards of a group.

        Args:
            lengths: of each response in tokens; None counts characters.

        Raises:
            EngineError: the engine answered none of the calls.
        """
        if lengths is None:
            lengths = [self.judge.tournament.length(response) for response in group.responses]
        scores, rewards = await self.judge.on_loop(self.judge.score_whole(group, lengths))
        signs, watched = [self.judge.tournament.look(group)], len(group.responses) > 1
        self.on_judged(self.judge.lookout.metrics([scores], [lengths], signs, watched=watched))
        warn_of_unscored(self.judge.__name__, [scores])
        if failed := silence([ballot for judgement in scores.judgements for ballot in judgement.ballots]):
            raise failed
        return scores, rewards

    async def join(self, key: str, member: Member, *, size: int | None, patience: float | None) -> Outcome:
        """What becomes of a member, once its group is judged.

        Raises:
            GroupError: the size of the group is not known, or differs from what was said before.
            GateFullError: too many members wait.
        """
        return await self.gates["cohort"].join(key, member, size=size, patience=patience)

    async def withdraw(self, key: str, id: str | None, *, size: int | None) -> None:
        """A member will never come."""
        await self.gates["cohort"].withdraw(key, id, size=size)

    async def reward(self, body: Any) -> dict[str, Any]:
        """OpenRLHF's reply to a reward request.

        Raises:
            GroupError: it is no such request, or the service was not told how large groups are.
            GateError: the service is being stopped.
        """
        if self.settings.group_size is None:
            raise GroupError(
                "this service does not know how many replies a prompt has: start it with --group-size, the same number "
                "as OpenRLHF's --rollout.n_samples_per_prompt and --eval.n_samples_per_prompt"
            )
        gate, patience = self.gates["reward"], self.settings.reward_patience
        return await get_reward(gate, body, tokenizer=self._tokenizer, patience=patience)

    async def model(self) -> str:
        """What clients that judge themselves know the engine by.

        Raises:
            EngineError: it could not be asked.
        """
        return await self._chats.model()

    async def chat(self, messages: Sequence[Message], sampling: Sampling, begun: str | None) -> Reply | None:
        """The model's turn after the messages; None where it cannot continue the text `begun`.

        Raises:
            EngineError: the call failed.
        """
        return await self._chats.reply(messages, sampling, begun)

    async def health(self) -> Health:
        """Whether the engine answers, the ledger takes records, and there is budget left."""
        servers = await self.servers()
        ledger = self.judge.tournament.judge.ledger
        lost = ""
        if ledger is not None:
            try:
                await ledger.find("")
            except LedgerError as error:
                lost = str(error)
        reachable = not servers or not all(servers.values())
        details = {
            "version": package_version(),
            "engine": {
                "name": self.engine.name,
                "reachable": reachable,
                "servers": servers,
                "calls": self.engine.tally.calls,
                "tokens": self.engine.tally.tokens,
                "under_way": self.engine.tally.under_way,
                "failures": dict(self.engine.tally.failures),
                "last_failure": self.engine.tally.last_failure,
                "spent": self.engine.spent,
            },
            "gates": {name: {"waiting": gate.waiting, **gate.counts} for name, gate in self.gates.items()},
            "ledger": None if ledger is None else {"usable": not lost, "error": lost},
        }
        return Health(well=reachable and not lost and self.engine.spent is None, details=details)

    @property
    def has_servers(self) -> bool:
        """Whether the judge is somewhere else, and may not answer."""
        return hasattr(self.engine.engine, "probe")

    async def servers(self) -> dict[str, str]:
        """For each of the engine's servers what is wrong with it; an engine in process is judged by its last call."""
        probe = getattr(self.engine.engine, "probe", None)
        if probe is None:
            failed = self.engine.tally.last_failure
            return {self.engine.name: failed} if failed else {}
        async with self._probing:
            now = time.monotonic()
            if self._probed is None or now - self._probed[0] > _PROBE_EVERY:
                try:
                    found = await probe(_PROBE_SECONDS)
                except EngineError as error:
                    found = {self.engine.name: str(error)}
                self._probed = (time.monotonic(), found)
            return self._probed[1]

    async def close(self) -> None:
        """Ends all groups; the judge stays open."""
        for gate in self.gates.values():
            await gate.close()

    def _gate(self, deadline: float) -> Gate:
        return Gate(
            self.judge,
            size=self.settings.group_size,
            deadline=deadline,
            just_in_time=self.settings.just_in_time,
            capacity=self.settings.capacity,
            on_judged=lambda found: self.on_judged(found),
        )


def package_version() -> str:
    """Of this package; `0` where it runs from a checkout that is not installed."""
    try:
        return version("rrm-plugin")
    except PackageNotFoundError:
        return "0"
