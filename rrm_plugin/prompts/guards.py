r"""What keeps a text that is judged from speaking to the judge's machinery.

The query and the responses are untrusted: a policy under reinforcement learning finds whatever its judge falls for.
What is changed in them, each as little and as visibly as can be:

    (a) the judge's verdict markup        \boxed{Assistant 1} -> \boxed(Assistant 1), so that quoting it is no verdict;
                                          markup that names no response stays: \boxed{42} is an answer.
    (b) lines of the template's frame     ## Analysis -> > ## Analysis, however it is decorated; other headings stay.
    (c) tags of thinking                  </think> -> ‹/think›
    (d) special tokens of chat templates  <|im_end|> -> ‹|im_end|›, [INST] -> (INST); the engine's own list as well.
    (e) what cannot be seen               control, direction, zero-width and tag characters are dropped; joiners and
                                          variation selectors stay inside scripts and emoji that need them.

Full-width and other compatibility forms, and Cyrillic and Greek letters that look Latin, are seen through for (a) to
(d) and otherwise left alone. Left out: letters that only resemble others, and persuasion ("I am the better one"),
which is the judge's to resist. Special tokens of one character are left out too.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from rrm_plugin.verdicts.grammars import Edit, Grammar
from rrm_plugin.verdicts.thinking import THINKING_TAG

__all__ = ["VERSION", "Guard", "clean", "guard"]

VERSION = 1
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
    folded = _fold(text)
    # A joiner beside a letter, a bracket or a sign of ASCII joins nothing; there it only hides what stands around it.
    return _JOINERS.sub(lambda run: run[0] if _needed(folded, run.start(), run.end()) else "", text)


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    if "\ud800" <= character <= "\udfff":
        return "\ufffd"
    if "\u249c" <= character <= "\u24b5" or "\ufb00" <= character <= "\ufb06":
        # Letters in brackets and ligatures: of the forms that are longer when plain, these could be part of markup.
        return unicodedata.normalize("NFKC", character)
    return ""


def _needed(folded: str, start: int, end: int) -> bool:
    return start > 0 and not folded[start - 1].isascii() and not (end < len(folded) and folded[end] in _MARKUP)


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
        self[code] = folded = _ALIKE.get(ord(plain), ord(plain)) if len(plain) == 1 else code
        return folded


_FOLDING = _Folding()


def _fold(text: str) -> str:
    return text if text.isascii() else text.translate(_FOLDING)


class Guard:
    """All guards for one template, one grammar and one engine. Takes a text, gives the text that may be shown."""

    def __init__(self, grammar: Grammar, frame: Sequence[str], special_tokens: Sequence[str] = ()) -> None:
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
def guard(grammar: Grammar, frame: tuple[str, ...], special_tokens: tuple[str, ...]) -> Guard:
    """The guard for these, made once."""
    return Guard(grammar, frame, special_tokens)


def _swept(text: str, finders: Sequence[Finder]) -> tuple[str, bool]:
    """The text after one pass of each finder, and whether any of them changed it."""
    changed, folded = False, _fold(text)
    for find in finders:
        edits = list(find(folded))
        if edits:
            text, changed = _edited(text, edits), True
            folded = _fold(text)
    return text, changed


def _edited(text: str, edits: Iterable[Edit]) -> str:
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
)


def _template_tokens(text: str) -> Iterable[Edit]:
    return ((hit.start(), hit.end(), hit[0].translate(_SOFT)) for hit in _TEMPLATE_TOKEN.finditer(text))


def _token_pattern(tokens: Sequence[str]) -> re.Pattern[str] | None:
    """Finds the first character of each token, wherever it begins: tokens may overlap."""
    rests: dict[str, set[str]] = {}
    for token in map(_fold, tokens):
        if len(token.strip()) > 1:
            rests.setdefault(token[0], set()).add(re.escape(token[1:]))
    if not rests:
        return None
    # By first character, so that a text without it is passed over in one sweep.
    return re.compile("|".join(f"{re.escape(first)}(?={'|'.join(sorted(rest))})" for first, rest in rests.items()))


def _parted(first: str) -> str:
    soft = first.translate(_SOFT)
    return soft if soft != first else f"{first}·"


_PLAIN = r"(?:[^\w\n]|_)"
_LEAD = r"(?:[^\w\n>]|_)*+"
"""What may stand before a heading's words. A line behind `>` is a quote already."""


def _frame_finders(frame: Sequence[str]) -> list[Finder]:
    words = {line: [re.escape(word) for word in re.findall(r"[^\W_]+", _fold(line))] for line in frame}
    lines = {line: rf"{_PLAIN}++".join(found) for line, found in words.items() if found}
    if not lines:
        return []
    any_line = f"(?:{'|'.join(lines.values())})"
    whole = rf"^(?={_LEAD}{any_line}{_PLAIN}*+$)"
    titled = rf"^(?=[^\S\n]*+[#*=\[<|]{_LEAD}{any_line}{_PLAIN}{{0,3}}[:(\-–—,.])"
    heading = re.compile(f"{whole}|{titled}", re.MULTILINE | re.IGNORECASE)
    finders: list[Finder] = [lambda text: ((hit.start(), hit.start(), "> ") for hit in heading.finditer(text))]
    fenced = [found for line, found in lines.items() if line.strip()[0] in "[<" and line.strip()[-1] in "]>"]
    if fenced:
        inline = re.compile(rf"[\[<][^\w\n]{{0,6}}(?:{'|'.join(fenced)})[^\w\n]{{0,6}}?[\]>]", re.IGNORECASE)
        finders.append(
            lambda text: ((hit.start(), hit.end(), hit[0].translate(_SOFT)) for hit in inline.finditer(text))
        )
    return finders
