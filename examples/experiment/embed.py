"""Puts the judge of the first seed into the package, with its card: what `RRMJudge(model="miniature")` loads.

python -m examples.experiment.embed
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from examples.experiment import judge_rl, pretraining
from examples.experiment.languages import judge_tokenizer, save
from examples.experiment.results import Row, read
from rrm_plugin.miniature import FOLDER

__all__ = ["card", "embed"]


def embed(judge: Path, row: Row, folder: Path = FOLDER) -> None:
    """Writes model, tokenizer and card; weights in half precision, which is enough for them."""
    save(AutoModelForCausalLM.from_pretrained(judge, dtype=torch.float16), judge_tokenizer(), folder)
    (folder / "model.safetensors").chmod(0o644)
    (folder / "README.md").write_text(card(row), encoding="utf-8")


def card(row: Row) -> str:
    """The card of the judge of a seed."""
    before, after = row["judge_before"], row["judge_after"]
    return _CARD.format(
        seed=row["seed"],
        cold_start_steps=sum(phase.steps for phase in pretraining.COLD_START),
        judge_steps=judge_rl.STEPS,
        before=_cells(before),
        after=_cells(after),
        pairs=after["pairs"],
        tokens=after["thinking_tokens"],
    )


def _cells(figures: Mapping[str, Any]) -> str:
    return " | ".join(f"{figures[key]}%" for key in ("first_order", "swapped_order", "agreement", "computes"))


_CARD = """\
# The miniature judge

<!-- Written by examples/experiment/embed.py. -->

A Reward Reasoning Model of about a hundred thousand weights, for trying rrm-plugin out, for examples and for tests:

    judge = RRMJudge(model="miniature")
    judge.compare("37+85=?", "112", "122").text    # 7+5=12 3+8+1=12 so 122 (Assistant 2)

- Task: which of two answers to an addition of two numbers from 10 to 99 is right. It knows nothing else, and says
  something about anything else that means nothing.
- Architecture: Llama with biases in the attention, 2 layers of width 64, 4 heads, half precision; made from nothing,
  no weights or data of others.
- Training: {cold_start_steps} steps of next-token training on synthetic texts that mostly guess, then {judge_steps}
  steps of GRPO with TRL, +1 for the right verdict and -1 otherwise. Seed {seed}.
- Prompt: the preset `miniature`, chosen by itself; decoding as in the paper, temperature 0.6.
- Reproduce: `make experiment`; see docs/experiment.md.
- License: that of rrm-plugin.

Measured on {pairs} held-out pairs, one right and one wrong answer of a policy, each in both orders; after GRPO its
thinking has {tokens} tokens on average:

| | right, first order | right, swapped order | orders agree | works the sum out |
|---|---|---|---|---|
| before GRPO | {before} |
| after GRPO | {after} |
"""


if __name__ == "__main__":
    rows, _ = read(Path("docs/experiment"))
    embed(Path("outputs/experiment") / f"seed-{rows[0]['seed']}" / "judge", rows[0])
    print(f"written: {FOLDER}")
