"""`rrm eval curve`: accuracy against tokens over several runs of one benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.evaluation_output import Pages, page_options
from rrm_plugin.cli.options import plain_errors
from rrm_plugin.cli.output import Output, Source, output, refuse_overlap
from rrm_plugin.cli.progress import terminal_width
from rrm_plugin.evaluation.judge_reports import read_judge_report
from rrm_plugin.evaluation.plots import plot_runs
from rrm_plugin.evaluation.scaling import curve_of_runs
from rrm_plugin.evaluation.tables import as_text, run_tables

__all__ = ["curve_runs"]


@click.command("curve")
@click.argument("reports", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "target", metavar="OUT", callback=lambda _context, _option, name: name and output(name))
@page_options
@plain_errors
def curve_runs(reports: tuple[Path, ...], target: Output | None, **options: Any) -> None:
    """Accuracy against tokens over REPORTS: runs of rrm eval on the same pairs of one benchmark.

    Such as one judge with several --max-tokens, which is its thinking budget, or several judges. The curve over votes
    needs one run only and stands in its own report.
    """
    pages = Pages.of(options)
    read: dict[str, Source] = {f"REPORTS {path}": path for path in reports}
    refuse_overlap({**(target.written if target is not None else {}), **pages.files}, read)
    runs = curve_of_runs({str(path): read_judge_report(path) for path in reports})
    tables = run_tables(runs)
    click.echo(as_text(tables, terminal_width()))
    pages.write(f"Runs on {runs['benchmark']}", tables, {}, lambda path: plot_runs(runs, path))
    if target is not None:
        with target.rows() as write:
            write(runs)
