"""The bodies of a service's requests, with their limits. Needs pydantic, which the extra "service" brings.

Prompts and responses are checked here as far as their shape goes and handed on as they are: they may be large, and
what a judge makes of messages is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from rrm_plugin.service.settings import LARGEST_GROUP

__all__ = [
    "ChatRequest",
    "CohortRequest",
    "CompareRequest",
    "ErrorReply",
    "RewardReply",
    "RewardRequest",
    "ScoreRequest",
    "WithdrawRequest",
]

MOST_LOGPROBS = 20
"""Tokens at a place; OpenAI's interface has the same limit."""
_LONGEST_KEY = 1024
_LONGEST_WAIT = 86_400.0

_MESSAGES = {"type": "array", "items": {"type": "object"}, "minItems": 1}


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(message, Mapping) for message in value)


def _prompt(value: Any) -> Any:
    if not isinstance(value, str) and not _is_messages(value):
        raise ValueError("must be a text or a list of chat messages")
    return value


def _response(value: Any) -> Any:
    if not isinstance(value, (str, dict)) and not _is_messages(value):
        raise ValueError("must be a text, a chat message or a list of them")
    return value


def _sound(value: Any) -> Any:
    """Half of a surrogate pair is nothing that a key could be looked up by."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


Prompt = Annotated[
    Any,
    AfterValidator(_prompt),
    WithJsonSchema({"anyOf": [{"type": "string"}, _MESSAGES], "description": "A text, or the conversation so far."}),
]
Response = Annotated[
    Any,
    AfterValidator(_response),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "object"}, _MESSAGES],
            "description": "A text, a message, or the messages of one turn.",
        }
    ),
]
Text = Annotated[str, BeforeValidator(_sound)]
Key = Annotated[str, BeforeValidator(_sound), Field(min_length=1, max_length=_LONGEST_KEY)]
Size = Annotated[int, Field(ge=1, le=LARGEST_GROUP)]


class _Body(BaseModel):
    # A misspelt field would otherwise be a setting that silently has no effect.
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class CompareRequest(_Body):
    """Which of two responses is better?"""

    prompt: Prompt
    first: Response
    second: Response
    both_orders: bool = False
    """Judge the swapped order too; the verdict is a tie where the orders disagree."""


class ScoreRequest(_Body):
    """Scores of the responses to one prompt."""

    prompt: Prompt
    responses: Annotated[list[Response], Field(min_length=1, max_length=LARGEST_GROUP)]
    reference: Response | None = None
    """A given answer, for schedules that compare with one."""
    lengths: list[Annotated[int, Field(ge=0)]] | None = None
    """Tokens of each response, for shaping and metrics; characters are counted without them."""
    id: Text = ""
    step: int | None = None
    judgements: bool = False
    """Answer with every judgement and the judge's texts too."""

    @model_validator(mode="after")
    def _one_length_each(self) -> ScoreRequest:
        if self.lengths is not None and len(self.lengths) != len(self.responses):
            raise ValueError(f"{len(self.lengths)} lengths for {len(self.responses)} responses")
        return self


class CohortRequest(_Body):
    """One member of a group, which waits for the others."""

    key: Key
    """Names the group."""
    prompt: Prompt
    response: Response
    id: Key | None = None
    """Which member it is: one that comes again under the same id is the same."""
    index: Annotated[int, Field(ge=0, lt=LARGEST_GROUP)] | None = None
    """Its number in the group from 0, where it is known."""
    length: Annotated[int, Field(ge=0)] | None = None
    """Tokens of the response."""
    reference: Response | None = None
    step: int | None = None
    size: Size | None = None
    """Members of the group; the service's own setting without it."""
    patience: Annotated[float, Field(gt=0, le=_LONGEST_WAIT)] | None = None
    """Seconds after which this caller is answered in any case."""


class WithdrawRequest(_Body):
    """A member that will never come."""

    key: Key
    id: Key | None = None
    size: Size | None = None


class RewardRequest(BaseModel):
    """OpenRLHF's request for the reward of a reply."""

    query: list[Any]
    """Prompt and reply, decoded with their special tokens."""
    prompts: list[Any]
    """Prompts as the chat template made them."""
    labels: list[Any] | None = None


class RewardReply(BaseModel):
    """What OpenRLHF takes: numbers for one reply, lists for several."""

    rewards: float | list[float]
    scores: float | list[float]
    """The spread of the group's rewards."""
    extra_logs: dict[str, Any]


class ChatRequest(_Body):
    """A chat completion in OpenAI's form; what an engine of this service has no say in is refused."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    model: Text | None = None
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 8192
    seed: int | None = None
    stop: list[Text] | Text | None = None
    n: Annotated[int, Field(ge=1, le=1)] = 1
    stream: Annotated[bool, AfterValidator(lambda wanted: _whole(wanted))] = False
    draw: Annotated[int, Field(ge=0)] = 0
    """Number among equal requests: different ones are different samples, the same one may come from the ledger."""
    logprobs: bool = False
    """Answer with the log-probability of each token, where the engine has them."""
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    """With `logprobs`: of how many of the likeliest tokens at each place."""
    continue_final_message: bool = False
    """Write on from the last message, which is the assistant's."""

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        last = self.messages[-1]
        if self.continue_final_message and (
            len(self.messages) < 2 or last.get("role") != "assistant" or not isinstance(last.get("content"), str)
        ):
            raise ValueError("continue_final_message needs an assistant's text as the last of several messages")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self


class ErrorReply(BaseModel):
    """What every error looks like."""

    class Error(BaseModel):
        """Its kind, which is stable, and what to tell a person."""

        type: str
        message: str

    error: Error


def _whole(wanted: bool) -> bool:
    if wanted:
        raise ValueError("replies come whole: a verdict is read from all of it")
    return wanted
