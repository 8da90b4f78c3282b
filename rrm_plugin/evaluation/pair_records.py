"""A judged pair as a group of two, for the judge's ledger: what `rrm view` shows of an evaluation.

The two responses are those of the data set in its order, the scores are win rates, and the label stands among the
settings. Left out: judging (`judging.py`), and what the calls amount to (`scores.py`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rrm_plugin import consistency
from rrm_plugin.errors import LedgerError
from rrm_plugin.evaluation.scores import LabelledPair
from rrm_plugin.ledger import Ledger
from rrm_plugin.looks import majority_of
from rrm_plugin.reducers import Outcomes, reducer
from rrm_plugin.types import Group, Judgement, Match, Scores, Usage

__all__ = ["record_pair", "scores_of_pair"]

logger = logging.getLogger(__name__)


def scores_of_pair(
    pair: LabelledPair, calls: Sequence[tuple[bool, Judgement]], settings: dict[str, Any]
) -> tuple[Group, Scores]:
    """The group of a pair, and its scores.

    Args:
        pair: as the data set has it.
        calls: whether the second response was shown first, and what came of it; a judgement for each vote.
        settings: of the judge.
    """
    judgements = []
    for swapped in sorted({swapped for swapped, _ in calls}):
        match = Match(first=1, second=0) if swapped else Match(first=0, second=1)
        ballots = [replace(judgement, match=match) for shown, judgement in calls if shown is swapped]
        judgements.append(ballots[0] if len(ballots) == 1 else replace(majority_of(ballots), match=match))
    ballots = [ballot for judgement in judgements for ballot in judgement.ballots]
    values = reducer("win_rate")(Outcomes.from_judgements([(2, judgements)])).values[0, :2]
    group = Group(prompt=pair.prompt, responses=[pair.first, pair.second], id="/".join(filter(None, pair.key)))
    return group, Scores(
        values=[None if np.isnan(value) else round(float(value), 12) for value in values],
        judgements=tuple(judgements),
        usage=sum((ballot.usage for ballot in ballots), Usage()),
        agreement=consistency.agreement(judgements),
        first_rate=consistency.first_rate(judgements),
        failures=Counter(ballot.reason.value for ballot in ballots if ballot.reason is not None),
        settings={**settings, "reducer": "win_rate", "label": pair.label.value},
    )


async def record_pair(
    ledger: Ledger, pair: LabelledPair, calls: Sequence[tuple[bool, Judgement]], settings: dict[str, Any]
) -> None:
    """Writes a judged pair into a ledger; one that cannot be written is logged, and ends nothing."""
    try:
        await ledger.record_group(*scores_of_pair(pair, calls, settings))
    except LedgerError as error:
        logger.error("a judged pair was not recorded: %s", error)
