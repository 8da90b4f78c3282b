"""What a check found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Status", "failed", "fine", "warned"]


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """The run will work, and worse than it could."""
    FAILED = "failed"
    """The run will end, or train on nothing."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    status: Status
    subject: str
    """What was looked at, in a few words."""
    told: str
    """What was found."""
    advice: str = ""
    """What to do; empty where it is fine."""


def fine(subject: str, told: str) -> Finding:
    """All is well."""
    return Finding(status=Status.OK, subject=subject, told=told)


def warned(subject: str, told: str, advice: str) -> Finding:
    """It works, and could work better."""
    return Finding(status=Status.WARNING, subject=subject, told=told, advice=advice)


def failed(subject: str, told: str, advice: str) -> Finding:
    """It will not work."""
    return Finding(status=Status.FAILED, subject=subject, told=told, advice=advice)
