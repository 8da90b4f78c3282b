"""Where a model's thinking ends and its answer begins.

Thinking models mark it with tags, and not always with both: chat templates put the opening one into the prompt, and a
token limit cuts the closing one off. Left out: engines that return the thinking in a field of its own; they join the
two again.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["THINKING_TAG", "SplitText", "closing_tag", "split_thinking", "strip_thinking"]

THINKING_TAG = re.compile(
    r"<\s{0,4}(?P<slash>/)?\s{0,4}(?:seed:)?(?:think(?:ing)?|thoughts?)\s{0,4}>"
    r"|<\|(?:begin|(?P<end>end))_of_thought\|>"
    r"|\[(?P<mistral>/)?THINK\]"
    r"|◁(?P<kimi>/)?think▷",
    re.IGNORECASE,
)
"""An opening or closing tag of thinking, in the forms that open models write."""


class SplitText(NamedTuple):
    """A text cut where its thinking ends."""

    thinking: str
    answer: str
    closed: bool | None
    """True: a closing tag was found. False: thinking was opened and never closed. None: there is no tag at all."""


def split_thinking(text: str) -> SplitText:
    """Cuts a text after the last closing tag of its thinking.

    The opening tag may be missing. Thinking that is opened and never closed leaves an empty answer. An opening tag
    counts only where it begins a line: in running text it is a mention of the tag.
    """
    closing, opening = None, None
    for tag in THINKING_TAG.finditer(text):
        if tag.lastgroup is not None:
            closing, opening = tag, None
        elif opening is None and _begins_line(text, tag.start()):
            opening = tag
    if opening is not None:
        return SplitText(text[: opening.start()] + text[opening.end() :], "", False)
    if closing is None:
        return SplitText("", text, None)
    thinking = text[: closing.start()]
    first = THINKING_TAG.match(thinking, len(thinking) - len(thinking.lstrip()))
    return SplitText(thinking[first.end() :] if first else thinking, text[closing.end() :], True)


def strip_thinking(text: str) -> str:
    """The answer alone; empty where the thinking never ended."""
    return split_thinking(text).answer


def closing_tag(text: str, default: str = "</think>") -> str:
    """The tag that closes the thinking of a text, in the form in which the text opened it; `default` if it did not."""
    tag = THINKING_TAG.search(text)
    if tag is None or tag.lastgroup is not None:
        return default
    opening = tag.group()
    if "begin_of" in opening.lower():
        return "<|end_of_thought|>"
    return f"{opening[0]}/{opening[1:].lstrip()}"


def _begins_line(text: str, position: int) -> bool:
    before = text[max(0, position - 64) : position].rstrip(" \t")
    return not before or before.endswith(("\n", "\r"))
