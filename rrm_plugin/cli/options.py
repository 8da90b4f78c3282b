"""The options of every command that judges, and the judge they make.

An option that is not given leaves the setting to the settings file, and that to the defaults of `RRMJudge`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from rrm_plugin.config import read_settings
from rrm_plugin.errors import RRMError
from rrm_plugin.reward import RRMJudge

__all__ = ["judge_options", "make_judge", "plain_errors"]

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
        "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds for one judge call, retries included."
    ),
    click.option("--concurrency", type=click.IntRange(min=1), help="Most judge calls at a time."),
    click.option(
        "--ledger",
        type=click.Path(dir_okay=False),
        help="File that records every judgement; makes a killed run resume.",
    ),
    click.option("--seed", type=int, help="Of what a schedule draws."),
)

Command = Callable[..., Any]


def judge_options(command: Command) -> Command:
    """Adds the judge's options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_judge(options: dict[str, Any]) -> RRMJudge:
    """The judge that the options describe, over those of the settings file.

    Raises:
        ConfigError: a setting cannot work, or no engine is named.
    """
    given = {name: value for name, value in options.items() if value is not None}
    path = given.pop("config", None)
    settings = (read_settings(path) if path else {}) | given
    if "engine" not in settings and "model" not in settings:
        raise click.UsageError("which judge? Give --engine URL, or --model NAME to load one here, or --config FILE")
    return RRMJudge(**settings)


def plain_errors(command: Command) -> Command:
    """Shows this package's errors as a message rather than a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except RRMError as error:
            raise click.ClickException(str(error)) from error

    return run
