"""The errors a user of this package can meet.

    RRMError
    |-- ConfigError(ValueError)          a setting is wrong; the message names it and says what to write instead
    |   `-- MissingExtraError            a setting needs a library that is not installed; names the extra
    |-- GroupError(ValueError)           the rows given do not form whole groups; names the trainer flag to change
    |-- EngineError(RuntimeError)        a judge call failed; has a `reason` and says whether a retry can help
    |   |-- BudgetSpentError             the calls, tokens or money that judging may take are used up
    |   `-- EngineUnavailableError       no call has ever reached the judge: a wrong address rather than a bad moment
    |-- GateError(RuntimeError)          the gate that collects groups was closed while a member waited
    |   `-- GateFullError                too many members wait; the same call may succeed later
    |-- ServiceError(RuntimeError)       a judge service refused a request or could not be reached; has `status`, `type`
    |-- LedgerError(RuntimeError)        the record of judgements cannot be opened, read or written
    `-- AlarmError(RuntimeError)         an alarm stands, and the run was to be stopped by it

An `EngineError` of one match never leaves a tournament: it becomes a judgement without a verdict, with that reason.
Every error can be pickled, since rewards run in spawned children and on several ranks.
"""

from __future__ import annotations

from rrm_plugin.types import Reason

__all__ = [
    "AlarmError",
    "BudgetSpentError",
    "ConfigError",
    "EngineError",
    "EngineUnavailableError",
    "GateError",
    "GateFullError",
    "GroupError",
    "LedgerError",
    "MissingExtraError",
    "RRMError",
    "ServiceError",
]


class RRMError(Exception):
    """Root of all errors raised on purpose by this package."""


class ConfigError(RRMError, ValueError):
    """A setting has a value that cannot work."""


class MissingExtraError(ConfigError):
    """A setting needs a library that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)
        self.feature = feature
        self.extra = extra

    def __str__(self) -> str:
        return (
            f"{self.feature} needs libraries that are not installed: pip install 'rrm-plugin[{self.extra}]' "
            f"(in a checkout: pip install '.[{self.extra}]')"
        )


class GroupError(RRMError, ValueError):
    """The rows that a trainer passed cannot be cut into whole groups."""


class EngineError(RRMError, RuntimeError):
    """One judge call failed.

    Attributes:
        reason: the code that the judgement without a verdict will carry.
        retryable: whether the same call may succeed later.
    """

    def __init__(self, message: str, reason: Reason = Reason.ENGINE_ERROR, retryable: bool = False) -> None:
        super().__init__(message, reason, retryable)
        self.reason = reason
        self.retryable = retryable

    def __str__(self) -> str:
        return str(self.args[0])


class BudgetSpentError(EngineError):
    """What judging may take in calls, tokens or money is used up."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Reason.OVER_BUDGET)

    def __reduce__(self) -> tuple[type[BudgetSpentError], tuple[str]]:
        return (BudgetSpentError, (str(self),))


class EngineUnavailableError(EngineError):
    """Not one call has reached the judge since it was made."""


class GateError(RRMError, RuntimeError):
    """The gate that collects groups ended before a member's group was judged."""


class GateFullError(GateError):
    """As many members wait at the gate as it may hold."""


class LedgerError(RRMError, RuntimeError):
    """The record of judgements on disk cannot be used."""


class AlarmError(RRMError, RuntimeError):
    """An alarm stands and the judge was made with `alarms="stop"`."""


class ServiceError(RRMError, RuntimeError):
    """A judge service refused a request, or could not be reached."""

    def __init__(self, message: str, status: int | None = None, type: str = "unreachable") -> None:
        super().__init__(message, status, type)
        self.status = status
        """HTTP status; None where no answer came."""
        self.type = type
        """Kind of the problem, as the service names it; stable."""

    def __str__(self) -> str:
        return str(self.args[0])
