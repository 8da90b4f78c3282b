"""`rrm eval`: a judge measured on a benchmark, and two such runs compared."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.compare_runs import compare_runs
from rrm_plugin.cli.curve_runs import curve_runs
from rrm_plugin.cli.data_options import assignments
from rrm_plugin.cli.evaluation_output import Pages, page_options
from rrm_plugin.cli.options import judge_options, judge_settings, ledger_files, plain_errors, settings_files
from rrm_plugin.cli.output import Output, Source, json_line, output, refuse_overlap
from rrm_plugin.cli.progress import Progress, note, terminal_width
from rrm_plugin.evaluation.benchmarks import BENCHMARKS, Benchmark, pairs_file, read_pairs
from rrm_plugin.evaluation.judge_reports import judge_report
from rrm_plugin.evaluation.judging import Judging, OrdersShown, drawn, judge_pairs
from rrm_plugin.evaluation.plots import plot_judge
from rrm_plugin.evaluation.recorded import Replayed, recorded_prompt, replay
from rrm_plugin.evaluation.replies import hold
from rrm_plugin.evaluation.scores import JudgedPair, LabelledPair
from rrm_plugin.evaluation.simulated import simulated_judge, truth_of_pairs
from rrm_plugin.evaluation.tables import as_text, judge_tables
from rrm_plugin.judge import PairJudge
from rrm_plugin.prompts import load_prompt
from rrm_plugin.reward import RRMJudge
from rrm_plugin.training.layouts import Reading
from rrm_plugin.types import Reason

__all__ = ["evaluate"]


class _Benchmarks(click.Group):
    """A command a benchmark, all with the same options; the help shows them once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["BENCHMARK", "compare", "curve"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in BENCHMARKS or cmd_name == "BENCHMARK":
            return _command(cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(
                f"no benchmark {args[0]!r}; known are {', '.join(BENCHMARKS)}, and compare and curve", ctx
            )
        return super().resolve_command(ctx, args)


@click.group("eval", cls=_Benchmarks)
def evaluate() -> None:
    """Measure a judge on a benchmark, or compare such runs.

    BENCHMARK is rewardbench, rewardbench2, rewardbench2-ties, rm-bench, judgebench, ppe, llmbar, pandalm, rmb or
    auto-j, or pairs for a file of your own.
    """


_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "--data",
        type=click.Path(exists=True, path_type=Path),
        help="Its file or folder, in the source's layout. [default: the Hugging Face hub]",
    ),
    click.option(
        "--replay",
        "recorded",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File of recorded judge texts or verdicts, to be scored instead of asking a judge.",
    ),
    click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Of --replay, use these rows only."),
    click.option(
        "--from",
        "take",
        type=click.Choice(["texts", "verdicts"]),
        default="texts",
        show_default=True,
        help="Of --replay, read the texts, or take the verdicts that are recorded.",
    ),
    click.option(
        "--json",
        "target",
        metavar="OUT",
        required=True,
        callback=lambda _context, _option, name: output(name),
        help="JSON file to write.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Judge this many pairs, drawn by --seed."),
    click.option("--subset", "subsets", multiple=True, metavar="NAME", help="Judge this subset only."),
    click.option(
        "--differences", type=click.Path(dir_okay=False), help="JSONL of texts that the source read otherwise."
    ),
    click.option(
        "--columns", multiple=True, metavar="FIELD=COLUMN", help="Of `pairs`: where to find prompt, chosen..."
    ),
    click.option("--labels", multiple=True, metavar="VALUE=MEANING", help="Of `pairs`: what a label means, 1 or 2."),
)


def _command(name: str) -> click.Command:
    def run(**options: Any) -> None:
        if name == "BENCHMARK":
            raise click.UsageError(f"BENCHMARK is one of {', '.join(BENCHMARKS)}")
        _run(_benchmark(name, options), options)

    run.__doc__ = _HELP
    decorated: Any = plain_errors(run)
    for option in reversed((*_OPTIONS, page_options)):
        decorated = option(decorated)
    return click.command(name)(judge_options(decorated))


_HELP = """Judge the pairs of BENCHMARK, in both orders, and count.

    --engine takes simulated:0.8 as well: a judge that knows the labels and is right with that chance. --orders random
    shows each pair in one order, drawn by --seed. All --votes are cast, and what fewer are worth is computed from them.

    Each call is kept in a ledger, OUT.ledger.db unless --ledger names another, so a killed run goes on where it was:
    run the same command again. The texts stand in OUT.texts.jsonl, which --replay reads. A call without a verdict is
    wrong, and counted apart; where the engine failed, the exit status is 1.
    """


def _benchmark(name: str, options: Mapping[str, Any]) -> Benchmark:
    columns, labels = assignments(options["columns"], "--columns"), assignments(options["labels"], "--labels")
    if name == "pairs":
        return pairs_file(Reading(columns=columns, labels=labels))
    if columns or labels:
        raise click.UsageError(f"--columns and --labels are for `rrm eval pairs`; {name} has a layout of its own")
    return BENCHMARKS[name]


def _run(benchmark: Benchmark, options: dict[str, Any]) -> None:
    target: Output = options.pop("target")
    pages = Pages.of(options)
    if target.path is None:
        raise click.UsageError("--json takes a file, beside which ledger and texts are kept")
    run = _Run(benchmark=benchmark, options=options, target=target, pages=pages)
    pairs = run.pairs()
    report = run.replayed(pairs) if options["recorded"] else run.judged(pairs)
    with target.rows() as write:
        write(report)
    tables = judge_tables(report)
    pages.write(f"A judge on {benchmark.name}", tables, report["settings"], lambda path: plot_judge(report, path))
    note(f"{as_text(tables, terminal_width())}\n-> {target.name}")
    if failed := _engine_failures(report):
        raise click.ClickException(
            f"{failed} calls failed and count as wrong; run the same command again to make them again"
        )


def _engine_failures(report: Mapping[str, Any]) -> int:
    own = {reason.value for reason in Reason if reason.of_engine and reason is not Reason.NOT_RECORDED}
    return sum(count for reason, count in report["overall"]["failures"].items() if reason in own)


@dataclasses.dataclass(kw_only=True)
class _Run:
    """One run of the command."""

    benchmark: Benchmark
    options: dict[str, Any]
    target: Output
    pages: Pages

    @property
    def seed(self) -> int:
        return self.options["seed"] or 0

    def pairs(self) -> list[LabelledPair]:
        """Those to be judged."""
        pairs = read_pairs(self.benchmark, self.options["data"])
        if wanted := self.options["subsets"]:
            known = dict.fromkeys(pair.subset for pair in pairs)
            if unknown := [name for name in wanted if name not in known]:
                raise click.UsageError(f"there is no subset {unknown[0]!r}; there are {', '.join(known)}")
            pairs = [pair for pair in pairs if pair.subset in wanted]
        return drawn(pairs, self.options["limit"], self.seed)

    def about(self) -> dict[str, Any]:
        """The settings of any run."""
        options = self.options
        return {
            "data": str(options["data"] or self.benchmark.name),
            "subsets": list(options["subsets"]),
            "limit": options["limit"],
            "seed": self.seed,
        }

    def replayed(self, pairs: Sequence[LabelledPair]) -> dict[str, Any]:
        """The report on recorded calls."""
        options = self.options
        if given := [name for name in ("engine", "model", "orders", "votes") if options[name] is not None]:
            raise click.UsageError(f"--replay asks no judge: leave --{given[0]} out")
        prompt = load_prompt(options["prompt"] or recorded_prompt(options["recorded"]) or self.benchmark.prompt)
        read: dict[str, Source] = {"--replay": options["recorded"]} | _data(options)
        differences = {"--differences": options["differences"]} if options["differences"] else {}
        refuse_overlap({**self.target.written, **self.pages.files, **differences}, read)
        where = assignments(options["where"], "--where")
        result = replay(pairs, options["recorded"], prompt.grammar, where=where, take=options["take"])
        settings = {
            **self.about(),
            "replay": str(options["recorded"]),
            "where": where,
            "from": options["take"],
            "grammar": prompt.grammar.name,
        }
        _told(result)
        if options["differences"]:
            _write_rows(Path(options["differences"]), result)
        return judge_report(
            self.benchmark,
            result.judged,
            settings,
            source=result.source,
            differences=result.differences,
            seed=self.seed,
        )

    def judged(self, pairs: Sequence[LabelledPair]) -> dict[str, Any]:
        """The report of a judge that is asked now."""
        options = self.options
        if options["where"] or options["differences"]:
            raise click.UsageError("--where and --differences are about recorded calls: give --replay FILE as well")
        asked = {name: options[name] for name in _JUDGE if options.get(name) is not None}
        settings = judge_settings(asked)
        orders, votes = options["orders"] or "both", options["votes"] or 1
        if orders == "balanced":
            raise click.UsageError("a pair stands alone here: --orders both, random or fixed")
        settings = {name: value for name, value in settings.items() if name not in ("orders", "votes")}
        simulated = str(settings.get("engine", "")).startswith("simulated:")
        if not simulated:
            settings.setdefault("ledger", f"{self.target.path}.ledger.db")
        self._refuse_overlap(settings)
        if simulated:
            prompt = load_prompt(settings.get("prompt", "rrm"))
            truth = truth_of_pairs(pairs, prompt)
            judge: PairJudge = simulated_judge(settings["engine"], truth, prompt=prompt, seed=self.seed)
            return self._asked(pairs, _judging(judge, orders, votes, self.seed, settings))
        with RRMJudge(**settings) as made:
            return self._asked(pairs, _judging(made.tournament.judge, orders, votes, self.seed, settings))

    def _refuse_overlap(self, settings: Mapping[str, Any]) -> None:
        read = _data(self.options) | settings_files(settings)
        if self.options["config"]:
            read["the settings file"] = os.path.expanduser(self.options["config"])
        written = {**self.target.written, **self.pages.files, **ledger_files(settings), "the texts": self._texts}
        refuse_overlap(written, read)

    @property
    def _texts(self) -> Path:
        assert self.target.path is not None
        return self.target.path.with_name(f"{self.target.path.name}.texts.jsonl")

    def _asked(self, pairs: Sequence[LabelledPair], judging: Judging) -> dict[str, Any]:
        judge = judging.judge
        unfinished = self._texts.with_name(f"{self._texts.name}.partial")
        counting = _Counting(len(pairs))
        # Emptied only once it is this run's own.
        with unfinished.open("ab") as file, counting:
            hold(file, unfinished)
            file.truncate(0)
            try:
                judged = judge_pairs(pairs, judging, on_pair=counting.count, on_row=lambda row: _put(file, row))
            except KeyboardInterrupt:
                kept = " Run the same command again to go on." if judge.ledger is not None else ""
                raise click.ClickException(f"stopped after {counting.done} pairs.{kept}") from None
        os.replace(unfinished, self._texts)
        settings = {
            **self.about(),
            "engine": judge.engine.name,
            "prompt": judge.prompt.name,
            "prompt_fingerprint": judge.prompt.fingerprint,
            "orders": judging.orders,
            "votes": judging.votes,
            "temperature": judge.sampling.temperature,
            "top_p": judge.sampling.top_p,
            "max_tokens": judge.sampling.max_tokens,
            "force_verdict": judge.force_verdict,
            "keep_thinking": judging.keep_thinking,
        }
        return judge_report(self.benchmark, judged, settings, seed=self.seed)


_JUDGE = ("config", "engine", "model", "prompt", "temperature", "max_tokens", "timeout", "concurrency", "ledger")


def _judging(judge: PairJudge, orders: OrdersShown, votes: int, seed: int, settings: Mapping[str, Any]) -> Judging:
    keep = bool(settings.get("keep_thinking", False))
    return Judging(judge=judge, orders=orders, votes=votes, seed=seed, keep_thinking=keep)


def _data(options: Mapping[str, Any]) -> dict[str, Source]:
    data: Path | None = options["data"]
    if data is None:
        return {}
    files = [data] if data.is_file() else [path for path in sorted(data.rglob("*")) if path.is_file()]
    return {f"--data {path}": path for path in files}


def _put(file: Any, row: Mapping[str, Any]) -> None:
    file.write(json_line(row))


class _Counting(Progress):
    """A bar with accuracy and cost so far."""

    def __init__(self, total: int) -> None:
        super().__init__(total, "pair")
        self.done = 0
        self._right = 0.0
        self._failed = self._tokens = self._kept = 0
        self._cost = 0.0

    def count(self, one: JudgedPair) -> None:
        """One more pair is judged."""
        self.done += 1
        self._right += one.accuracy
        self._failed += sum(call.verdict is None for call in one.calls)
        self._tokens += sum(call.prompt_tokens + call.completion_tokens for call in one.calls)
        self._kept += sum(not call.paid for call in one.calls)
        self._cost += sum(call.cost for call in one.calls)
        cost = f" for {self._cost:.4g}" if self._cost else ""
        kept = f", {self._kept} calls read from the ledger" if self._kept else ""
        self.advance(f"{self._right / self.done:.1%} right, {self._failed} failed, {self._tokens:,} tokens{cost}{kept}")


def _told(result: Replayed) -> None:
    note(f"{result.used} recorded calls used, {result.unused} of other pairs")
    if result.absent:
        note(f"nothing is recorded of {', '.join(result.absent)}: not counted")
    if result.differences:
        note(f"{len(result.differences)} texts are read otherwise than their source did")


def _write_rows(path: Path, result: Replayed) -> None:
    path.write_bytes(b"".join(json_line(dataclasses.asdict(difference)) for difference in result.differences))


evaluate.add_command(compare_runs, "compare")
evaluate.add_command(curve_runs, "curve")
