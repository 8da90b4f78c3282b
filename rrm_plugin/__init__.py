"""Reward Reasoning Models as rewards: a judge that compares two responses, and one number per response for a trainer.

from rrm_plugin import RRMJudge

judge = RRMJudge(model="Reward-Reasoning/RRM-7B", engine="http://localhost:8001/v1")
judge.score("Why is the sky blue?", ["Because it reflects the sea.", "Rayleigh scattering."]).values
"""

from __future__ import annotations

from rrm_plugin.errors import (
    ConfigError,
    EngineError,
    EngineUnavailableError,
    GroupError,
    LedgerError,
    MissingExtraError,
    RRMError,
)
from rrm_plugin.reward import RRMJudge
from rrm_plugin.types import Group, Judgement, Match, Reason, Scores, Usage, Verdict

__all__ = [
    "ConfigError",
    "EngineError",
    "EngineUnavailableError",
    "Group",
    "GroupError",
    "Judgement",
    "LedgerError",
    "Match",
    "MissingExtraError",
    "RRMError",
    "RRMJudge",
    "Reason",
    "Scores",
    "Usage",
    "Verdict",
]
