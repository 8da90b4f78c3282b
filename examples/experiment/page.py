"""`docs/experiment.md`, written from the files of a run: no figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from examples.experiment import judge_rl, measures, policy_rl, pretraining
from examples.experiment.questions import FORGOTTEN, SLIPS, SPLITS
from examples.experiment.results import PAPER_LIFT, Row, lift, share_of_labels, targets

__all__ = ["page"]


def page(rows: Sequence[Row], details: Mapping[str, Any]) -> str:
    """The page of a run of several seeds."""
    return _TEXT.format(
        seeds=_listed([str(row["seed"]) for row in rows]),
        paper_lift=PAPER_LIFT,
        targets=_targets(rows),
        judges=_judges(rows),
        policies=_policies(rows),
        samples=_samples(details["samples"]),
        reading=_reading(rows),
        misses=_misses(rows),
        splits=_splits(),
        slips=f"{SLIPS:.0%}",
        forgotten=f"{FORGOTTEN:.0%}",
        before=_span([row["policy_before"] for row in rows]),
        policy_pretraining=sum(phase.steps for phase in pretraining.POLICY),
        cold_start_steps=sum(phase.steps for phase in pretraining.COLD_START),
        judge_steps=judge_rl.STEPS,
        policy_steps=policy_rl.STEPS,
        times=_times(rows),
        wall=_wall(details["time"]),
        cpu_minutes=f"{sum(sum(row['cpu_seconds'].values()) for row in rows) / 60:.0f}",
        curve_pairs=judge_rl.CURVE_PAIRS,
        runs=measures.RUNS,
        versions=", ".join(f"{name} {number}" for name, number in details["versions"].items()),
    )


def _targets(rows: Sequence[Row]) -> str:
    lines = ["| asked for in advance | wanted | reached | |", "|---|---|---|---|"]
    for target in targets(rows):
        mark = "met" if target.met else "**not met**"
        lines.append(f"| {target.what} | {target.wanted} | {target.reached} | {mark} |")
    return "\n".join(lines)


def _judges(rows: Sequence[Row]) -> str:
    lines = [
        "| seed | | right, first order | right, swapped order | orders agree | works the sum out | sum right where it "
        "does | tokens of thinking |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for when in ("before", "after"):
            found = row[f"judge_{when}"]
            keys = ("first_order", "swapped_order", "agreement", "computes", "sum_right")
            cells = [str(row["seed"]), when, *(f"{found[key]}%" for key in keys), str(found["thinking_tokens"])]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _policies(rows: Sequence[Row]) -> str:
    lines = [
        "| seed | before | trained judge | true labels | share of the labels' lift | untrained judge | random |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = {name: f"{row['policy_after'][name]:.1f} ({_change(lift(row, name))})" for name in row["policy_after"]}
        lines.append(
            f"| {row['seed']} | {row['policy_before']:.1f} | {cells['rrm']} | {cells['labels']} | "
            f"{share_of_labels(row):.0f}% | {cells['cold_start']} | {cells['random']} |"
        )
    means = {name: fmean(lift(row, name) for row in rows) for name in rows[0]["policy_after"]}
    changes = {name: _change(mean) for name, mean in means.items()}
    lines.append(
        f"| mean | {fmean(row['policy_before'] for row in rows):.1f} | {changes['rrm']} | {changes['labels']} | "
        f"{fmean(map(share_of_labels, rows)):.0f}% | {changes['cold_start']} | {changes['random']} |"
    )
    return "\n".join(lines)


def _change(points: float) -> str:
    """With its sign, which nothing does not have."""
    return f"{points:+.1f}" if round(points, 1) else "0.0"


def _reading(rows: Sequence[Row]) -> str:
    before, after = ([row[f"judge_{when}"] for row in rows] for when in ("before", "after"))
    return (
        f"The judge worked the sum out in {_span([one['computes'] for one in before])} of its replies before GRPO and "
        f"in {_span([one['computes'] for one in after])} after it. Where it did so, its sum was right in "
        f"{_span([one['sum_right'] for one in before])} before and in {_span([one['sum_right'] for one in after])} "
        "after."
    )


def _misses(rows: Sequence[Row]) -> str:
    missed = [target for target in targets(rows) if not target.met]
    if not missed:
        return "All of them were met in this run."
    said = "; ".join(f"{target.what}: {target.wanted} was asked for, {target.reached} was reached" for target in missed)
    return f"Not met in this run: {said}."


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| question | Assistant 1 | Assistant 2 | before | after |", "|---|---|---|---|---|"]
    for one in samples:
        cells = [f"`{one[key]}`" for key in ("question", "first", "second", "before", "after")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _splits() -> str:
    return ", ".join(f"{count} {name}" for name, count in SPLITS.items())


def _times(rows: Sequence[Row]) -> str:
    names = list(rows[0]["seconds"])
    lines = ["| seed | " + " | ".join(f"`{name}`" for name in names) + " | sum |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        seconds, worked = row["seconds"], row["cpu_seconds"]
        cells = [f"{seconds[name]:.0f} ({worked[name]:.0f})" for name in names]
        total = f"{sum(seconds.values()):.0f} ({sum(worked.values()):.0f})"
        lines.append(f"| {row['seed']} | " + " | ".join([*cells, total]) + " |")
    return "\n".join(lines)


def _wall(time: Mapping[str, Any] | None) -> str:
    if time is None:
        return "This run was interrupted and went on, so that it has no time of its own. "
    return (
        f"This run took {time['wall_seconds'] / 60:.0f} minutes from nothing to its end, {time['workers']} stages at a "
        f"time on {time['cpus']} CPU cores. "
    )


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.1f}%" if low == high else f"{low:.1f}-{high:.1f}%"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


_TEXT = """\
# The experiment in miniature

<!-- Written by examples/experiment/report.py from experiment/results.json and experiment/run.json. -->

<!-- not run: takes minutes -->
```bash
make experiment
```

The Reward Reasoning Model paper (arXiv 2505.14674) trains a judge to think by rewarding nothing but right verdicts,
and then trains a policy on questions without answers, with that judge as its only reward; on GPQA its policy rose
by {paper_lift} points, as was [reported to us and not verified](gpqa.md#what-is-known-of-it). Here is the same in
small: two models of a hundred thousand weights, made from nothing on a CPU, with transformers, TRL's `GRPOTrainer`,
and `reward_funcs=[RRMJudge(...)]`. The seeds are {seeds}; they were fixed before the run.

![Judge accuracy in both orders, length of its thinking, and policy accuracy by reward](experiment/curves.png)

Thin lines are seeds, thick lines their mean. [The same with what the judge wrote](experiment/curves.html), as a
page of HTML.

## What was asked, and what came of it

{targets}

{misses}

All figures are measured on questions that no stage was trained on. One decoding throughout: the judge samples at
temperature 0.6, as in the paper. A reply without a verdict counts as wrong, and as no agreement. The curves of the
judge are measured on the first {curve_pairs} pairs, its figures on all of them, {runs} times.

Settings were chosen on another set of questions with another seed, and then left alone: how long the judge practises
sums that it cannot copy from the prompt, which mistakes the policy's text holds, fewer steps for the judge (it had
learnt all it would in a fraction of them), and a smaller learning rate for the policy (with a larger one, random
rewards moved it by about as much as is allowed here). The bar for the untrained judge was set at that point; all others
were set before any run.

## The three stages

**A. A policy that is mediocre by design.** The questions are additions of two numbers from 10 to 99. The policy
learns them from text of which {slips} is off by a slip, and which in what remains forgets {forgotten} of the
carries. After {policy_pretraining} steps one answer drawn at temperature 1 is right with a chance of {before}
(computed exactly from the model's probabilities, not sampled).

**B. A judge that learns to think.** First a cold start of {cold_start_steps} steps on texts that know the format,
the column addition and the look-up of a number, but end up mostly guessing. Then {judge_steps} steps of GRPO on
pairs of the policy's own answers, one right and one wrong, in both orders: +1 for the right verdict, -1 for any
other or none (`JudgeTrainingReward`). Nobody shows it when to think.

{judges}

**C. A policy that learns without a label.** {policy_steps} steps of GRPO; eight answers to a question meet in a
round robin, both orders, identical answers judged once, and the win rate is the reward. The dataset has one column,
`prompt`. The controls differ in the reward alone: the true labels, the judge as it was before its training, and the
toss of a coin. pass@1 in percent, and the change in points:

{policies}

## What the judge writes

{samples}

## How to read it

What GRPO teaches this judge is to compute before it judges, and hardly any arithmetic. {reading} The working comes
from the cold start, which stands for what a base model brings along; reinforcement learning finds out that it pays.
That is the paper's claim in its smallest form, and no more than that: nothing here says how well a judge of
billions of weights judges open questions.

- The policy's mistakes are designed in, and so is the room to improve. Without a carry the right answer is its
  favourite already, and training makes it surer; with one it is not, and training turns it round.
- A judge whose own addition can be relied on judges additions well. Its language makes that easy: a number is one
  token, except in sums, where each digit is one.
- pass@1 is quoted, not the accuracy of the likeliest answer, which says nothing about how sure a policy is.
- Stage C keeps TRL's KL term (`beta=0.1`); a judge that errs must not be followed to any length.
- A lift at a fixed number of steps also measures speed; the curves say how far each policy had come.

The questions of the stages and of both test sets are disjoint by construction ({splits}), and a test asserts it.

## Run it

<!-- not run: trains for a long time -->
```bash
python -m examples.experiment            # what `make experiment` does: all of this from nothing, and this page
python -m examples.experiment --demo     # what `make demo` does: the same with the first seed alone, into outputs/demo
```

The judge of the first seed is the one that comes with the package as `RRMJudge(model="miniature")`.

{wall}Its stages took {cpu_minutes} minutes of CPU time, each in one thread; {versions}. Seconds of each stage,
wall clock and, in brackets, CPU time:

{times}
"""
