"""Groups that were judged, as far as they are remembered: for members that come again, or too late.

Only numbers are kept of them, and of groups without names of members nothing: nobody could be recognised there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rrm_plugin.cohorts._cohort import Cohort
from rrm_plugin.cohorts._members import Outcome

__all__ = ["Judged", "Past"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is remembered of a group."""

    expected: int
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    """By the id of the member."""
    error: Exception | None = None
    """What its judging ended with, in place of outcomes."""

    def outcome_of(self, id: str) -> Outcome | None:
        """The outcome of a member that was there, marked as told again; None where it was not.

        Raises:
            Exception: that of the group, where its judging ended with one.
        """
        if self.error is not None:
            # Without where it was raised before: each member that asks would make the same error longer.
            raise self.error.with_traceback(None)
        found = self.outcomes.get(id)
        return None if found is None else replace(found, repeated=True)


class Past:
    """Judged groups by key, the last ones.

    Args:
        most: how many are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._judged: OrderedDict[str, Judged] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._judged

    def get(self, key: str) -> Judged | None:
        """The group of that key; None where none is remembered."""
        return self._judged.get(key)

    def keep(self, cohort: Cohort, outcomes: Mapping[int, Outcome], error: BaseException | None) -> None:
        """Remembers a group, if its members can be recognised.

        Args:
            cohort: that was judged.
            outcomes: by the place of the member.
            error: what its judging ended with.
        """
        if not cohort.index_of and not cohort.withdrawn_ids:
            # Without ids the key is used again.
            return
        self._judged[cohort.key] = Judged(
            expected=cohort.size,
            outcomes={id: outcomes[place] for id, place in cohort.index_of.items() if place in outcomes},
            error=error if isinstance(error, Exception) else None,
        )
        while len(self._judged) > self._most:
            self._judged.popitem(last=False)
