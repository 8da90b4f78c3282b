"""`rrm serve`: the judge as an HTTP service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.options import judge_options, make_judge, plain_errors
from rrm_plugin.cli.progress import folded
from rrm_plugin.config import read_judge_settings
from rrm_plugin.errors import ConfigError
from rrm_plugin.service.server import run
from rrm_plugin.service.settings import LARGEST_GROUP, ServiceSettings, read_token
from rrm_plugin.training.checks import load_tokenizer

__all__ = ["serve"]

_OF_SERVICE = frozenset(ServiceSettings.__dataclass_fields__)
_OF_GATE = {"size": "group_size", "deadline": "deadline", "capacity": "capacity", "just_in_time": "just_in_time"}

_above_0 = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option(
    "--group-size",
    type=click.IntRange(1, LARGEST_GROUP),
    help="Responses per prompt, where a request does not say it; OpenRLHF's never do.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others demand a token.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8100, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the token that requests must bring. [default: the variable RRM_SERVICE_TOKEN]",
)
@click.option(
    "--deadline",
    type=_above_0,
    help="Seconds from a group's first member until those who are there are judged. [default: 600]",
)
@click.option(
    "--reward-deadline",
    type=_above_0,
    default=100.0,
    show_default=True,
    help="The same for OpenRLHF's /get_reward, whose client gives up after 180 s.",
)
@click.option(
    "--reward-patience",
    type=_above_0,
    default=165.0,
    show_default=True,
    help="Seconds after which /get_reward answers in any case.",
)
@click.option(
    "--just-in-time/--whole-groups",
    default=None,
    help="Begin to judge with a group's second member, or when it is whole. [default: just-in-time]",
)
@click.option("--calls-per-minute", type=_above_0, help="Most model calls that begin in a minute.")
@click.option("--capacity", type=click.IntRange(min=2), help="Most requests at a time. [default: 65536]")
@click.option("--max-body-mb", type=click.IntRange(min=1), default=16, show_default=True, help="Largest request.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds for what is under way when the service is stopped.",
)
@click.option("--tokenizer", help="Of OpenRLHF's policy (hub name or folder): shows the judge the question alone.")
@click.option("--schedule", help="round_robin, circulant:k, swiss:r, adaptive:calls, knockout, reference or random:k.")
@click.option("--reducer", help="win_rate, elo, bradley_terry, knockout_rank or majority.")
@judge_options
@plain_errors
def serve(max_body_mb: int, token_file: Path | None, tokenizer: str | None, **options: Any) -> None:
    """Serve a judge over HTTP, until SIGTERM or Ctrl-C.

    Prints its address when it is ready, and then whether the judge answers. /docs describes the endpoints: pairs
    (/v1/compare), groups (/v1/score), single members of groups (/v1/cohort), OpenRLHF's /get_reward, model calls for
    RRMJudge(engine="rrm://HOST:PORT"), /health and Prometheus' /metrics. All clients share the engine, the ledger and
    the budget.

    With --ledger a service that was killed pays no judge call twice when it is started again.
    """
    settings = ServiceSettings(
        token=read_token(token_file),
        max_body=max_body_mb * 2**20,
        **_limits(options),
    )
    policy = load_tokenizer(tokenizer) if tokenizer else None
    with make_judge(options) as judge:
        run(judge, settings, tokenizer=policy, ready=click.echo, tell=lambda line: click.echo(folded(line, sys.stdout)))


def _limits(options: dict[str, Any]) -> dict[str, Any]:
    """The settings of the service among the options, taken out of them; those of a gate may stand in the file too."""
    given = {name: options.pop(name) for name in list(options) if name in _OF_SERVICE}
    gate = read_judge_settings(options["config"])[1] if options["config"] else {}
    unknown = sorted(set(gate) - set(_OF_GATE))
    if unknown:
        raise ConfigError(f"{options['config']}: gate has {', '.join(unknown)}, which a service does not take")
    filed = {_OF_GATE[name]: value for name, value in gate.items()}
    return filed | {name: value for name, value in given.items() if value is not None}
