"""One judge of a bulk run: it ranks parts, several at a time, each into a file that is whole or not there.

Where it runs, a process of its own on some machine, is not known here. Left out: which part it gets, and what follows
when it fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pickle
import socket
from collections.abc import Sequence
from typing import Any

from rrm_plugin.bulk.folder import Folder, PartTally
from rrm_plugin.bulk.ranking import Listener, Tally, json_line, rank_rows
from rrm_plugin.bulk.sources import File, Part, PartReader
from rrm_plugin.engines.fingerprints import mark
from rrm_plugin.engines.limits import Lease, LimitedEngine
from rrm_plugin.errors import ConfigError, EngineError, EngineUnavailableError
from rrm_plugin.ledger import Ledger
from rrm_plugin.reward import RRMJudge
from rrm_plugin.types import Reason

__all__ = ["PARTS_AT_A_TIME", "Replica", "score_settings"]

PARTS_AT_A_TIME = 4
"""Parts that a replica ranks side by side: where the last groups of one leave the engine room, others fill it."""

GROUPS_AHEAD = 128
"""Groups of a part that are judged at a time."""

_LOOKS_EVERY = 0.05


class Replica:
    """A judge and the folder that it writes into.

    Args:
        judge: a pickled `RRMJudge`.
        folder: the output.
        stamp: of the plan that has to be found there.
        patience: as of a `Listener`.
        purse: where calls of a budget are taken from, so many at most at a time; None is no budget.
        begun: whether other replicas have had answers.
    """

    def __init__(
        self,
        judge: bytes,
        folder: Folder,
        stamp: str,
        patience: Sequence[float] = (),
        purse: Lease | None = None,
        begun: bool = False,
    ) -> None:
        self.folder = folder
        self._pickled = judge
        self._stamp = stamp
        self._patience = patience
        self._purse = purse
        self._begun = begun
        self._now = Tally()

    async def start(self) -> str:
        """Makes the judge; to be done first. Not in the constructor, whose errors nobody elsewhere could tell apart.

        Returns:
            The name of the machine.

        Raises:
            ConfigError: the folder is not seen from this machine.
            LedgerError: the ledger cannot be used on this machine.
        """
        home = socket.gethostname()
        plan = self.folder.read_plan()
        if plan is None or plan.stamp != self._stamp:
            raise ConfigError(
                f"the machine {home} does not see the folder {self.folder.place} of this run: output and input have to "
                "be where all machines see them, on a shared file system or in an object store"
            )
        self.judge: RRMJudge = pickle.loads(self._pickled)
        # A row that lacks calls says so, and ends its part in its own way.
        self.judge.over_budget = "unscored"
        if (ledger := self.judge.tournament.judge.ledger) is not None:
            # Made here too: a copy by pickle would find no folder, and judge without a ledger.
            Ledger(ledger.path)
        self._listener = Listener(_limited(self.judge, self._purse), patience=self._patience, begun=self._begun)
        return home

    async def told(self) -> Tally:
        """What was done since it started, unfinished parts included."""
        return dataclasses.replace(self._now)

    async def rank(self, part: Part, last: bool) -> Tally:
        """Ranks a part and finishes it.

        Args:
            last: whether it will not be begun again: a group that an engine does not answer is then taken for one that
                it cannot answer, as long as it answers others of the part.

        Returns:
            As `told`.

        Raises:
            EngineUnavailableError: the engine answers nothing.
            EngineError: it left groups unanswered, and perhaps all that came since; or the budget is spent.
            OSError: the file cannot be read or the output not written.
        """
        try:
            await self._rank(part, last)
            return await self.told()
        except EngineUnavailableError:
            if (engine := self._limited) and engine.tally.failures[Reason.OVER_BUDGET]:
                raise await self._overspent() from None
            raise
        except OSError as error:
            kind = next(kind for kind in (FileNotFoundError, PermissionError, OSError) if isinstance(error, kind))
            raise kind(f"on the machine {socket.gethostname()}: {error}") from error

    async def _rank(self, part: Part, last: bool) -> None:
        tally, reader, unanswered = PartTally(), PartReader(part), 0
        with self.folder.writing(self.folder.target(part)) as write:
            async with contextlib.aclosing(rank_rows(self._listener, reader, ahead=GROUPS_AHEAD)) as rows:
                async for row in rows:
                    if row["failures"].get(Reason.OVER_BUDGET):
                        # It lacks calls for want of money, and is ranked when there is some.
                        raise await self._overspent()
                    write(json_line(row))
                    tally.count(row)
                    self._now.count(row)
                    unanswered += bool(row["failures"]) and not row["calls"] and not row["cached"]
            # Perhaps for want of an engine, and perhaps for what these groups are.
            nothing = unanswered and not tally.calls and not tally.cached
            if nothing or (unanswered and not last and not await self._listener.is_heard()):
                raise EngineError(f"the engine did not answer {unanswered} of {tally.groups} groups")
            tally.lines = reader.lines
            # Before the part is in its place: what is finished has a tally.
            await asyncio.to_thread(self.folder.keep_tally, part, tally)

    @property
    def _limited(self) -> LimitedEngine | None:
        engine = self._listener.judge.tournament.judge.engine
        return engine if isinstance(engine, LimitedEngine) else None

    async def _overspent(self) -> EngineError:
        """The error to end with, once the calls that were still paid are answered, and in the ledger."""
        while self._limited and self._limited.tally.under_way:
            await asyncio.sleep(_LOOKS_EVERY)
        return EngineError(
            "the budget of judge calls is spent; what is not finished is ranked next time", Reason.OVER_BUDGET
        )

    async def join(self, file: File) -> Tally:
        """Puts the parts of a file together.

        Returns:
            As `told`.
        """
        await asyncio.to_thread(self.folder.join, file)
        return await self.told()

    async def close(self) -> None:
        """Closes the judge."""
        await asyncio.to_thread(self.judge.close)


def _limited(judge: RRMJudge, purse: Lease | None) -> RRMJudge:
    if purse is None:
        return judge
    pair_judge = judge.tournament.judge
    return judge.variant(judge=dataclasses.replace(pair_judge, engine=LimitedEngine(pair_judge.engine, lease=purse)))


def score_settings(judge: RRMJudge) -> dict[str, Any]:
    """All that decides a judge's scores, as values that JSON has; not where its engine runs, nor how fast it may be."""
    tournament = judge.tournament
    pair_judge = tournament.judge
    return {
        **tournament.settings,
        "engine": getattr(pair_judge.engine, "fingerprint", pair_judge.engine.name),
        "prompt": f"{pair_judge.prompt.name} {pair_judge.prompt.fingerprint}",
        "top_p": pair_judge.sampling.top_p,
        "force_verdict": pair_judge.force_verdict,
        "keep_thinking": tournament.keep_thinking,
        "same_as": mark(same_as=tournament.same_as),
    }
