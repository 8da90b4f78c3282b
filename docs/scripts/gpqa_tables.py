"""The tables of docs/gpqa.md: how far a result can be trusted, and what the experiment costs.

Intervals come from the package's own bootstrap, hours from `estimates.py` and the recipe's files. Nothing is measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from estimate_tables import about, markdown
from estimates import GPUS, Assumed, Recipe, times
from recipe_files import trl_recipe

from rrm_plugin.evaluation.intervals import bootstrap_interval
from rrm_plugin.schedules import schedule

__all__ = ["POLICY_TOKENS", "QUESTION_TOKENS", "TABLES", "judge_calls", "judge_recipe", "policy_recipe"]

FOLDER = Path(__file__).resolve().parent.parent.parent / "integrations" / "trl" / "gpqa"
SIZES = {"gpqa_diamond": 198, "mmlu_pro": 12_032}
REPORTED = (26.8, 40.9)
"""Per cent of GPQA before and after, as reported of the paper."""
SAMPLES = 4
"""Of each question, in the commands of the page."""
QUESTION_TOKENS = 200
POLICY_TOKENS = 800
"""Mean tokens of a policy's reply, assumed: not known before a run."""
EVALUATING = 8
"""GPUs that serve a policy under evaluation."""
INSTRUCTIONS = 300
"""Tokens of the judge's instructions and headings, rounded up."""


def half_width(questions: int, accuracy: float) -> float:
    """Of the interval, in points, for one reply to each question."""
    right = round(questions * accuracy)
    interval = bootstrap_interval(np.repeat([1.0, 0.0], [right, questions - right]))
    assert interval is not None
    return 100 * (interval[1] - interval[0]) / 2


def intervals() -> str:
    """Half-widths by benchmark and accuracy."""
    rows = [
        [
            f"`{name}`",
            f"{questions:,}",
            *(f"± {half_width(questions, accuracy / 100):.1f}" for accuracy in (*REPORTED, 50.0)),
        ]
        for name, questions in SIZES.items()
    ]
    header = ["benchmark", "questions", *(f"at {accuracy:g}%" for accuracy in (*REPORTED, 50.0))]
    return markdown(header, rows)


def paired() -> str:
    """Half-widths of a difference of two runs over the same questions, by how many questions turned round."""
    rows = []
    for name, questions in SIZES.items():
        cells = []
        for share in (0.2, 0.4):
            turned = round(questions * share)
            gained = round((turned + questions * (REPORTED[1] - REPORTED[0]) / 100) / 2)
            values = np.repeat([1.0, -1.0, 0.0], [gained, turned - gained, questions - turned])
            interval = bootstrap_interval(values)
            assert interval is not None
            cells.append(f"± {100 * (interval[1] - interval[0]) / 2:.1f}")
        rows.append([f"`{name}`", *cells])
    return markdown(["benchmark", "20% of the questions turned", "40% turned"], rows)


def policy_recipe() -> Recipe:
    """What gpqa.yaml asks for."""
    return trl_recipe(FOLDER / "gpqa.yaml")


def judge_calls() -> int:
    """Judge calls of one step."""
    recipe, judge = policy_recipe(), yaml.safe_load((FOLDER / "judge.yaml").read_text(encoding="utf-8"))
    return recipe.prompts * schedule(judge["schedule"]).calls(recipe.replies, judge["orders"])


def judge_recipe(model: str) -> Recipe:
    """The judge's side of a step as a recipe, of which only the generation counts.

    Four GPUs that do nothing else: each of its own for 7B, all four together for 32B.
    """
    policy, judge = policy_recipe(), yaml.safe_load((FOLDER / "judge.yaml").read_text(encoding="utf-8"))
    return dataclasses.replace(
        policy,
        name="judge",
        model=model,
        gpus=4,
        prompts=judge_calls(),
        replies=1,
        prompt_limit=INSTRUCTIONS + QUESTION_TOKENS + 2 * policy.reply_limit,
        reply_limit=judge["max_tokens"],
        tensor_parallel=4 if "32B" in model else 1,
        engine_share=0.9,
        rows_at_once=None,
    )


def _step(model: str, gpu: str) -> tuple[float, float]:
    """Seconds of a step: the policy's own, and those for which it waits for the judge."""
    policy = times(policy_recipe(), GPUS[gpu], Assumed(prompt=QUESTION_TOKENS, reply=POLICY_TOKENS))
    judged = Assumed(prompt=INSTRUCTIONS + QUESTION_TOKENS + 2 * POLICY_TOKENS)
    return policy.step, times(judge_recipe(model), GPUS[gpu], judged).generation


def cost() -> str:
    """Calls, tokens and hours with either judge."""
    policy, assumed = policy_recipe(), Assumed()
    rows = []
    for called, model in (("RRM-7B", "Qwen-7B"), ("RRM-32B", "Qwen-32B")):
        both = {gpu: _step(f"deepseek-ai/DeepSeek-R1-Distill-{model}", gpu) for gpu in ("H100", "A100")}
        hours = [f"{about(sum(both[gpu]) * policy.steps / 3600)} h" for gpu in both]
        rows.append(
            [
                called,
                f"{judge_calls():,}",
                f"{judge_calls() * assumed.reply / 1e6:.1f} M",
                f"{policy.rows * POLICY_TOKENS / 1e6:.1f} M",
                f"{about(both['H100'][0])} + {about(both['H100'][1])} s",
                *hours,
            ]
        )
    header = ["judge", "calls a step", "tokens it writes", "the policy writes", "a step on H100: policy + judge"]
    steps = f"all {policy.steps} steps on"
    told = "Computed, not measured; 8 GPUs, four for the policy and four for the judge.\n\n"
    return told + markdown([*header, f"{steps} H100", f"{steps} A100"], rows)


def evaluation() -> str:
    """Replies, tokens and minutes of one evaluation with four samples, on the eight GPUs."""
    policy, asked = policy_recipe(), yaml.safe_load((FOLDER / "policy.yaml").read_text(encoding="utf-8"))
    at_once, rows = asked["concurrency"] // (EVALUATING // policy.tensor_parallel), []
    for name, questions in SIZES.items():
        replies = SAMPLES * questions
        recipe = dataclasses.replace(policy, gpus=EVALUATING, prompts=replies, replies=1, engine_share=0.9)
        recipe = dataclasses.replace(recipe, rows_at_once=at_once)
        assumed = Assumed(prompt=2 * QUESTION_TOKENS, reply=POLICY_TOKENS)
        minutes = [f"{about(times(recipe, GPUS[gpu], assumed).generation / 60)} min" for gpu in ("H100", "A100")]
        rows.append([f"`{name}`", f"{replies:,}", f"{replies * POLICY_TOKENS / 1e6:.1f} M", *minutes])
    return markdown(["benchmark", f"replies, {SAMPLES} samples", "tokens", "8 x H100", "8 x A100"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "gpqa-intervals": intervals,
    "gpqa-paired": paired,
    "gpqa-cost": cost,
    "gpqa-evaluation": evaluation,
}
