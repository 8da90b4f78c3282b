"""`rrm compare`: one pair, and what the judge thought of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.options import judge_options, make_judge, plain_errors
from rrm_plugin.cli.output import json_line
from rrm_plugin.types import Judgement, Verdict

__all__ = ["compare"]

_ORDERS = ("FIRST shown first:", "in the other order, SECOND shown first:")
"""Heads of what the judge wrote about a pair in both orders."""


@click.command()
@click.argument("prompt_text", metavar="PROMPT")
@click.argument("first")
@click.argument("second")
@judge_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@plain_errors
def compare(prompt_text: str, first: str, second: str, as_json: bool, orders: str | None, **options: Any) -> None:
    """Which response to PROMPT is better, FIRST or SECOND?

    Each of the three is a text, or @FILE to read it from a file; a text that begins with @ is written with @@ there.
    The pair is shown in both orders unless --orders fixed is given. Exits with 1 where there is no verdict.
    """
    if orders in ("balanced", "random"):
        raise click.UsageError("a single pair is shown in both orders or in the order given: --orders both or fixed")
    prompt_text, first, second = (_text(argument) for argument in (prompt_text, first, second))
    with make_judge(options) as judge:
        judgement = judge.compare(prompt_text, first, second, both_orders=orders != "fixed")
    # A judge may write half of a surrogate pair, and a terminal may know few letters: what cannot be shown is escaped.
    told = json_line(_row(judgement)) if as_json else _shown(_told(judgement, turned=orders != "fixed"))
    click.echo(told, nl=not as_json)
    sys.exit(0 if judgement.verdict is not None else 1)


def _text(argument: str) -> str:
    if not argument.startswith("@"):
        return argument
    if argument.startswith("@@"):
        return argument[1:]
    try:
        return Path(argument[1:]).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = f"cannot read {argument[1:]!r}: {error}; a text that begins with @ is written @{argument}"
        raise click.BadParameter(said) from error


def _row(judgement: Judgement) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict.value if judgement.verdict else None,
        **({} if judgement.chance is None else {"chance": judgement.chance}),
        "reason": judgement.reason.value if judgement.reason else None,
        "detail": judgement.detail,
        "calls": judgement.usage.calls,
        "engine": judgement.engine,
        "texts": [call.text for call in _calls(judgement)],
    }


def _calls(judgement: Judgement) -> Iterator[Judgement]:
    """The single calls: each order of a pair may have votes of its own."""
    for vote in judgement.votes:
        yield from _calls(vote)
    if not judgement.votes:
        yield judgement


def _told(judgement: Judgement, *, turned: bool) -> str:
    parts = list(_texts(judgement, turned=turned))
    if judgement.verdict is not None:
        # A tie may be the judge's own, or two orders that contradict each other.
        why = f" ({judgement.detail})" if judgement.verdict is Verdict.TIE and judgement.detail else ""
        sure = "" if judgement.chance is None else f", first better with probability {judgement.chance:.2f}"
        parts.append(f"verdict: {judgement.verdict.value}{why}{sure}")
    else:
        parts.append(f"no verdict ({judgement.reason}){': ' + judgement.detail if judgement.detail else ''}")
    return "\n\n".join(parts)


def _texts(judgement: Judgement, *, turned: bool) -> Iterator[str]:
    """What the judge wrote; of both orders, each under a head, since in the other one "Assistant 1" is SECOND."""
    orders = zip(_ORDERS, judgement.votes, strict=True) if turned else [("", judgement)]
    for head, order in orders:
        texts = [call.text.strip() for call in _calls(order) if call.text.strip()]
        if texts and head:
            yield head
        yield from texts


def _shown(text: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
