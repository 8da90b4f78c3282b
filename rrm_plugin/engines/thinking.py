"""One form for a judge's thinking, whatever server or chat template it came through: `<think>...</think>` in the text.

Some servers hand the thinking over apart from the answer, and some chat templates write the opening tag into the
prompt, so that the model's own text begins after it. Here both become text with its tags, and back again where such
a text is to be continued.
"""

from __future__ import annotations

__all__ = ["continuation", "join_thinking", "opening"]

OPEN = "<think>"
CLOSE = "</think>"


def join_thinking(thinking: str, answer: str, cut: bool) -> str:
    """The whole text of a reply that came in two parts.

    Args:
        thinking: what came as thinking, without tags; may be empty.
        answer: what came as the answer.
        cut: whether the reply ran into its token limit; with no answer the thinking then stays open.
    """
    if not thinking or answer.lstrip().startswith(OPEN):
        return answer
    begun = f"{OPEN}\n{thinking.lstrip(chr(10))}"
    if cut and not answer.strip():
        return begun
    return f"{begun.rstrip()}\n{CLOSE}\n\n{answer.lstrip(chr(10))}"


def opening(prompt: str) -> str:
    """The opening tag, with the white space behind it, where a rendered prompt ends with one; otherwise nothing."""
    _, tag, after = prompt.rpartition(OPEN)
    return tag + after if tag and not after.strip() else ""


def continuation(text: str, prompt: str) -> str:
    """What to put after `prompt` (or its end) so that the model writes on from `text`, without a second opening tag."""
    opened = opening(prompt)
    if not opened or not text.startswith(OPEN):
        return text
    if text.startswith(opened):
        return text.removeprefix(opened)
    return text.removeprefix(OPEN).lstrip("\n")
