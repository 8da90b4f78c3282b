"""Evaluation: how good a policy is on questions with choices, before and after its training.

    rrm eval-policy gpqa_diamond mmlu_pro --engine http://localhost:8000/v1 --json before.json

`choices.py` has the questions, `policy.py` asks them, `answers.py` reads the replies, `replies.py` keeps them on disk,
`reports.py` counts, and `intervals.py` says how far to trust the counts. Left out: the training.
"""

from __future__ import annotations

from rrm_plugin.evaluation.answers import Answer, AnswerReason, read_answer
from rrm_plugin.evaluation.choices import Question, load_questions
from rrm_plugin.evaluation.intervals import bootstrap_interval, paired_difference
from rrm_plugin.evaluation.policy import PolicyEvaluation, Sample, evaluate_policy

__all__ = [
    "Answer",
    "AnswerReason",
    "PolicyEvaluation",
    "Question",
    "Sample",
    "bootstrap_interval",
    "evaluate_policy",
    "load_questions",
    "paired_difference",
    "read_answer",
]
