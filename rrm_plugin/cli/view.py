"""`rrm view`: a page to look at what a judge did."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from rrm_plugin.cli.options import plain_errors
from rrm_plugin.cli.progress import note
from rrm_plugin.viewer.export import export
from rrm_plugin.viewer.server import view as serve_pages

__all__ = ["view"]


@click.command()
@click.argument("ledger", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port to listen on. [default: a free one]")
@click.option("--open", "browse", is_flag=True, help="Open the page in a browser.")
@click.option(
    "--export",
    "target",
    metavar="OUT",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write one HTML file that needs no server, and end.",
)
@click.option(
    "--groups",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="Most groups in that file: a sample where LEDGER holds more.",
)
@plain_errors
def view(ledger: Path, port: int, browse: bool, target: Path | None, groups: int) -> None:
    """Look at what the judge did, in a browser.

    LEDGER is the file that ledger= or --ledger named in a training run, in rrm rank, rrm eval, rrm bon or rrm serve. It
    may be written meanwhile; the page follows.

    Prints the address and serves it to this machine alone, until Ctrl-C. On another machine:
    ssh -L PORT:127.0.0.1:PORT HOST.
    """
    if target is not None:
        told = export(ledger, target, groups=groups, on_counted=_counted)
        note(f"{told.groups} of {told.of} groups, {target.stat().st_size / 1e6:.1f} MB -> {target}")
        return
    serve_pages(ledger, port=port, ready=lambda address: _ready(address, browse), on_counted=_counted)


def _ready(address: str, browse: bool) -> None:
    click.echo(address)
    if browse:
        webbrowser.open(address)


def _counted(groups: int) -> None:
    if groups % 10_000 == 0:
        note(f"a ledger of an older version: {groups} groups counted")
