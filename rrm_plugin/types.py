"""The four words of the package, as types: Match, Judgement, Scores, and the rewards made of Scores.

    Match      two candidates of a group in a presentation order, to be judged
    Judgement  what came of it: a verdict, or None with the reason
    Scores     one number per candidate of a group, and what was measured on the way
    rewards    a plain list of float or None per response, what a trainer gets (`shaping.py` makes it of Scores)

Candidates are known by their index in the group. No verdict is not a tie, and a tie is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

__all__ = [
    "Group",
    "Judgement",
    "Match",
    "Message",
    "Prompt",
    "Reason",
    "Response",
    "Scores",
    "TokenLogprob",
    "Usage",
    "Verdict",
]

Message = Mapping[str, Any]
"""A chat message: `role`, `content` (text, content blocks or None), perhaps `tool_calls` and `name`."""

Prompt = str | Sequence[Message]
"""What was asked: a text, or the conversation so far."""

Response = str | Message | Sequence[Message]
"""What was answered: a text, one message, or the messages of one turn (tool calls and their results included)."""


class Verdict(Enum):
    """Which of the two responses of a match is better, by the position at which it was shown."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"

    @property
    def swapped(self) -> Verdict:
        """The same judgement, as seen in the other presentation order."""
        return _SWAPPED[self]

    @property
    def points(self) -> float:
        """What the response shown first gets: 1 for a win, 0 for a loss, 0.5 for a tie."""
        return _POINTS[self]


_SWAPPED = {Verdict.FIRST: Verdict.SECOND, Verdict.SECOND: Verdict.FIRST, Verdict.TIE: Verdict.TIE}
_POINTS = {Verdict.FIRST: 1.0, Verdict.SECOND: 0.0, Verdict.TIE: 0.5}


class Reason(StrEnum):
    """Why there is no verdict. The values are stable: metrics and ledgers carry them."""

    EMPTY = "empty"
    """The judge said nothing after its thinking."""
    CUT_OFF = "cut_off"
    """The token limit was reached before the thinking ended, or before a verdict."""
    NO_VERDICT = "no_verdict"
    """The judge answered, without the markup of a verdict."""
    INVALID = "invalid"
    """The markup holds something that is neither response, `\\boxed{Assistant 3}` say."""
    CONTRADICTORY = "contradictory"
    """The final answer names more than one verdict."""
    REFUSAL = "refusal"
    """The judge declined to judge."""
    TIMEOUT = "timeout"
    """The engine did not answer in time, retries included."""
    RATE_LIMITED = "rate_limited"
    """The engine still answered 429 after the retries."""
    UNREACHABLE = "unreachable"
    """No connection, or it was closed on us, after the retries."""
    REJECTED = "rejected"
    """The engine refused the request (4xx): the message of the log says why; often a prompt over its context length."""
    BAD_REPLY = "bad_reply"
    """The engine answered with something that is not a completion."""
    ENGINE_ERROR = "engine_error"
    """Any other failure of the engine (5xx after the retries, an exception in process)."""
    NOT_RECORDED = "not_recorded"
    """A replay holds no text for this match."""
    OVER_BUDGET = "over_budget"
    """The calls or tokens that were allowed are spent: the model was not asked."""

    @property
    def of_engine(self) -> bool:
        """Whether the judge model never got to answer, as against answering without a verdict."""
        return self in _OF_ENGINE


_OF_ENGINE = frozenset(
    {
        Reason.TIMEOUT,
        Reason.RATE_LIMITED,
        Reason.UNREACHABLE,
        Reason.REJECTED,
        Reason.BAD_REPLY,
        Reason.ENGINE_ERROR,
        Reason.NOT_RECORDED,
        Reason.OVER_BUDGET,
    }
)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Responses to one prompt, to be scored against each other."""

    prompt: Prompt
    responses: Sequence[Response]
    reference: Response | None = None
    """A given answer, for schedules that compare with one; it gets no score of its own."""
    id: str = ""
    """What a user calls this group; a ledger and the command line carry it through."""
    step: int | None = None
    """The training step that produced it, if any."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """Two candidates of a group in a presentation order, to be judged."""

    first: int
    """Index of the candidate shown first."""
    second: int
    """Index of the candidate shown second."""
    round: int = 0
    """Round of the tournament, from 0; schedules that do not adapt have one."""

    @property
    def swapped(self) -> Match:
        """The same two candidates in the other order."""
        return Match(first=self.second, second=self.first, round=self.round)

    @property
    def pair(self) -> tuple[int, int]:
        """The two candidates, lower index first, whatever the order of presentation."""
        return (self.first, self.second) if self.first < self.second else (self.second, self.first)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What judge calls took. Adds up."""

    calls: int = 0
    """Requests that an engine answered, verdict or not; ledger hits are not calls."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Sum of the calls' own durations; calls overlap, so a wall clock shows less."""
    cost: float = 0.0
    """At the prices given; 0 where there are none."""

    @property
    def tokens(self) -> int:
        """Of prompts and replies."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            seconds=self.seconds + other.seconds,
            cost=self.cost + other.cost,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob:
    """One token of a reply, how probable it was, and what could have stood in its place."""

    text: str
    """Of the token alone; of a part of a character it may hold a replacement character."""
    logprob: float
    """Natural logarithm of its probability."""
    top: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens at its place with their log-probabilities; the token itself may be among them."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What came of a match."""

    verdict: Verdict | None
    """By position shown; None where there is none, and `reason` says why."""
    reason: Reason | None = None
    match: Match | None = None
    """None where two responses were compared outside a group."""
    text: str = ""
    """All that the judge wrote, thinking included."""
    detail: str = ""
    """For a person: the engine's error message, or what was found in place of a verdict."""
    usage: Usage = Usage()
    engine: str = ""
    """The engine and model that answered."""
    cached: bool = False
    """Whether it was read from a ledger and cost nothing now."""
    forced: bool = False
    """Whether the thinking ran into its limit and the engine was made to state a verdict."""
    escalated: bool = False
    """Whether a first, short look left the pair in doubt and this is the second, long one; its usage is of both."""
    key: str = ""
    """Where a ledger holds the record of this call; empty without a ledger, and for a majority of votes."""
    votes: tuple[Judgement, ...] = ()
    """Where several votes were cast: each of them; `verdict` is then their majority."""
    chance: float | None = None
    """Probability that the first is better by the judge's own tokens, a tie counting half; None where it was not asked
    for, or the engine did not give it. It may be on the other side of 0.5 than a verdict that was drawn at random.
    """

    @property
    def ballots(self) -> tuple[Judgement, ...]:
        """The single judge calls behind this judgement: its votes, or itself."""
        return self.votes or (self,)

    @property
    def points(self) -> float | None:
        """What the response shown first gets of the match, from 0 to 1, and the other the rest; None without a verdict.

        The chance where it is known, else 1 for the verdict that names the first, 0 for the other, 0.5 for a tie.
        """
        if self.verdict is None or self.chance is None:
            return None if self.verdict is None else self.verdict.points
        return self.chance


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One number per response of a group, in the order given, and what was measured on the way."""

    values: list[float | None]
    """Higher is better; None is unscored (no valid verdict). The reducer says the unit."""
    judgements: tuple[Judgement, ...] = ()
    """Every match played, in the order of play."""
    usage: Usage = Usage()
    converged: bool = True
    """False where an iterative reducer stopped before its tolerance."""
    position_bias: float | None = None
    """Where the reducer estimates it: log-odds by which being shown first helps; above 0 the first is favoured."""
    agreement: float | None = None
    """Share of the pairs judged in both orders in which both orders named the same winner; None without such pairs."""
    first_rate: float | None = None
    """Share of decided matches won by the response shown first; 0.5 is unbiased."""
    cycles: int = 0
    """Triples of responses that beat each other in a circle."""
    duplicates: int = 0
    """Responses that took the score of an identical one instead of being judged."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Judge calls without a verdict, counted by reason."""
    error: str | None = None
    """What went wrong with this group as a whole; its values are then None."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The schedule, orders, votes, reducer and engine that made these scores."""

    @property
    def calls(self) -> int:
        """Judge calls paid for this group; those found in a ledger are not among them."""
        return self.usage.calls

    @property
    def ranking(self) -> list[int]:
        """Indices of the scored responses, best first; equal scores in the order given."""
        scored = [index for index, value in enumerate(self.values) if value is not None]
        return sorted(scored, key=lambda index: -(self.values[index] or 0.0))

    @property
    def unscored(self) -> list[int]:
        """Indices of the responses without a score."""
        return [index for index, value in enumerate(self.values) if value is None]
