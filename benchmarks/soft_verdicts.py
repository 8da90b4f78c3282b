"""What the probability of a verdict's token would be worth beside the verdict itself, where the judge thinks first.

Two measurements. The miniature judge of the package, which thinks, on pairs it was not trained on, in both orders: how
sure it is of its verdict's token once its thought is written, against having to say it without a thought. And a
simulation of what scores would gain if the token's probability counted in place of the verdict, by the share of
verdicts that the thought has settled already: there the probability is 0 or 1 and says what the verdict says, and
else it is the judge's own chance, which is the most that it could be.

    python benchmarks/soft_verdicts.py [--pairs 500] [--groups 1000] [--write]

Needs transformers and torch. `--write` puts the tables into benchmarks/results/soft_verdicts.md.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before NumPy is imported: models and matrices are small, and threads would only wait for each other.
os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})
sys.path.insert(0, str(Path(__file__).parents[1]))

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from simulated.judges import FloatArray, Judge, groups, logistic
from simulated.plays import measured, play
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples.experiment.questions import split, wrong_answer
from rrm_plugin import RRMJudge, Verdict, miniature

RESULTS = Path(__file__).parent / "results" / "soft_verdicts.md"
VERDICTS = (r"\boxed{Assistant 1}", r"\boxed{Assistant 2}")
"""Each is one token of the miniature's."""
SETTLED = (0.0, 0.5, 0.9, 0.99, 1.0)
SIZE = 8
JUDGES = (Judge(name="slope 4", slope=4.0), Judge(name="slope 1.5", slope=1.5))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One pair in one order, and what the miniature says to it."""

    label: float
    """1 where the first is the right one."""
    said: float
    """1 where the verdict names the first, 0 where the second."""
    after: float
    """Chance of the token for the first rather than the second, once the thought is written."""
    without: float
    """The same with the thought left out."""


def asked(pairs: int) -> list[Asked]:
    """The miniature's verdicts on as many questions, each with its right and a wrong answer, in both orders."""
    draws = np.random.default_rng(0)
    questions = split("test")[:pairs]
    model = AutoModelForCausalLM.from_pretrained(miniature.FOLDER).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(miniature.FOLDER)
    found: list[Asked] = []
    with RRMJudge(model="miniature") as judge:
        for question in questions:
            wrong = wrong_answer(question, draws)
            for first, second, label in ((question.right, wrong, 1.0), (wrong, question.right, 0.0)):
                judgement = judge.compare(question.text, first, second)
                if judgement.verdict not in (Verdict.FIRST, Verdict.SECOND):
                    continue
                shown = _prompt(judge, tokenizer, question.text, first, second)
                thought = judgement.text.removeprefix("<think>").partition(r"\boxed")[0]
                found.append(
                    Asked(
                        label=label,
                        said=float(judgement.verdict is Verdict.FIRST),
                        after=_chance(model, tokenizer, shown + thought),
                        without=_chance(model, tokenizer, shown + "</think>"),
                    )
                )
    return found


def _prompt(judge: RRMJudge, tokenizer: Any, question: str, first: str, second: str) -> str:
    road = judge.tournament
    messages = road.judge.prompt.render(road.prepare_query(question), road.prepare(first), road.prepare(second))
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def _chance(model: Any, tokenizer: Any, text: str) -> float:
    """Of the first verdict's token against the second's, after this text, at a temperature of 1."""
    ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    one, other = (tokenizer.encode(verdict, add_special_tokens=False) for verdict in VERDICTS)
    if len(one) != 1 or len(other) != 1:
        raise AssertionError("a verdict of the miniature is one token")
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, -1]
    return float(torch.sigmoid(logits[one[0]] - logits[other[0]]))


def of_the_miniature(found: Sequence[Asked]) -> str:
    """How sure it is, and what that is worth."""
    label, said, after, without = (
        np.array([getattr(one, name) for one in found]) for name in ("label", "said", "after", "without")
    )
    told_by = {
        "the verdict, after its thought": said,
        "its token's probability, after the same thought": after,
        "the token's probability without a thought": without,
    }
    rows = [
        [name, _accuracy(one, label), "" if one is said else _sure(one), _squared(one, label)]
        for name, one in told_by.items()
    ]
    wrong = said != label
    told = (
        f"In its {int(wrong.sum())} wrong verdicts of {len(found)} the token had a probability of "
        f"{np.where(said == 1, after, 1 - after)[wrong].mean():.4f} on average.\n"
        if wrong.any()
        else ""
    )
    header = ["of the miniature", "right", "surer than 0.99", "mean squared error"]
    return f"{_table(header, rows)}\n{told}"


def _accuracy(chance: FloatArray, label: FloatArray) -> str:
    return f"{np.mean((chance > 0.5) == (label > 0.5)):.1%}"


def _sure(chance: FloatArray) -> str:
    return f"{np.mean(np.maximum(chance, 1 - chance) > 0.99):.1%}"


def _squared(chance: FloatArray, label: FloatArray) -> str:
    return f"{np.mean((chance - label) ** 2):.4f}"


def of_simulated_judges(count: int) -> str:
    """Correlation of mean points with the truth, by the share of verdicts that were settled by the thought."""
    rows = []
    for judge in JUDGES:
        drawn = groups(judge, count, SIZE, 0)
        settled = np.random.default_rng(1).random((count, SIZE, SIZE))
        margin = judge.slope * (drawn.truth[:, :, None] - drawn.truth[:, None, :]) + judge.bias
        for schedule in ("circulant:3", "round_robin"):
            met = _met(schedule, count)
            hard = measured(_points(drawn.wins.astype(float), met), drawn).correlation
            cells = [judge.name, schedule, f"{hard.mean():.3f}"]
            for share in SETTLED:
                soft = np.where(settled < share, drawn.wins, logistic(margin))
                more = measured(_points(soft, met), drawn).correlation - hard
                cells.append(f"{more.mean():+.3f} ± {more.std(ddof=1) / np.sqrt(count):.3f}")
            rows.append(cells)
    header = ["judge", "schedule", "verdicts", *(f"{share:.0%} settled" for share in SETTLED)]
    return _table(header, rows)


def _met(schedule: str, count: int) -> FloatArray:
    """(n, n) Who is shown first to whom; the same in all groups, since positions are what a schedule fixes."""
    nobody = groups(JUDGES[0], 1, SIZE, 0)
    met = np.zeros((SIZE, SIZE))
    for judgement in play(schedule, "balanced", nobody).judgements[0]:
        assert judgement.match is not None
        met[judgement.match.first, judgement.match.second] = 1.0
    return met


def _points(points: FloatArray, met: FloatArray) -> FloatArray:
    """(B, n) Mean points of a response's own matches."""
    won = (points * met).sum(axis=2) + ((1.0 - points) * met).sum(axis=1)
    return won / (met.sum(axis=1) + met.sum(axis=0))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [header, ["---"] * len(header), *rows])


def main() -> None:
    """Measures, prints, and writes where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    text = (
        "# Soft verdicts\n\nWritten by `python benchmarks/soft_verdicts.py --write`; the script says what is measured. "
        f"{options.pairs} held-out questions, a right and a wrong answer each, in both orders. torch "
        f"{torch.__version__}, transformers {transformers.__version__}.\n\n"
        f"{of_the_miniature(asked(options.pairs))}\n## If the probability counted\n\n"
        f"Groups of {SIZE}, {options.groups:,} of them; correlation of mean points with the truth for verdicts, and "
        "how much more for probabilities; ± is one standard error. Of a share of the verdicts the thought leaves no "
        f"doubt.\n\n{of_simulated_judges(options.groups)}"
    )
    print(text)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
