"""Pairs that the current judge gets right every time teach it nothing: all rewards of their group are the same.

Left out: pairs that it never gets right, which may be hard or wrongly labelled; that is not for a filter to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rrm_plugin.background import BackgroundLoop
from rrm_plugin.judge import PairJudge
from rrm_plugin.training.candidates import Candidate
from rrm_plugin.training.ordering import Orders, shown
from rrm_plugin.training.sources import Reject, RejectReason
from rrm_plugin.training.windows import Answered, in_order
from rrm_plugin.types import Verdict

__all__ = ["DifficultyFilter"]


class DifficultyFilter:
    """Drops pairs that a judge gets right every time. Close it, or use it in a `with` statement.

    Args:
        judge: the judge that is to be trained, with the template of the data; votes are different samples.
        times: samples of each order that is written. They are drawn one after the other, and the first that is wrong
            ends them, so that hard pairs cost one call.
        orders: those of the data.

    A call that the engine fails is no right verdict: its pair stays.
    """

    def __init__(self, judge: PairJudge, times: int, orders: Orders = "random") -> None:
        self._judge = judge
        self._times = times
        self._orders: Orders = orders
        self._answered = Answered(judge.engine)
        # One loop for the streams of all sources: an engine is used from one at a time.
        self._loop = BackgroundLoop("rrm-difficulty")

    def __call__(self, items: Iterable[Candidate | Reject]) -> Iterator[Candidate | Reject]:
        """The same items in their order, with a reject in place of each pair that is too easy.

        Raises:
            EngineUnavailableError: the engine answers none of many calls.
            ConfigError: no call can succeed with the engine's settings.
        """
        return in_order(self._loop, items, self._sifted)

    def close(self) -> None:
        """Gives back the engine's connections and memory."""
        self._loop.close(self._judge.engine.close())

    def __enter__(self) -> DifficultyFilter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _sifted(self, item: Candidate | Reject) -> Candidate | Reject:
        if isinstance(item, Reject) or not await self._solved(item):
            return item
        file, _, line = item.origin.rpartition(":")
        return Reject(
            source=item.source,
            file=file,
            line=int(line),
            reason=RejectReason.TOO_EASY,
            detail=f"the judge is right {self._times} times of {self._times} in each order shown",
        )

    async def _solved(self, candidate: Candidate) -> bool:
        for vote in range(self._times):
            for first, second, label in shown(candidate, self._orders):
                judgement = await self._judge.judge(candidate.query, first, second, vote=vote)
                right = Verdict.FIRST if label == 1 else Verdict.SECOND
                if not self._answered.note(judgement) or judgement.verdict is not right:
                    return False
        return True
