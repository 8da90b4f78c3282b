"""`rrm bon`: the best of n responses by a judge's tournament, several ways to pick side by side."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from rrm_plugin.cli.evaluation_output import Pages, page_options
from rrm_plugin.cli.options import judge_options, judge_settings, ledger_files, plain_errors, settings_files
from rrm_plugin.cli.output import Output, Source, output, refuse_overlap
from rrm_plugin.cli.progress import Progress, note, terminal_width
from rrm_plugin.evaluation.best_of_n import Pick, Strategy, best_of_n, picked, strategy, truth_of_groups
from rrm_plugin.evaluation.judging import chosen
from rrm_plugin.evaluation.plots import plot_strategies
from rrm_plugin.evaluation.response_groups import PPE_GROUPS, ResponseGroup, group_source, read_groups
from rrm_plugin.evaluation.simulated import simulated_judge
from rrm_plugin.evaluation.tables import as_text, strategy_tables
from rrm_plugin.prompts import load_prompt
from rrm_plugin.reward import RRMJudge
from rrm_plugin.tournament import Tournament
from rrm_plugin.types import Group, Scores

__all__ = ["bon"]

DEFAULT = ("knockout", "adaptive", "swiss:3", "circulant:3", "round_robin")
AT_A_TIME = 64
"""Groups in play: enough to keep an engine full."""


@click.command(short_help="Pick the best of n responses by a tournament.")
@click.argument("groups")
@click.option(
    "--strategy",
    "specs",
    multiple=True,
    metavar="SCHEDULE[/REDUCER][@VOTES]",
    help=f"A way to pick; several stand side by side.  [default: {', '.join(DEFAULT)}]",
)
@click.option(
    "--json",
    "target",
    metavar="OUT",
    required=True,
    callback=lambda _context, _option, name: output(name),
    help="JSON file to write.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Use this many groups, drawn by --seed.")
@page_options
@judge_options
@plain_errors
def bon(groups: str, specs: Sequence[str], target: Output, limit: int | None, **options: Any) -> None:
    """Pick the best response of each group in GROUPS by a tournament, and count how often it is right.

    GROUPS is a file of questions with responses of known correctness, or ppe_mmlu_pro, ppe_math or ppe_gpqa from the
    Hugging Face hub. --engine takes simulated:0.8 as well: a judge that knows which responses are right, and prefers a
    right one to a wrong one with that chance.

    Ways to pick share the judge's ledger, OUT.ledger.db unless --ledger names another: a match that two of them play is
    paid once, and a killed run goes on where it was. Calls are counted for each as if it had been alone.
    """
    pages = Pages.of(options)
    if target.path is None:
        raise click.UsageError("--json takes a file, beside which the ledger is kept")
    if options["votes"]:
        raise click.UsageError("votes belong to a way to pick: --strategy knockout@5")
    strategies = [strategy(spec) for spec in specs or DEFAULT]
    found = read_groups(group_source(groups))
    read: dict[str, Source] = {} if groups in PPE_GROUPS else {"GROUPS": groups}
    settings = _settings(options, target)
    refuse_overlap({**target.written, **pages.files, **ledger_files(settings)}, read | _read(settings, options))
    taken = chosen(found, limit, options["seed"] or 0, lambda group: group.id)
    report = _report(taken, strategies, settings, {"groups": groups, "limit": limit})
    with target.rows() as write:
        write(report)
    tables = strategy_tables(report)
    pages.write("Best of n", tables, report["settings"], lambda path: plot_strategies(report, path))
    note(f"{as_text(tables, terminal_width())}\n-> {target.name}")
    for row in report["strategies"]:
        if row["errors"]:
            raise click.ClickException(f"{row['strategy']}: {row['unpicked']:.1%} unpicked; {row['errors'][0]}")


def _settings(options: Mapping[str, Any], target: Output) -> dict[str, Any]:
    settings = judge_settings({name: value for name, value in options.items() if name != "votes"})
    settings.pop("votes", None)
    if not _simulated(settings):
        settings.setdefault("ledger", f"{target.path}.ledger.db")
    return settings


def _simulated(settings: Mapping[str, Any]) -> bool:
    return str(settings.get("engine", "")).startswith("simulated:")


def _read(settings: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Source]:
    config = {"the settings file": os.path.expanduser(options["config"])} if options["config"] else {}
    return {} if _simulated(settings) else settings_files(settings) | config


def _report(
    groups: Sequence[ResponseGroup],
    strategies: Sequence[Strategy],
    settings: dict[str, Any],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    if _simulated(settings):
        prompt = load_prompt(settings.get("prompt", "rrm"))
        seed = settings.get("seed", 0)
        judge = simulated_judge(settings["engine"], truth_of_groups(groups, prompt), prompt=prompt, seed=seed)
        first = strategies[0]
        tournament = Tournament(
            judge=judge,
            schedule=first.schedule,
            reducer=first.reducer,
            orders=settings.get("orders", "both"),
            seed=seed,
        )
        return asyncio.run(_played(groups, strategies, _Alone(tournament), about))
    with RRMJudge(**settings) as made:
        try:
            return asyncio.run(_played(groups, strategies, made, about))
        except KeyboardInterrupt:
            raise click.ClickException("stopped; run the same command again to go on") from None


class _Alone:
    """A tournament without the engine, loop and ledger that `RRMJudge` cares for."""

    def __init__(self, tournament: Tournament) -> None:
        self.tournament = tournament

    def variant(self, **changes: Any) -> _Alone:
        return _Alone(dataclasses.replace(self.tournament, **changes))

    async def ascore_groups(self, groups: Sequence[Group]) -> list[Scores]:
        return await self.tournament.score(groups)

    def refuse_silence(self, scored: Sequence[Scores]) -> None:
        """It is never silent."""


async def _played(
    groups: Sequence[ResponseGroup], strategies: Sequence[Strategy], judge: RRMJudge | _Alone, about: Mapping[str, Any]
) -> dict[str, Any]:
    picks: dict[str, list[Pick]] = {}
    with Progress(len(groups) * len(strategies), "group") as progress:
        for one in strategies:
            variant = judge.variant(schedule=one.schedule, reducer=one.reducer, votes=one.votes)
            picks[one.name] = await _picks(groups, variant, one.name, progress)
    settings = {**about, **judge.tournament.settings}
    own = {name: value for name, value in settings.items() if name not in ("schedule", "reducer", "votes")}
    own["strategies"] = {
        one.name: {"schedule": one.schedule.name, "reducer": one.reducer.name, "votes": one.votes} for one in strategies
    }
    return best_of_n(groups, picks, own, seed=judge.tournament.seed)


async def _picks(
    groups: Sequence[ResponseGroup], judge: RRMJudge | _Alone, name: str, progress: Progress
) -> list[Pick]:
    places = asyncio.Semaphore(AT_A_TIME)
    right = calls = 0.0
    done = 0

    async def play(group: ResponseGroup) -> Pick:
        nonlocal right, calls, done
        async with places:
            asked = Group(prompt=group.prompt, responses=group.responses, id=group.id)
            (scores,) = await judge.ascore_groups([asked])
        judge.refuse_silence([scores])
        pick = picked(group, scores)
        right, calls, done = right + pick.right, calls + pick.calls, done + 1
        progress.advance(f"{name}: {right / done:.1%} right, {calls / done:.1f} calls a group")
        return pick

    return list(await asyncio.gather(*(play(group) for group in groups)))
