"""`rrm compare`: one pair, and what the judge thought of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.options import judge_options, make_judge, plain_errors
from rrm_plugin.types import Judgement

__all__ = ["compare"]


@click.command()
@click.argument("prompt_text", metavar="PROMPT")
@click.argument("first")
@click.argument("second")
@judge_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@plain_errors
def compare(prompt_text: str, first: str, second: str, as_json: bool, orders: str | None, **options: Any) -> None:
    """Which response to PROMPT is better, FIRST or SECOND?

    Each of the three is a text, or @FILE to read it from a file. The pair is shown in both orders unless --orders fixed
    is given. Exits with 1 where there is no verdict.
    """
    if orders in ("balanced", "random"):
        raise click.UsageError("a single pair is shown in both orders or in the order given: --orders both or fixed")
    prompt_text, first, second = (_text(argument) for argument in (prompt_text, first, second))
    with make_judge(options) as judge:
        judgement = judge.compare(prompt_text, first, second, both_orders=orders != "fixed")
    click.echo(json.dumps(_row(judgement), ensure_ascii=False) if as_json else _told(judgement))
    sys.exit(0 if judgement.verdict is not None else 1)


def _text(argument: str) -> str:
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {argument[1:]}: {error}") from error


def _row(judgement: Judgement) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict.value if judgement.verdict else None,
        "reason": judgement.reason.value if judgement.reason else None,
        "detail": judgement.detail,
        "calls": judgement.usage.calls,
        "engine": judgement.engine,
        "texts": [ballot.text for ballot in judgement.ballots],
    }


def _told(judgement: Judgement) -> str:
    parts = [ballot.text.strip() for ballot in judgement.ballots if ballot.text.strip()]
    if judgement.verdict is not None:
        parts.append(f"verdict: {judgement.verdict.value}")
    else:
        parts.append(f"no verdict ({judgement.reason}){': ' + judgement.detail if judgement.detail else ''}")
    return "\n\n".join(parts)
