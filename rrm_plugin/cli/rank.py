"""`rrm rank`: groups of responses in a JSONL file, scored into another."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click

from rrm_plugin.cli.options import judge_options, make_judge, plain_errors
from rrm_plugin.cli.progress import Progress
from rrm_plugin.reward import RRMJudge
from rrm_plugin.types import Group, Scores

__all__ = ["rank"]

LINES_AHEAD = 256
"""Groups being judged at a time; results are written in the order of the input, so this bounds what waits for a slow
one.
"""


@click.command()
@click.argument("groups", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output",
    metavar="OUT",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSONL file to write, one row a group.",
)
@click.option("--schedule", help="round_robin, circulant:k, swiss:r, knockout, reference or random:k.")
@click.option("--reducer", help="win_rate, elo, bradley_terry, knockout_rank or majority.")
@judge_options
@plain_errors
def rank(groups: Path, output: Path, **options: Any) -> None:
    """Score the responses of each group in GROUPS, a JSONL file.

    A row is {"prompt": ..., "responses": [...]}, texts or chat messages, with "id" and "reference" if you like. Rows
    come out in the same order, with "values" (a score per response, null where unscored) and "ranking" (indices, best
    first).

    With --ledger a killed run goes on where it was: run the same command again. OUT is replaced when the run is
    complete; until then its rows stand in OUT.partial.
    """
    partial = output.with_name(output.name + ".partial")
    with make_judge(options) as judge:
        try:
            tally = asyncio.run(_rank_file(judge, groups, partial))
        except KeyboardInterrupt:
            kept = "; run the same command again to go on" if options["ledger"] else ""
            raise click.ClickException(f"stopped; the rows that were done stand in {partial}{kept}") from None
    os.replace(partial, output)
    click.echo(f"{tally.told()} -> {output}", err=True)
    if tally.errors:
        raise click.ClickException(
            f"{tally.errors} of {tally.groups} rows could not be scored: see 'error' in {output}"
        )


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


async def _rank_file(judge: RRMJudge, source: Path, target: Path) -> _Tally:
    tally = _Tally()
    with source.open(encoding="utf-8", errors="replace") as lines:
        total = sum(1 for line in lines if line.strip())
    with (
        source.open(encoding="utf-8", errors="replace") as lines,
        target.open("w", encoding="utf-8") as out,
        Progress(total, "group") as progress,
    ):
        async for row in _rows(judge, lines):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            tally.count(row)
            progress.advance(tally.told())
    return tally


async def _rows(judge: RRMJudge, lines: TextIO) -> AsyncIterator[dict[str, Any]]:
    """Result rows in the order of the input, with `LINES_AHEAD` groups under way."""
    pending: deque[asyncio.Task[dict[str, Any]]] = deque()
    try:
        for number, line in _numbered(lines):
            pending.append(asyncio.create_task(_row(judge, number, line)))
            if len(pending) >= LINES_AHEAD:
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()


def _numbered(lines: TextIO) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


async def _row(judge: RRMJudge, number: int, line: str) -> dict[str, Any]:
    try:
        group = _group(line)
    except ValueError as error:
        return _result(number, None, Scores(values=[], error=f"line {number}: {error}"))
    (scores,) = await judge.ascore_groups([group])
    judge.refuse_silence([scores])
    return _result(number, group.id or None, scores)


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
