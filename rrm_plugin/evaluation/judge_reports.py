"""The report of a judge on a benchmark: its numbers, their intervals, its settings, and what two reports differ by.

Plain values, as they stand in the JSON file. Intervals are percentiles of a bootstrap over questions. Two reports are
compared question by question; the exact sign test says how likely so uneven a split of the questions on which they
differ is, if neither judge were better. Left out: tables and plots of a report (`tables.py`, `plots.py`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.benchmarks import Benchmark
from rrm_plugin.evaluation.benchmarks.figures import by
from rrm_plugin.evaluation.intervals import LEVEL, bootstrap_interval, paired_difference, weighted_interval
from rrm_plugin.evaluation.recorded import Difference
from rrm_plugin.evaluation.scaling import scaling_curves
from rrm_plugin.evaluation.scores import JudgedPair, counted, units

__all__ = ["compared", "judge_report", "read_judge_report", "sign_test"]


def judge_report(
    benchmark: Benchmark,
    judged: Sequence[JudgedPair],
    settings: Mapping[str, Any],
    *,
    source: Sequence[JudgedPair] | None = None,
    differences: Sequence[Difference] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """All that is known of a run.

    Args:
        benchmark: whose pairs they are.
        judged: the pairs.
        settings: of judge and run, as plain values.
        source: of a replay, the same pairs by the verdicts that the source took.
        differences: of a replay, the texts that the source read otherwise.
        seed: of the intervals.
    """
    theirs = by(source or [], _subset)
    return {
        "benchmark": benchmark.name,
        "figure": {**_figure(benchmark, judged, seed), "metric": benchmark.metric},
        "rows": [
            _row(benchmark, {"subset": name}, own, theirs.get(name), seed) for name, own in by(judged, _subset).items()
        ],
        "overall": _row(benchmark, {}, judged, source, seed),
        "by_source": None if source is None else _figure(benchmark, source, seed),
        "differences": [dataclasses.asdict(difference) for difference in differences],
        "scaling": scaling_curves(judged, seed=seed),
        "published": [dataclasses.asdict(published) for published in benchmark.published],
        "layout": benchmark.seen,
        "settings": dict(settings),
        "questions": _questions(judged),
    }


def _figure(benchmark: Benchmark, judged: Sequence[JudgedPair], seed: int) -> dict[str, Any]:
    figures = benchmark.figures(judged)
    interval = weighted_interval(figures.strata, seed=seed) if figures.strata else None
    return {"name": figures.name, "value": figures.value, "interval": interval, "parts": dict(figures.parts)}


def _subset(one: JudgedPair) -> str:
    return one.pair.subset


def _questions(judged: Sequence[JudgedPair]) -> dict[str, float]:
    return units(judged, [one.accuracy for one in judged])


def _row(
    benchmark: Benchmark,
    named: Mapping[str, str],
    judged: Sequence[JudgedPair],
    source: Sequence[JudgedPair] | None,
    seed: int,
) -> dict[str, Any]:
    numbers = counted(judged)
    row = {
        **named,
        **numbers,
        "agreement": benchmark.agreement(judged),
        "agreement_of_decided": numbers["agreement"],
        "interval": bootstrap_interval(list(_questions(judged).values()), seed=seed),
        "level": LEVEL,
    }
    if source is not None:
        row["by_source"] = {"accuracy": counted(source)["accuracy"], "agreement": benchmark.agreement(source)}
    return row


def read_judge_report(path: Path) -> dict[str, Any]:
    """A report that an earlier run wrote.

    Raises:
        ConfigError: the file is none.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        _ = report["benchmark"], report["settings"]
        if not all(0 <= value < math.inf for value in report["questions"].values()):
            raise ValueError("a question's accuracy is no number")
        return dict(report)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no report of rrm eval: {type(error).__name__}: {error}") from error


def compared(this: Mapping[str, Any], other: Mapping[str, Any], *, seed: int = 0) -> dict[str, Any]:
    """What two reports on one benchmark differ by, this one's accuracy less the other's, question by question.

    Raises:
        ConfigError: they are of two benchmarks, or share no question.
    """
    if this["benchmark"] != other["benchmark"]:
        raise ConfigError(f"one report is on {this['benchmark']}, the other on {other['benchmark']}")
    difference = paired_difference(this["questions"], other["questions"], seed=seed)
    if not difference.questions:
        raise ConfigError("the two reports share no question")
    only = len(this["questions"]) - difference.questions, len(other["questions"]) - difference.questions
    return {
        **dataclasses.asdict(difference),
        "p_value": sign_test(difference.better, difference.worse),
        "only_in_one": list(only),
        "differs": _differing(this["settings"], other["settings"]),
    }


_MAY_DIFFER = frozenset({"engine", "model", "replay", "where"})


def _differing(this: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Settings other than the judge itself that the two runs do not share, as [other's, this one's]."""
    names = [name for name in {**this, **other} if name not in _MAY_DIFFER]
    return {name: [other.get(name), this.get(name)] for name in names if this.get(name) != other.get(name)}


def sign_test(better: int, worse: int) -> float:
    """The two-sided exact sign test: how likely a split at least this uneven is, if both were equally likely.

    For questions that are right or wrong this is McNemar's exact test.

    Args:
        better, worse: questions on which one side is ahead, and on which the other is; even ones do not count.
    """
    n, fewer = better + worse, min(better, worse)
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(fewer + 1)]
    tail = math.fsum(math.exp(each - n * math.log(2)) for each in logs)
    return min(1.0, 2 * tail)
