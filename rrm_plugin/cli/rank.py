"""`rrm rank`: groups of responses in a JSONL file, scored into another."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import click

from rrm_plugin.bulk.ranking import Line, Listener, Tally, rank_rows
from rrm_plugin.cli.bulk import BULK, bulk_options, rank_on_ray
from rrm_plugin.cli.options import judge_options, judge_settings, ledger_files, plain_errors, settings_files
from rrm_plugin.cli.output import STDIN, Output, Source, output, refuse_overlap
from rrm_plugin.cli.progress import Progress, note
from rrm_plugin.errors import BudgetSpentError
from rrm_plugin.reward import RRMJudge

__all__ = ["rank"]

_FAULT = 200
"""Letters of an error that are shown; the whole stands in its row."""


@click.command()
@click.argument("groups", nargs=-1, required=True)
@click.option("--output", "target", metavar="OUT", required=True, help="JSONL file to write, one row a group.")
@click.option("--schedule", help="round_robin, circulant:k, swiss:r, adaptive:calls, knockout, reference or random:k.")
@click.option("--reducer", help="win_rate, elo, bradley_terry, knockout_rank or majority.")
@judge_options
@bulk_options
@click.pass_context
@plain_errors
def rank(context: click.Context, groups: tuple[str, ...], target: str, ray: bool, **options: Any) -> None:
    """Score the responses of each group in GROUPS, a JSONL file.

    A row is {"prompt": ..., "responses": [...]}, texts or chat messages, with "id" and "reference" if you like. Rows
    come out in the same order, with "values" (a score per response, null where unscored) and "ranking" (indices, best
    first). - stands for standard input and output.

    With --ledger a killed run goes on where it was: run the same command again. OUT is replaced when the run is
    complete; until then its rows stand in OUT.partial. A pipe is written to as rows are done.

    With --ray, GROUPS are files, folders or patterns with *, of JSONL (.gz, .bz2, .zst, .lz4 too) or Parquet, here or
    at an address such as s3://bucket/data, and OUT is a folder that gets a file of rows for each of them. Judges on a
    Ray cluster share the work; the same command again does what is missing.
    """
    bulk = {name: options.pop(name) for name in BULK}
    settings = judge_settings(options)
    if ray:
        rank_on_ray(groups, target, settings, **bulk)
        return
    if foreign := [name for name, value in bulk.items() if value is not None]:
        raise click.UsageError(f"--{foreign[0].replace('_', '-')} is for --ray")
    source, *more = groups
    if more:
        raise click.UsageError(f"one file of groups, not {len(groups)}: several are ranked with --ray")
    _rank_here(_path(context, "groups", source, exists=True), _path(context, "target", target), settings, options)


def _path(context: click.Context, name: str, given: str, *, exists: bool = False) -> str:
    (parameter,) = (each for each in context.command.params if each.name == name)
    kind = click.Path(exists=exists, dir_okay=False, allow_dash=True, writable=not exists)
    return str(kind.convert(given, parameter, context))


def _rank_here(groups: str, name: str, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    target = output(name)
    _refuse_overlap(groups, target, settings, options["config"])
    with RRMJudge(**settings) as judge:
        try:
            tally, fault = asyncio.run(_rank_file(judge, groups, target))
        except KeyboardInterrupt:
            kept = "; run the same command again to go on" if settings.get("ledger") else ""
            raise click.ClickException(
                f"stopped; the rows that were done stand in {target.partial or target.name}{kept}"
            ) from None
        except BudgetSpentError as error:
            more = "; with a larger one the same command goes on" if settings.get("ledger") else ""
            raise click.ClickException(
                f"{error}; the rows that were done stand in {target.partial or target.name}{more}"
            ) from error
    note(f"{tally.told()} -> {target.name}")
    if tally.errors:
        told = f"{tally.errors} of {tally.groups} rows could not be scored: see 'error' in {target.name}"
        raise click.ClickException(f"{told}; the first: {fault}")


def _refuse_overlap(groups: str, target: Output, settings: Mapping[str, Any], config: str | None) -> None:
    read: dict[str, Source] = {"GROUPS": STDIN if groups == "-" else groups} | settings_files(settings)
    if config:
        read["the settings file"] = os.path.expanduser(config)
    refuse_overlap(target.written | ledger_files(settings), read)


async def _rank_file(judge: RRMJudge, source: str, target: Output) -> tuple[Tally, str]:
    """Counts what came of the rows; with the error of the first that has one."""
    tally, fault = Tally(), ""
    with (
        _lines(source) as lines,
        target.rows() as write,
        Progress(_count(source), "group") as progress,
    ):
        async with contextlib.aclosing(rank_rows(Listener(judge), _numbered(lines))) as rows:
            async for row in rows:
                write(row)
                tally.count(row)
                fault = fault or (row["error"] or "")[:_FAULT]
                progress.advance(tally.told())
    return tally, fault


def _numbered(lines: TextIO) -> Iterator[Line]:
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


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
