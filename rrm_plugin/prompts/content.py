"""Chat messages -> the text that a judge is shown.

A prompt or a response may be a text or messages: several turns, tool calls and their results, content in blocks. A
model's thinking is not part of what it said, so `reasoning_content`, `thinking` and blocks of thinking are never
shown. No turn can speak for another one: a line of its text that looks like the label of a turn, `[user]`, is put into
other brackets. Left out: guards against what else the text says (`guards.py`), and pictures or sound, which become a
note in brackets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from rrm_plugin.prompts.guards import clean, edited, folded
from rrm_plugin.types import Message, Prompt, Response
from rrm_plugin.verdicts import strip_thinking

__all__ = ["prompt_text", "response_text"]


def prompt_text(prompt: Prompt, *, keep_thinking: bool = False) -> str:
    """What was asked. One user message is its content; a longer conversation is a transcript, `[role]` above each turn.

    A text, too, is one turn: labels that stand in it become `(role)`. Give a conversation as messages.

    Raises:
        TypeError: it is neither a text nor messages.
    """
    if isinstance(prompt, str):
        return _unlabelled(prompt)
    messages = _messages(prompt, "prompt")
    if len(messages) == 1 and messages[0].get("role", "user") == "user":
        return _unlabelled(_content(messages[0].get("content")))
    return _transcript(messages, keep_thinking)


def response_text(response: Response, *, keep_thinking: bool = False) -> str:
    """What was answered. Messages of the model alone are joined; tool results in between make it a transcript.

    Args:
        response: a text, one message, or the messages of one turn.
        keep_thinking: show what stands between thinking tags too.

    Raises:
        TypeError: it is neither a text nor messages.
    """
    if isinstance(response, str):
        return _unlabelled(response if keep_thinking else strip_thinking(response))
    messages = _messages(response, "response")
    if all(_role(message) == "assistant" for message in messages):
        return _unlabelled("\n\n".join(filter(None, (_said(message, keep_thinking) for message in messages))))
    return _transcript(messages, keep_thinking)


def _messages(value: Any, what: str) -> Sequence[Message]:
    if isinstance(value, Mapping):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, bytes) and all(isinstance(m, Mapping) for m in value):
        return value
    raise TypeError(f"a {what} must be a text, a message or a list of messages, not {type(value).__name__}")


def _role(message: Message) -> str:
    return str(message.get("role") or "assistant")


def _transcript(messages: Sequence[Message], keep_thinking: bool) -> str:
    roles = {_word(_role(message)).casefold() for message in messages}
    turns = ((_label(message), _unlabelled(_said(message, keep_thinking), roles)) for message in messages)
    return "\n\n".join(f"[{label}]\n{text}" for label, text in turns)


def _label(message: Message) -> str:
    role, name = _word(_role(message)), message.get("name")
    role = {"tool": "tool result", "function": "tool result"}.get(role, role)
    return f"{role} {_word(str(name))}" if name else role


def _word(text: str) -> str:
    """A role or a name with nothing in it that could end the label."""
    return re.sub(r"[^\w.:/-]+", "_", folded(clean(text)).strip())[:64].strip("_") or "unnamed"


_ROLES = frozenset({"system", "developer", "user", "human", "assistant", "tool", "function"})


def _unlabelled(text: str, roles: Collection[str] = ()) -> str:
    """The text, cleaned, with the labels of turns in other brackets: `(user)`."""
    text = clean(text)
    plain = folded(text)
    spans = (hit.span(1) for hit in _labels(_ROLES.union(roles)).finditer(plain))
    return edited(text, ((start, end, _rounded(text[start:end], plain[start:end])) for start, end in spans))


def _rounded(text: str, plain: str) -> str:
    return "".join({"[": "(", "]": ")"}.get(seen, as_is) for as_is, seen in zip(text, plain, strict=True))


@lru_cache(maxsize=64)
def _labels(roles: frozenset[str]) -> re.Pattern[str]:
    any_role = "|".join(map(re.escape, sorted(roles)))
    # Behind `>` a line is a quote already; a link's text in a list of Markdown begins with `-` and is none of ours.
    lead, dressed = r"(?:[^\S\n]|[*_#~`\"'|=])*+", r"[^\w\n\]]{0,8}"
    return re.compile(
        rf"^{lead}(\[{dressed}(?:{any_role})(?:[^\w\n\[\]]{{1,3}}[\w.:/-]{{1,64}}){{0,2}}{dressed}\]++)",
        re.MULTILINE | re.IGNORECASE,
    )


def _said(message: Message, keep_thinking: bool) -> str:
    text = _content(message.get("content"))
    if _role(message) == "assistant" and not keep_thinking:
        text = strip_thinking(text)
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    if message.get("function_call"):
        calls.append(_call(message["function_call"]))
    return "\n\n".join(filter(None, (text.strip("\n"), "\n".join(calls))))


def _call(call: Any) -> str:
    if not isinstance(call, Mapping):
        return f"(tool call: {call})"
    function = call.get("function", call)
    function = function if isinstance(function, Mapping) else {"name": function}
    arguments = function.get("arguments", function.get("input", ""))
    text = arguments if isinstance(arguments, str) else _json(arguments)
    return f"(tool call: {function.get('name', 'unnamed')}({text}))"


def _content(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return _block(content)
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        return "\n".join(filter(None, (_content(block) for block in content)))
    return str(content)


_HIDDEN = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content"})
_TEXT_KEYS = ("text", "refusal", "content")


def _block(block: Mapping[str, Any]) -> str:
    kind = str(block.get("type") or "text")
    if kind in _HIDDEN:
        return ""
    if kind in ("tool_use", "tool_call", "function_call"):
        return _call(block)
    for key in _TEXT_KEYS:
        if key in block:
            return _content(block[key])
    words = kind.removeprefix("input_").removesuffix("_url").replace("_", " ")
    return f"[{words}]"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
