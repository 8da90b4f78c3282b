"""`rrm doctor`: is this set-up fit for a long run?"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from rrm_plugin.cli.options import judge_options, judge_settings, plain_errors
from rrm_plugin.cli.output import json_line
from rrm_plugin.cli.progress import folded
from rrm_plugin.config import CONFIG_VARIABLE, read_judge_settings
from rrm_plugin.doctor import (
    Finding,
    Status,
    check_flags,
    check_group,
    check_installation,
    check_judge,
    check_settings,
    environment_of,
    group_size_of,
)
from rrm_plugin.doctor.findings import failed
from rrm_plugin.doctor.installation import HOSTS
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.errors import RRMError
from rrm_plugin.reward import RRMJudge

__all__ = ["doctor"]

_MARKS = {Status.OK: "ok", Status.WARNING: "WARNING", Status.FAILED: "FAILED"}


@click.command()
@judge_options
@click.option("--host", type=click.Choice(list(HOSTS)), help="The trainer; without it, those that are installed.")
@click.option(
    "--flags",
    type=click.Path(dir_okay=False),
    help="The trainer's configuration: the YAML of TRL or verl, or the script that starts OpenRLHF. Needs --host.",
)
@click.option("--group-size", type=click.IntRange(min=1), help="Responses per prompt; else as in --flags.")
@click.option("--processes", type=click.IntRange(min=1), help="Of TRL's trainer, over all machines.")
@click.option("--schedule", help="round_robin, circulant:k, swiss:r, adaptive:calls, knockout, reference or random:k.")
@click.option("--offline", is_flag=True, help="Do not call the judge.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a finding.")
@plain_errors
def doctor(
    host: str | None,
    flags: str | None,
    group_size: int | None,
    processes: int | None,
    offline: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Check versions, settings, the judge and the trainer's flags.

    The judge is asked about three sums, in both orders: six calls. Run it where the trainer will run, in the trainer's
    environment. What the env block of TRL's YAML sets is set here too, RRM_CONFIG say. Exits with 1 where something
    will not work.
    """
    if flags and not host:
        raise click.UsageError("--flags needs --host, to know whose they are")
    if processes and host != "trl":
        raise click.UsageError("--processes is for --host trl")
    with _environment(environment_of(flags) if flags and host == "trl" else {}):
        # An option that is given goes before what TRL will set, as it does before what is set already.
        if click.get_current_context().get_parameter_source("config") is not ParameterSource.COMMANDLINE:
            options["config"] = os.environ.get(CONFIG_VARIABLE)
        findings = check_installation([host] if host else [])
        findings += check_settings(options["config"])
        if flags and host:
            findings += check_flags(host, flags, processes)
            group_size = group_size or group_size_of(host, flags)
        findings += _of_group(options, group_size) if offline else _of_judge(options, group_size)
    for finding in findings:
        click.echo(json_line(dataclasses.asdict(finding)) if as_json else _told(finding), nl=not as_json)
    sys.exit(1 if any(finding.status is Status.FAILED for finding in findings) else 0)


@contextlib.contextmanager
def _environment(told: Mapping[str, str]) -> Iterator[None]:
    """These variables, as long as it lasts."""
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _of_group(options: Mapping[str, Any], size: int | None) -> Sequence[Finding]:
    """Without a call, so that no engine has to be named."""
    try:
        filed = read_judge_settings(options["config"])[0] if options["config"] else {}
        settings = filed | {name: value for name, value in options.items() if value is not None}
        size = size or settings.get("num_generations")
        if size is None:
            return []
        told = {name: settings[name] for name in ("schedule", "orders", "votes", "first_tokens") if name in settings}
        with RRMJudge(engine=ScriptedEngine(str), **told) as judge:
            return [check_group(judge, size)]
    except RRMError as error:
        return [_unusable(error)]


def _of_judge(options: dict[str, Any], group_size: int | None) -> Sequence[Finding]:
    try:
        settings = judge_settings(options)
        # A recorded verdict would hide a server that is gone.
        gate = read_judge_settings(options["config"])[1] if options["config"] else {}
        deadline = gate.get("deadline", 600.0) if gate else None
        with RRMJudge(**{name: value for name, value in settings.items() if name not in ("ledger", "gate")}) as judge:
            return check_judge(judge, group_size or judge.num_generations, deadline)
    except RRMError as error:
        return [_unusable(error)]


def _unusable(error: RRMError) -> Finding:
    return failed("the judge", str(error), "correct the settings; docs/troubleshooting.md goes by message")


def _told(finding: Finding) -> str:
    lines = [folded(f"{_MARKS[finding.status]:<8} {finding.subject}: {finding.told}", sys.stdout, indent=9)]
    if finding.advice:
        lines.append(folded(f"{'':<8} -> {finding.advice}", sys.stdout, indent=12))
    return "\n".join(lines)
