"""The options of every command that judges, and the judge they make.

An option that is not given leaves the setting to the settings file, and that to the defaults of `RRMJudge`.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from rrm_plugin import engines
from rrm_plugin.cli.budgets import budget_options
from rrm_plugin.cli.output import Source
from rrm_plugin.cli.progress import folded, note
from rrm_plugin.config import read_judge_settings
from rrm_plugin.errors import RRMError
from rrm_plugin.prompts import PRESETS
from rrm_plugin.reward import RRMJudge

__all__ = ["judge_options", "judge_settings", "ledger_files", "make_judge", "plain_errors", "settings_files"]

_OPTIONS = (
    click.option(
        "--config", type=click.Path(dir_okay=False), envvar="RRM_CONFIG", help="Settings file (YAML, JSON, TOML)."
    ),
    click.option(
        "--engine",
        help="A server's URL (several: separated by commas), transformers, vllm, replay:FILE or scripted:longer.",
    ),
    click.option("--model", help="Name of the judge model."),
    click.option("--prompt", help="rrm, rm_r1, arena, llmbar, scores, json, or a template file."),
    click.option(
        "--orders", type=click.Choice(["both", "balanced", "random", "fixed"]), help="Orders in which a pair is shown."
    ),
    click.option("--votes", type=click.IntRange(min=1), help="Most judge calls per match."),
    click.option("--temperature", type=click.FloatRange(min=0), help="Of the judge's decoding; 0 is greedy."),
    click.option("--max-tokens", type=click.IntRange(min=1), help="Most tokens of one judge reply."),
    click.option(
        "--first-tokens",
        type=click.IntRange(min=1),
        help="Tokens of a first look; a second, of --max-tokens, where orders disagree.",
    ),
    click.option(
        "--soft-verdicts/--no-soft-verdicts",
        default=None,
        help="Count a verdict with the probability of its tokens; for judges without thinking.",
    ),
    click.option(
        "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds for one judge call, retries included."
    ),
    click.option("--concurrency", type=click.IntRange(min=1), help="Most judge calls at a time."),
    click.option(
        "--ledger",
        type=click.Path(dir_okay=False),
        help="File that records every judgement; makes a killed run resume.",
    ),
    *budget_options,
    click.option("--seed", type=int, help="Of what a schedule draws."),
)

_ENGINES = {
    "transformers": "TransformersEngine",
    "vllm": "VllmEngine",
    "replay": "ReplayEngine",
    "rrm": "ServiceEngine",
    "rrms": "ServiceEngine",
}

Command = Callable[..., Any]


def judge_options(command: Command) -> Command:
    """Adds the judge's options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_judge(options: Mapping[str, Any]) -> RRMJudge:
    """The judge that the options describe, over those of the settings file.

    Raises:
        ConfigError: a setting cannot work, or no engine is named.
    """
    return RRMJudge(**judge_settings(options))


def judge_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `RRMJudge` that the options and the settings file give; an option goes before the file.

    Where the option --engine takes the place of the file's engine, options of the file that only the latter knows
    are left out, and a note on standard error names them.

    Raises:
        ConfigError: the settings file cannot be read.
        click.UsageError: no engine is named.
    """
    given = {name: value for name, value in options.items() if value is not None}
    path = given.pop("config", None)
    filed = read_judge_settings(path)[0] if path else {}
    if "engine" in given:
        foreign = _foreign(filed, given["engine"])
        filed = {name: value for name, value in filed.items() if name not in foreign}
        if noted := [name for name in foreign if name not in given]:
            note(f"{path}: {', '.join(noted)} left out, which --engine {given['engine']} does not take")
    settings = filed | given
    if "engine" not in settings and "model" not in settings:
        raise click.UsageError(
            "which judge? Give --engine URL, or --model NAME to load one here, or --config FILE, which may stand in "
            "RRM_CONFIG"
        )
    return settings


def settings_files(settings: Mapping[str, Any]) -> dict[str, Source]:
    """The files that a judge of these settings reads, by what to call them; the ledger is not among them."""
    files: dict[str, Source] = {}
    prompt, engine = settings.get("prompt"), settings.get("engine")
    if isinstance(prompt, str | os.PathLike) and prompt not in PRESETS:
        files["the prompt template"] = prompt
    if isinstance(engine, str) and engine.startswith("replay:"):
        files["the recorded texts"] = engine.removeprefix("replay:")
    return files


def ledger_files(settings: Mapping[str, Any]) -> dict[str, Source]:
    """The files that a judge of these settings writes, by what to call them."""
    ledger = settings.get("ledger")
    if not isinstance(ledger, str | os.PathLike):
        return {}
    path = os.path.expanduser(ledger)
    # SQLite keeps what is not yet in the file in two others beside it.
    return {"the ledger": path, "the ledger's log": f"{path}-wal", "the ledger's index": f"{path}-shm"}


def _foreign(filed: Mapping[str, Any], engine: str) -> list[str]:
    """The options in a settings file that are of its engine and not of the one that takes its place."""
    judges = inspect.signature(RRMJudge).parameters
    before, now = _takes(filed.get("engine", judges["engine"].default)), _takes(engine)
    if before is None or now is None:
        return []
    return [name for name in filed if name in before and name not in now and name not in judges]


def _takes(spec: object) -> frozenset[str] | None:
    """The options of the engine that a setting names; None where it names none."""
    kind = spec.partition(":")[0] if isinstance(spec, str) else ""
    if kind == "scripted":
        return frozenset()
    name = _ENGINES.get(kind) or ("HttpEngine" if isinstance(spec, list) or "://" in str(spec) else None)
    if name is None:
        return None
    parameters = inspect.signature(getattr(engines, name)).parameters.values()
    return frozenset(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)


def plain_errors(command: Command) -> Command:
    """Shows this package's errors, and those of files, as a message rather than a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except RRMError as error:
            raise click.ClickException(_folded(str(error))) from error
        except OSError as error:
            # A reader that left is no error to report: click ends the command.
            if error.errno == errno.EPIPE:
                raise
            raise click.ClickException(_folded(str(error))) from error

    return run


def _folded(message: str) -> str:
    return folded(message, sys.stderr, before=len("Error: "))
