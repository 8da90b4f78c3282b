"""Which replies of OpenRLHF belong together; it does not say.

All replies to a prompt are begun together by one engine, with one object of sampling parameters, which no other group
has. So a group is known by that object, and its size by how many have begun before any of them goes on. That is no
promise of OpenRLHF's: `hands_out_siblings` tries it out on the engine at hand.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

__all__ = ["Siblings", "SiblingsByParameters", "hands_out_siblings"]


@dataclass(eq=False, kw_only=True)
class Siblings:
    """The replies of one group that have begun."""

    key: str
    """Names the group, and no other one."""
    place: tuple[int, str]
    parameters: Any
    """Kept, so that no other object gets their id."""
    begun: int = 0
    ended: int = 0


@dataclass
class SiblingsByParameters:
    """Groups under way, by their sampling parameters; for one event loop."""

    under_way: dict[tuple[int, str], Siblings] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def enter(self, prompt: str, parameters: Any) -> tuple[Siblings, int]:
        """A reply begins: its group, and its number there from 0."""
        place = (id(parameters), prompt)
        if place not in self.under_way:
            key = f"group {next(self._numbers)}"
            self.under_way[place] = Siblings(key=key, place=place, parameters=parameters)
        siblings = self.under_way[place]
        siblings.begun += 1
        return siblings, siblings.begun - 1

    def leave(self, siblings: Siblings) -> None:
        """A reply of this group has its reward, or will never have one."""
        siblings.ended += 1
        if siblings.ended == siblings.begun:
            self.under_way.pop(siblings.place, None)


async def hands_out_siblings(engine: Any) -> bool:
    """Whether an engine's `generate_responses` gives all siblings the same sampling parameters, and begins them all
    before any of them goes on.
    """
    seen: list[Any] = []

    async def execute(prompt: str, label: Any, sampling_params: Any, *_: Any, **__: Any) -> int:
        seen.append(sampling_params)
        await asyncio.sleep(0)
        return len(seen)

    asked_for = {"prompt": "", "label": "", "max_length": 1, "hf_tokenizer": None, "num_samples": 3}
    try:
        generate = type(engine).generate_responses
        found = await generate(
            SimpleNamespace(executor=SimpleNamespace(execute=execute)), sampling_params=object(), **asked_for
        )
    except Exception:
        return False
    return list(found) == [3, 3, 3] and all(one is seen[0] for one in seen)
