"""In which order the two responses of a training pair are shown, and the row that comes of it.

    random    one row a pair; a hash of seed and content decides, so that half of the better responses come first and a
              row keeps its order when others are added
    both      two rows, one after the other, which `consistency` pays together

A row is read as it is by TRL, OpenRLHF and verl:

    prompt, label                 TRL; OpenRLHF with --data.input_key prompt --data.label_key label; verl reads prompt
    datasource                    OpenRLHF, for its evaluation by source
    data_source, reward_model, extra_info
                                  verl
    source, id, pair              for people, and for the reward
"""

from __future__ import annotations

from typing import Any, Literal

from rrm_plugin.prompts import Guarded, JudgePrompt
from rrm_plugin.training.candidates import Candidate

__all__ = ["Orders", "shown", "training_row"]

Orders = Literal["random", "both"]


def shown(candidate: Candidate, orders: Orders) -> list[tuple[Guarded, Guarded, int]]:
    """The responses in the order or orders they are shown, each with its label: 1 where the first is better, else 2."""
    straight = (candidate.chosen, candidate.rejected, 1)
    swapped = (candidate.rejected, candidate.chosen, 2)
    first, second = (straight, swapped) if candidate.draw & 1 else (swapped, straight)
    return [first, second] if orders == "both" else [first]


def training_row(
    candidate: Candidate, prompt: JudgePrompt, first: Guarded, second: Guarded, label: int, index: int
) -> dict[str, Any]:
    """One row, with the same keys and types as every other.

    Args:
        index: number of the row, which verl carries along.
    """
    return {
        "prompt": prompt.render(candidate.query, first, second),
        "label": label,
        "source": candidate.source,
        "id": f"{candidate.pair}-{label}",
        "pair": candidate.pair,
        "datasource": candidate.source,
        "data_source": candidate.source,
        "reward_model": {"style": "rule", "ground_truth": str(label)},
        "extra_info": {"index": index, "origin": candidate.origin},
    }
