"""Command line of the experiment: plays the stages of all seeds, two at a time, and writes the report.

    python -m examples.experiment                       the experiment as documented: seeds 11, 12 and 13, from nothing
    python -m examples.experiment --demo                the first seed alone, into outputs/demo: `make demo`
    python -m examples.experiment --seeds 0 --split dev --docs none    to try settings out, without the test questions
    python -m examples.experiment --report              only the table, charts and page, of what is there
    python -m examples.experiment --page                only the pages, from the files in docs/experiment

Each stage runs in a process of its own with one thread, and logs into its folder. An interrupted run goes on where it
stopped; `--fresh` begins again from nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Read by the libraries when they are imported: nothing is fetched, and no bars in the logs.
os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")

SEEDS = (11, 12, 13)
"""Fixed before the first of them was run."""

DEMO = """\
Two models of a hundred thousand weights are trained from nothing before your
eyes: a judge that learns to think by reward alone, and a policy that learns to
add from that judge, without a label. Seven stages, about ten minutes on two
cores. RRMJudge(model="miniature"), in the package, was made in the same way; it
is neither read nor changed here.
"""

LOOK = """
What the judge thinks of the policy's answers, before and after its training:
  .venv/bin/rrm view {ledger} --open
Its two orders agree less often there than above: most of those pairs are of two
wrong answers, and it was taught to tell right from wrong."""


def main() -> None:
    options = _options()
    if options.stage:
        _one_stage(options)
        return
    # Imported late: a stage's process needs none of it.
    from examples.experiment.playing import clear, play
    from examples.experiment.report import write_page, write_report

    if options.page:
        write_page(Path(options.docs))
        return
    if options.demo:
        print(DEMO)
    if options.fresh:
        clear(options.output)
    if not options.report:
        play(options.output, options.seeds, options.split, options.workers)
    with_page = options.docs != "none"
    docs = Path(options.docs) if with_page else options.output
    print(write_report(options.output, docs, options.seeds, with_page=with_page))
    if options.demo:
        _record_for_view(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=_seeds, default=None, help="whole numbers, separated by commas")
    parser.add_argument("--output", type=Path, default=None, help="folder of models and logs")
    parser.add_argument("--docs", default="docs", help="where the page and its files go; none for nowhere")
    parser.add_argument("--split", choices=("test", "dev"), default="test", help="questions to measure on")
    parser.add_argument("--workers", type=int, default=2, help="stages at a time")
    parser.add_argument("--demo", action="store_true", help="one seed from nothing, and nothing written into docs")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--page", action="store_true", help="train and collect nothing")
    parser.add_argument("--fresh", action="store_true", help="throw away what is there")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.seeds = options.seeds or (SEEDS[:1] if options.demo else SEEDS)
    options.output = options.output or Path("outputs/demo" if options.demo else "outputs/experiment")
    if (options.demo or options.fresh) and (options.report or options.page):
        parser.error("--demo and --fresh train; --report and --page do not")
    if options.demo:
        options.docs, options.fresh = "none", True
    return options


def _record_for_view(options: argparse.Namespace) -> None:
    from examples.experiment.stages import Run
    from examples.look_at_demo import record

    for seed in options.seeds:
        ledger = record(Run(folder=options.output, seed=seed, split=options.split))
    print(LOOK.format(ledger=ledger))


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(int(seed) for seed in text.split(","))


def _one_stage(options: argparse.Namespace) -> None:
    import torch
    import transformers

    from examples.experiment.stages import Run, run_stage

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    (seed,) = options.seeds
    run_stage(Run(folder=options.output, seed=seed, split=options.split), options.stage)


if __name__ == "__main__":
    sys.exit(main())
