"""How responses begin, and which of them speak to the judge: the two signs of a policy that plays the judge.

A judge that pays for the way a response begins, or for a plea in it, is paid more and more of that. So both are counted
over groups of different prompts, each with what it wins: `Openings` makes metrics of them, whenever enough groups have
come together. An opening is the first words of a response as the judge sees it. Left out: what speaks to a judge, which
is told by `steering.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rrm_plugin.metrics.steering import steering_of
from rrm_plugin.prompts.guards import folded
from rrm_plugin.verdicts.grammars import Grammar

__all__ = ["GROUPS", "Openings", "Signs", "opening_of", "signs_of"]

GROUPS = 8
"""Groups that are looked at together: among fewer prompts, what one of them asks for decides how responses begin."""

_WORDS = 3
_LONGEST = 40


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What was seen in the responses of one group, in order."""

    openings: tuple[str, ...]
    """Empty where a response is."""
    steering: tuple[str, ...]
    """The kind of the first strong sign of steering; empty where there is none."""


def opening_of(text: str) -> str:
    """The first words of a text, in lower case and without punctuation."""
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", folded(text[:200]).casefold())
    return " ".join(words[:_WORDS])[:_LONGEST]


def signs_of(texts: Sequence[str], grammar: Grammar | None = None) -> Signs:
    """The signs in the responses of a group.

    Args:
        texts: of each response, as the judge would see it, before the guards.
        grammar: of the judge's verdicts.
    """
    return Signs(openings=tuple(map(opening_of, texts)), steering=tuple(steering_of(text, grammar) for text in texts))


class Openings:
    """Counts the signs of groups as they come.

    Args:
        groups: how many are looked at together.
    """

    def __init__(self, groups: int = GROUPS) -> None:
        self._least = groups
        self._groups: list[tuple[Signs, Sequence[float | None]]] = []
        self.quotes: dict[str, str] = {}
        """By metric, what it was last measured on: the commonest opening, the commonest kind of steering."""

    def add(self, signs: Sequence[Signs], values: Sequence[Sequence[float | None]]) -> dict[str, float]:
        """Metrics of the groups since the last time there were any; none while these are too few.

        Args:
            signs: of each group.
            values: of each group, the scores.

        Returns:
            `opening` and `steering`, shares of the responses; `opening_gain` and `steering_gain`, by how much more than
            half of its comparisons such a response wins against others of its group, from -0.5 to 0.5. Without the
            judge's name before them.
        """
        self._groups += zip(signs, values, strict=True)
        if len(self._groups) < self._least:
            return {}
        groups, self._groups = self._groups, []
        found: dict[str, float] = {}
        for metric, told in (("opening", _openings), ("steering", _steering)):
            ours, quote = told([one for one, _ in groups])
            found[metric] = float(np.mean([np.mean(own) for own in ours if len(own)] or [0.0]))
            gains = [_gain(own, scores) for own, (_, scores) in zip(ours, groups, strict=True)]
            known = [gain for gain in gains if gain is not None]
            if known:
                found[f"{metric}_gain"] = float(np.mean(known))
            self.quotes[metric] = quote
        return found


def _openings(groups: Sequence[Signs]) -> tuple[list[list[bool]], str]:
    """Which responses begin like most do, and how; each group counts the same."""
    shares: dict[str, float] = {}
    for one in groups:
        for opening in filter(None, one.openings):
            shares[opening] = shares.get(opening, 0.0) + 1 / len(one.openings)
    most = max(sorted(shares), key=shares.__getitem__, default="")
    return [[bool(most) and opening == most for opening in one.openings] for one in groups], most


def _steering(groups: Sequence[Signs]) -> tuple[list[list[bool]], str]:
    kinds = [kind for one in groups for kind in one.steering if kind]
    quote = max(sorted(set(kinds)), key=kinds.count, default="")
    return [[bool(kind) for kind in one.steering] for one in groups], quote


def _gain(ours: Sequence[bool], scores: Sequence[float | None]) -> float | None:
    """How often, beyond one half, ours score higher than others of the group; ties count half."""
    mine = [score for own, score in zip(ours, scores, strict=True) if own and score is not None]
    others = [score for own, score in zip(ours, scores, strict=True) if not own and score is not None]
    if not mine or not others:
        return None
    differences = np.subtract.outer(mine, others)
    return float(np.mean((np.sign(differences) + 1) / 2)) - 0.5
