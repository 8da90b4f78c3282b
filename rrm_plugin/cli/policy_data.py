"""`rrm policy-data`: questions without their answers, to train a policy on with a judge as its only reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.data_options import assignments, kept_out
from rrm_plugin.cli.options import plain_errors
from rrm_plugin.cli.output import refuse_overlap
from rrm_plugin.cli.progress import Progress, note
from rrm_plugin.engines.loading import control_tokens
from rrm_plugin.training.checks import TokenLimit, load_tokenizer
from rrm_plugin.training.questions import QuestionReading, write_questions
from rrm_plugin.training.sources import source

__all__ = ["policy_data"]


@click.command("policy-data", short_help="Make rows to train a policy on, rewarded by a judge.")
@click.argument("sources", metavar="IN...", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSONL file to write.")
@click.option("--suffix", default="", metavar="TEXT", help="Written behind each question, as it is.")
@click.option("--most", type=click.IntRange(min=1), help="Write this many questions at most.")
@click.option("--columns", multiple=True, metavar="FIELD=COLUMN", help="Where to find prompt and id.")
@click.option("--tokenizer", help="Of the policy; questions that hold one of its special tokens are refused.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Most tokens of a prompt; needs --tokenizer.")
@click.option("--benchmarks", multiple=True, metavar="FILE", help="Refuse questions that stand in this file.")
@click.option("--dedup/--no-dedup", default=True, show_default=True, help="Use a question once.")
@click.option("--rejects", type=click.Path(dir_okay=False, path_type=Path), help="[default: OUT.rejects.jsonl]")
@click.option("--max-line-mb", type=click.IntRange(min=1), default=16, show_default=True, help="Longest line read.")
@plain_errors
def policy_data(sources: Sequence[str], out: Path, **options: Any) -> None:
    """Make rows to train a policy on with a judge as its only reward, for TRL, OpenRLHF and verl.

    IN is a file (JSONL, also .gz, Parquet or CSV), or a data set of the Hugging Face hub as owner/name?split=train;
    NAME=IN names it. What is asked stands in the column question, problem, prompt, instruction or messages; --columns
    maps others. Of a conversation all up to the last question is taken. Nothing else of a row but its id reaches OUT:
    no answer, no label.

    What is not used stands in the rejects file, each row with file, line, column and reason.
    """
    if options["max_tokens"] and not options["tokenizer"]:
        raise click.UsageError("--max-tokens counts the policy's tokens: say whose with --tokenizer NAME")
    read = [source(spec) for spec in sources]
    rejects: Path = options["rejects"] or out.with_name(out.name + ".rejects.jsonl")
    files = [("IN", one.path) for one in read] + [("--benchmarks", path) for path in options["benchmarks"]]
    present = {f"{called} {path}": path for called, path in files if Path(path).exists()}
    refuse_overlap({"--out": out, "--rejects": rejects}, present)
    tokenizer = load_tokenizer(options["tokenizer"]) if options["tokenizer"] else None
    reading = QuestionReading(
        columns=assignments(options["columns"], "--columns"),
        suffix=options["suffix"],
        dedup=options["dedup"],
        benchmarks=kept_out(options["benchmarks"]),
        limit=TokenLimit(tokenizer=tokenizer, most=options["max_tokens"]) if options["max_tokens"] else None,
        special_tokens=control_tokens(tokenizer) if tokenizer is not None else (),
        longest_line=options["max_line_mb"] * 2**20,
    )
    with Progress(None, "row") as progress:
        summary = write_questions(
            read,
            out,
            reading,
            most=options["most"],
            rejects=rejects,
            on_row=lambda: progress.advance(""),
        )
    note(f"{summary.told()}\n{summary.rows} questions -> {out}")
