"""Rows in, rows out: groups are scored many at a time, and come out in the order in which they went in.

One meaning for all who rank files. A row that cannot be read or scored comes out with its `error` and ends nothing; an
engine that answers nothing ends the run. Left out: where rows come from and where they go.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rrm_plugin.errors import BudgetSpentError, EngineUnavailableError
from rrm_plugin.reward import RRMJudge
from rrm_plugin.types import Group, Judgement, Reason, Scores

__all__ = ["GROUPS_AHEAD", "SILENT_ROWS", "Line", "Listener", "Tally", "json_line", "rank_rows"]

GROUPS_AHEAD = 256
"""Groups being judged at a time; results are written in the order of the input, so this bounds what waits for a slow
one.
"""

SILENT_ROWS = 8
"""Rows without a single answer that end a run: fewer may each have a fault of their own."""

_GONE = frozenset({Reason.TIMEOUT, Reason.RATE_LIMITED, Reason.UNREACHABLE, Reason.BAD_REPLY, Reason.ENGINE_ERROR})
"""Failures of an engine that is not there, as against one that refuses this very request."""

Line = tuple[int, str | Mapping[str, Any]]
"""A row as it was found: its line from 1, and its JSON or what that holds."""


@dataclass(kw_only=True)
class Tally:
    """What came of the rows so far. Adds up."""

    groups: int = 0
    errors: int = 0
    """Rows that have an `error`."""
    calls: int = 0
    """Judge calls that were paid now."""
    failures: int = 0
    """Judge calls without a verdict."""
    cached: int = 0
    """Judgements that were read from a ledger."""
    cost: float = 0.0
    """Of the calls, where there are prices."""

    def count(self, row: Mapping[str, Any]) -> None:
        """One more row is out."""
        self.groups += 1
        self.errors += row["error"] is not None
        self.calls += row["calls"]
        self.cached += row["cached"]
        self.cost += row["cost"]
        self.failures += sum(row["failures"].values())

    def add(self, other: Tally) -> None:
        """What was counted elsewhere."""
        for each in fields(other):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def told(self) -> str:
        """For a person."""
        read = f", {self.cached} read from the ledger" if self.cached else ""
        cost = f" for {self.cost:.4g}" if self.cost else ""
        return f"{self.groups} groups, {self.calls} judge calls{cost}{read}, {self.failures} without a verdict"


class Listener:
    """Scores groups, and notices when the judge's engine answers nothing at all.

    Args:
        judge: scores the groups.
        patience: for runs of millions of groups, which nobody wants unscored: seconds to wait before a group that the
            engine did not answer is scored again, a number for each time; and `SILENT_ROWS` groups in a row that were
            waited for in vain end the run. None waits for none, and listens until the engine's first answer only.
        begun: whether the engine has answered others, so that it is not the set-up that is wrong.
    """

    def __init__(self, judge: RRMJudge, *, patience: Sequence[float] | None = None, begun: bool = False) -> None:
        self.judge = judge
        self.silent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with the error, as soon as it is clear."""
        self._patience = patience
        self._heard: list[Scores] | None = None if begun else []
        self._answered = begun
        self._in_a_row = 0
        self._under_way = 0
        self._next = asyncio.Event()

    async def score(self, group: Group) -> Scores:
        """The scores of one group."""
        self._under_way += 1
        try:
            scores = await self._score_patiently(group)
            if scores.judgements:
                self._listen(scores)
                self._watch(group, scores)
            return scores
        finally:
            self._under_way -= 1
            self._next.set()
            self._next = asyncio.Event()

    async def is_heard(self) -> bool:
        """Whether the engine has answered any group since the last one that it did not answer.

        Waits for the groups under way as long as that is open.
        """
        while self._in_a_row and self._under_way and not self.silent.done():
            await self._next.wait()
        return not self._in_a_row

    def decide(self) -> None:
        """Judges by the rows that are done, one time: with these an engine has shown whether it is there."""
        if self._heard is None:
            return
        heard, self._heard = self._heard, None
        try:
            self.judge.refuse_silence(heard)
        except EngineUnavailableError as error:
            self._end(error)

    async def _score_patiently(self, group: Group) -> Scores:
        scores = await self._score(group)
        for pause in self._patience or ():
            # Before the first answer it is the set-up that is wrong, and no time heals that.
            if not self._answered or not _unanswered(scores):
                break
            await asyncio.sleep(pause)
            scores = await self._score(group)
        return scores

    async def _score(self, group: Group) -> Scores:
        (scores,) = await self.judge.ascore_groups([group])
        self._answered = self._answered or (bool(scores.judgements) and not _unanswered(scores))
        return scores

    def _watch(self, group: Group, scores: Scores) -> None:
        """Alarms are for groups: a response that is compared with a given answer alone says nothing of a run."""
        if len(scores.values) < 2:
            return
        tournament, lookout = self.judge.tournament, self.judge.lookout
        lengths = [0 if scores.error else tournament.length(response) for response in group.responses]
        lookout.metrics([scores], [lengths], [tournament.look(group)])
        lookout.stop_if_alarmed()

    def _listen(self, scores: Scores) -> None:
        if self._heard is not None:
            self._heard.append(scores)
            if len(self._heard) >= SILENT_ROWS:
                self.decide()
        self._in_a_row = self._in_a_row + 1 if _unanswered(scores) else 0
        if self._patience is not None and self._in_a_row >= SILENT_ROWS:
            self._end(self._fallen_silent(_calls(scores)[-1]))

    def _fallen_silent(self, call: Judgement) -> EngineUnavailableError:
        return EngineUnavailableError(
            f"the engine {self.judge.tournament.judge.engine.name!r} has answered nothing for the last "
            f"{self._in_a_row} groups; a call failed with: {call.detail}",
            call.reason or Reason.UNREACHABLE,
        )

    def _end(self, error: EngineUnavailableError) -> None:
        if not self.silent.done():
            self.silent.set_exception(error)


async def rank_rows(
    listener: Listener, lines: Iterable[Line], *, ahead: int = GROUPS_AHEAD
) -> AsyncGenerator[dict[str, Any], None]:
    """Result rows in the order of the input.

    Args:
        lines: are read as they are needed, `ahead` of the row that comes out next.
        ahead: most groups under way.

    Raises:
        EngineUnavailableError: the engine answers nothing.
        BudgetSpentError: the judge's budget is spent, and it is to stop there.
    """
    pending: deque[asyncio.Task[dict[str, Any]]] = deque()
    try:
        for number, line in lines:
            pending.append(asyncio.create_task(_row(listener, number, line)))
            if len(pending) >= ahead:
                yield await _oldest(pending, listener)
        while pending:
            yield await _oldest(pending, listener)
        listener.decide()
        if listener.silent.done():
            listener.silent.result()
    except BudgetSpentError:
        # What is under way is paid, and no more will be: a ledger has it when it is through.
        await asyncio.gather(*pending, return_exceptions=True)
        raise
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line of UTF-8; half of a surrogate pair, which UTF-8 has no form for, is escaped as JSON does it."""
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _calls(scores: Scores) -> list[Judgement]:
    return [call for judgement in scores.judgements for call in judgement.ballots]


def _unanswered(scores: Scores) -> bool:
    """Whether a group was judged, and none of its calls by an engine that is there."""
    calls = _calls(scores)
    return bool(calls) and all(call.reason in _GONE for call in calls)


async def _oldest(pending: deque[asyncio.Task[dict[str, Any]]], listener: Listener) -> dict[str, Any]:
    await asyncio.wait((pending[0], listener.silent), return_when=asyncio.FIRST_COMPLETED)
    if listener.silent.done():
        listener.silent.result()
    return pending.popleft().result()


async def _row(listener: Listener, number: int, line: str | Mapping[str, Any]) -> dict[str, Any]:
    try:
        group = _group(line)
    except (ValueError, RecursionError) as error:
        return _result(number, None, Scores(values=[], error=f"line {number}: {error}"))
    return _result(number, group.id or None, await listener.score(group))


def _group(line: str | Mapping[str, Any]) -> Group:
    row = _parsed(line) if isinstance(line, str) else line
    if not isinstance(row, dict):
        raise ValueError("a row must be a JSON object")
    missing = [name for name in ("prompt", "responses") if name not in row]
    if missing:
        raise ValueError(f"the row has no {' and no '.join(map(repr, missing))}; it has {sorted(row)}")
    if not isinstance(row["prompt"], str | list):
        raise ValueError("'prompt' must be a text or a list of messages")
    if not isinstance(row["responses"], list):
        raise ValueError("'responses' must be a list")
    name = row.get("id")
    return Group(
        prompt=row["prompt"],
        responses=row["responses"],
        reference=row.get("reference"),
        id="" if name is None else str(name),
    )


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at column {error.colno}") from None


def _result(number: int, name: str | None, scores: Scores) -> dict[str, Any]:
    return {
        "id": name,
        "line": number,
        "values": scores.values,
        "ranking": scores.ranking,
        "calls": scores.calls,
        "cost": round(scores.usage.cost, 9),
        "cached": sum(call.cached for call in _calls(scores)),
        "agreement": scores.agreement,
        "first_rate": scores.first_rate,
        "cycles": scores.cycles,
        "failures": dict(scores.failures),
        "error": scores.error,
    }
