"""Log-probabilities of a reply's tokens, in the two forms that OpenAI's interface has for them.

    chats               {"content": [{"token", "bytes", "logprob", "top_logprobs": [{"token", "bytes", "logprob"}]}]}
    plain completions   {"tokens": [...], "token_logprobs": [...], "top_logprobs": [{token: logprob}]}

A request asks for the first with `logprobs: true, top_logprobs: N` and for the second with `logprobs: N`. Which form
comes back does not depend on what was asked alone: llama.cpp answers plain completions in the form of chats. So both
are read wherever an answer may hold one. Left out: what the tokens mean (`verdicts`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rrm_plugin.types import TokenLogprob

__all__ = ["for_plain_completion", "logprobs_from", "logprobs_row", "logprobs_settings"]


def logprobs_settings(top: int) -> dict[str, Any]:
    """The fields of a chat request that ask for so many tokens at each place; none for 0."""
    return {"logprobs": True, "top_logprobs": top} if top else {}


def for_plain_completion(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a chat request, with those for log-probabilities as a plain completion has them."""
    fields = dict(settings)
    top = fields.pop("top_logprobs", None)
    if top is not None:
        fields["logprobs"] = top
    return fields


def logprobs_from(given: Any) -> tuple[TokenLogprob, ...] | None:
    """The tokens in the field `logprobs` of a choice, whichever form it has; None where it has neither."""
    try:
        if isinstance(given, Mapping) and isinstance(given.get("content"), list):
            return tuple(map(_of_chat, given["content"]))
        if isinstance(given, Mapping) and isinstance(given.get("tokens"), list):
            return tuple(_of_plain(given))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        # They are an extra: the text beside them is as good without.
        return None
    return None


def logprobs_row(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Tokens in the form that chats have for them."""
    return {
        "content": [
            {**_row(token.text, token.logprob), "top_logprobs": [_row(text, logprob) for text, logprob in token.top]}
            for token in logprobs
        ]
    }


def _row(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode("utf-8", "surrogatepass")), "logprob": logprob}


def _of_chat(row: Mapping[str, Any]) -> TokenLogprob:
    top = row.get("top_logprobs") or ()
    return TokenLogprob(
        text=_text(row),
        logprob=_number(row["logprob"]),
        top=tuple((_text(one), _number(one["logprob"])) for one in top),
    )


def _number(given: Any) -> float:
    logprob = float(given)
    if math.isnan(logprob):
        raise ValueError("not a log-probability")
    # Rounding leaves some of them above that of certainty.
    return min(0.0, logprob)


def _text(row: Mapping[str, Any]) -> str:
    """Of the bytes, where there are some: some servers write a part of a character as an escape."""
    given = row.get("bytes")
    return bytes(given).decode("utf-8", "replace") if given else str(row["token"])


def _of_plain(given: Mapping[str, Any]) -> Iterator[TokenLogprob]:
    texts, own, tops = given["tokens"], given["token_logprobs"], given.get("top_logprobs") or ()
    for index, (text, logprob) in enumerate(zip(texts, own, strict=True)):
        top = (tops[index] if index < len(tops) else None) or {}
        # A server has none for a token that nothing stands before.
        yield TokenLogprob(
            text=str(text),
            logprob=0.0 if logprob is None else _number(logprob),
            top=tuple((str(other), _number(share)) for other, share in top.items()),
        )
