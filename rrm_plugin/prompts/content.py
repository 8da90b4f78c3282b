"""Chat messages -> the text that a judge is shown.

A prompt or a response may be a text or messages: several turns, tool calls and their results, content in blocks. A
model's thinking is not part of what it said, so `reasoning_content`, `thinking` and blocks of thinking are never
shown. Left out: guards against what the text says (`guards.py`), and pictures or sound, which become a note in
brackets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rrm_plugin.types import Message, Prompt, Response
from rrm_plugin.verdicts import strip_thinking

__all__ = ["prompt_text", "response_text"]


def prompt_text(prompt: Prompt, *, keep_thinking: bool = False) -> str:
    """What was asked. One user message is its content; a longer conversation is a transcript, `[role]` above each turn.

    Raises:
        TypeError: it is neither a text nor messages.
    """
    if isinstance(prompt, str):
        return prompt
    messages = _messages(prompt, "prompt")
    if len(messages) == 1 and messages[0].get("role", "user") == "user":
        return _content(messages[0].get("content"))
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
        return response if keep_thinking else strip_thinking(response)
    messages = _messages(response, "response")
    if all(_role(message) == "assistant" for message in messages):
        return "\n\n".join(filter(None, (_said(message, keep_thinking) for message in messages)))
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
    return "\n\n".join(f"[{_label(message)}]\n{_unlabelled(_said(message, keep_thinking))}" for message in messages)


def _label(message: Message) -> str:
    role, name = _role(message), message.get("name")
    role = {"tool": "tool result", "function": "tool result"}.get(role, role)
    return " ".join(f"{role} {name}".split()) if name else role


_LABEL = re.compile(r"^\[(?=(?:system|developer|user|assistant|tool)\b)", re.MULTILINE | re.IGNORECASE)


def _unlabelled(text: str) -> str:
    # A turn must not be able to speak for another one.
    return _LABEL.sub("(", text)


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
