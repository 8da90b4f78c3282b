"""What a judge's calls on labelled pairs amount to: one set of numbers for every benchmark.

A pair that is shown in both orders has two judgements. A judgement without a verdict is a wrong one, and is counted
apart as well, by reason. Where several votes were cast in an order, most of them decide; where they are even among
several verdicts, the judgement is worth the share of these that are right, as if a coin decided. A number of which
nothing can be said is null.

    n                    pairs
    accuracy             mean over pairs and orders, with its `interval`
    accuracy_straight    of the data set's own order alone
    accuracy_swapped     of the other order alone
    both                 share of the pairs that are right in both orders
    together             share of the pairs on which the two orders together name the right response more often; orders
                         that contradict each other are a tie
    agreement            share of the pairs on which both orders say the same, as the benchmark's source counts it
    agreement_of_decided
                         the same among pairs with a verdict in both orders: what the package calls agreement elsewhere
    first_rate           share of decided calls won by the response shown first; 0.5 is unbiased
    tie_rate             share of the verdicts that are ties
    failures             calls without a verdict, by reason
    failed               their share of all calls
    forced               share of calls whose thinking ran out and that were made to state a verdict
    cost                 calls, how many of them were answered now and not read, tokens and seconds, in all and a call
    by_source            of a replay, accuracy and agreement by the verdicts that the source took

Left out: what a benchmark counts in its own way (`benchmarks/`), and intervals (`judge_reports.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rrm_plugin.types import Prompt, Reason, Response, Verdict

__all__ = ["Call", "JudgedPair", "LabelledPair", "agreement", "counted", "units", "worth"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledPair:
    """Two responses, and which is better."""

    id: str
    """Unique in its subset."""
    subset: str
    prompt: Prompt = field(repr=False)
    first: Response = field(repr=False)
    second: Response = field(repr=False)
    label: Verdict
    """By the order of the data set; a tie where its annotators saw one."""
    question: str = ""
    """Pairs of one question are no independent cases and are resampled together; by default a pair is alone."""
    cell: str = ""
    """What else tells pairs of a question apart, such as their styles."""

    @property
    def key(self) -> tuple[str, str]:
        """Subset and id."""
        return self.subset, self.id

    @property
    def unit(self) -> str:
        """What is resampled."""
        return f"{self.subset}/{self.question or self.id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One judge call on a pair."""

    swapped: bool
    """Whether the second response of the data set was shown first."""
    vote: int
    verdict: Verdict | None
    """By the order of the data set, whichever was shown first."""
    reason: Reason | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    forced: bool = False
    paid: bool = True
    """False where it was read from a ledger or a recording."""
    cost: float = 0.0
    """Of what was paid now, where there are prices."""


def worth(verdicts: Sequence[Verdict | None], label: Verdict) -> float:
    """What the votes of one judgement are worth: 1 right, 0 wrong, and the right share of verdicts that are even."""
    leaders = _leaders(verdicts)
    return leaders.count(label) / len(leaders) if leaders else 0.0


def _leaders(verdicts: Sequence[Verdict | None]) -> list[Verdict]:
    """The verdicts with most votes; none where no vote is a verdict."""
    if len(verdicts) == 1:
        return [verdicts[0]] if verdicts[0] is not None else []
    counts = Counter(verdict for verdict in verdicts if verdict is not None)
    most = max(counts.values(), default=0)
    return [verdict for verdict, count in counts.items() if count == most]


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedPair:
    """A pair with all calls that were made on it."""

    pair: LabelledPair
    calls: tuple[Call, ...]
    orders: tuple[bool, ...] = field(init=False)
    """The orders in which it was shown, the data set's own (False) first."""
    _leaders: tuple[list[Verdict], list[Verdict]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shown = {call.swapped for call in self.calls}
        # Computed once: reports ask for these many times, of many pairs.
        object.__setattr__(self, "orders", tuple(sorted(shown)))
        object.__setattr__(self, "_leaders", (_leaders(self.votes(False)), _leaders(self.votes(True))))

    def votes(self, swapped: bool) -> list[Verdict | None]:
        """The verdicts in one order."""
        return [call.verdict for call in self.calls if call.swapped is swapped]

    def right(self, swapped: bool) -> float:
        """What the judgement in one order is worth."""
        leaders = self._leaders[swapped]
        return leaders.count(self.pair.label) / len(leaders) if leaders else 0.0

    def verdict(self, swapped: bool) -> Verdict | None:
        """What most votes in one order say; a tie where they are even, None where there is none."""
        leaders = self._leaders[swapped]
        return None if not leaders else leaders[0] if len(leaders) == 1 else Verdict.TIE

    @property
    def accuracy(self) -> float:
        """Mean of what its judgements are worth."""
        return sum(self.right(swapped) for swapped in self.orders) / len(self.orders)

    @property
    def both(self) -> float | None:
        """Whether it is right in both orders; None where it was shown in one."""
        return self.right(False) * self.right(True) if len(self.orders) == 2 else None

    @property
    def agrees(self) -> bool | None:
        """Whether both orders say the same; None where one has no verdict."""
        if len(self.orders) < 2:
            return None
        straight, swapped = self.verdict(False), self.verdict(True)
        return None if straight is None or swapped is None else straight is swapped

    @property
    def together(self) -> Verdict | None:
        """What the orders say together: the response that more of them name; a tie where they name both or none."""
        said = [self.verdict(swapped) for swapped in self.orders]
        if all(verdict is None for verdict in said):
            return None
        ahead = said.count(Verdict.FIRST) - said.count(Verdict.SECOND)
        return Verdict.FIRST if ahead > 0 else Verdict.SECOND if ahead < 0 else Verdict.TIE


def agreement(judged: Sequence[JudgedPair]) -> float | None:
    """Share of the pairs with a verdict in both orders on which these say the same; None without such pairs."""
    return _mean([one.agrees for one in judged if one.agrees is not None])


def units(judged: Sequence[JudgedPair], values: Sequence[float]) -> dict[str, float]:
    """A value per question, such that their mean is the mean over pairs.

    A question's value is the sum over its pairs by the mean number of pairs a question has: questions with more pairs
    weigh more, as they do in the mean over pairs.
    """
    sums: dict[str, float] = {}
    for one, value in zip(judged, values, strict=True):
        sums[one.pair.unit] = sums.get(one.pair.unit, 0.0) + value
    size = len(judged) / len(sums) if sums else 1.0
    return {name: total / size for name, total in sums.items()}


def counted(judged: Sequence[JudgedPair]) -> dict[str, Any]:
    """The numbers of some pairs, as plain values; see the module docstring."""
    calls = [call for one in judged for call in one.calls]
    return {
        "n": len(judged),
        **_accuracies(judged),
        **_positions(judged, calls),
        "failures": dict(sorted(Counter(call.reason.value for call in calls if call.reason is not None).items())),
        "failed": _mean([call.verdict is None for call in calls]),
        "forced": _mean([call.forced for call in calls]),
        "cost": _cost(calls),
    }


def _accuracies(judged: Sequence[JudgedPair]) -> dict[str, float | None]:
    both = [one.both for one in judged if one.both is not None]
    return {
        "accuracy": _mean([one.accuracy for one in judged]),
        "accuracy_straight": _mean([one.right(False) for one in judged if False in one.orders]),
        "accuracy_swapped": _mean([one.right(True) for one in judged if True in one.orders]),
        "both": _mean(both),
        "together": _mean([one.together is one.pair.label for one in judged if len(one.orders) == 2]),
    }


def _positions(judged: Sequence[JudgedPair], calls: Sequence[Call]) -> dict[str, float | None]:
    decided = [call for call in calls if call.verdict in (Verdict.FIRST, Verdict.SECOND)]
    return {
        "agreement": agreement(judged),
        "first_rate": _mean([(call.verdict is Verdict.FIRST) is not call.swapped for call in decided]),
        "tie_rate": _mean([call.verdict is Verdict.TIE for call in calls if call.verdict is not None]),
    }


def _cost(calls: Sequence[Call]) -> Mapping[str, Any]:
    answered = [call for call in calls if call.reason is None or not call.reason.of_engine]
    return {
        "calls": len(calls),
        "paid": sum(call.paid for call in answered),
        "prompt_tokens": sum(call.prompt_tokens for call in calls),
        "completion_tokens": sum(call.completion_tokens for call in calls),
        "seconds": sum(call.seconds for call in calls),
        "tokens_per_call": _mean([call.prompt_tokens + call.completion_tokens for call in answered]),
        "completion_tokens_per_call": _mean([call.completion_tokens for call in answered]),
        "seconds_per_call": _mean([call.seconds for call in answered]),
    }


def _mean(values: Sequence[float | bool]) -> float | None:
    return float(np.mean(values)) if len(values) else None
