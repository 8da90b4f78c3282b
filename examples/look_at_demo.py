"""What the demo's judge thinks of the policy that it trained, as a ledger to look at with `rrm view`.

Answers of the policy before and after its training meet in tournaments of their own, and each call is recorded with
what the judge thought. The training itself keeps no ledger: there the same two answers are judged anew in each step,
and a ledger would repeat its first verdict. Most answers here are wrong, and which of two wrong ones is the better one
nobody taught the judge: so its orders agree less often than in the demo's table, where one of the two is right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples.experiment.measures import make_judge
from examples.experiment.pairs import own_answers
from examples.experiment.policy_rl import STEPS
from examples.experiment.questions import split
from examples.experiment.stages import Run
from rrm_plugin import Group
from rrm_plugin.ledger import Ledger

__all__ = ["record"]

QUESTIONS = 24
ANSWERS = 8


def record(run: Run) -> Path:
    """Has the trained judge score answers of the policy, before and after its training, to held-out questions.

    Returns:
        The ledger; the training step of its groups is 0 or the last one.
    """
    # A model this small only loses by sharing its work out.
    torch.set_num_threads(1)
    path = run.folder / "judge.db"
    for left in run.folder.glob(f"{path.name}*"):
        left.unlink()
    with make_judge(run.at("judge")) as judge:
        pairs, ledger = judge.tournament.judge, Ledger(path)
        for stage, step in (("policy", 0), ("policy-rrm", STEPS)):
            # With a seed of its own, so that no answer after the training is judged by a verdict from before it.
            sampling = dataclasses.replace(pairs.sampling, seed=step)
            recording = judge.variant(judge=dataclasses.replace(pairs, sampling=sampling, ledger=ledger))
            recording.score_groups(list(_groups(run, stage, step)))
        ledger.close()
    return path


def _groups(run: Run, stage: str, step: int) -> Iterator[Group]:
    policy = run.at(stage)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(policy), AutoTokenizer.from_pretrained(policy)
    questions = split(run.split)[:QUESTIONS]
    for question, given in zip(questions, own_answers(model, tokenizer, questions, run.seed), strict=True):
        when = "after" if step else "before"
        yield Group(prompt=question.text, responses=given[:ANSWERS], id=f"{question.text} {when}", step=step)
