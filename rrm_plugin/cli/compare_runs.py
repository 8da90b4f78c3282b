"""`rrm eval compare`: what two runs of a judge on one benchmark differ by."""

from __future__ import annotations

from pathlib import Path

import click

from rrm_plugin.cli.options import plain_errors
from rrm_plugin.cli.output import Output, output, refuse_overlap
from rrm_plugin.evaluation.judge_reports import compared, read_judge_report
from rrm_plugin.evaluation.tables import comparison_told

__all__ = ["compare_runs"]


@click.command("compare")
@click.argument("first", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("second", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "target", metavar="OUT", callback=lambda _context, _option, name: name and output(name))
@click.option("--seed", type=int, default=0, show_default=True, help="Of the interval.")
@plain_errors
def compare_runs(first: Path, second: Path, target: Output | None, seed: int) -> None:
    """What FIRST is better or worse by than SECOND: two reports of rrm eval on one benchmark.

    Questions are compared one by one. The interval is a bootstrap over questions, and p that of the exact sign test,
    which is McNemar's where a question is right or wrong.
    """
    if target is not None:
        refuse_overlap(target.written, {"FIRST": first, "SECOND": second})
    difference = compared(read_judge_report(first), read_judge_report(second), seed=seed)
    click.echo(comparison_told(difference, str(first), str(second)))
    if target is not None:
        with target.rows() as write:
            write({"first": str(first), "second": str(second), **difference})
