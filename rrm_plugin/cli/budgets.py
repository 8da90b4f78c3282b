"""The options for what a run may spend: --budget and --prices, numbers by name."""

from __future__ import annotations

from typing import Any

import click

from rrm_plugin.engines.budgets import Budget, Prices
from rrm_plugin.errors import ConfigError

__all__ = ["budget_options"]


class _Numbers(click.ParamType):
    """`calls=1000,cost=5`."""

    def __init__(self, name: str, check: Any) -> None:
        self.name = name
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        found: dict[str, float] = {}
        for part in filter(None, value.split(",")):
            name, equals, amount = part.partition("=")
            try:
                found[name.strip()] = float(amount)
            except ValueError:
                equals = ""
            if not equals:
                self.fail(f"{part!r} is not written NAME=NUMBER", param, ctx)
        try:
            self._check(found)
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        return found


budget_options = (
    click.option(
        "--budget",
        type=_Numbers("calls=N,tokens=N,cost=X", Budget.of),
        help="Most that all judge calls may take; with --ledger, what stands there counts.",
    ),
    click.option(
        "--prices",
        type=_Numbers("prompt=X,completion=X", Prices.of),
        help="Of a million tokens, for the cost of a run and a budget of it.",
    ),
)
