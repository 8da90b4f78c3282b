"""The table of docs/recipes.md: every value of the recipes, read from TRL's files, and how it is known.

That the other hosts' files hold the same values is checked by tests/house/test_recipes.py.
"""

from __future__ import annotations

from collections.abc import Callable

from estimates import Recipe
from recipe_files import recipes

__all__ = ["ROWS", "known_how"]

ROWS: list[tuple[str, Callable[[Recipe], str], str]] = [
    ("model to start from", lambda r: f"`{r.model}`", "7B and 32B: reported by a survey of reward models; 1.5B: ours"),
    (
        "what is trained",
        lambda r: "all weights" if r.adapter_rank is None else f"LoRA, rank {r.adapter_rank}, all linear layers",
        "ours: not found",
    ),
    (
        "hardware",
        lambda r: f"{r.gpus} x 80 GB" + (f", {r.machines} machines" if r.machines > 1 else ""),
        "ours. The paper's number of GPUs is not known; MI300X are remembered",
    ),
    (
        "reward",
        lambda r: "+1, or -1",
        "reported by a review. That a reply without a verdict gets -1 too is ours: public code that we take for the "
        "authors' has a value of its own for it, which we did not find",
    ),
    ("prompts of a step", lambda r: str(r.prompts), "128: remembered, not sure; 32: ours"),
    ("replies to each", lambda r: str(r.replies), "16: remembered, not sure; 8: ours"),
    ("prompts of an update", lambda r: str(r.prompts // r.updates), "64: remembered, not sure; 32: ours"),
    ("temperature", lambda r: f"{r.temperature:g}", "remembered; the authors' evaluation script has the same"),
    ("`top_p`", lambda r: "1", "ours; the card of RRM-7B has it for inference"),
    ("advantage", lambda r: "group mean and deviation", "GRPO, reported by a review"),
    ("weight of the KL term", lambda r: f"{r.kl:g}", "remembered, not sure; that it is in the loss and k3 is ours"),
    ("clipping of the ratio", lambda r: f"{r.clip:g} on both sides", "ours: not found"),
    (
        "learning rate, constant",
        lambda r: f"{r.learning_rate:.0e}",
        "7B and 32B: remembered, not sure; LoRA: ours",
    ),
    ("most tokens of a prompt", lambda r: str(r.prompt_limit), "4096: remembered, not sure; 3072: ours"),
    (
        "most tokens of a reply",
        lambda r: str(r.reply_limit),
        "8192: remembered; the authors' evaluation script has the same; 4096: ours",
    ),
    ("steps", lambda r: f"{r.steps}, {r.steps * r.prompts:,} prompts", "ours: not found"),
    (
        "data",
        lambda r: "5:1:1, see above",
        "5:1:1:1 with pairs labelled by GPT-4o: remembered for 32B. Those pairs are not public",
    ),
]


def known_how() -> list[list[str]]:
    """The rows of the table: value, one cell for each recipe of TRL, and how it is known."""
    found = recipes("trl")
    return [[name, *(cell(recipe) for recipe in found), source] for name, cell, source in ROWS]
