r"""Which choice a reply names: the last `\boxed{...}`, else a phrase such as "the answer is (B)", else its last line.

A choice is named by its letter or by its own words. Thinking does not count, so that a letter that was only considered
is none that was given. A reply that names no choice, or several, has no answer, and the reason is kept: an evaluation
that guessed a letter out of the text would measure its own guesses. Left out: whether the choice is the right one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rrm_plugin.verdicts import split_thinking

__all__ = ["LETTERS", "Answer", "AnswerReason", "plain", "read_answer"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class AnswerReason(StrEnum):
    """Why a reply has no answer. The values are stable: reports carry them."""

    NO_ANSWER = "no_answer"
    """The reply ended and names no choice."""
    CUT_OFF = "cut_off"
    """The reply reached the token limit before it named one."""
    SEVERAL = "several"
    """What is given as the answer names more than one choice."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a reply gives as its answer."""

    choice: int | None
    """Index among the choices as they were shown; None where there is no answer."""
    reason: AnswerReason | None = None
    """Why there is none."""
    found: str = ""
    """Where it stood: `boxed`, `phrase` or `last_line`."""


def read_answer(text: str, choices: Sequence[str], *, finished: bool = True) -> Answer:
    r"""The choice that a reply names.

    The last box decides, even where a phrase follows it, since a box is what was asked for; where it names no choice
    (`\boxed{42}`, and 42 is none of them) phrases do, and the last one decides.

    Args:
        text: the reply, thinking included.
        choices: as they were shown, A first.
        finished: False where the reply was cut off: then its end is not taken at its word.
    """
    _, answer, closed = split_thinking(text)
    if closed is not False:
        said = unicodedata.normalize("NFKC", answer)
        for name, find in _FINDERS:
            named = find(said, choices, finished)
            if named == _SEVERAL:
                return Answer(choice=None, reason=AnswerReason.SEVERAL, found=name)
            if named is not None:
                return Answer(choice=named, found=name)
    return Answer(choice=None, reason=AnswerReason.NO_ANSWER if finished else AnswerReason.CUT_OFF)


LONGEST = 1000
"""Characters of what may name a choice; a longer text is no answer but an essay."""

_SEVERAL = -1
"""In place of an index, where several choices are named."""


def plain(text: str) -> str:
    """A choice's words for comparison: without spaces, Markdown, LaTeX dress, quotes around them and a full stop."""
    return re.sub(r"\s+", "", _undressed(unicodedata.normalize("NFKC", text))).rstrip(".")


_DRESS = re.compile(
    r"\\(?:text|textrm|textsf|textbf|textit|mathrm|mathbf|mathsf|mathbb|mathcal|boldsymbol|bold|bf|rm|mbox"
    r"|left|right|displaystyle|tiny|small|normalsize|large|Large|LARGE|huge|Huge|quad|qquad)\b|\\[,;:! ]"
    r"|[{}`]|\\?\$|\*\*|\\[()\[\]]"
)
_ESCAPED = re.compile(r"\\([%&#_])")
_AROUND = " *_\"'\u201c\u201d\u2018\u2019"
"""Quotes and stress around a text. Inside of one they have a meaning: f' is not f, and a*b not ab."""


def _undressed(text: str) -> str:
    return " ".join(_ESCAPED.sub(r"\1", _DRESS.sub("", text)).split()).strip(_AROUND)


# -- what a short text names ---------------------------------------------------------------------------------------

_JOINT = r"\s*(?:,|;|/|&|\+|\band\b|\bor\b|,\s*and\b|,\s*or\b)\s*"
_LETTER = r"[(\[]?([A-Z])[)\]]?"
_LIST = re.compile(rf"{_LETTER}(?:{_JOINT}(?:(?:option|choice)s?\s+)?{_LETTER})+[.:]?", re.IGNORECASE)
_ALONE = re.compile(
    r"(?:the\s+)?(?:(?:final|correct|right|best)\s+)?(?:answer|option|choice|letter)?\s*(?:is)?\s*:?\s*"
    r"[(\[]?([A-Za-z])[)\]]?[.:]?",
    re.IGNORECASE,
)
_WITH_TEXT = re.compile(r"(?:(?:option|choice)\s+)?(?:[(\[]([A-Z])[)\]][.:,]?|([A-Z])[.:)])\s*(\S.*)", re.DOTALL)
_BESIDE = re.compile(r"(?:(?:option|choice)\s+)?([A-Z])\s*(?:\s|[-=\u2013\u2014])\s*\(?(\S.*?)\)?", re.DOTALL)


def _named(content: str, choices: Sequence[str]) -> int | None:
    """The choice that a short text names, `_SEVERAL`, or None."""
    if len(content) > LONGEST:
        return None
    text = _undressed(content).strip()
    own = _own_text(content, choices)
    alone = _ALONE.fullmatch(text)
    # A capital letter alone is the letter of a choice, as was asked for, even where a choice reads "C".
    if alone is not None and (alone[1].isupper() or own is None):
        named = _index(alone[1].upper(), choices)
        # One beyond the last choice is no letter of a choice, and may be a choice itself: a base T, a numeral I.
        return own if named is None else named
    if own is not None:
        return own
    if _LIST.fullmatch(text):
        bare = re.sub(r"\b(?:and|or|options?|choices?)\b", " ", text, flags=re.IGNORECASE)
        letters = set(re.findall(r"[A-Z]", bare.upper()))
        return _index(letters.pop(), choices) if len(letters) == 1 else _SEVERAL
    with_text = _WITH_TEXT.fullmatch(text)
    if with_text is not None:
        return _index(with_text[1] or with_text[2], choices)
    # Without punctuation between them a letter may be a word or a unit, so its choice has to read so.
    beside = _BESIDE.fullmatch(text)
    named = _index(beside[1], choices) if beside else None
    return named if beside and named is not None and _alike(choices[named], beside[2]) else None


def _index(letter: str, choices: Sequence[str]) -> int | None:
    place = LETTERS.index(letter)
    return place if place < len(choices) else None


def _own_text(text: str, choices: Sequence[str]) -> int | None:
    """The choice that reads like a text: as it is, else but for its dress, else but for its case as well.

    None where the text could be several: the genotypes AA and aa differ in nothing but their case.
    """
    for form in (_spaced, plain, lambda said: plain(said).casefold()):
        wanted = form(text)
        same = [index for index, choice in enumerate(choices) if wanted and form(choice) == wanted]
        if same:
            return same[0] if len({_spaced(choices[index]) for index in same}) == 1 else None
    return None


def _alike(one: str, other: str) -> bool:
    return plain(one).casefold() == plain(other).casefold()


def _spaced(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


# -- boxes ---------------------------------------------------------------------------------------------------------

_BOX = re.compile(r"\\{1,2}(?:boxed|fbox|fboxed)\s*(?:\{|(?=\s*[A-Z]\b))")


def _in_box(text: str, choices: Sequence[str], finished: bool) -> int | None:
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    content, closed = _inside(text, boxes[-1])
    return _named(content, choices) if closed or finished else None


def _inside(text: str, box: re.Match[str]) -> tuple[str, bool]:
    """What a box holds, and whether it is closed; an unclosed one holds the rest of its line."""
    start = box.end()
    if not box[0].endswith("{"):
        return text[start:].lstrip()[:1], True
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0) if text[place - 1] != "\\" else 0
        if not depth:
            return text[start:place], True
    return text[start:].partition("\n")[0], False


# -- phrases -------------------------------------------------------------------------------------------------------

_SAYS = re.compile(
    r"\b(?P<word>answer|option|choice|response)s?\b(?:\s+(?:to|for|here|from|among|out|in|of)\b[^.:\n]{0,60}?)?"
    r"(?:\s+(?:choice|option|letter))?"
    r"[\s*_]*(?:\bis\b|\bare\b|\bwas\b|\b(?:must|should|would|could|will)\s+be\b|\bbe\b|:|=)"
    r"(?:\s+(?:therefore|thus|then|clearly|most\s+likely|likely|probably|simply|indeed))?[\s:*_]*"
    r"(?P<said>[^\n]{1,300})",
    re.IGNORECASE,
)
_IS_RIGHT = re.compile(
    r"(?<![A-Za-z])(?P<said>[(\[][A-Z][)\]]|(?<=ption )[A-Z]|(?<=hoice )[A-Z])[\s*_]*(?:,\s*[^.\n]{1,80},)?\s+is\s+"
    r"(?:therefore\s+|thus\s+)?(?:the\s+)?(?:most\s+|only\s+)?(?:correct|right|best)\b"
)
_HEAD = re.compile(
    r"[\s*_$`\"'{\\]*(?:(?:text|textbf|mathrm|mathbf|boxed)\s*\{)?(?:(?:option|choice|letter|answer)\s*:?\s*)?[*_$`\"'{]*"
    r"(?:[(\[]\s*([A-Z])\s*[)\]]|([A-Z])(?=[).,:;!*_$`\"'}\]]|\s*$"
    r"|\s+(?:because|since|as|which|with|for|due|based|[-(\u2013\u2014]))(?!['\u2019][a-z]))",
    re.IGNORECASE,
)
_MORE = re.compile(
    rf"[)\]*_$`\"'}}.]*{_JOINT}(?:(?:option|choice)\s+)?"
    r"(?:[(\[]\s*([A-Z])\s*[)\]]|([A-Z])(?=$|[).,:;!*_$`\"'}\]]|\s*$))"
)
_NEGATED = re.compile(r"[\s*_]*(?:not\b|n[o']t\b|neither\b|none\b|never\b)", re.IGNORECASE)
_BUT = re.compile(
    r"[\s.,;]*(?:but|however|though|although|which\s+is\s+(?:not|in)|is\s+(?:not|in|wrong))", re.IGNORECASE
)
_ENDS = re.compile(r"[.!?](?=\s|$)|,|;|\s+(?:because|since|which|as|so)\b")


def _in_phrase(text: str, choices: Sequence[str], finished: bool) -> int | None:
    """What the last phrase says that names any choice."""
    found: int | None = None
    for hit in _phrases(text):
        cut = not finished and hit.end("said") == len(text)
        named = _said(hit["said"], choices, cut)
        found = named if named is not None else found
    return found


def _phrases(text: str) -> Iterator[re.Match[str]]:
    """In the order of where what they say begins. A phrase may begin inside what another says."""
    # "Each choice:" with a letter in the next line begins a list; "Answer:" in a line of its own does not.
    says = [hit for hit in _overlapping(_SAYS, text) if hit["word"].lower() == "answer" or not _breaks(hit, text)]
    hits = [*says, *_overlapping(_IS_RIGHT, text)]
    return iter(sorted(hits, key=lambda hit: hit.start("said")))


def _breaks(hit: re.Match[str], text: str) -> bool:
    return "\n" in text[hit.end("word") : hit.start("said")]


def _overlapping(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    place = 0
    while (hit := pattern.search(text, place)) is not None:
        yield hit
        place = max(hit.start("said"), hit.start() + 1)


def _said(said: str, choices: Sequence[str], cut: bool) -> int | None:
    if _NEGATED.match(said):
        return None
    head = _HEAD.match(said)
    letter = (head[1] or head[2]) if head else None
    # "a" and "i" are words; a small letter counts in brackets only.
    if head is not None and letter is not None and (letter.isupper() or head[1]):
        if cut and head.end() == len(said):
            return None
        if _BUT.match(said, head.end()):
            return None
        more = _MORE.match(said, head.end())
        if more is not None and (more[1] or more[2]) != letter:
            return _SEVERAL
        return _index(letter.upper(), choices)
    if cut:
        return None
    ends = [place.start() for place in _ENDS.finditer(said) if not _BUT.match(said, place.start())] + [len(said)]
    return next((own for end in ends if (own := _own_text(said[:end], choices)) is not None), None)


# -- the last line -------------------------------------------------------------------------------------------------


def _in_last_line(text: str, choices: Sequence[str], finished: bool) -> int | None:
    """A last line that is nothing but a letter, a choice's own words, or both."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or not finished:
        return None
    line = _undressed(lines[-1]).strip("#-> ")
    with_text = _WITH_TEXT.fullmatch(line)
    if with_text is not None:
        named = _index(with_text[1] or with_text[2], choices)
        return named if named is not None and _alike(choices[named], with_text[3]) else None
    if re.fullmatch(r"[(\[]?[A-Z][)\]]?[.:]?", line) or _LIST.fullmatch(line):
        return _named(line, choices)
    return _own_text(line, choices)


_Finder = Callable[[str, Sequence[str], bool], int | None]
_FINDERS: tuple[tuple[str, _Finder], ...] = (("boxed", _in_box), ("phrase", _in_phrase), ("last_line", _in_last_line))
