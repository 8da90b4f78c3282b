r"""What the markup of a verdict looks like, one grammar per kind of judge.

    rrm     \boxed{Assistant 1}                          the RRM paper, arXiv 2505.14674
    rm_r1   <answer>[[A]]</answer>                       RM-R1, arXiv 2505.02387
    arena   [[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]    Arena-Hard
    llmbar  Output (a) is better, or only: Output (a)    LLMBar
    scores  <score_A>8</score_A> <score_B>6.5</score_B>  equal scores are a tie
    json    {"winner": 1}, 2 or "tie"

A grammar finds marks and says what each stands for; `parse` decides what they mean together. The same grammar takes its
markup out of the texts that a judge is shown, so that a judge quoting them does not seem to give a verdict.
Every pattern has bounded repetitions: a text of any length is read in linear time.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rrm_plugin.errors import ConfigError
from rrm_plugin.types import Verdict
from rrm_plugin.verdicts.marks import Edit, Grammar, Mark
from rrm_plugin.verdicts.phrases import PhraseGrammar

__all__ = ["GRAMMARS", "Edit", "Grammar", "Mark", "MarkupGrammar", "PhraseGrammar", "ScoreGrammar", "grammar"]


@lru_cache(maxsize=256)
def _compiled(pattern: str, flags: int) -> re.Pattern[str]:
    return re.compile(pattern, flags)


_DRESS = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|bf|rm|mbox)\b|\\[,;:! ]|[\s{}$*_`~\"'\u201c\u201d\u2018\u2019]+"
)


def _value(raw: str) -> str:
    """What markup holds, without spaces, quotes, Markdown and LaTeX dress, in lower case."""
    return _DRESS.sub("", unicodedata.normalize("NFKC", raw)).replace("\\", "").rstrip(".").casefold()


@dataclass(frozen=True, kw_only=True)
class MarkupGrammar:
    """Markup that a regular expression finds; its group 1 holds one of a few values.

    Args:
        name: for messages.
        pattern: regular expression with a group; a named group `unclosed` may match where the text ends too early, and
            `closing` what ends the markup without being replaced with it.
        values: pairs of a value and its verdict. Case, spaces, quotes and Markdown do not count.
        aimed: regular expression of further values, in lower case without spaces, that are meant as a verdict too.
        quote: the markup when it is only quoted; `{value}` is what group 1 held.
        ignore_case: whether the pattern does.
        within: name of a tag; where a text has it, markup outside of it is talk and no verdict.
    """

    name: str
    pattern: str
    values: tuple[tuple[str, Verdict], ...]
    aimed: str = ""
    quote: str = "({value})"
    ignore_case: bool = False
    within: str = ""

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> MarkupGrammar:
        """A grammar of one's own, as a template file writes it.

        Args:
            mapping: `pattern`, a regular expression with one group, and `values`, which maps what the group may hold to
                "first", "second" or "tie". Optional: `name`, `ignore_case`.

        Raises:
            ConfigError: names the key that is wrong.
        """
        unknown = sorted(str(key) for key in mapping if key not in ("name", "pattern", "values", "ignore_case"))
        if unknown:
            raise ConfigError(f"grammar: unknown key {unknown[0]!r}; known are name, pattern, values, ignore_case")
        pattern, ignore_case = mapping.get("pattern"), mapping.get("ignore_case", False)
        if not isinstance(pattern, str) or not pattern:
            raise ConfigError("grammar: pattern must be a regular expression with one group")
        if not isinstance(ignore_case, bool):
            raise ConfigError(f"grammar: ignore_case must be true or false, not {ignore_case!r}")
        _check_pattern(pattern, ignore_case)
        return cls(
            name=str(mapping.get("name", "custom")),
            pattern=pattern,
            values=_values_of(mapping.get("values")),
            aimed=".*",
            ignore_case=ignore_case,
        )

    def marks(self, text: str) -> list[Mark]:
        """All markup in a text, in order."""
        marks = [self._mark(match) for match in self._matches(text)]
        return _talk_outside(marks, text, self.within) if self.within else marks

    def edits(self, text: str) -> list[Edit]:
        """Puts the values that are meant as a verdict between other brackets; `\\boxed{42}` stays as it is."""
        return [
            (match.start(), match.end(), self.quote.format(value=_held(match).translate(_SOFT)))
            for match in self._matches(text)
            if self._mark(match).aimed
        ]

    def held(self, text: str) -> tuple[int, str] | None:
        """Where the first markup with a verdict holds its value, and that value as it is written."""
        for match in self._matches(text):
            if self._mark(match).verdict is not None:
                return (match.start(1) if match[1] is not None else match.start("unclosed")), _held(match)
        return None

    def plain(self, value: str) -> str:
        """A value, or the beginning of one, without what does not count in it."""
        return _value(value)

    @property
    def plain_values(self) -> tuple[tuple[str, Verdict], ...]:
        """The values, without what does not count in them, and their verdicts."""
        return tuple(_table(self.values).items())

    def _matches(self, text: str) -> Iterator[re.Match[str]]:
        pattern = _compiled(self.pattern, re.IGNORECASE if self.ignore_case else 0)
        return (match for match in pattern.finditer(text) if match.end() > match.start())

    def _mark(self, match: re.Match[str]) -> Mark:
        value = _value(_held(match))
        verdict = _table(self.values).get(value)
        named = match.groupdict()
        return Mark(
            start=match.start(),
            end=match.end("closing") if named.get("closing") else match.end(),
            text=match[0],
            verdict=verdict,
            aimed=verdict is not None or (bool(self.aimed) and re.search(self.aimed, value) is not None),
            unclosed=named.get("unclosed") is not None,
        )


def _talk_outside(marks: list[Mark], text: str, tag: str) -> list[Mark]:
    tags = [(hit.end(), hit[1] != "/") for hit in _compiled(rf"<(/?){tag}>", re.IGNORECASE).finditer(text)]
    if not any(opens for _, opens in tags):
        return marks
    begins = [end for end, _ in tags]

    def inside(mark: Mark) -> bool:
        last = bisect_right(begins, mark.start) - 1
        return last >= 0 and tags[last][1]

    return [mark if inside(mark) else dataclasses.replace(mark, verdict=None, aimed=False) for mark in marks]


_SOFT = str.maketrans("{}[]<>", "()()\u2039\u203a")


@lru_cache(maxsize=256)
def _table(values: tuple[tuple[str, Verdict], ...]) -> Mapping[str, Verdict]:
    return {_value(name): verdict for name, verdict in values}


def _held(match: re.Match[str]) -> str:
    """What the markup holds; where the text ends too early, that may have been found by the other alternative."""
    return match[1] if match[1] is not None else match.groupdict().get("unclosed") or ""


def _check_pattern(pattern: str, ignore_case: bool) -> None:
    try:
        compiled = _compiled(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise ConfigError(f"grammar: pattern {pattern!r} is no regular expression: {error}") from error
    if compiled.groups != 1:
        raise ConfigError(f"grammar: pattern {pattern!r} must have exactly one group, not {compiled.groups}")
    if compiled.search("(...)") or compiled.search(""):
        raise ConfigError(
            f"grammar: pattern {pattern!r} is too wide: it finds a verdict in '(...)' or in an empty text"
        )


def _values_of(mapping: Any) -> tuple[tuple[str, Verdict], ...]:
    if not isinstance(mapping, Mapping) or not mapping:
        raise ConfigError("grammar: values must map what the group may hold to first, second or tie")
    try:
        values = tuple((str(value), Verdict(verdict)) for value, verdict in mapping.items())
    except ValueError as error:
        raise ConfigError(f"grammar: values: {error}; a verdict is first, second or tie") from error
    if not {Verdict.FIRST, Verdict.SECOND} <= {verdict for _, verdict in values}:
        raise ConfigError("grammar: values must name a verdict 'first' and a verdict 'second'")
    if len({_value(value) for value, _ in values}) < len(values):
        raise ConfigError("grammar: two of the values are the same but for case, spaces or quotes")
    return values


@dataclass(frozen=True, kw_only=True)
class ScoreGrammar:
    """A number for each response, `<score_A>8</score_A> <score_B>6</score_B>`; the higher wins, equal is a tie."""

    name: str = "scores"

    def marks(self, text: str) -> list[Mark]:
        """All pairs of scores in a text, in order; a score that has no partner is a mark without a verdict."""
        found: list[Mark] = []
        open_pair: dict[str, re.Match[str]] = {}
        for match in _SCORE.finditer(text):
            label = match["label"].upper()
            if label in open_pair:
                found.append(_scored(text, open_pair))
                open_pair = {}
            open_pair[label] = match
            if len(open_pair) == 2:
                found.append(_scored(text, open_pair))
                open_pair = {}
        return [*found, _scored(text, open_pair)] if open_pair else found

    def edits(self, text: str) -> list[Edit]:
        """Puts each tag into other brackets."""
        return [(match.start(), match.end(), f"\u2039{match[1]}\u203a") for match in _SCORE_TAG.finditer(text)]


_SCORE = re.compile(
    r"<score_(?P<label>[AB])>\s{0,8}(?P<score>[^<>\n]{0,40})\s{0,8}(?:</score_(?P=label)>|(?P<unclosed>\Z))",
    re.IGNORECASE,
)
_SCORE_TAG = re.compile(r"<(/?score_[AB])>", re.IGNORECASE)
_NUMBER = re.compile(r"([+-]?\d{1,9}(?:\.\d{0,9})?)(?:\s*/\s*(\d{1,9}))?")


def _scored(text: str, pair: Mapping[str, re.Match[str]]) -> Mark:
    start, end = min(match.start() for match in pair.values()), max(match.end() for match in pair.values())
    return Mark(
        start=start,
        end=end,
        text=text[start:end],
        verdict=_compared(pair["A"]["score"], pair["B"]["score"]) if len(pair) == 2 else None,
        unclosed=any(match["unclosed"] is not None for match in pair.values()),
    )


def _compared(first: str, second: str) -> Verdict | None:
    numbers = [_NUMBER.fullmatch(unicodedata.normalize("NFKC", score).strip(" *_`")) for score in (first, second)]
    if numbers[0] is None or numbers[1] is None or numbers[0][2] != numbers[1][2]:
        return None
    ahead = float(numbers[0][1]) - float(numbers[1][1])
    return Verdict.TIE if ahead == 0 else Verdict.FIRST if ahead > 0 else Verdict.SECOND


def _arena_values() -> Iterator[tuple[str, Verdict]]:
    for left, right, verdict in (("A", "B", Verdict.FIRST), ("B", "A", Verdict.SECOND)):
        for sign in (">>", ">", "<", "<<"):
            yield f"{left}{sign}{right}", verdict if ">" in sign else verdict.swapped
        yield f"{left}={right}", Verdict.TIE


_BRACKETS = r"\[\[([^\[\]\n]{1,40})(?:\]\]|(?P<unclosed>\]?\Z))"

GRAMMARS: Mapping[str, Grammar] = {
    known.name: known
    for known in (
        MarkupGrammar(
            name="rrm",
            pattern=r"\\{1,4}f?boxed\s{0,8}\{((?:[^{}]|\{[^{}]{0,80}\}){0,120})\}"
            r"|\\{1,4}f?boxed\s{0,8}\{(?P<unclosed>[^{}]{0,60}\Z)",
            values=(("Assistant 1", Verdict.FIRST), ("Assistant 2", Verdict.SECOND)),
            aimed=r"assistant|^neither|^both|^tie$",
            quote=r"\boxed({value})",
            ignore_case=True,
        ),
        MarkupGrammar(
            name="rm_r1",
            pattern=_BRACKETS,
            values=(("A", Verdict.FIRST), ("B", Verdict.SECOND)),
            aimed=r"^[abc]$|^(?:assistant|chatbot|response)|^neither|^both|^tie$|^[ab][<>=]",
            quote="⟦{value}⟧",
            within="answer",
        ),
        MarkupGrammar(
            name="arena",
            pattern=_BRACKETS,
            values=tuple(_arena_values()),
            aimed=r"^[abc]$|^(?:assistant|response)|^neither|^both|^tie$|^[ab][<>=]",
            quote="⟦{value}⟧",
        ),
        PhraseGrammar(),
        ScoreGrammar(),
        MarkupGrammar(
            name="json",
            pattern=r"""[{,]\s{0,20}["']winner["']\s{0,8}:\s{0,8}"""
            r"""("[^"\n]{0,80}"|'[^'\n]{0,80}'|-?[\w.]{1,20})\s{0,20}(?:(?=(?P<closing>[,}]))|(?P<unclosed>\Z))""",
            values=(
                *((name, Verdict.FIRST) for name in ("1", "response 1", "response_1")),
                *((name, Verdict.SECOND) for name in ("2", "response 2", "response_2")),
                ("tie", Verdict.TIE),
            ),
            aimed=r"^(?:response|assistant)?[0-9ab]$|^neither|^both|^none$|^null$",
            quote="(winner: {value})",
        ),
    )
}
"""The built-in grammars by name."""


def grammar(spec: str | Mapping[str, Any] | Grammar) -> Grammar:
    """The grammar of a name in `GRAMMARS`, of a mapping (see `MarkupGrammar.from_mapping`), or the one given.

    Raises:
        ConfigError: there is none of that name, or the mapping is wrong.
    """
    # Checking against a Protocol is slow, and this runs for every reply of a judge.
    if isinstance(spec, MarkupGrammar | PhraseGrammar | ScoreGrammar):
        return spec
    if isinstance(spec, str):
        try:
            return GRAMMARS[spec]
        except KeyError:
            raise ConfigError(f"grammar: {spec!r} is none of {', '.join(GRAMMARS)}") from None
    if isinstance(spec, Mapping):
        return MarkupGrammar.from_mapping(spec)
    if isinstance(spec, Grammar):
        return spec
    raise ConfigError(f"grammar: a name, a mapping or a Grammar is needed, not {type(spec).__name__}")
