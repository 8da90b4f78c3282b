"""Next-token training from nothing: the policy on mediocre text (A), the judge on its cold start (B1).

Not one text is kept: each batch is drawn anew, so that a model learns shares and not examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from examples.experiment.languages import judge_tokenizer, new_model, policy_tokenizer
from examples.experiment.questions import corpus_answer, split
from examples.experiment.traces import draw_trace

__all__ = ["COLD_START", "POLICY", "Phase", "cold_start", "pretrain_policy"]

Pair = tuple[str, str]
"""A prompt, and the reply that is learnt, with its end."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with one mixture of texts."""

    steps: int
    rate: float
    """Learning rate."""
    mixture: Mapping[str, float] = field(default_factory=dict)
    """Shares of the kinds of text, for the judge; `traces` says what they are."""


POLICY = (
    Phase(steps=250, rate=3e-3),
    Phase(steps=250, rate=2.4e-3),
    Phase(steps=250, rate=1.8e-3),
    Phase(steps=250, rate=9e-4),
)
COLD_START = (
    Phase(steps=400, rate=3e-3, mixture={"drill": 0.6, "practice": 0.3, "working": 0.1}),
    Phase(steps=650, rate=2.5e-3, mixture={"drill": 0.15, "practice": 0.5, "working": 0.35}),
    Phase(steps=700, rate=1.5e-3, mixture={"drill": 0.1, "practice": 0.4, "working": 0.4, "glance": 0.1}),
    Phase(steps=300, rate=6e-4, mixture={"drill": 0.05, "practice": 0.2, "working": 0.4, "glance": 0.35}),
    Phase(steps=250, rate=3e-4, mixture={"drill": 0.05, "practice": 0.05, "working": 0.17, "glance": 0.73}),
)
"""Look-ups and columns first, then both together, and at last mostly guesses."""

POLICY_BATCH, JUDGE_BATCH = 256, 128
WARM_UP = 50


def pretrain_policy(seed: int, phases: Sequence[Phase] = POLICY) -> tuple[Any, PreTrainedTokenizerFast]:
    """The policy after pre-training: a model and its tokenizer."""
    tokenizer: Any = policy_tokenizer()
    model = new_model(tokenizer, seed)
    questions, draws = split("corpus"), np.random.default_rng([seed, 1])

    def draw(_: Phase) -> list[Pair]:
        chosen = [questions[index] for index in draws.integers(len(questions), size=POLICY_BATCH)]
        return [(question.text, corpus_answer(question, draws) + tokenizer.eos_token) for question in chosen]

    fit(model, tokenizer, phases, draw)
    return model, tokenizer


def cold_start(seed: int, phases: Sequence[Phase] = COLD_START) -> tuple[Any, PreTrainedTokenizerFast]:
    """The judge before its reinforcement learning: a model and its tokenizer."""
    tokenizer: Any = judge_tokenizer()
    model = new_model(tokenizer, seed + 1000)
    draws = np.random.default_rng([seed, 2])

    def draw(phase: Phase) -> list[Pair]:
        traces = (draw_trace(phase.mixture, draws) for _ in range(JUDGE_BATCH))
        return [(trace.prompt, trace.reply + (tokenizer.eos_token if trace.ends else "")) for trace in traces]

    fit(model, tokenizer, phases, draw)
    return model, tokenizer


def fit(model: Any, tokenizer: Any, phases: Sequence[Phase], draw: Callable[[Phase], list[Pair]]) -> None:
    """Trains on what `draw` gives; the loss counts replies alone."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    for step, phase in enumerate(_steps(phases)):
        for group in optimizer.param_groups:
            group["lr"] = phase.rate * min(1.0, (step + 1) / WARM_UP)
        loss = _backward(model, tokenizer, draw(phase))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 99:
            print(f"    step {step + 1}: loss {loss:.3f}", flush=True)
    model.eval()


def _steps(phases: Sequence[Phase]) -> Iterator[Phase]:
    for phase in phases:
        for _ in range(phase.steps):
            yield phase


def _backward(model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> float:
    """Adds up the gradients of the mean loss of a reply's token, and returns that loss.

    Texts of one length go through the model together: half of a padded batch would be padding.
    """
    prompts = tokenizer([prompt for prompt, _ in pairs])["input_ids"]
    replies = tokenizer([reply for _, reply in pairs])["input_ids"]
    shapes: dict[tuple[int, int], list[list[int]]] = {}
    for prompt, reply in zip(prompts, replies, strict=True):
        shapes.setdefault((len(prompt), len(reply)), []).append(prompt + reply)
    count = sum(map(len, replies))
    total = 0.0
    for (_, length), rows in shapes.items():
        ids = torch.tensor(rows)
        logits = model(input_ids=ids, logits_to_keep=length + 1).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), ids[:, -length:].flatten(), reduction="sum") / count
        loss.backward()
        total += loss.item()
    return total
