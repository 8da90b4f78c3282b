"""What an OpenAI-compatible server sends back, made into text or into an error that says what to do. No sockets here.

Servers differ: thinking may stand in `reasoning_content` (older vLLM, SGLang, DeepSeek), in `reasoning` (newer vLLM),
in content blocks, or in the content itself; errors may be an object, a text, or a list of a validator's complaints.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from rrm_plugin.engines.logprobs import logprobs_from
from rrm_plugin.engines.thinking import join_thinking
from rrm_plugin.errors import EngineError
from rrm_plugin.types import Reason, TokenLogprob

__all__ = ["Completion", "Failure", "parse_chat", "parse_completion", "parse_json", "refusal", "retry_after"]

_EXCERPT = 200
_ABORTED = ("abort", "error")
_CONTEXT = re.compile(r"context|max_tokens|max_model_len|too (long|large)|longer than|exceed", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One completion, the same whichever way it was asked for."""

    text: str
    finished: bool
    prompt_tokens: int
    completion_tokens: int
    logprobs: tuple[TokenLogprob, ...] | None = None
    """Where they were asked for, and given."""


class Failure(Exception):
    """One attempt failed: the error to raise if it was the last, and what the next one should know."""

    def __init__(
        self,
        error: EngineError,
        *,
        status: int | None = None,
        wait: float | None = None,
        at_fault: bool = True,
        kind: str = "",
        only_elsewhere: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.status = status
        """HTTP status, None where no answer came."""
        self.wait = wait
        """Seconds that the server asked to wait."""
        self.at_fault = at_fault
        """Whether it speaks against the server rather than against the request."""
        self.kind = kind
        """The type that the server gives its error; empty where it gives none."""
        self.only_elsewhere = only_elsewhere
        """Whether another server may do better, but not the same one a little later."""


def _excerpt(body: bytes | str) -> str:
    """The beginning of a body, for a message to a person."""
    text = body if isinstance(body, str) else body[: 4 * _EXCERPT].decode("utf-8", "replace")
    return repr(text[:_EXCERPT])


def _bad(where: object, what: str, body: bytes) -> Failure:
    error = EngineError(f"{where} answered with {what}: {_excerpt(body)}", Reason.BAD_REPLY, retryable=True)
    return Failure(error, status=200)


def parse_json(body: bytes, where: object) -> Mapping[str, Any]:
    """The object in a body of status 200.

    Raises:
        Failure: it is no JSON object, or one that reports an error.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise _bad(where, "something that is not JSON", body) from None
    if not isinstance(data, dict):
        raise _bad(where, "JSON that is not an object", body)
    if data.get("error"):
        raise _bad(where, "status 200 and an error", body)
    return data


def parse_chat(body: bytes, where: object) -> Completion:
    """The completion in the answer of `/chat/completions`, thinking included.

    Raises:
        Failure: there is none in it.
    """
    data = parse_json(body, where)
    choice = _first_choice(data, where, body)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise _bad(where, "a choice without a message", body)
    thought, answer = _content(message.get("content"))
    given = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(answer, str) or not isinstance(given or "", str):
        raise _bad(where, "a message whose content is not text", body)
    if not answer and isinstance(message.get("refusal"), str):
        answer = message["refusal"]
    finished = choice.get("finish_reason") != "length"
    return _completion(data, join_thinking(given or thought, answer, cut=not finished), finished, choice)


def parse_completion(body: bytes, where: object) -> Completion:
    """The completion in the answer of `/completions`.

    Raises:
        Failure: there is none in it.
    """
    data = parse_json(body, where)
    choice = _first_choice(data, where, body)
    if not isinstance(choice.get("text"), str):
        raise _bad(where, "a choice without text", body)
    return _completion(data, choice["text"], choice.get("finish_reason") != "length", choice)


def _first_choice(data: Mapping[str, Any], where: object, body: bytes) -> Mapping[str, Any]:
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _bad(where, "JSON without choices", body)
    if choices[0].get("finish_reason") in _ABORTED:
        raise _bad(where, "a completion that it gave up", body)
    return choices[0]


def _content(content: Any) -> tuple[str, Any]:
    """Thinking and answer of a message's content, which is text, None, or blocks of either."""
    if content is None:
        return "", ""
    if not isinstance(content, list):
        return "", content
    thinking, answer = [], []
    for block in content:
        if not isinstance(block, dict):
            return "", content
        kind = block.get("type")
        if kind in ("thinking", "reasoning"):
            thinking.append(_flat(block.get(kind, block.get("text"))))
        else:
            answer.append(_flat(block.get("text")))
    return "".join(thinking), "".join(answer)


def _flat(part: Any) -> str:
    if isinstance(part, list):
        return "".join(_flat(each.get("text")) for each in part if isinstance(each, dict))
    return part if isinstance(part, str) else ""


def _completion(data: Mapping[str, Any], text: str, finished: bool, choice: Mapping[str, Any]) -> Completion:
    usage = data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Completion(
        text=text,
        finished=finished,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        logprobs=logprobs_from(choice.get("logprobs")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After header, which holds seconds or a date; None without a usable one."""
    if not value:
        return None
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def refusal(status: int, body: bytes, where: str, *, asked: Mapping[str, Any], wait: float | None) -> Failure:
    """What an answer with a status other than 200 means, and what a person can do about it.

    Args:
        status: HTTP status.
        body: of the answer.
        where: address that was asked, without secrets.
        asked: the model and max_tokens of the request, as far as it had them.
        wait: what its Retry-After header said, in seconds.
    """
    said, kind = f"{where} answered {status}: {_message(body)}", _kind(body)
    if status == 429:
        error = EngineError(said, Reason.RATE_LIMITED, retryable=True)
        return Failure(error, status=status, wait=wait, at_fault=False, kind=kind)
    if status >= 500 or status in (408, 425):
        reason = Reason.TIMEOUT if status in (408, 504) else Reason.ENGINE_ERROR
        return Failure(EngineError(said, reason, retryable=True), status=status, wait=wait, kind=kind)
    hint = _hint(status, said, asked)
    return Failure(EngineError(f"{said}{hint}", Reason.REJECTED), status=status, at_fault=False, kind=kind)


def _hint(status: int, said: str, asked: Mapping[str, Any]) -> str:
    if status in (401, 403):
        # A judge service says itself what it demands.
        return "" if "RRM_SERVICE_TOKEN" in said else "; set api_key= or the environment variable RRM_API_KEY"
    if status == 404:
        model = f", and does it serve model={asked['model']!r}?" if asked.get("model") else "?"
        return f"; is engine= the server's base URL, which mostly ends in /v1{model}"
    if 300 <= status < 400:
        return "; redirects are not followed, so give engine= the address that it points to"
    if status in (400, 413, 422) and _CONTEXT.search(said) and asked.get("max_tokens"):
        return (
            f"; the prompt and max_tokens={asked['max_tokens']} have to fit into the model's context together: "
            "lower max_tokens= or serve the model with a longer context"
        )
    return ""


def _kind(body: bytes) -> str:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = data.get("error") if isinstance(data, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) else ""


def _message(body: bytes) -> str:
    """The server's own words in the body of an error, in whichever of the known places they stand."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return _excerpt(body)
    found = data
    for _ in range(2):
        if isinstance(found, dict):
            found = next((found[key] for key in ("error", "message", "detail") if found.get(key)), found)
    return found[: 4 * _EXCERPT] if isinstance(found, str) else _excerpt(body)
