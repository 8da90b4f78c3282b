"""The options of commands that ask a judge model but play no tournament, and the judge they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from rrm_plugin.cli.budgets import budget_options
from rrm_plugin.cli.options import make_judge
from rrm_plugin.config import read_settings
from rrm_plugin.prompts import JudgePrompt, load_prompt
from rrm_plugin.reward import RRMJudge

__all__ = ["ENGINE_OPTIONS", "engine_options", "make_plain_judge", "prompt_of"]

_OPTIONS = (
    click.option(
        "--config",
        type=click.Path(dir_okay=False),
        envvar="RRM_CONFIG",
        help="Settings file of the judge (YAML, JSON, TOML).",
    ),
    click.option(
        "--engine", help="Where the judge runs: a server's URL, transformers, vllm, replay:FILE or scripted:longer."
    ),
    click.option("--model", help="Name of the judge model."),
    click.option("--temperature", type=click.FloatRange(min=0), help="Of the judge's decoding; 0 is greedy."),
    click.option("--reply-tokens", type=click.IntRange(min=1), help="Most tokens of one judge reply."),
    click.option(
        "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds for one judge call, retries included."
    ),
    click.option("--concurrency", type=click.IntRange(min=1), help="Most judge calls at a time."),
    *budget_options,
    click.option("--ledger", type=click.Path(dir_okay=False), help="File that records every call; makes a run resume."),
)
ENGINE_OPTIONS = (
    *("config", "engine", "model", "temperature", "reply_tokens", "timeout", "concurrency"),
    *("budget", "prices", "ledger"),
)

Command = Callable[..., Any]


def engine_options(*, ledger: bool) -> Callable[[Command], Command]:
    """Adds the options of the judge model to a command, with or without that of a ledger."""

    def add(command: Command) -> Command:
        for option in reversed(_OPTIONS if ledger else _OPTIONS[:-1]):
            command = option(command)
        return command

    return add


def prompt_of(prompt: str | None, config: str | None) -> tuple[JudgePrompt, bool]:
    """The template that a judge of these settings is asked with, and whether judged thinking is shown to it.

    Raises:
        ConfigError: there is no such template, or the settings file cannot be read.
    """
    settings = read_settings(config) if config else {}
    template = prompt if prompt is not None else settings.get("prompt", "rrm")
    return load_prompt(template), bool(settings.get("keep_thinking", False))


def make_plain_judge(options: Mapping[str, Any], prompt: JudgePrompt) -> RRMJudge:
    """The judge that the options describe, asked with `prompt`. Its verdicts are the model's own, never forced.

    Raises:
        ConfigError: a setting cannot work, or no engine is named.
    """
    given = {name: options[name] for name in ENGINE_OPTIONS if options.get(name) is not None}
    if "reply_tokens" in given:
        given["max_tokens"] = given.pop("reply_tokens")
    return make_judge({**given, "prompt": prompt, "force_verdict": False})
