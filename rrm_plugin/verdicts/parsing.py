"""From a judge's text to a verdict, or to the reason why there is none.

Nothing is guessed. Only what stands after the thinking is read. Where that names two verdicts, there is none, even if
one of them comes last: real judges quote the other side's claim before they answer as often as they change their
mind. Two exceptions: the echo of an instruction, two verdicts joined by "or", with a verdict after it; and a verdict
that is denied, "not X", which speaks against X and for nothing.
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
    mark: Mark | None = None
    """The first place that states the verdict, by its position in the answer, which is the text after its thinking."""


def parse(text: str, preset: str | Grammar = "rrm", *, finished: bool = True) -> Parsed:
    """Reads the verdict of a judge.

    Args:
        text: all that the judge wrote. It may begin inside the thinking, without an opening tag.
        preset: a grammar, or the name of a built-in one.
        finished: False where the engine stopped at its token limit. Without any tag of thinking such a text counts as
            unfinished thinking; after closed thinking, a verdict that is there and complete counts, unless more markup
            runs into the end of the text.

    Raises:
        ConfigError: there is no grammar of that name. The text itself never raises.
    """
    rules = grammar(preset)
    _, answer, closed = split_thinking(text)
    if closed is False or (closed is None and not finished):
        return _without(Reason.CUT_OFF, "the thinking has no end")
    marks = rules.marks(answer)
    if not finished and any(mark.unclosed and mark.aimed for mark in marks):
        return _without(Reason.CUT_OFF, "the verdict was cut off at the token limit")
    spoken, denied = _meant([mark for mark in marks if mark.verdict is not None], answer)
    verdicts = {mark.verdict for mark in spoken}
    if len(verdicts) > 1:
        return _without(Reason.CONTRADICTORY, " … ".join(dict.fromkeys(_short(mark.text) for mark in spoken)))
    if len(verdicts) == 1:
        return _unless_withdrawn(spoken, marks, denied)
    return _nothing(answer, marks, finished)


def _unless_withdrawn(spoken: Sequence[Mark], marks: Sequence[Mark], denied: Sequence[Mark]) -> Parsed:
    """The verdict, unless it is denied elsewhere, or markup that names neither response follows it."""
    mark = spoken[-1]
    later = (other for other in marks if other.start > mark.start and other.aimed and other.verdict is None)
    against = next((other for other in denied if other.verdict is mark.verdict), None) or next(later, None)
    if against is not None:
        return _without(Reason.CONTRADICTORY, f"{_short(mark.text)} … {_short(against.text)}")
    return Parsed(verdict=mark.verdict, detail=_short(mark.text), mark=spoken[0])


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


def _meant(marks: Sequence[Mark], text: str) -> tuple[Sequence[Mark], list[Mark]]:
    """The verdicts that a judge gives, and those that it denies, "not X", in a text where each mark has a verdict."""
    joined = [
        left.verdict is not right.verdict and _JOINT.fullmatch(text, left.end, right.start) is not None
        for left, right in pairwise(marks)
    ]
    meant, denied = [], []
    refused = False
    for index, mark in enumerate(marks):
        # In "not X or Y" the word is about both.
        refused = (refused and joined[index - 1]) or _is_denied(mark, text)
        (denied if refused else meant).append(mark)
    offered = {mark.start for pair, together in zip(pairwise(marks), joined, strict=True) if together for mark in pair}
    return _without_echoes(meant, offered), denied


def _without_echoes(marks: Sequence[Mark], offered: set[int]) -> Sequence[Mark]:
    """Drops verdicts that are only offered as alternatives, "X or Y", where a verdict on its own follows."""
    alone = [mark for mark in marks if mark.start not in offered]
    return alone if alone and alone[-1] is marks[-1] else marks


_DENIAL = re.compile(
    r"\b(?:not|never|neither|nor|cannot|\w{0,8}n['\u2019]t|reject\w{0,3}|rather\s{1,3}than|instead\s{1,3}of|against)"
    r"(?:\s{1,3}(?:a|an|answer|as|be|by|choose|conclude|end|give|is|it|judge|my|pick|prefer|say|select|the|verdict|with))"
    r"{0,5}[\s\"'\u201c\u201d\u2018\u2019`*$(\[]{0,8}\Z",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\s\"'\u201c\u201d\u2018\u2019`*$)\]]{0,8}(?:is|was|would\s{1,3}be)(?:n['\u2019]t\b"
    r"|\s{1,3}(?:\w{2,14}ly\s{1,3})?(?:not|never|wrong|incorrect|false|mistaken|out\s{1,3}of\s{1,3}the\s{1,3}question)\b)",
    re.IGNORECASE,
)


def _is_denied(mark: Mark, text: str) -> bool:
    before = _DENIAL.search(text, max(0, mark.start - 120), mark.start)
    return before is not None or _DENIED_AFTER.match(text, mark.end) is not None


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
