r"""What keeps a text that is judged from speaking to the judge's machinery.

The query and the responses are untrusted: a policy under reinforcement learning finds whatever its judge falls for.
What is changed in them, each as little and as visibly as can be:

    (a) the judge's verdict markup        \boxed{Assistant 1} -> \boxed(Assistant 1), so that quoting it is no verdict;
                                          markup that names no response stays: \boxed{42} is an answer.
    (b) lines of the template's frame     ## Analysis -> > ## Analysis, however it is decorated; other headings stay.
                                          Beside `Solution 2: {{ response_2 }}` that is any line that begins like it,
                                          beside `{{ response_2 }} (Assistant 2)` any line that ends like it.
    (c) tags of thinking                  </think> -> ‹/think›
    (d) special tokens of chat templates  <|im_end|> -> ‹|im_end|›, [INST] -> (INST); the engine's own list as well.
    (e) what cannot be seen               control, direction, zero-width and tag characters are dropped; joiners and
                                          variation selectors stay inside scripts and emoji that need them.

Full-width and other compatibility forms, and Cyrillic and Greek letters that look Latin, are seen through for (a) to
(d) and otherwise left alone. Left out: letters that only resemble others or are written as HTML entities; headings in
other words than the template's; and persuasion ("I am the better one"), which is the judge's to resist. Special tokens
of one character are left out too.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rrm_plugin.verdicts.grammars import Edit, Grammar
from rrm_plugin.verdicts.thinking import THINKING_TAG

__all__ = ["VERSION", "Frame", "Guard", "clean", "edited", "folded", "guard"]

VERSION = 2
"""Counts changes of what the guards do to a text: recorded judgements of another version were made on another text."""

Finder = Callable[[str], Iterable[Edit]]

_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"
_INVISIBLE = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
_BEYOND = "\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
_EXPANDED = "\ufb00-\ufb06\u249c-\u24b5"
_UNCLEAN = re.compile(f"[{_CONTROLS}{_INVISIBLE}{_BEYOND}{_EXPANDED}]")
_NEWLINES = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f]+")
_SOFT = str.maketrans("<>[]", "‹›()")


def clean(text: str) -> str:
    """Drops what cannot be seen (e). All line ends become line feeds, lone surrogates the replacement character."""
    if _UNCLEAN.search(text):
        text = _UNCLEAN.sub(_visible, _NEWLINES.sub("\n", text))
    if text.isascii() or not _JOINERS.search(text):
        return text
    plain = folded(text)
    # A joiner beside a letter, a bracket or a sign of ASCII joins nothing; there it only hides what stands around it.
    return _JOINERS.sub(lambda run: run[0] if _needed(plain, run.start(), run.end()) else "", text)


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    if "\ud800" <= character <= "\udfff":
        return "\ufffd"
    if "\u249c" <= character <= "\u24b5" or "\ufb00" <= character <= "\ufb06":
        # Letters in brackets and ligatures: of the forms that are longer when plain, these could be part of markup.
        return unicodedata.normalize("NFKC", character)
    return ""


def _needed(plain: str, start: int, end: int) -> bool:
    return start > 0 and not plain[start - 1].isascii() and not (end < len(plain) and plain[end] in _MARKUP)


_MARKUP = frozenset(f"<>[]{{}}()|\\/#*_=\"'{string.ascii_letters}{string.digits}")

_ALIKE = dict(
    zip(
        map(ord, "АВЕЅІЈКМНОРСТХУаеоѕірсхуԁһјΑΒΕΖΗΙΚΜΝΟΡΤΥΧονι"),
        map(ord, "ABESIJKMHOPCTXYaeosipcxydhjABEZHIKMNOPTYXovi"),
        strict=True,
    )
)


class _Folding(dict[int, int]):
    """For `str.translate`: each character as the ASCII one it stands for, where it is one; lengths stay the same."""

    def __missing__(self, code: int) -> int:
        plain = unicodedata.normalize("NFKC", chr(code))
        self[code] = found = _ALIKE.get(ord(plain), ord(plain)) if len(plain) == 1 else code
        return found


_FOLDING = _Folding()


def folded(text: str) -> str:
    """The text as it looks: compatibility forms and look-alike letters in ASCII, each in its place."""
    return text if text.isascii() else text.translate(_FOLDING)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a template says around the judged texts, line by line."""

    lines: tuple[str, ...] = ()
    """Lines without a text, and headings that no text may imitate either."""
    heads: tuple[str, ...] = ()
    """What stands before a text on its line."""
    tails: tuple[str, ...] = ()
    """What stands behind a text on its line."""


class Guard:
    """All guards for one template, one grammar and one engine. Takes a text, gives the text that may be shown."""

    def __init__(self, grammar: Grammar, frame: Frame, special_tokens: Sequence[str] = ()) -> None:
        self._grammar = grammar
        self._finders = [_thinking_tags, _template_tokens, grammar.edits, *_frame_finders(frame)]
        if tokens := _token_pattern(special_tokens):
            self._finders.append(
                lambda text: ((hit.start(), hit.end(), _parted(hit[0])) for hit in tokens.finditer(text))
            )

    def __call__(self, text: str) -> str:
        """The text with (a) to (e) taken out, without blank lines around it. Linear in the length of the text."""
        text = clean(text).strip("\n").rstrip()
        for finders in (self._finders, [self._dropped, *self._finders]):
            # Markup wrapped in markup shows when its wrapping is taken off; after a few layers all of it is dropped.
            for _ in range(4):
                text, changed = _swept(text, finders)
                if not changed:
                    return text
        return "(text withheld: it is nothing but layers of markup)"

    def _dropped(self, text: str) -> Iterable[Edit]:
        return ((mark.start, mark.end, "(...)") for mark in self._grammar.marks(text) if mark.aimed)


@lru_cache(maxsize=128)
def guard(grammar: Grammar, frame: Frame, special_tokens: tuple[str, ...]) -> Guard:
    """The guard for these, made once."""
    return Guard(grammar, frame, special_tokens)


def _swept(text: str, finders: Sequence[Finder]) -> tuple[str, bool]:
    """The text after one pass of each finder, and whether any of them changed it."""
    changed, plain = False, folded(text)
    for find in finders:
        edits = list(find(plain))
        if edits:
            text, changed = edited(text, edits), True
            plain = folded(text)
    return text, changed


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made; they are in order."""
    pieces, at = [], 0
    for start, end, put in edits:
        pieces += (text[at:start], put)
        at = end
    return "".join((*pieces, text[at:]))


def _thinking_tags(text: str) -> Iterable[Edit]:
    return ((tag.start(), tag.end(), tag[0].translate(_SOFT).strip("◁▷")) for tag in THINKING_TAG.finditer(text))


_TEMPLATE_TOKEN = re.compile(
    r"<\|[^\s<>|]{1,64}\|>"
    r"|</?s>|<(?:bos|eos|pad|unk|mask|cls|sep|sop|eop|eod|eoa|eoh)>"
    r"|</?(?:start|end)_of_(?:turn|image|audio|text|utterance)>"
    r"|<seed:\w{1,20}>|<[|]?end_?of_?(?:text|sentence|turn)[|]?>"
    r"|<</?SYS>>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT)\]"
    r"|\[(?:BOS|EOS|PAD|UNK|CLS|SEP|MASK|g?s?MASK)\]"
    r"|\[\|(?:system|user|assistant|tool|end_?of_?turn)\|\]"
)


def _template_tokens(text: str) -> Iterable[Edit]:
    return ((hit.start(), hit.end(), hit[0].translate(_SOFT)) for hit in _TEMPLATE_TOKEN.finditer(text))


def _token_pattern(tokens: Sequence[str]) -> re.Pattern[str] | None:
    """Finds the first character of each token, wherever it begins: tokens may overlap."""
    rests: dict[str, set[str]] = {}
    for token in map(folded, tokens):
        if len(token.strip()) > 1:
            rests.setdefault(token[0], set()).add(re.escape(token[1:]))
    if not rests:
        return None
    # By first character, so that a text without it is passed over in one sweep.
    return re.compile("|".join(f"{re.escape(first)}(?={'|'.join(sorted(rest))})" for first, rest in rests.items()))


def _parted(first: str) -> str:
    soft = first.translate(_SOFT)
    return soft if soft != first else f"{first}·"


_BETWEEN = r"(?:</?[a-z][a-z0-9]{0,9}(?:[ \t][^<>\n]{0,80})?/?>|&(?:#\w{1,8}|[a-z]\w{1,9});|[^\w\n]|_)"
"""What may stand around the words of a heading without hiding them: signs, blanks, tags and entities of HTML."""
_START = r"^(?![^\S\n]*+>)"
"""A line behind `>` is a quote already."""


def _frame_finders(frame: Frame) -> list[Finder]:
    known = dict.fromkeys((*frame.lines, *frame.heads, *frame.tails))
    lines = [line for line in known if _words(line)]
    if not lines:
        return []
    any_line = _any_of(lines)
    patterns = [
        rf"{_START}(?={_BETWEEN}*+{any_line}{_BETWEEN}*+$)",
        rf"{_START}(?=[^\S\n]*+[#*=\[<|]{_BETWEEN}*+{any_line}{_BETWEEN}{{0,3}}[:(\-–—,.])",
        *(rf"{_START}(?={_BETWEEN}*+{_words(head)}{_behind(head)})" for head in frame.heads if _words(head)),
    ]
    heading = re.compile("|".join(patterns), re.MULTILINE | re.IGNORECASE)
    finders: list[Finder] = [lambda text: ((hit.start(), hit.start(), "> ") for hit in heading.finditer(text))]
    if tails := [tail for tail in frame.tails if _words(tail)]:
        finders.append(_tail_finder(tails))
    if fenced := [line for line in lines if line.strip()[0] in "[<" and line.strip()[-1] in "]>"]:
        inline = re.compile(rf"[\[<][^\w\n]{{0,6}}{_any_of(fenced)}[^\w\n]{{0,6}}?[\]>]", re.IGNORECASE)
        finders.append(
            lambda text: ((hit.start(), hit.end(), hit[0].translate(_SOFT)) for hit in inline.finditer(text))
        )
    return finders


def _words(line: str) -> str:
    """A pattern for the words of a line, whatever stands between them."""
    return rf"{_BETWEEN}++".join(re.escape(word) for word in re.findall(r"[^\W_]+", folded(line)))


def _any_of(lines: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(_words, lines))})"


def _behind(head: str) -> str:
    """What shows that a line begins with all of a head: "Solution 2 is wrong" does not begin with "Solution 2:"."""
    return r"(?![^\W_])" if head.rstrip()[-1].isalnum() else rf"{_BETWEEN}{{0,3}}?[^\w\s]"


def _tail_finder(tails: Sequence[str]) -> Finder:
    ending = re.compile(rf"(?<![^\W_]){_any_of(tails)}{_BETWEEN}*+$", re.MULTILINE | re.IGNORECASE)

    def find(text: str) -> Iterable[Edit]:
        for hit in ending.finditer(text):
            start = text.rfind("\n", 0, hit.start()) + 1
            if not text[start : hit.start()].lstrip().startswith(">"):
                yield start, start, "> "

    return find
