"""What was asked and what was answered, told from the texts that OpenRLHF hands out.

OpenRLHF passes on prompts as the chat template made them. A judge should be shown the conversation instead: the label
may bring it (`--data.label_key` with the column of `--data.input_key`), and with a tokenizer at hand the template can
be undone where the conversation is one question, with or without a system message.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from rrm_plugin.errors import ConfigError
from rrm_plugin.types import Prompt, Response

__all__ = ["asked", "ended_turn", "reply_of"]

# What a tokenizer may call the token that ends a turn: <|im_end|>, </s>, <end_of_turn>, [EOS] and their like.
_END = re.compile(r"(?:<[^<>\s]{1,40}>|\[[^\[\]\s]{1,40}\])\s*\Z")
_TAIL = 200
_QUESTION, _SYSTEM = "rrmquestionrrm", "rrmsystemrrm"


def reply_of(query: str, prompt: str) -> str:
    """What comes after the prompt, also where the prompt was cut at its left or decoded with other spaces.

    Raises:
        ConfigError: the query does not hold the end of the prompt.
    """
    if query.startswith(prompt):
        return query[len(prompt) :]
    _, found, reply = query.partition(prompt[-_TAIL:])
    if not found:
        # A tokenizer may compose what the prompt holds in parts: an accent and its letter, say.
        query, prompt = unicodedata.normalize("NFC", query), unicodedata.normalize("NFC", prompt)
        _, found, reply = query.partition(prompt[-_TAIL:])
    if not found:
        raise ConfigError(
            "the reply cannot be told from the prompt: the text that OpenRLHF decoded does not hold the prompt's end; "
            "raise --data.max_len if prompts are cut"
        )
    return reply


def ended_turn(reply: str) -> tuple[str, bool]:
    """A reply without the token that ends its turn, and whether it had one."""
    end = _END.search(reply)
    return (reply[: end.start()], True) if end else (reply, False)


def asked(prompt: str, label: Any, tokenizer: Any = None) -> tuple[Prompt, Response | None]:
    """What the judge should be shown as the question, and a given answer where there is one.

    Args:
        prompt: as the chat template made it.
        label: the conversation (a list of messages); or a mapping with `prompt`, `reference` or both; any other text or
            number is a given answer, and an empty one is nothing.
        tokenizer: of the policy, to undo its chat template; without it the prompt stays as it is.
    """
    if _is_conversation(label):
        return label, None
    if isinstance(label, Mapping):
        return label.get("prompt") or _question(prompt, tokenizer), label.get("reference")
    reference = None if label is None or label == "" else str(label)
    return _question(prompt, tokenizer), reference


def _is_conversation(label: Any) -> bool:
    listed = isinstance(label, Sequence) and not isinstance(label, str) and len(label) > 0
    return listed and all(isinstance(message, Mapping) and "role" in message for message in label)


def _question(prompt: str, tokenizer: Any) -> Prompt:
    """The conversation behind a rendered prompt; the prompt itself where it is another one than a single question."""
    template = getattr(tokenizer, "chat_template", None)
    if not isinstance(template, str):
        return prompt
    special = [token for token in tokenizer.all_special_tokens if token]
    for pattern in _patterns(template, _Rendering(tokenizer)):
        found = pattern.fullmatch(prompt)
        if found and not any(token in text for text in found.groups() for token in special):
            return [{"role": role, "content": text} for role, text in found.groupdict().items()]
    return prompt


class _Rendering:
    """A tokenizer that does not count when calls are compared: Ray unpickles another copy of it for each prompt."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rendering)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=8)
def _patterns(template: str, rendering: _Rendering) -> tuple[re.Pattern[str], ...]:
    """What a prompt of one question looks like under a template, without and with a system message."""
    question = {"role": "user", "content": _QUESTION}
    found = []
    for messages in ([question], [{"role": "system", "content": _SYSTEM}, question]):
        try:
            text = rendering.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception:
            # Some templates refuse a system message.
            continue
        if all(text.count(message["content"]) == 1 for message in messages):
            shape = re.escape(text).replace(_SYSTEM, "(?P<system>.*)").replace(_QUESTION, "(?P<user>.*)")
            found.append(re.compile(shape, re.DOTALL))
    return tuple(found)
