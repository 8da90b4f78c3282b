r"""How likely a judge was to name the first response, by the log-probabilities of the tokens of its verdict.

In `\boxed{Assistant 1}` one token decides. Each token that could have stood in its place is put there, the grammar says
what the markup then reads, and the chance is the probability of those that name the first, among those that name
anything. Markup may be decided by more than one token, `[[A>>B]]` by its first letter and by the sign: the tokens are
walked from the last to the first, and what an alternative leaves open counts as it came out where the judge went on.

Left out: what a judge would have written after another token, which one reply cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rrm_plugin.types import TokenLogprob, Verdict
from rrm_plugin.verdicts.grammars import Grammar, MarkupGrammar, grammar
from rrm_plugin.verdicts.parsing import parse
from rrm_plugin.verdicts.thinking import split_thinking

__all__ = ["chance_of_first"]


def chance_of_first(
    text: str, logprobs: Sequence[TokenLogprob], preset: str | Grammar = "rrm", *, finished: bool = True
) -> float | None:
    """The probability that the first response is the better one, as far as the verdict's tokens say; a tie counts half.

    Where no token that is listed would have made another verdict, it is that of the verdict: exactly 1, 0 or 0.5. Of
    several places that state the verdict, the first counts, since the others only repeat it.

    Args:
        text: all that the judge wrote.
        logprobs: of its tokens, up to the end of the text. There may be more of them than are in the text: those of a
            thinking that was cut out of it, and control tokens.
        preset: a grammar, or the name of a built-in one.
        finished: as `parse` has it.

    Returns:
        A number in [0, 1]; None where the text has no verdict, or the tokens are not those of its verdict.

    Raises:
        ConfigError: there is no grammar of that name.
    """
    rules = grammar(preset)
    parsed = parse(text, rules, finished=finished)
    if parsed.verdict is None or parsed.mark is None:
        return None
    answer = split_thinking(text).answer
    places = _places(parsed.mark.text, answer[parsed.mark.start :], logprobs)
    spoken = "".join(place.text for place in places)
    if not places or _read(rules, spoken) is not parsed.verdict:
        return None
    return _walked(places, _Markup.of(rules, spoken), parsed.verdict)


@dataclass(frozen=True, slots=True)
class _Place:
    """A token of the verdict's markup."""

    text: str
    probability: float
    others: tuple[tuple[str, float], ...]
    """What could have stood there, each with its probability."""


def _places(mark: str, rest: str, logprobs: Sequence[TokenLogprob]) -> list[_Place]:
    """The tokens that spell a mark, given the text from the mark to its end; nothing where they cannot be found.

    Tokens are matched from the end, without white space, which some tokenizers lose when a token is decoded alone, and
    where need be by ASCII alone, since a token may hold a part of a character.
    """
    for kept in (_visible, _plain):
        owners = [index for index, token in enumerate(logprobs) for letter in token.text if kept(letter)]
        letters = "".join(letter for token in logprobs for letter in token.text if kept(letter))
        size = sum(map(kept, mark))
        begin = letters.rfind("".join(filter(kept, rest)))
        if size and begin >= 0:
            return list(_spaced(mark, owners[begin : begin + size], logprobs, kept))
    return []


def _visible(letter: str) -> bool:
    return not letter.isspace() and letter != "\ufffd"


def _plain(letter: str) -> bool:
    return letter.isascii() and not letter.isspace()


def _spaced(
    mark: str, owners: Sequence[int], logprobs: Sequence[TokenLogprob], kept: Callable[[str], bool]
) -> Iterator[_Place]:
    """The tokens from the first owner of a letter to the last, with the white space that their mark has before them."""
    positions = [position for position, letter in enumerate(mark) if kept(letter)]
    first_of = {owner: number for number, owner in reversed(list(enumerate(owners)))}
    before = ""
    for index in range(owners[0], owners[-1] + 1):
        token, number = logprobs[index], first_of.get(index, 0)
        gap = mark[positions[number - 1] + 1 : positions[number]] if number else ""
        space = gap if gap.isspace() and not before[-1:].isspace() else ""
        same = math.fsum(math.exp(logprob) for text, logprob in token.top if text == token.text)
        yield _Place(
            text=_after(space, token.text),
            probability=same or math.exp(token.logprob),
            others=tuple(
                (_after(space, text), math.exp(logprob)) for text, logprob in token.top if text not in (token.text, "")
            ),
        )
        before = token.text


def _after(space: str, text: str) -> str:
    return text if text[:1].isspace() else space + text


def _walked(places: Sequence[_Place], markup: _Markup, said: Verdict) -> float:
    """The chance at the first place, from those after it."""
    texts = [place.text for place in places]
    chance = said.points
    for number in reversed(range(len(places))):
        place, begun, rest = places[number], "".join(texts[:number]), "".join(texts[number + 1 :])
        told = [
            (probability, found)
            for other, probability in place.others
            if (found := _outcome(begun, other, rest, markup)) is not None
        ]
        if all(verdict is said for _, (verdict, _) in told):
            continue
        values = [(place.probability, chance), *((share, _value(*found, said, chance)) for share, found in told)]
        mass = math.fsum(share for share, _ in values)
        # Rounded sums may leave [0, 1] by a bit.
        chance = min(1.0, max(0.0, math.fsum(share * value for share, value in values) / mass)) if mass else chance
    return chance


def _value(verdict: Verdict, settled: bool, said: Verdict, chance: float) -> float:
    """The chance of the first where another token leads to a verdict, given the chance after the token that stood."""
    if settled or verdict not in (said, said.swapped):
        return verdict.points
    return chance if verdict is said else 1.0 - chance


def _outcome(begun: str, other: str, rest: str, markup: _Markup) -> tuple[Verdict, bool] | None:
    """What another token leads to, and whether that is settled with it; None where it says nothing of the verdict."""
    still = markup.open(begun + other)
    if still:
        if still == markup.open(begun):
            return None
        verdicts = {verdict for _, verdict in still}
        return (verdicts.pop(), True) if len(verdicts) == 1 else markup.nearest(still)
    verdict = _read(markup.rules, begun + other + rest)
    return None if verdict is None else (verdict, False)


@dataclass(frozen=True)
class _Markup:
    """The markup that was said: what it holds, and what else its grammar lets it hold."""

    rules: Grammar
    start: int = 0
    """Where the value begins."""
    value: str = ""
    values: tuple[tuple[str, Verdict], ...] = ()
    """Empty for a grammar that has no list of them."""

    @classmethod
    def of(cls, rules: Grammar, spoken: str) -> _Markup:
        held = rules.held(spoken) if isinstance(rules, MarkupGrammar) else None
        if held is None or not isinstance(rules, MarkupGrammar):
            return cls(rules)
        return cls(rules, start=held[0], value=rules.plain(held[1]), values=rules.plain_values)

    def open(self, begun: str) -> tuple[tuple[str, Verdict], ...]:
        """The values that markup begun like this may come to hold; none where it has not come to its value yet."""
        if len(begun) <= self.start or not isinstance(self.rules, MarkupGrammar):
            return ()
        prefix = self.rules.plain(begun[self.start :])
        return tuple(option for option in self.values if option[0].startswith(prefix))

    def nearest(self, still: Sequence[tuple[str, Verdict]]) -> tuple[Verdict, bool] | None:
        """The verdict of the value that keeps most of what was said, counted from its end; None between two."""
        kept = [sum(a == b for a, b in zip(reversed(value), reversed(self.value), strict=False)) for value, _ in still]
        best = {verdict for count, (_, verdict) in zip(kept, still, strict=True) if count == max(kept)}
        return (best.pop(), False) if len(best) == 1 else None


def _read(rules: Grammar, text: str) -> Verdict | None:
    """The verdict of a piece of markup, if it has one."""
    # The same few texts come again with each reply.
    return _read_once(rules, text) if isinstance(rules, Hashable) else _read_once.__wrapped__(rules, text)


@lru_cache(maxsize=8192)
def _read_once(rules: Grammar, text: str) -> Verdict | None:
    verdicts = {mark.verdict for mark in rules.marks(text) if mark.verdict is not None}
    return verdicts.pop() if len(verdicts) == 1 else None
