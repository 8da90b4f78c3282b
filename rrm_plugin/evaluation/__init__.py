"""Evaluation: how good a judge is on benchmarks and as best of n, and how good a policy is before and after training.

    rrm eval llmbar --engine http://localhost:8001/v1 --model Reward-Reasoning/RRM-7B --json llmbar.json
    rrm bon groups.jsonl --engine http://localhost:8001/v1 --json bon.json
    rrm eval-policy gpqa_diamond mmlu_pro --engine http://localhost:8000/v1 --json before.json

Of a judge: `benchmarks/` has the pairs, `judging.py` asks, `recorded.py` reads what was recorded, `scores.py` counts,
`scaling.py` says what fewer votes are worth, `judge_reports.py` puts it together, `simulated.py` is a judge of stated
accuracy, `response_groups.py` and `best_of_n.py` pick from many responses. Of a policy: `choices.py` has the questions,
`policy.py` asks them, `answers.py` reads the replies, `replies.py` keeps them on disk, `reports.py` counts. Of both:
`intervals.py` says how far to trust the counts. Left out: the training.
"""

from __future__ import annotations

from rrm_plugin.evaluation.answers import Answer, AnswerReason, read_answer
from rrm_plugin.evaluation.best_of_n import best_of_n, picked, strategy
from rrm_plugin.evaluation.choices import Question, load_questions
from rrm_plugin.evaluation.intervals import bootstrap_interval, paired_difference
from rrm_plugin.evaluation.judge_reports import compared, judge_report, sign_test
from rrm_plugin.evaluation.judging import Judging, judge_pairs
from rrm_plugin.evaluation.policy import PolicyEvaluation, Sample, evaluate_policy
from rrm_plugin.evaluation.recorded import replay
from rrm_plugin.evaluation.simulated import SimulatedJudge, simulated_judge

__all__ = [
    "Answer",
    "AnswerReason",
    "Judging",
    "PolicyEvaluation",
    "Question",
    "Sample",
    "SimulatedJudge",
    "best_of_n",
    "bootstrap_interval",
    "compared",
    "evaluate_policy",
    "judge_pairs",
    "judge_report",
    "load_questions",
    "paired_difference",
    "picked",
    "read_answer",
    "replay",
    "sign_test",
    "simulated_judge",
    "strategy",
]
