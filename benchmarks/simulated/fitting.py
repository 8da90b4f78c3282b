"""A judge fitted to what real judges said of the same pairs in both orders: the recorded verdicts of LLMBar.

LLMBar (arXiv 2310.07641) publishes what its judges wrote on its 100 natural pairs, and on pairs of FairEval, LLMEval^2
and MT-Bench, in both orders, with people's label of the better one. Its adversarial pairs are left out: they were made
to fool a judge, and responses of one policy are not. Verdicts are those that its authors read off the texts.

The model: the log-odds that the better is named are slope * d + e + bias if it is shown first, slope * d + e - bias if
second. d is the difference in quality of two drawn from N(0, 1), without its sign, since the label says which is the
better; e is an error of the pair, normal, the same in both orders; what is left is the logistic noise of the call. One
table of four cells (right in both orders, only with the better first, only with it second, in neither) has three free
shares and so determines slope, error and bias, by maximum likelihood. That labels are the truth, and that pairs differ
as two of N(0, 1) do, are assumptions that the table cannot test.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import erfinv

from simulated.judges import FloatArray, Judge, logistic

__all__ = ["Fit", "fit", "tables"]

SUBSETS = ("LLMBar/Natural", "Processed/FairEval", "Processed/LLMEval^2", "Processed/MT-Bench")
EVALUATORS = ("GPT-4", "ChatGPT")
METHOD = "Vanilla_NoRules"
"""The plainest prompt that was put to both judges on all of these pairs."""
LEAST = 1e-9
QUANTILES = 400


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A judge, and the table it was fitted to."""

    judge: Judge
    cells: tuple[int, int, int, int]
    """Pairs: right in both orders, right only where the better is first, only where it is second, in neither."""
    expected: tuple[float, ...]
    """The same shares, by the fitted judge."""

    @property
    def pairs(self) -> int:
        """Pairs with a verdict in both orders."""
        return sum(self.cells)

    @property
    def agreement(self) -> float:
        """Share of the pairs in which both orders name the same winner."""
        return (self.cells[0] + self.cells[3]) / self.pairs


def tables(path: Path) -> dict[str, tuple[int, int, int, int]]:
    """The four cells of each judge."""
    right: dict[tuple[str, str, int], dict[bool, bool]] = defaultdict(dict)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["subset"] not in SUBSETS or row["method"] != METHOD or row["parsed_winner"] is None:
                continue
            # `parsed_winner` and `label` count as the data set does; `swapped` says that the second was shown first.
            better_first = (str(row["label"]) == "1") != row["swapped"]
            right[row["evaluator"], row["subset"], row["idx"]][better_first] = row["parsed_winner"] == str(row["label"])
    found: dict[str, tuple[int, int, int, int]] = {}
    for evaluator in EVALUATORS:
        both = [orders for (name, *_), orders in right.items() if name == evaluator and len(orders) == 2]
        counts = [
            sum(orders[True] == first and orders[False] == second for orders in both)
            for first in (True, False)
            for second in (True, False)
        ]
        found[evaluator] = (counts[0], counts[1], counts[2], counts[3])
    return found


def fit(name: str, cells: tuple[int, int, int, int]) -> Fit:
    """The most likely slope, pair error and bias."""

    def loss(parameters: FloatArray) -> float:
        slope, error = np.exp(parameters[:2])
        return -float(np.dot(cells, np.log(np.maximum(_shares(slope, error, parameters[2]), LEAST))))

    starts = [(np.log(slope), np.log(error), 0.5) for slope in (0.5, 2.0, 6.0) for error in (0.5, 3.0)]
    found = [minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}) for start in starts]
    slope, error, bias = min(found, key=lambda one: one.fun).x
    judge = Judge(name=name, slope=float(np.exp(slope)), bias=float(bias), pair_error=float(np.exp(error)))
    return Fit(judge=judge, cells=cells, expected=tuple(_shares(judge.slope, judge.pair_error, judge.bias).tolist()))


def _shares(slope: float, error: float, bias: float) -> FloatArray:
    """(4,) Chance of each cell: the mean over differences and errors, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    # At quantiles of half a normal with variance 2: a quadrature of the whole one would have a kink at 0.
    distance = 2.0 * erfinv((np.arange(QUANTILES) + 0.5) / QUANTILES)
    margin = slope * distance[:, None] + error * nodes[None, :]
    first, second = logistic(margin + bias), logistic(margin - bias)
    cells = (first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second))
    return np.array([float((cell @ weights).mean()) for cell in cells])
