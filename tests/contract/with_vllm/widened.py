"""The judge of the package with wider attention heads, which says exactly the same.

vLLM's attention on the CPU knows no heads of 16 dimensions. A head is widened to 32 by zeros: the rotary frequencies of
the wider head hold those of the narrow one at every second place, and queries grow by the root of two, since scores are
divided by the root of the width.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rrm_plugin import miniature

__all__ = ["save_widened"]


def save_widened(folder: Path) -> Path:
    """Writes model and tokenizer into `folder`, and returns it."""
    narrow = AutoModelForCausalLM.from_pretrained(miniature.FOLDER, dtype=torch.float32)
    config = narrow.config.__class__.from_dict(narrow.config.to_dict() | {"head_dim": 2 * _width(narrow.config)})
    wide = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights = narrow.state_dict()
    for name in list(weights):
        if ".self_attn." in name and not name.endswith("o_proj.bias"):
            weights[name] = _widened(name, weights[name], _width(narrow.config))
    wide.load_state_dict(weights)
    wide.save_pretrained(folder)
    AutoTokenizer.from_pretrained(miniature.FOLDER).save_pretrained(folder)
    return folder


def _width(config) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _widened(name: str, weight: torch.Tensor, width: int) -> torch.Tensor:
    # Rows of the projections are the heads' dimensions; of the output projection it is the columns.
    rows = weight.T if name.endswith("o_proj.weight") else weight
    heads = rows.reshape(-1, width, *rows.shape[1:])
    wide = torch.zeros(heads.shape[0], 2 * width, *heads.shape[2:])
    half = width // 2
    wide[:, 0:width:2] = heads[:, :half]
    wide[:, width : 2 * width : 2] = heads[:, half:]
    if ".q_proj." in name:
        wide *= 2**0.5
    flat = wide.reshape(-1, *rows.shape[1:])
    return flat.T.contiguous() if name.endswith("o_proj.weight") else flat
