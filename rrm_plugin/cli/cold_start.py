"""`rrm cold-start`: a judge's own right replies as rows for supervised fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.engine_options import engine_options, make_plain_judge, prompt_of
from rrm_plugin.cli.options import plain_errors
from rrm_plugin.cli.output import refuse_overlap
from rrm_plugin.cli.progress import Progress
from rrm_plugin.training.cold_start import ColdStart, write_cold_start
from rrm_plugin.training.sources import source

__all__ = ["cold_start"]


@click.command("cold-start", short_help="Sample judge replies for a first SFT, and keep the right.")
@click.argument("rows")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSONL file to write.")
@click.option("--prompt", "--preset", "prompt", help="The template ROWS were made with. [default: rrm]")
@click.option("--samples", type=click.IntRange(min=1), default=8, show_default=True, help="Replies asked for per row.")
@click.option("--per-row", type=click.IntRange(min=1), default=1, show_default=True, help="Right replies kept per row.")
@click.option("--most", type=click.IntRange(min=2), help="Write this many rows at most, and stop when they are found.")
@click.option("--require-thinking", is_flag=True, help="Keep only verdicts behind closed thinking.")
@click.option(
    "--force/--no-force", default=True, show_default=True, help="Have the model state a verdict where it gave none."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["prompt-completion", "messages"]),
    default="prompt-completion",
    show_default=True,
    help="With prompt-completion TRL's SFTTrainer learns the reply alone.",
)
@engine_options(ledger=False)
@plain_errors
def cold_start(rows: str, out: Path, **options: Any) -> None:
    """Sample replies to ROWS, which `rrm train-data` wrote, and keep the right ones.

    As many rows are written whose better response is shown first as rows where it is shown second. Fine-tune the judge
    on them before its reinforcement learning, where it does not keep to the form of a verdict.
    """
    refuse_overlap({"--out": out}, {"ROWS": rows} if Path(rows).exists() else {})
    prompt, _ = prompt_of(options["prompt"], options["config"])
    with make_plain_judge(options, prompt) as judge, Progress(None, "row") as progress:
        settings = ColdStart(
            engine=judge.tournament.judge.engine,
            prompt=prompt,
            sampling=judge.tournament.judge.sampling,
            samples=options["samples"],
            per_row=options["per_row"],
            most=options["most"],
            require_thinking=options["require_thinking"],
            force=options["force"],
            form=options["form"],
        )
        summary = write_cold_start(source(rows), out, settings, on_row=lambda: progress.advance(""))
    click.echo(f"{summary.told()} -> {out}", err=True)
