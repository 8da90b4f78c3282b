"""`rrm train-data`: preference data or graded answers in, rows to train a judge on out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.data_options import assignments, kept_out
from rrm_plugin.cli.engine_options import engine_options, make_plain_judge, prompt_of
from rrm_plugin.cli.options import plain_errors
from rrm_plugin.cli.output import refuse_overlap
from rrm_plugin.cli.progress import Progress
from rrm_plugin.engines.loading import control_tokens
from rrm_plugin.training.builder import write_training_data
from rrm_plugin.training.candidates import Preparation
from rrm_plugin.training.checks import SeenPairs, TokenLimit, load_tokenizer
from rrm_plugin.training.difficulty import DifficultyFilter
from rrm_plugin.training.layouts import Reading
from rrm_plugin.training.ordering import Orders
from rrm_plugin.training.samples import Sampled
from rrm_plugin.training.sources import source
from rrm_plugin.training.verifiers import verifier

__all__ = ["train_data"]


@click.command("train-data")
@click.argument("sources", metavar="IN...", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSONL file to write.")
@click.option("--prompt", "--preset", "prompt", help="The judge's template: a preset or a file. [default: rrm]")
@click.option(
    "--orders",
    type=click.Choice(["random", "both"]),
    default="random",
    show_default=True,
    help="One row a pair, in an order drawn by content and seed, or two rows a pair, one in each order.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of the responses.")
@click.option(
    "--mix", multiple=True, metavar="NAME=WEIGHT", help="Shares of the sources; ends with the first that runs out."
)
@click.option("--most", type=click.IntRange(min=1), help="Write this many pairs at most.")
@click.option("--columns", multiple=True, metavar="FIELD=COLUMN", help="Where to find prompt, chosen, rejected...")
@click.option("--labels", multiple=True, metavar="VALUE=MEANING", help="What a label means: 1, 2 or tie.")
@click.option("--tokenizer", help="Of the judge to be trained; its special tokens are kept out of judged texts.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Most tokens of the judge's prompt; needs --tokenizer.")
@click.option("--benchmarks", multiple=True, metavar="FILE", help="Refuse prompts that stand in this file.")
@click.option("--dedup/--no-dedup", default=True, show_default=True, help="Use a pair once.")
@click.option("--rejects", type=click.Path(dir_okay=False, path_type=Path), help="[default: OUT.rejects.jsonl]")
@click.option("--max-line-mb", type=click.IntRange(min=1), default=16, show_default=True, help="Longest line read.")
@click.option("--verifier", "verifier_name", help="Grade sampled answers: math, exact or module:function.")
@click.option("--pairs-per-question", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--length-ratio",
    type=click.FloatRange(min=1),
    default=2.0,
    show_default=True,
    help="How much longer one sampled answer of a pair may be.",
)
@click.option("--difficulty", type=click.IntRange(min=1), metavar="N", help="Drop pairs the judge gets right N of N.")
@engine_options(ledger=True)
@plain_errors
def train_data(sources: Sequence[str], out: Path, **options: Any) -> None:
    """Make rows to train a judge on, for TRL, OpenRLHF and verl.

    IN is a file (JSONL, also .gz, or Parquet), or a data set of the Hugging Face hub as
    owner/name?split=train&data_dir=...; NAME=IN names it. Rows hold a prompt, a better and a worse response, or two
    responses and a label, or a question with sampled answers and their correctness. The layouts of
    Skywork-Reward-Preference, the Tülu 3 mixtures, HelpSteer2 and 3 and UltraFeedback are known; --columns maps others.

    What is not used stands in the rejects file, each row with file, line, column and reason.
    """
    read = [source(spec) for spec in sources]
    rejects: Path = options["rejects"] or out.with_name(out.name + ".rejects.jsonl")
    files = {"IN": [one.path for one in read], "--benchmarks": options["benchmarks"]}
    refuse_overlap(
        {"--out": out, "--rejects": rejects},
        {f"{called} {path}": path for called, paths in files.items() for path in paths if Path(path).exists()},
    )
    preparation = _preparation(options)
    with ExitStack() as stack:
        judged_by = _difficulty(options, preparation, stack)
        progress = stack.enter_context(Progress(None, "row"))
        summary = write_training_data(
            read,
            out,
            preparation,
            orders=options["orders"],
            weights={name: _number(name, weight) for name, weight in assignments(options["mix"], "--mix").items()},
            most=options["most"],
            rejects=rejects,
            stage=judged_by,
            on_row=lambda: progress.advance(""),
        )
    click.echo(f"{summary.told()}\n{summary.pairs} pairs in {summary.rows} rows -> {out}", err=True)


def _preparation(options: Mapping[str, Any]) -> Preparation:
    prompt, keep_thinking = prompt_of(options["prompt"], options["config"])
    if options["max_tokens"] and not options["tokenizer"]:
        raise click.UsageError("--max-tokens counts the judge's tokens: say whose with --tokenizer NAME")
    tokenizer = load_tokenizer(options["tokenizer"]) if options["tokenizer"] else None
    verify = verifier(options["verifier_name"]) if options["verifier_name"] else None
    samples = Sampled(verifier=verify, most=options["pairs_per_question"], ratio=options["length_ratio"])
    return Preparation(
        prompt=prompt,
        reading=Reading(
            columns=assignments(options["columns"], "--columns"),
            labels=assignments(options["labels"], "--labels"),
            samples=samples,
        ),
        seed=options["seed"],
        special_tokens=control_tokens(tokenizer) if tokenizer is not None else (),
        keep_thinking=keep_thinking,
        seen=SeenPairs() if options["dedup"] else None,
        benchmarks=kept_out(options["benchmarks"]),
        limit=TokenLimit(tokenizer=tokenizer, most=options["max_tokens"]) if options["max_tokens"] else None,
        longest_line=options["max_line_mb"] * 2**20,
    )


def _difficulty(options: Mapping[str, Any], preparation: Preparation, stack: ExitStack) -> DifficultyFilter | None:
    if not options["difficulty"]:
        return None
    orders: Orders = options["orders"]
    judge = stack.enter_context(make_plain_judge(options, preparation.prompt)).tournament.judge
    return stack.enter_context(DifficultyFilter(judge, options["difficulty"], orders))


def _number(name: str, weight: str) -> float:
    try:
        return float(weight)
    except ValueError:
        raise click.UsageError(f"--mix {name}={weight}: the weight must be a number") from None
