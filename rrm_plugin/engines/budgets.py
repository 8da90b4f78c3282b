"""What judge calls may take in all, and what they cost.

    Budget.of({"calls": 100_000, "cost": 50})        whichever is reached first
    Prices.of({"prompt": 0.15, "completion": 0.6})   for a million tokens, in any currency

Left out: prices that depend on the hour, on batches or on a provider's prompt cache. Tokens are counted at full price,
so that a budget of money is rather kept than missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rrm_plugin.engines.checks import number, whole
from rrm_plugin.errors import ConfigError
from rrm_plugin.types import Usage

__all__ = ["Budget", "Prices"]

MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What a million tokens cost.

    Raises:
        ConfigError: a price is no number from 0.
    """

    prompt: float
    completion: float
    """Of what the judge writes, its thinking included."""

    def __post_init__(self) -> None:
        for name in ("prompt", "completion"):
            object.__setattr__(self, name, number(f"prices: {name}", getattr(self, name), least=0))

    @classmethod
    def of(cls, value: Prices | Mapping[str, float] | None) -> Prices | None:
        """Prices as a user writes them.

        Raises:
            ConfigError: they are no mapping of `prompt` and `completion` to numbers.
        """
        if value is None or isinstance(value, Prices):
            return value
        given = _named("prices", value, ("prompt", "completion"))
        if len(given) < 2:
            raise ConfigError(f"prices must name both prompt and completion, in money for a million tokens: {value!r}")
        return cls(**given)

    def cost(self, usage: Usage) -> float:
        """Of the tokens used."""
        return (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / MILLION


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that judge calls may take; what is None is not limited.

    Raises:
        ConfigError: a limit is no number above 0.
    """

    calls: int | None = None
    """Calls that the engine answers. Never exceeded by a process."""
    tokens: int | None = None
    """Of prompts and replies. What is under way when they are reached is finished, so they are exceeded by as much."""
    cost: float | None = None
    """In the currency of the prices; exceeded as tokens are."""

    def __post_init__(self) -> None:
        for name in ("calls", "tokens"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else whole(f"budget: {name}", value, least=1))
        if self.cost is not None:
            object.__setattr__(self, "cost", number("budget: cost", self.cost, above=0))

    @classmethod
    def of(cls, value: Budget | Mapping[str, float] | None) -> Budget:
        """A budget as a user writes it.

        Raises:
            ConfigError: it is no mapping of `calls`, `tokens` or `cost` to numbers.
        """
        if isinstance(value, Budget):
            return value
        return cls() if value is None else cls(**_named("budget", value, ("calls", "tokens", "cost")))

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.calls, self.tokens, self.cost))

    def spent(self, usage: Usage) -> str | None:
        """Which limit is reached, for a person; None while there is something left of all."""
        if self.calls is not None and usage.calls >= self.calls:
            return f"the budget of {self.calls} judge calls is spent"
        if self.tokens is not None and usage.tokens >= self.tokens:
            return f"the budget of {self.tokens} tokens is spent"
        if self.cost is not None and usage.cost >= self.cost:
            return f"the budget of {self.cost:g} for judge calls is spent"
        return None

    def left(self, usage: Usage) -> dict[str, float]:
        """What is left of each limit, by its name."""
        used = {"calls": usage.calls, "tokens": usage.tokens, "cost": usage.cost}
        limits = {name: getattr(self, name) for name in used}
        return {name: max(0.0, limit - used[name]) for name, limit in limits.items() if limit is not None}


def _named(setting: str, value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        hint = "; calls for each group are the schedule's, 'adaptive:48' say" if setting == "budget" else ""
        raise ConfigError(f"{setting} must give numbers for {', '.join(names)} by name, not {value!r}{hint}")
    unknown = sorted(str(name) for name in value if name not in names)
    if unknown:
        raise ConfigError(f"{setting} has no {', '.join(unknown)}; it has {', '.join(names)}")
    return dict(value)
