"""Rows of one batch that each keep their own sampling settings, length and random numbers, in transformers' `generate`.

A batch is generated greedily over scores that have the randomness in them already: the highest of
`score / temperature + Gumbel noise` is distributed as a draw from the softmax, and with the noise from a generator of
the row's own, a row's reply does not depend on its neighbours, nor on the global random state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Noted", "Row", "RowDraws", "RowStops"]

_MARGIN = 8
"""Tokens beyond those of a stop text that are looked at for it: token limits and text limits do not coincide."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One reply to be generated."""

    ids: list[int]
    """The prompt's tokens."""
    limit: int
    """Most new tokens."""
    temperature: float
    top_p: float
    stop: tuple[str, ...]
    seed: int
    prefix: str
    """What the reply's text begins with, as the prompt ends with it."""
    unwanted: Callable[[], bool]
    """Whether nobody waits for it any more."""
    top_logprobs: int = 0
    """How many of the likeliest tokens at each place are to be noted."""


@dataclass(frozen=True, slots=True)
class Noted:
    """One place of a row: the token that was drawn, and the likeliest, before temperature and top_p."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class RowDraws:
    """A logits processor that turns the greedy choice of each row into a draw with that row's settings."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = [(index, row) for index, row in enumerate(rows) if row.temperature > 0]
        self._generators: list[torch.Generator] = []
        self._wanted = [(index, row.top_logprobs) for index, row in enumerate(rows) if row.top_logprobs]
        self.noted: dict[int, list[Noted]] = {index: [] for index, _ in self._wanted}
        """By row, for those that asked for it; what comes after the end of a reply is noted too."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores (rows, vocabulary) with noise."""
        import torch

        if not self._generators:
            self._generators = [torch.Generator(scores.device).manual_seed(row.seed) for _, row in self._rows]
        noisy = scores.float().clone()
        for (index, row), generator in zip(self._rows, self._generators, strict=True):
            scaled = noisy[index] / row.temperature
            if row.top_p < 1:
                scaled = _nucleus(scaled, row.top_p)
            drawn = torch.empty_like(scaled).exponential_(generator=generator)
            # Minus the logarithm of an exponential number is Gumbel noise.
            noisy[index] = scaled - drawn.clamp_(min=torch.finfo(drawn.dtype).tiny).log()
        for index, top in self._wanted:
            self.noted[index].append(_noted(scores[index], int(noisy[index].argmax()), top))
        return noisy


def _noted(scores: torch.Tensor, drawn: int, top: int) -> Noted:
    logprobs = scores.float().log_softmax(dim=-1)
    values, tokens = logprobs.topk(min(top, len(logprobs)))
    likeliest = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
    return Noted(drawn, float(logprobs[drawn]), likeliest)


def _nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Scores (vocabulary,) without the tokens outside the smallest set whose probability reaches `top_p`."""
    import torch

    ordered, order = scores.sort(descending=True)
    chances = ordered.softmax(dim=-1)
    outside = chances.cumsum(dim=-1) - chances >= top_p
    return scores.index_fill(0, order[outside], -torch.inf)


class RowStops:
    """A stopping criterion that ends each row at its own limit, at its stop texts, or when nobody wants it."""

    def __init__(self, rows: Sequence[Row], width: int, tokenizer: Any) -> None:
        self._rows = rows
        self._width = width
        self._tokenizer = tokenizer
        # The longest stop text has at most as many tokens as bytes.
        self._window = [max((len(stop.encode()) for stop in row.stop), default=0) + _MARGIN for row in rows]

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Whether each row is done, as (rows,) booleans."""
        import torch

        done = [self._done(index, row, input_ids) for index, row in enumerate(self._rows)]
        return torch.tensor(done, device=input_ids.device, dtype=torch.bool)

    def _done(self, index: int, row: Row, input_ids: torch.Tensor) -> bool:
        length = input_ids.shape[1] - self._width
        if length >= row.limit or row.unwanted():
            return True
        if not row.stop:
            return False
        new = input_ids[index, self._width :][-self._window[index] :]
        end = self._tokenizer.decode(new.tolist(), skip_special_tokens=True)
        return any(stop in end for stop in row.stop)
