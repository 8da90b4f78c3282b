"""`rrm rank`: groups of responses in a JSONL file, scored into another."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import click

from rrm_plugin.cli.options import judge_options, judge_settings, ledger_files, plain_errors, settings_files
from rrm_plugin.cli.output import STDIN, Output, Source, output, refuse_overlap
from rrm_plugin.cli.progress import Progress, note
from rrm_plugin.errors import EngineUnavailableError
from rrm_plugin.reward import RRMJudge
from rrm_plugin.types import Group, Scores

__all__ = ["rank"]

LINES_AHEAD = 256
"""Groups being judged at a time; results are written in the order of the input, so this bounds what waits for a slow
one.
"""


SILENT_ROWS = 8
"""Rows without a single answer that end a run: fewer may each have a fault of their own."""


@click.command()
@click.argument("groups", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--output",
    "target",
    metavar="OUT",
    required=True,
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    callback=lambda _context, _option, name: output(name),
    help="JSONL file to write, one row a group.",
)
@click.option("--schedule", help="round_robin, circulant:k, swiss:r, adaptive:calls, knockout, reference or random:k.")
@click.option("--reducer", help="win_rate, elo, bradley_terry, knockout_rank or majority.")
@judge_options
@plain_errors
def rank(groups: str, target: Output, **options: Any) -> None:
    """Score the responses of each group in GROUPS, a JSONL file.

    A row is {"prompt": ..., "responses": [...]}, texts or chat messages, with "id" and "reference" if you like. Rows
    come out in the same order, with "values" (a score per response, null where unscored) and "ranking" (indices, best
    first). - stands for standard input and output.

    With --ledger a killed run goes on where it was: run the same command again. OUT is replaced when the run is
    complete; until then its rows stand in OUT.partial. A pipe is written to as rows are done.
    """
    settings = judge_settings(options)
    _refuse_overlap(groups, target, settings, options["config"])
    with RRMJudge(**settings) as judge:
        try:
            tally = asyncio.run(_rank_file(judge, groups, target))
        except KeyboardInterrupt:
            kept = "; run the same command again to go on" if settings.get("ledger") else ""
            raise click.ClickException(
                f"stopped; the rows that were done stand in {target.partial or target.name}{kept}"
            ) from None
    note(f"{tally.told()} -> {target.name}")
    if tally.errors:
        raise click.ClickException(
            f"{tally.errors} of {tally.groups} rows could not be scored: see 'error' in {target.name}"
        )


def _refuse_overlap(groups: str, target: Output, settings: Mapping[str, Any], config: str | None) -> None:
    read: dict[str, Source] = {"GROUPS": STDIN if groups == "-" else groups} | settings_files(settings)
    if config:
        read["the settings file"] = os.path.expanduser(config)
    refuse_overlap(target.written | ledger_files(settings), read)


@dataclass
class _Tally:
    groups: int = 0
    errors: int = 0
    calls: int = 0
    failures: int = 0
    cached: int = 0

    def count(self, row: dict[str, Any]) -> None:
        self.groups += 1
        self.errors += row["error"] is not None
        self.calls += row["calls"]
        self.cached += row["cached"]
        self.failures += sum(row["failures"].values())

    def told(self) -> str:
        read = f", {self.cached} read from the ledger" if self.cached else ""
        return f"{self.groups} groups, {self.calls} judge calls{read}, {self.failures} without a verdict"


async def _rank_file(judge: RRMJudge, source: str, target: Output) -> _Tally:
    tally = _Tally()
    with (
        _lines(source) as lines,
        target.rows() as write,
        Progress(_count(source), "group") as progress,
    ):
        async with contextlib.aclosing(_rows(_Listener(judge), lines)) as rows:
            async for row in rows:
                write(row)
                tally.count(row)
                progress.advance(tally.told())
    return tally


def _lines(source: str) -> TextIO:
    if source == "-":
        return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace")
    return open(source, encoding="utf-8-sig", errors="replace")


def _count(source: str) -> int | None:
    """Groups in a file; None for what can be read only once."""
    if not os.path.isfile(source):
        return None
    with _lines(source) as lines:
        return sum(1 for line in lines if line.strip())


class _Listener:
    """Scores groups, and notices when the judge's engine answers nothing at all."""

    def __init__(self, judge: RRMJudge) -> None:
        self.judge = judge
        self.silent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with the error, as soon as it is clear."""
        self._heard: list[Scores] | None = []

    async def score(self, group: Group) -> Scores:
        (scores,) = await self.judge.ascore_groups([group])
        if self._heard is not None and scores.judgements:
            self._heard.append(scores)
            if len(self._heard) >= SILENT_ROWS:
                self.decide()
        return scores

    def decide(self) -> None:
        """Judges by the rows that are done, one time: with these an engine has shown whether it is there."""
        heard, self._heard = self._heard, None
        try:
            self.judge.refuse_silence(heard or [])
        except EngineUnavailableError as error:
            if not self.silent.done():
                self.silent.set_exception(error)


async def _rows(listener: _Listener, lines: TextIO) -> AsyncGenerator[dict[str, Any], None]:
    """Result rows in the order of the input, with `LINES_AHEAD` groups under way.

    Raises:
        EngineUnavailableError: the engine answers nothing.
    """
    pending: deque[asyncio.Task[dict[str, Any]]] = deque()
    try:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            pending.append(asyncio.create_task(_row(listener, number, line)))
            if len(pending) >= LINES_AHEAD:
                yield await _oldest(pending, listener)
        while pending:
            yield await _oldest(pending, listener)
        listener.decide()
        if listener.silent.done():
            listener.silent.result()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _oldest(pending: deque[asyncio.Task[dict[str, Any]]], listener: _Listener) -> dict[str, Any]:
    await asyncio.wait((pending[0], listener.silent), return_when=asyncio.FIRST_COMPLETED)
    if listener.silent.done():
        listener.silent.result()
    return pending.popleft().result()


async def _row(listener: _Listener, number: int, line: str) -> dict[str, Any]:
    try:
        group = _group(line)
    except (ValueError, RecursionError) as error:
        return _result(number, None, Scores(values=[], error=f"line {number}: {error}"))
    return _result(number, group.id or None, await listener.score(group))


def _group(line: str) -> Group:
    row = json.loads(line)
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


def _result(number: int, name: str | None, scores: Scores) -> dict[str, Any]:
    ballots = [ballot for judgement in scores.judgements for ballot in judgement.ballots]
    return {
        "id": name,
        "line": number,
        "values": scores.values,
        "ranking": scores.ranking,
        "calls": scores.calls,
        "cached": sum(ballot.cached for ballot in ballots),
        "agreement": scores.agreement,
        "first_rate": scores.first_rate,
        "cycles": scores.cycles,
        "failures": dict(scores.failures),
        "error": scores.error,
    }
