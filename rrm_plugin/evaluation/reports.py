"""Samples counted: accuracy with its interval, by category, what had no answer and why, and what two runs differ by.

Accuracy is the mean over questions of the share of a question's samples that are right (pass@1). A reply without an
answer and a call that failed are wrong, and stand apart as well. Left out: asking (`policy.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.intervals import LEVEL, bootstrap_interval, paired_difference
from rrm_plugin.evaluation.policy import Sample

__all__ = ["compared", "counted", "read_report", "told", "told_difference"]


def counted(samples: Iterable[Sample], *, max_tokens: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Results by benchmark, as plain values.

    Args:
        samples: of one or several benchmarks.
        max_tokens: most tokens of a reply; those that were cut off below it are counted as `cut_short`.
        seed: of the intervals.
    """
    of_benchmark: dict[str, list[Sample]] = {}
    for sample in samples:
        of_benchmark.setdefault(sample.benchmark, []).append(sample)
    return {name: _benchmark(found, max_tokens, seed) for name, found in of_benchmark.items()}


def _benchmark(samples: Sequence[Sample], max_tokens: int | None, seed: int) -> dict[str, Any]:
    right: dict[str, list[int]] = {}
    categories: dict[str, dict[str, None]] = {}
    for sample in samples:
        right.setdefault(sample.question, []).append(int(sample.right))
        categories.setdefault(sample.category, {})[sample.question] = None
    means = {question: float(np.mean(each)) for question, each in right.items()}
    answered = [sample for sample in samples if not sample.failed]
    cut = [sample for sample in answered if not sample.finished]
    return {
        **_accuracy(list(means.values()), seed),
        "samples": len(samples),
        "right": sum(sample.right for sample in samples),
        "wrong": sum(not sample.right and sample.reason is None for sample in samples),
        "no_answer": dict(Counter(str(sample.reason) for sample in answered if sample.reason is not None)),
        "failures": dict(Counter(str(sample.reason) for sample in samples if sample.failed)),
        "truncated": len(cut) / len(answered) if answered else None,
        "cut_short": sum(0 < sample.completion_tokens < (max_tokens or 0) for sample in cut),
        "found": dict(Counter(sample.found for sample in answered if sample.found)),
        "letters": dict(sorted(Counter(sample.letter for sample in answered if sample.letter).items())),
        "tokens": _tokens(answered),
        "categories": {
            name: _accuracy([means[question] for question in own], seed)
            for name, own in sorted(categories.items())
            if name
        },
        "questions_right": {question: each for question, each in right.items()},
    }


def _accuracy(means: Sequence[float], seed: int) -> dict[str, Any]:
    return {
        "questions": len(means),
        "accuracy": float(np.mean(means)),
        "interval": bootstrap_interval(means, seed=seed),
        "level": LEVEL,
    }


def _tokens(samples: Sequence[Sample]) -> dict[str, Any]:
    written = [sample.completion_tokens for sample in samples]
    return {
        "prompt": sum(sample.prompt_tokens for sample in samples),
        "completion": sum(written),
        "completion_mean": float(np.mean(written)) if written else None,
    }


def told(name: str, result: Mapping[str, Any]) -> str:
    """The result of a benchmark, for a person."""
    parts = [
        f"{name}: {result['accuracy']:.1%}{_ends(result['interval'])}",
        f"{result['questions']} questions, {result['samples']} replies",
    ]
    lost = {**result["no_answer"], **{f"failed {why}": times for why, times in result["failures"].items()}}
    if lost:
        parts.append("no answer: " + ", ".join(f"{why} {times}" for why, times in lost.items()))
    if result["truncated"]:
        parts.append(f"{result['truncated']:.1%} cut off")
    if result["tokens"]["completion_mean"] is not None:
        parts.append(f"{result['tokens']['completion_mean']:.0f} tokens a reply")
    lines = ["; ".join(parts)]
    for category, own in result["categories"].items():
        lines.append(f"  {category}: {own['accuracy']:.1%}{_ends(own['interval'])} of {own['questions']}")
    if result["cut_short"]:
        lines.append(
            f"  {result['cut_short']} replies were cut off below the limit: the server has a lower one of its own "
            "(vLLM takes max_new_tokens from generation_config.json unless it is started with --generation-config "
            "vllm), or the model's context was full"
        )
    return "\n".join(lines)


def _ends(interval: Sequence[float] | None) -> str:
    return f" [{interval[0]:.1%}, {interval[1]:.1%}]" if interval else ""


def read_report(path: Path) -> dict[str, Any]:
    """A report that an earlier run wrote.

    Raises:
        ConfigError: the file is none.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        for result in report["benchmarks"].values():
            {name: float(np.mean(each)) for name, each in result["questions_right"].items()}
        return dict(report)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no report of rrm eval-policy: {type(error).__name__}: {error}") from error


def compared(this: Mapping[str, Any], other: Mapping[str, Any], *, seed: int = 0) -> dict[str, Any]:
    """The difference of two reports by benchmark, this one's accuracy less the other's, question by question.

    Raises:
        ConfigError: they have no benchmark in common.
    """
    common = [name for name in this["benchmarks"] if name in other["benchmarks"]]
    if not common:
        raise ConfigError("the two reports have no benchmark in common")
    return {
        "differs": _differing(this["settings"], other.get("settings", {})),
        "benchmarks": {
            name: dataclasses.asdict(paired_difference(_means(this, name), _means(other, name), seed=seed))
            for name in common
        },
    }


_MAY_DIFFER = ("engine",)


def _differing(this: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Settings other than the model that the two runs do not share, as [other's, this one's]."""
    names = [name for name in {**this, **other} if name not in _MAY_DIFFER]
    return {name: [other.get(name), this.get(name)] for name in names if this.get(name) != other.get(name)}


def _means(report: Mapping[str, Any], name: str) -> dict[str, float]:
    return {question: float(np.mean(each)) for question, each in report["benchmarks"][name]["questions_right"].items()}


def told_difference(difference: Mapping[str, Any]) -> str:
    """What two reports differ by, for a person."""
    lines = []
    for name, one in difference["benchmarks"].items():
        if one["difference"] is None:
            lines.append(f"{name}: no question in common")
            continue
        ends = one["interval"]
        within = f" [{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]" if ends else ""
        lines.append(
            f"{name}: {100 * one['difference']:+.1f} points{within}; {one['better']} of {one['questions']} questions "
            f"better, {one['worse']} worse"
        )
    if difference["differs"]:
        named = ", ".join(f"{name} {old!r} -> {new!r}" for name, (old, new) in difference["differs"].items())
        lines.append(f"the runs were not asked alike: {named}")
    return "\n".join(lines)
