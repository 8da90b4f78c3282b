"""What the commands that make training data share: options written as NAME=VALUE, and benchmarks to keep out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from rrm_plugin.training.checks import Benchmarks
from rrm_plugin.training.sources import source

__all__ = ["assignments", "kept_out"]


def assignments(values: Iterable[str], option: str) -> dict[str, str]:
    """`a=b` and `a=b,c=d`, of one option or several of them.

    Raises:
        click.UsageError: one is written otherwise.
    """
    found: dict[str, str] = {}
    for value in values:
        for part in filter(None, value.split(",")):
            name, equals, meaning = part.partition("=")
            if not equals or not name.strip() or not meaning.strip():
                raise click.UsageError(f"{option} takes NAME=VALUE, not {part!r}")
            found[name.strip()] = meaning.strip()
    return found


def kept_out(specs: Sequence[str]) -> Benchmarks | None:
    """The prompts of benchmark files, and a line on standard error that says how many there are; None without files.

    Raises:
        ConfigError: one of the files cannot be read in full.
    """
    if not specs:
        return None
    benchmarks = Benchmarks()
    for spec in specs:
        benchmarks.add(source(spec))
    click.echo(f"{benchmarks.prompts} benchmark prompts are kept out", err=True)
    return benchmarks
