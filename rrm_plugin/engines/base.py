"""What a judge model is to this package: messages in, text out.

An engine knows nothing of pairs, verdicts or prompts' layouts; those are the judge's. It knows how to reach a model,
how many requests that model takes at once, and how to say what went wrong. Left out on purpose: streaming and tools,
since a verdict is read from a whole text.

Every engine of the package keeps four promises, and one written elsewhere should too:

- it pickles: connections, loops and models are made at first use and left behind when it is pickled;
- it may be used from any event loop, one loop at a time, and after a fork;
- `generate` and `resume` raise `EngineError` for a call that failed, and `ConfigError` for a setting that cannot work;
- a cancelled call gives back whatever it held.

One that knows the log-probabilities of its tokens gives them with the reply where `Sampling.top_logprobs` asks for
them; one that does not leaves `Reply.logprobs` None.

Three members are optional. Two matter to a ledger, which files a call under its engine:

- `fingerprint: str`: equal for two engines only if they would answer the same call alike. It stands for all that
  shapes a reply besides `Sampling` (the model and where it lies, its type, its chat template, further fields of a
  request), and is the same in each process. An engine without one is filed under its `name`.
- `async identify() -> str`: called before `fingerprint` and `name` are used for filing; an engine that leaves the
  choice of a model to its server asks for it here. Returns the name.

The third is for base models, which know no turns:

- `async complete(prompt: str, sampling: Sampling) -> Reply`: what the model writes on after a plain text.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from rrm_plugin.engines.checks import number, whole
from rrm_plugin.errors import ConfigError
from rrm_plugin.types import Message, TokenLogprob

__all__ = ["Engine", "Reply", "Sampling"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the judge's tokens are drawn. The defaults are the decoding of the RRM paper (arXiv 2505.14674).

    Numbers of any type are taken and kept as float or int, so that equal settings are equal in a ledger: a temperature
    of 0 is one of 0.0.

    Raises:
        ConfigError: a setting is no number, or out of its bounds.
    """

    temperature: float = 0.6
    """0 is greedy."""
    top_p: float = 1.0
    max_tokens: int = 8192
    """Most tokens of one reply, thinking included."""
    seed: int | None = None
    """For engines that take one; None leaves the choice to the engine."""
    stop: tuple[str, ...] = ()
    """Texts that end a reply; they are not part of it."""
    draw: int = 0
    """Number among equal calls, such as the votes on a match: what remembers replies tells them apart by it. It does
    not change how a model draws.
    """
    top_logprobs: int = 0
    """How many of the likeliest tokens at each place are wanted with the reply, with their log-probabilities."""

    @property
    def filed(self) -> dict[str, Any]:
        """The settings that tell one call from another in what remembers replies, by name; `draw` has its own place."""
        settings = dataclasses.asdict(self)
        del settings["draw"]
        if not self.top_logprobs:
            # Calls that were recorded before there was this setting have to be found again.
            del settings["top_logprobs"]
        return settings

    def __post_init__(self) -> None:
        plain = {
            "temperature": number("temperature", self.temperature, least=0, most=sys.float_info.max),
            "top_p": number("top_p", self.top_p, above=0, most=1),
            "max_tokens": whole("max_tokens", self.max_tokens, least=1),
            "seed": None if self.seed is None else whole("seed", self.seed),
            "stop": _texts(self.stop),
            "draw": whole("draw", self.draw, least=0),
            "top_logprobs": whole("top_logprobs", self.top_logprobs, least=0),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)


def _texts(stop: Sequence[str]) -> tuple[str, ...]:
    if isinstance(stop, str) or not isinstance(stop, Sequence) or not all(isinstance(text, str) for text in stop):
        raise ConfigError(f"stop takes a tuple of texts, not {stop!r}")
    return tuple(stop)


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
    cost: float = 0.0
    """At the prices given (`LimitedEngine`); 0 where there are none."""
    logprobs: tuple[TokenLogprob, ...] | None = None
    """Of each token that the model wrote, in order, control tokens perhaps among them; None where they were not asked
    for (`Sampling.top_logprobs`), or this engine does not give them.
    """


@runtime_checkable
class Engine(Protocol):
    """A judge model that can be asked. Any object with these members will do; it need not inherit."""

    @property
    def name(self) -> str:
        """Kind and model, `http:RRM-7B` say, as judgements show it. No URL, port or secret in it."""
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
