"""What goes wrong with a request, as a status and `{"error": {"type": ..., "message": ...}}`.

    400 malformed            the body is no JSON
    401 unauthorized         the token is missing or wrong
    404 not_found            there is no such page, or no such model
    405 not_allowed          the page knows another method
    408 too_slow             the body did not come
    409 cannot_continue      the engine cannot continue a text
    413 too_large            the body is larger than the service takes
    422 invalid              a field of the body; the message names it
    422 group_error          a group that cannot be: its size is not known, say
    422 engine_rejected      the engine refused the request; often it is over its context length
    429 engine_busy          the engine still answered 429 after the retries; asks to come again
    429 full                 too many requests wait; asks to come again
    500 config_error         a setting of the judge cannot work
    500 internal             a defect; the log has more
    502 engine_failed        the engine did not answer
    503 budget_spent         the service may ask its engine no more
    503 stopping             the service is being stopped; asks to come again
    504 engine_timeout       the engine did not answer in time

The types are stable: clients go by them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from rrm_plugin.errors import ConfigError, EngineError, GateError, GateFullError, GroupError, RRMError
from rrm_plugin.types import Judgement, Reason

__all__ = ["FULL", "STOPPING", "Problem", "problem_of", "silence"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An answer that is an error."""

    status: int
    type: str
    message: str
    retry_after: int | None = None
    """Seconds after which it makes sense to come again."""

    @property
    def body(self) -> bytes:
        """As JSON."""
        return json.dumps({"error": {"type": self.type, "message": self.message}}).encode("ascii")

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer, besides those of every answer."""
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}


FULL = Problem(status=429, type="full", message="too many requests wait at this service", retry_after=1)
STOPPING = Problem(status=503, type="stopping", message="the service is being stopped", retry_after=2)

_OF_REASON = {
    Reason.OVER_BUDGET: (503, "budget_spent"),
    Reason.RATE_LIMITED: (429, "engine_busy"),
    Reason.TIMEOUT: (504, "engine_timeout"),
    Reason.REJECTED: (422, "engine_rejected"),
}


def problem_of(error: BaseException) -> Problem:
    """What to answer where an error of this package ended a request; any other is a defect and not described."""
    message = str(error)
    if isinstance(error, GateFullError):
        return FULL
    if isinstance(error, GateError):
        return STOPPING
    if isinstance(error, GroupError):
        return Problem(status=422, type="group_error", message=message)
    if isinstance(error, EngineError):
        status, kind = _OF_REASON.get(error.reason, (502, "engine_failed"))
        return Problem(status=status, type=kind, message=message, retry_after=1 if status == 429 else None)
    if isinstance(error, ConfigError):
        return Problem(status=500, type="config_error", message=message)
    if isinstance(error, RRMError):
        return Problem(status=500, type="internal", message=message)
    return Problem(status=500, type="internal", message="the request ended in an error; the service's log has it")


def silence(ballots: tuple[Judgement, ...] | list[Judgement]) -> EngineError | None:
    """The error to raise where an engine answered none of these calls; None where it answered any, or had none."""
    if not ballots or any(ballot.reason is None or not ballot.reason.of_engine for ballot in ballots):
        return None
    first = ballots[0]
    reason = next((one.reason for one in ballots if one.reason is Reason.OVER_BUDGET), first.reason)
    return EngineError(first.detail or str(first.reason), reason or Reason.ENGINE_ERROR)
