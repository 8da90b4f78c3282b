"""`rrm eval-policy`: a policy's accuracy on questions with choices, with its interval."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.options import plain_errors, settings_files
from rrm_plugin.cli.output import Output, Source, output, refuse_overlap
from rrm_plugin.cli.progress import Progress, note
from rrm_plugin.config import read_settings
from rrm_plugin.engines import Engine, Sampling, engine
from rrm_plugin.evaluation.choices import BENCHMARKS, SUFFIX, Question, load_questions, subset
from rrm_plugin.evaluation.policy import PolicyEvaluation, Sample, evaluate_policy
from rrm_plugin.evaluation.replies import Replies
from rrm_plugin.evaluation.reports import compared, counted, read_report, told, told_difference

__all__ = ["eval_policy"]

_SAMPLING = ("temperature", "top_p", "max_tokens", "stop")
_DEFAULTS = {"temperature": 0.6, "top_p": 1.0, "max_tokens": 4096, "stop": ()}


@click.command("eval-policy", short_help="Count a policy's right answers on GPQA and MMLU-Pro.")
@click.argument("benchmarks", metavar="BENCHMARK...", nargs=-1, required=True)
@click.option(
    "--json",
    "target",
    metavar="OUT",
    required=True,
    callback=lambda _context, _option, name: output(name),
    help="JSON file to write.",
)
@click.option("--config", type=click.Path(dir_okay=False), help="Settings of the policy's engine (YAML, JSON, TOML).")
@click.option("--engine", "spec", help="Where the policy runs: a server's URL, transformers, vllm or replay:FILE.")
@click.option("--model", help="Name of the policy.")
@click.option("--samples", type=click.IntRange(min=1), default=1, show_default=True, help="Replies to each question.")
@click.option("--temperature", type=click.FloatRange(min=0), help="0 is greedy.  [default: 0.6]")
@click.option("--top-p", type=click.FloatRange(min=0, min_open=True, max=1), help="[default: 1.0]")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Most tokens of one reply.  [default: 4096]")
@click.option("--stop", multiple=True, metavar="TEXT", help="Text that ends a reply.")
@click.option("--suffix", default=SUFFIX, metavar="TEXT", help="Behind each question.  [default: that of the paper]")
@click.option(
    "--style",
    type=click.Choice(["chat", "plain"]),
    default="chat",
    show_default=True,
    help="plain is for a base model without a chat template; needs a server.",
)
@click.option("--prefix", default="", metavar="TEXT", help="What the chat template has written of the reply already.")
@click.option("--limit", type=click.IntRange(min=1), help="Ask this many questions of each benchmark, drawn by seed.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of choices' order, --limit and intervals.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds for one call, retries included.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Most calls at a time.")
@click.option("--compare", "other", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="OTHER")
@plain_errors
def eval_policy(benchmarks: Sequence[str], target: Output, **options: Any) -> None:
    """Ask a policy the questions of BENCHMARK, and count its right answers.

    BENCHMARK is gpqa_diamond, gpqa_main, gpqa_extended or mmlu_pro, read from the Hugging Face hub, or NAME=FILE for
    its file: the CSV of GPQA's archive, Parquet or JSON Lines of MMLU-Pro. Choices are shown in an order drawn by
    --seed.

    Each reply is written to OUT.replies.jsonl as it comes. A killed run goes on where it was: run the same command
    again. A reply without an answer and a call that failed are wrong, and are counted apart; with failures the exit
    status is 1. --compare OTHER gives the difference to the report of another run, question by question.
    """
    settings = _settings(options)
    files = _files(target, benchmarks, options)
    other = read_report(options["other"]) if options["other"] else None
    questions = _questions(benchmarks, options["limit"], options["seed"])
    evaluation = PolicyEvaluation(
        engine=_engine(settings),
        sampling=Sampling(**{name: settings.get(name, default) for name, default in _DEFAULTS.items()}),
        samples=options["samples"],
        style=options["style"],
        suffix=options["suffix"],
        prefix=options["prefix"],
    )
    samples = _asked(questions, evaluation, Path(files["the replies"]), target)
    report = _report(benchmarks, evaluation, samples, options)
    if other is not None:
        report["compared"] = {"other": str(options["other"]), **compared(report, other, seed=options["seed"])}
    with target.rows() as write:
        write(report)
    _say(report, target)


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of engine and sampling; an option goes before the file."""
    named = {"spec": "engine", **{name: name for name in ("model", "timeout", "concurrency", *_SAMPLING)}}
    given = {name: options[option] for option, name in named.items() if options[option] not in (None, ())}
    filed = read_settings(options["config"]) if options["config"] else {}
    settings = {**filed, **given}
    if "engine" not in settings:
        raise click.UsageError("where does the policy run? Give --engine URL, or --config FILE with `engine:`")
    return settings


def _engine(settings: Mapping[str, Any]) -> Engine:
    own = {name: value for name, value in settings.items() if name not in ("engine", "model", *_SAMPLING)}
    return engine(settings["engine"], model=settings.get("model"), **own)


def _files(target: Output, benchmarks: Sequence[str], options: Mapping[str, Any]) -> dict[str, str]:
    """The file of the replies, after seeing to it that nothing is written over what is read."""
    if target.path is None:
        raise click.UsageError("--json takes a file, beside which the replies are kept")
    replies = {"the replies": f"{target.path}.replies.jsonl"}
    read: dict[str, Source] = {spec: spec.partition("=")[2] for spec in benchmarks if "=" in spec}
    read |= {"--config": options["config"]} if options["config"] else {}
    read |= {"--compare": options["other"]} if options["other"] else {}
    read |= settings_files({"engine": options["spec"]})
    here = {name: path if isinstance(path, int) else os.path.expanduser(path) for name, path in read.items()}
    refuse_overlap({**target.written, **replies}, here)
    return replies


def _questions(benchmarks: Sequence[str], limit: int | None, seed: int) -> list[Question]:
    names = [spec.partition("=")[0] for spec in benchmarks]
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise click.UsageError(f"no benchmark {unknown[0]!r}; known are {', '.join(BENCHMARKS)}")
    if len(set(names)) < len(names):
        raise click.UsageError("a benchmark is named twice")
    loaded = [load_questions(spec, seed=seed) for spec in benchmarks]
    return [one for each in loaded for one in (each if limit is None else subset(each, limit, seed))]


def _asked(questions: list[Question], evaluation: PolicyEvaluation, path: Path, target: Output) -> list[Sample]:
    right = kept = failed = 0
    with Replies(path) as replies, Progress(len(questions) * evaluation.samples, "sample") as progress:

        def count(sample: Sample) -> None:
            nonlocal right, kept, failed
            right, kept, failed = right + sample.right, kept + sample.kept, failed + sample.failed
            progress.advance(f"{right} right, {failed} failed, {kept} read from disk")

        try:
            return evaluate_policy(questions, evaluation, replies, on_sample=count)
        except KeyboardInterrupt:
            raise click.ClickException(
                f"stopped; the replies that came stand in {path}. Run the same command again to go on"
            ) from None


def _report(
    benchmarks: Sequence[str], evaluation: PolicyEvaluation, samples: Sequence[Sample], options: Mapping[str, Any]
) -> dict[str, Any]:
    settings = {**evaluation.settings, "seed": options["seed"], "limit": options["limit"]}
    results = counted(samples, max_tokens=evaluation.sampling.max_tokens, seed=options["seed"])
    names = [spec.partition("=")[0] for spec in benchmarks]
    return {"settings": settings, "benchmarks": {name: results[name] for name in names}}


def _say(report: Mapping[str, Any], target: Output) -> None:
    for name, result in report["benchmarks"].items():
        note(told(name, result))
    if "compared" in report:
        note(f"against {report['compared']['other']}:\n{told_difference(report['compared'])}")
    note(f"-> {target.name}")
    failures = sum(sum(result["failures"].values()) for result in report["benchmarks"].values())
    if failures:
        raise click.ClickException(
            f"{failures} calls failed and count as wrong; run the same command again to make them again"
        )
