"""Verdicts in a sentence: "Output (a) is better.", the form of LLMBar (arXiv 2310.07641).

Prose says more than markup does: "Output (a) is better formatted, but overall Output (b) is the better answer." So a
claim is a verdict only where its sentence ends with it, gives its reason, or names the other output; whatever narrows
or doubts it makes it none. Left out: prose in other words. A judge is told the sentence, and is read by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rrm_plugin.types import Verdict
from rrm_plugin.verdicts.marks import Edit, Mark

__all__ = ["PhraseGrammar"]


@dataclass(frozen=True, kw_only=True)
class PhraseGrammar:
    """The sentence "Output (a) is better"; where there is none, a bare "Output (a)" that opens or ends the answer."""

    name: str = "llmbar"

    def marks(self, text: str) -> list[Mark]:
        """All claims in a text, in order.

        A claim under a condition, doubted, denied or one of two named is no verdict; nor is one that holds in some
        respect only, "better in tone", but that takes back no other claim. What somebody argues is no verdict either,
        but beside a claim of the judge's own it counts: real judges then mean now the one, now the other.
        """
        claims = [_claim(match, text) for match in _CLAIM.finditer(text)]
        if any(claim.verdict is not None for claim in claims):
            claims = [_claim(match, text, _DOUBT) for match in _CLAIM.finditer(text)]
        if any(claim.aimed for claim in claims):
            return claims
        bare = [_bare(match) for match in (_OPENS.match(text), _ENDS.search(text)) if match]
        return bare or claims

    def edits(self, text: str) -> list[Edit]:
        """Puts each label into square brackets, also where no verdict is claimed: a quote may begin or end there."""
        return [(match.start(1), match.end(), f"[{match[2]}]") for match in _LABEL.finditer(text)]


def _claim(match: re.Match[str], text: str, hedge: re.Pattern[str] | None = None) -> Mark:
    tail = _TAIL.match(text, match.end())
    before = max(0, match.start() - 160), match.start()
    doubted = _DOUBTFUL.search(match["how"]) or (hedge or _HEDGE).search(text, *before)
    end = match.end() if tail is None else tail.end()
    return Mark(
        start=match.start(),
        end=end,
        text=text[match.start() : end],
        verdict=None if doubted or tail is None else _named(match),
        aimed=doubted is not None or tail is not None,
        unclosed=tail is not None and tail["unclosed"] is not None,
    )


def _bare(match: re.Match[str]) -> Mark:
    at_the_end = match.end() == len(match.string) and match[0][-1:] not in ("\n", ".", "!")
    return Mark(start=match.start(), end=match.end(), text=match[0], verdict=_named(match), unclosed=at_the_end)


def _named(match: re.Match[str]) -> Verdict:
    return Verdict.FIRST if match["label"].lower() == "a" else Verdict.SECOND


_LABEL = re.compile(r"Output[\s\"'\u201c\u201d*_`]{0,4}(\(\s?([ab])\s?\))", re.IGNORECASE)

_QUOTES = r"\"'\u201c\u201d*_`"
_DRESSED = rf"[\s{_QUOTES}#>]{{0,8}}Output\s{{1,3}}\((?P<label>[ab])\)[{_QUOTES}]{{0,4}}"
_DEGREE = (
    r"(?:(?:\w{2,14}ly|much|far|still|somewhat|overall|thus|therefore|indeed|by\s{1,3}far|a\s{1,3}(?:bit|little)|the|an?)"
    r"\s{1,3}){0,3}"
)
_BETTER = (
    rf"[{_QUOTES}]{{0,3}}(?:better|best|superior|preferable|preferred|stronger)"
    r"(?:\s{1,3}(?:one|answer|choice|output|option|response|fit|of\s{1,3}the\s{1,3}two))?"
)
_CHOSEN = (
    r"\bmy\s{1,3}(?:final\s{1,3})?(?:answer|choice|pick|preference|verdict)\s{1,3}is:?"
    r"|\bI\s{1,3}(?:\w{2,14}ly\s{1,3}|would\s{1,3}|still\s{1,3})?(?:choose|go\s{1,3}with|pick|prefer|select)"
)
_HOW = rf"\s{{1,3}}(?:(?:is|was|would\s{{1,3}}be|remains)\s{{1,3}}{_DEGREE}{_BETTER}|wins)\b"
_CLAIM = re.compile(
    rf"(?P<chosen>{_CHOSEN})?{_DRESSED}(?P<how>(?(chosen)|{_HOW}))",
    re.IGNORECASE,
)

_END = rf"[{_QUOTES})\]]{{0,4}}(?:[.!]|[ \t]{{0,8}}\n|\s{{0,8}}(?P<unclosed>\Z))"
_REASON = (
    r"(?=,?\s{1,3}(?:because|since|due\s{1,3}to|given\s{1,3}that|despite"
    r"|as\s{1,3}(?!far\b|long\b|well\b|an?\b|regards?\b|for\b|to\b))\b)"
)
_TAIL = re.compile(
    rf"[{_QUOTES}]{{0,3}}(?:\s{{1,3}}than\s{{1,3}}(?:the\s{{1,3}}other(?:\s{{1,3}}(?:one|output))?\b|[{_QUOTES}]{{0,3}}Output\s{{1,3}}\([ab]\)))?"
    rf"(?:{_END}|{_REASON})",
    re.IGNORECASE,
)

_DOUBTFUL = re.compile(
    r"\b(?:hard|bare|scarce|arguab|seeming|apparent|supposed|alleged|initial|superficial|equal|possib|potential|on)ly\b",
    re.IGNORECASE,
)
_REPORT = r"argu\w{1,5}|claim\w{0,3}|alleg\w{1,4}"
_DOUBTS = (
    r"neither|nor|or|whether|if|unless|cannot|not|never|hardly|\w{0,8}n['\u2019]t"
    r"|doubt\w{0,4}|den(?:y|ies|ied|ying)|reject\w{0,3}|disagree\w{0,3}|disput\w{1,3}|refut\w{1,3}|question\w{0,5}"
    r"|could|might|may|seem\w{0,4}|appear\w{0,3}|suppos\w{1,5}|assum\w{1,3}"
    r"|some\s{1,3}(?:\w{1,12}\s{1,3}){0,2}(?:say|think|prefer|find)"
    r"|(?:wrong|incorrect|false|mistaken|mistake|untrue|misleading|unfair|hard|difficult|premature|tempting)"
    r"(?=\s{1,3}(?:to|that)\b)"
    r"|(?:initially|superficially|at\s{1,3}(?:first|a\s{1,3}glance)|on\s{1,3}(?:the\s{1,3}surface|paper)|in\s{1,3}theory)"
    r"(?:\s{1,3}(?:glance|sight|look))?,?"
)
_UP_TO_THE_CLAIM = r"(?:\s{1,3}(?!(?:and|but|so|better|making|hence|thus|therefore|then)\b)\w{1,20}){0,4}\Z"
_DOUBT = re.compile(rf"\b(?:{_DOUBTS}){_UP_TO_THE_CLAIM}", re.IGNORECASE)
_HEDGE = re.compile(rf"\b(?:{_DOUBTS}|{_REPORT}){_UP_TO_THE_CLAIM}", re.IGNORECASE)
_OPENS = re.compile(rf"{_DRESSED}[ \t]{{0,3}}(?=$|\n|[.!](?:\s|$)|\()", re.IGNORECASE)
_ENDS = re.compile(rf"(?<=\n){_DRESSED}[\s.!]{{0,8}}\Z", re.IGNORECASE)
