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
from typing import Any

from rrm_plugin.bulk.folder import Folder, PartTally
from rrm_plugin.bulk.ranking import Listener, Tally, json_line, rank_rows
from rrm_plugin.bulk.sources import File, Part, PartReader
from rrm_plugin.engines.fingerprints import mark
from rrm_plugin.errors import ConfigError
from rrm_plugin.reward import RRMJudge

__all__ = ["PARTS_AT_A_TIME", "Replica", "score_settings"]

PARTS_AT_A_TIME = 4
"""Parts that a replica ranks side by side: where the last groups of one leave the engine room, others fill it."""

GROUPS_AHEAD = 128
"""Groups of a part that are judged at a time."""


class Replica:
    """A judge and the folder that it writes into.

    Args:
        judge: a pickled `RRMJudge`.
        folder: the output.
        stamp: of the plan that has to be found there.
    """

    def __init__(self, judge: bytes, folder: Folder, stamp: str) -> None:
        self.folder = folder
        self._pickled = judge
        self._stamp = stamp
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
        self._listener = Listener(self.judge, lasting=True)
        return home

    async def told(self) -> Tally:
        """What was done since it started, unfinished parts included."""
        return dataclasses.replace(self._now)

    async def rank(self, part: Part) -> PartTally:
        """Ranks a part and finishes it.

        Raises:
            EngineUnavailableError: the engine answers nothing.
            OSError: the file cannot be read or the output not written.
        """
        try:
            return await self._rank(part)
        except OSError as error:
            raise OSError(f"on the machine {socket.gethostname()}: {error}") from error

    async def _rank(self, part: Part) -> PartTally:
        tally, reader = PartTally(), PartReader(part)
        with self.folder.writing(self.folder.target(part)) as write:
            async with contextlib.aclosing(rank_rows(self._listener, reader, ahead=GROUPS_AHEAD)) as rows:
                async for row in rows:
                    write(json_line(row))
                    tally.count(row)
                    self._now.count(row)
            tally.lines = reader.lines
            # Before the part is in its place: what is finished has a tally.
            await asyncio.to_thread(self.folder.keep_tally, part, tally)
        return tally

    async def join(self, file: File) -> None:
        """Puts the parts of a file together."""
        await asyncio.to_thread(self.folder.join, file)

    async def close(self) -> None:
        """Closes the judge."""
        await asyncio.to_thread(self.judge.close)


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
