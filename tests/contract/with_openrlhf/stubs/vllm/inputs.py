"""A stand-in: see the package."""

from __future__ import annotations

from typing import Any

__all__ = ["TokensPrompt"]


def TokensPrompt(**fields: Any) -> dict[str, Any]:
    return fields
