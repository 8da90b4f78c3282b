"""What a judge model is to this package: messages in, text out.

An engine knows nothing of pairs, verdicts or prompts' layouts; those are the judge's. It knows how to reach a model,
how many requests that model takes at once, and how to say what went wrong. Left out on purpose: streaming, tools and
log-probabilities, since a verdict is read from a whole text.

Every engine of the package keeps four promises, and one written elsewhere should too:

- it pickles: connections, loops and models are made at first use and left behind when it is pickled;
- it may be used from any event loop, one loop at a time, and after a fork;
- `generate` and `resume` raise `EngineError` for a call that failed, and `ConfigError` for a setting that cannot work;
- a cancelled call gives back whatever it held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rrm_plugin.errors import ConfigError
from rrm_plugin.types import Message

__all__ = ["Engine", "Reply", "Sampling"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the judge's tokens are drawn. The defaults are the decoding of the RRM paper (arXiv 2505.14674)."""

    temperature: float = 0.6
    """0 is greedy."""
    top_p: float = 1.0
    max_tokens: int = 8192
    """Most tokens of one reply, thinking included."""
    seed: int | None = None
    """For engines that take one; None leaves the choice to the engine."""
    stop: tuple[str, ...] = ()
    """Texts that end a reply; they are not part of it."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ConfigError(f"temperature must be 0 or more, not {self.temperature!r}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1, not {self.top_p!r}")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be 1 or more, not {self.max_tokens!r}")
        if isinstance(self.stop, str):
            raise ConfigError(f"stop takes a tuple of texts, not the text {self.stop!r}")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model wrote, and what it took."""

    text: str
    """All of it, thinking included, as `<think>...</think>` where the server gave the thinking apart."""
    finished: bool
    """False where the reply was stopped at a token limit rather than by the model."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    """How long the call took, its retries included; waiting for one of an HTTP engine's slots is not."""
    engine: str = ""
    """Name of the engine that answered."""


@runtime_checkable
class Engine(Protocol):
    """A judge model that can be asked. Any object with these members will do; it need not inherit."""

    @property
    def name(self) -> str:
        """Kind and model, `http:RRM-7B` say: what a ledger files judgements under. No URL, port or secret in it."""
        ...

    @property
    def special_tokens(self) -> Sequence[str]:
        """Control tokens of the model's tokenizer, which must not reach it inside a judged text; () if unknown."""
        ...

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """Ask the model for its turn after `messages`.

        Raises:
            EngineError: this call failed; it carries the reason, and whether a retry can help.
            ConfigError: no call can succeed with the settings given.
        """
        ...

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply | None:
        """Let the model write on from `text`, the beginning of its turn after `messages`.

        Returns:
            A reply that holds only what is new, or None where this engine cannot continue a text.

        Raises:
            EngineError: this call failed.
        """
        ...

    async def close(self) -> None:
        """Give back connections and memory. A later call opens them again."""
        ...
