"""One group as a tournament, in the shapes in which a page shows it: standings, a matrix of wins, rounds of a knockout.

A match is told by position, as it was shown: row against column in the matrix is the row's response shown first. Left
out: HTML, and the texts of the judge.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rrm_plugin.metrics.steering import Sign, signs
from rrm_plugin.prompts import response_text
from rrm_plugin.verdicts import split_thinking
from rrm_plugin.viewer.reading import StoredGroup, StoredMatch

__all__ = ["Cell", "Pairing", "Standing", "Tournament", "label"]

LARGEST_MATRIX = 40
"""Responses; of a larger group the matches are a list."""


def label(index: int, size: int) -> str:
    """What a response is called on a page: R and its index, as in the group's list; `ref` for a given answer."""
    return f"R{index}" if index < size else "ref"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A response, and how it fared."""

    index: int
    label: str
    rank: int | None
    """From 1; equal scores share it. None where it is unscored."""
    text: str
    """As the judge is shown it, before its guards."""
    thinking: str
    """Its own thinking, which is not shown to the judge unless `keep_thinking` asks for it."""
    score: float | None
    reward: float | None
    bar: float
    """Its score between the lowest of the group, 0, and the highest, 1."""
    length: int
    wins: int
    losses: int
    ties: int
    silent: int
    """Its matches without a verdict."""
    same_as: int | None
    """The earlier response with the same text, whose matches count for it."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What came of one response, shown first, against another; matches that were judged more than once together."""

    state: str
    """win, loss, tie or none (no verdict), as of the response shown first; mixed where several say otherwise."""
    match: int
    """Number of the first of these matches."""
    contradicted: bool
    """Whether the other order says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Two responses that met in a round, in whatever orders."""

    one: int
    other: int
    winner: int | None
    """None where the matches are even or without a verdict."""
    matches: tuple[StoredMatch, ...]
    contradicted: bool


class Tournament:
    """A group, looked at as a tournament."""

    def __init__(self, group: StoredGroup) -> None:
        self.group = group
        self.size = len(group.responses)
        self.texts = [_text(response) for response in group.responses]
        """As the judge is shown them, before its guards: without their own thinking."""
        self._pairs: dict[tuple[int, int], list[StoredMatch]] = defaultdict(list)
        for match in group.matches:
            self._pairs[match.pair].append(match)

    @property
    def knockout(self) -> bool:
        """Whether it was played in rounds in which the loser leaves."""
        return str(self.group.settings.get("schedule", "")).startswith("knockout")

    @functools.cached_property
    def players(self) -> list[int]:
        """All that took part, best first: those unscored last, a given answer at the end."""
        ranked = [standing.index for standing in self.standings]
        seen = {index for match in self.group.matches for index in match.pair}
        return [*ranked, *sorted(index for index in seen if index >= self.size)]

    @functools.cached_property
    def standings(self) -> list[Standing]:
        """All responses, best first, unscored ones last."""
        known = [score for score in self.group.scores if score is not None]
        low, reach = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
        first = {text: index for index, text in reversed(list(enumerate(self.texts)))}
        met = {index for match in self.group.matches for index in match.pair}
        made = []
        for index, text in enumerate(self.texts):
            score = self.group.scores[index] if index < len(self.group.scores) else None
            tally = self._tally(index)
            same = first[text] if first[text] != index and index not in met else None
            made.append(
                Standing(
                    index=index,
                    label=label(index, self.size),
                    rank=None if score is None else 1 + sum(other > score for other in known),
                    text=text,
                    thinking=self.thinking(index),
                    score=score,
                    reward=_at(self.group.rewards, index),
                    bar=0.0 if score is None else (score - low) / reach if reach else 0.5,
                    length=int(_at(self.group.lengths, index) or len(text)),
                    wins=tally["win"],
                    losses=tally["loss"],
                    ties=tally["tie"],
                    silent=tally["none"],
                    same_as=same,
                )
            )
        return sorted(made, key=lambda one: (one.rank is None, one.rank, one.index))

    def matrix(self) -> list[list[Cell | None]] | None:
        """Rows are the response shown first, columns the one shown second, both in the order of `players`; None for a
        group too large to be one.
        """
        players = self.players
        if len(players) > LARGEST_MATRIX:
            return None
        return [[self._cell(row, column) for column in players] for row in players]

    def rounds(self) -> list[list[Pairing]]:
        """The pairings of each round, in the order of play."""
        rounds: dict[int, dict[tuple[int, int], list[StoredMatch]]] = defaultdict(lambda: defaultdict(list))
        for match in self.group.matches:
            rounds[match.round][match.pair].append(match)
        return [[self._pairing(pair, matches) for pair, matches in rounds[number].items()] for number in sorted(rounds)]

    def byes(self) -> list[list[int]]:
        """For each round but the last, who comes into the next one without having played in it."""
        rounds = [{index for pairing in each for index in (pairing.one, pairing.other)} for each in self.rounds()]
        return [sorted(later - now) for now, later in itertools.pairwise(rounds)]

    def signs(self, index: int) -> tuple[Sign, ...]:
        """The places of a response that speak to the judge."""
        return signs(self.texts[index])

    def thinking(self, index: int) -> str:
        """What a response thought between tags before it answered; empty without, and for a given answer."""
        response = self.group.responses[index] if index < self.size else None
        return split_thinking(response).thinking.strip() if isinstance(response, str) else ""

    def other_order(self, match: StoredMatch) -> str:
        """What the swapped order of a match says: `agrees`, `says otherwise`, `no verdict`, or nothing without one."""
        swapped = [one for one in self.others(match) if one.first == match.second]
        if not swapped:
            return ""
        if match.verdict is None or all(one.verdict is None for one in swapped):
            return "no verdict" if match.verdict else ""
        return "says otherwise" if self.contradicted(match.pair) else "agrees"

    def others(self, match: StoredMatch) -> list[StoredMatch]:
        """The other matches of the same pair."""
        return [one for one in self._pairs[match.pair] if one.number != match.number]

    def contradicted(self, pair: tuple[int, int]) -> bool:
        """Whether the two orders of a pair name different winners."""
        straight = [self._net(one) for one in self._pairs[pair] if one.first == pair[0] and one.verdict]
        swapped = [self._net(one) for one in self._pairs[pair] if one.first != pair[0] and one.verdict]
        return bool(straight and swapped) and _sign(sum(straight)) != _sign(sum(swapped))

    def _net(self, match: StoredMatch) -> int:
        """1 where the lower index of the pair won, -1 where it lost."""
        winner = match.winner
        return 0 if winner is None else 1 if winner == match.pair[0] else -1

    def _pairing(self, pair: tuple[int, int], matches: Sequence[StoredMatch]) -> Pairing:
        net = sum(self._net(match) for match in matches)
        contradicted = len({_sign(self._net(match)) for match in matches if match.verdict}) > 1
        return Pairing(
            one=pair[0],
            other=pair[1],
            winner=None if net == 0 else pair[0] if net > 0 else pair[1],
            matches=tuple(matches),
            contradicted=contradicted,
        )

    def _cell(self, first: int, second: int) -> Cell | None:
        pair = (first, second) if first < second else (second, first)
        own = [match for match in self._pairs.get(pair, ()) if match.first == first]
        if first == second or not own:
            return None
        states = {_state(match, first) for match in own}
        state = states.pop() if len(states) == 1 else "mixed"
        return Cell(state=state, match=own[0].number, contradicted=self.contradicted(pair))

    def _tally(self, index: int) -> dict[str, int]:
        tally = {"win": 0, "loss": 0, "tie": 0, "none": 0}
        for match in self.group.matches:
            if index in match.pair:
                tally[_state(match, index)] += 1
        return tally


def _state(match: StoredMatch, index: int) -> str:
    if match.verdict is None:
        return "none"
    return "tie" if match.winner is None else "win" if match.winner == index else "loss"


def _sign(net: int) -> int:
    return (net > 0) - (net < 0)


def _at(values: Sequence[float | None] | None, index: int) -> float | None:
    return values[index] if values is not None and index < len(values) else None


def _text(response: object) -> str:
    """A page must open whatever was recorded."""
    try:
        return response_text(response)  # pyright: ignore[reportArgumentType]
    except Exception:
        return str(response)
