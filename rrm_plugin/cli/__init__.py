"""The command line, `rrm`: one file a command, and one for the options that all judging commands share."""

from __future__ import annotations

import logging

import click

from rrm_plugin.cli.bon import bon
from rrm_plugin.cli.cold_start import cold_start
from rrm_plugin.cli.compare import compare
from rrm_plugin.cli.doctor import doctor
from rrm_plugin.cli.eval_policy import eval_policy
from rrm_plugin.cli.evaluate import evaluate
from rrm_plugin.cli.policy_data import policy_data
from rrm_plugin.cli.rank import rank
from rrm_plugin.cli.serve import serve
from rrm_plugin.cli.train_data import train_data
from rrm_plugin.cli.view import view

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="rrm-plugin", prog_name="rrm")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, to standard error.")
def main(verbose: bool) -> None:
    """Judge responses with a Reward Reasoning Model."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


main.add_command(bon)
main.add_command(cold_start)
main.add_command(compare)
main.add_command(doctor)
main.add_command(eval_policy)
main.add_command(evaluate)
main.add_command(policy_data)
main.add_command(rank)
main.add_command(serve)
main.add_command(train_data)
main.add_command(view)
