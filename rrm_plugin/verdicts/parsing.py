"""From a judge's text to a verdict, or to the reason why there is none.

Nothing is guessed. Only what stands after the thinking is read. Where that names two verdicts, there is none, even if
one of them comes last: real judges quote the other side's claim before they answer as often as they change their
mind. The one exception is the echo of an instruction, two verdicts joined by "or", with a verdict after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rrm_plugin.types import Reason, Verdict
from rrm_plugin.verdicts.grammars import Grammar, Mark, grammar
from rrm_plugin.verdicts.thinking import split_thinking

__all__ = ["Parsed", "parse"]


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What a judge's text says."""

    verdict: Verdict | None
    reason: Reason | None = None
    """Set exactly where there is no verdict."""
    detail: str = ""
    """For a person: the markup that was read, or what stood in its place."""


def parse(text: str, preset: str | Grammar = "rrm", *, finished: bool = True) -> Parsed:
    """Reads the verdict of a judge.

    Args:
        text: all that the judge wrote. It may begin inside the thinking, without an opening tag.
        preset: a grammar, or the name of a built-in one.
        finished: False where the engine stopped at its token limit. Without any tag of thinking such a text counts as
            unfinished thinking; after closed thinking, a verdict that is there and complete counts.

    Raises:
        ConfigError: there is no grammar of that name. The text itself never raises.
    """
    rules = grammar(preset)
    _, answer, closed = split_thinking(text)
    if closed is False or (closed is None and not finished):
        return _without(Reason.CUT_OFF, "the thinking has no end")
    marks = [mark for mark in rules.marks(answer) if finished or not mark.unclosed]
    spoken = _without_echoes([mark for mark in marks if mark.verdict is not None], answer)
    verdicts = {mark.verdict for mark in spoken}
    if len(verdicts) > 1:
        return _without(Reason.CONTRADICTORY, " … ".join(dict.fromkeys(_short(mark.text) for mark in spoken)))
    if len(verdicts) == 1:
        return _unless_withdrawn(spoken[-1], marks)
    return _nothing(answer, marks, finished)


def _unless_withdrawn(mark: Mark, marks: Sequence[Mark]) -> Parsed:
    """The verdict, unless markup that names neither response follows it."""
    later = next((other for other in marks if other.start > mark.start and other.aimed and other.verdict is None), None)
    if later is not None:
        return _without(Reason.CONTRADICTORY, f"{_short(mark.text)} … {_short(later.text)}")
    return Parsed(verdict=mark.verdict, detail=_short(mark.text))


def _nothing(answer: str, marks: Sequence[Mark], finished: bool) -> Parsed:
    if not finished:
        return _without(Reason.CUT_OFF, "no complete verdict before the token limit")
    if not answer.strip():
        return _without(Reason.EMPTY, "")
    if marks:
        return _without(Reason.INVALID, _short(marks[-1].text))
    if _REFUSAL.search(answer, 0, 4000):
        return _without(Reason.REFUSAL, _short(answer))
    return _without(Reason.NO_VERDICT, _short(answer[-400:]))


_EDGE = r"[\s\"'\u201c\u201d\u2018\u2019`*$.,;()\[\]]{0,12}"
_JOINT = re.compile(rf"{_EDGE}(?:or|/|\|){_EDGE}(?:with|say)?{_EDGE}", re.IGNORECASE)


def _without_echoes(marks: Sequence[Mark], text: str) -> list[Mark]:
    """Drops verdicts that are only offered as alternatives, "X or Y", where a verdict on its own follows."""
    joined = [_JOINT.fullmatch(text, left.end, right.start) is not None for left, right in pairwise(marks)]
    alone = [
        mark
        for index, mark in enumerate(marks)
        if not (index and joined[index - 1]) and not (index < len(joined) and joined[index])
    ]
    return alone if alone and alone[-1] is marks[-1] else list(marks)


_REFUSAL = re.compile(
    r"\bI(?:\s{1,3}(?:must|have\s{1,3}to|respectfully|really|simply|therefore)){0,2}\s{1,3}"
    r"(?:can\s?not|can['\u2019]?t|will\s{1,3}not|won['\u2019]t|must\s{1,3}not|decline|refuse)\b"
    r"(?:\s{1,3}\w{1,20}){0,3}?\s{1,3}"
    r"(?:to|provide|assist|help|judge|evaluate|compare|select|choose|pick|rate|rank|answer|comply|fulfill?|engage"
    r"|participate|continue|decide|give|offer|encourage|promote|generate|respond|discuss|do\s{1,3}(?:that|this))\b"
    r"|\bI(?:['\u2019]m|\s{1,3}am)(?:\s{1,3}(?:very|so|really|afraid)){0,2}"
    r"\s{1,3}(?:sorry|unable|not\s{1,3}(?:able|comfortable))\b"
    r"|\bas\s{1,3}an\s{1,3}AI\b",
    re.IGNORECASE,
)


def _without(reason: Reason, detail: str) -> Parsed:
    return Parsed(verdict=None, reason=reason, detail=detail)


def _short(text: str) -> str:
    line = " ".join(text[:400].split())
    return line if len(line) <= 160 else f"{line[:157]}..."
