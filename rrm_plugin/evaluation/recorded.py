"""Judge texts and verdicts from a file: a published run is re-scored, and one's own never paid twice.

A row is one judge call. Columns are those that `rrm eval` writes, or those of published runs:

    subset, id or idx          which pair
    swapped                    whether its second response was shown first; false where there is no such column
    vote or rep                number of the call among equal ones; 0 where there is no such column
    text or raw                what the judge wrote, read here with a grammar
    finished, or finish        false, or "length", where the text was cut off at a token limit
    verdict                    first, second or tie, by position as shown: used where there is no text, or if asked for
    parsed_winner or winner    1, 2 or tie by the data set's own order: what the source took the text to say

Where the source says what it took a text for, the rows on which it is read differently here are kept with the reason.
Left out: calls that nobody recorded. They are wrong, and counted as `not_recorded`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.scores import Call, JudgedPair, LabelledPair
from rrm_plugin.prompts import PRESETS
from rrm_plugin.training.sources import Reject, Row, Source
from rrm_plugin.types import Reason, Verdict
from rrm_plugin.verdicts import Grammar, parse

__all__ = ["Difference", "Replayed", "recorded_prompt", "replay"]

Key = tuple[str, str]
Taken = Literal["texts", "verdicts"]

_IDS = ("id", "idx", "pair_id")
_TEXTS = ("text", "raw")
_VOTES = ("vote", "rep")
_WINNERS = ("parsed_winner", "winner")
_SHOWN = {"first": Verdict.FIRST, "second": Verdict.SECOND, "tie": Verdict.TIE}
_OWN = {"1": Verdict.FIRST, "2": Verdict.SECOND, "tie": Verdict.TIE, **_SHOWN}
_OF_ENGINE = frozenset(reason.value for reason in Reason if reason.of_engine)
_NAMES = {Verdict.FIRST: "1", Verdict.SECOND: "2", Verdict.TIE: "tie", None: None}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A text that is read here otherwise than its source did. Winners are by the data set's order."""

    subset: str
    id: str
    swapped: bool
    vote: int
    source: str | None
    """1, 2, tie, or None where the source took it for no verdict."""
    here: str | None
    reason: str
    """Why there is no verdict here; or that another verdict is read."""
    detail: str
    """The words that were read."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a file of recorded calls gives."""

    judged: list[JudgedPair]
    source: list[JudgedPair] | None
    """The same pairs with the verdicts that the source took; None where it names none."""
    differences: list[Difference]
    used: int
    """Rows that were used."""
    unused: int
    """Rows of pairs that the benchmark does not hold."""
    absent: list[str]
    """Subsets of which nothing is recorded: they are not judged."""


class _Gathering:
    """Reads rows one by one and keeps of each what is counted, not its text."""

    def __init__(self, path: Path, grammar: Grammar, where: Mapping[str, str], take: Taken) -> None:
        self.calls: dict[Key, list[Call]] = {}
        self.source: dict[Key, list[Call]] = {}
        self.differences: list[Difference] = []
        self.unused = 0
        self._path = path
        self._grammar = grammar
        self._where = where
        self._take: Taken = take
        self._lines: dict[tuple[Key, bool, int], int] = {}

    def add(self, row: Row, pair: LabelledPair) -> None:
        swapped, vote = row.values.get("swapped", False), _first(row, _VOTES) or 0
        if not isinstance(swapped, bool) or not isinstance(vote, int) or isinstance(vote, bool) or vote < 0:
            raise ConfigError(
                f"{row.file}, row {row.line}: `swapped` has to be true or false, and a vote a number from 0"
            )
        place = (pair.key, swapped, vote)
        if place in self._lines:
            raise self._doubled(self._lines[place], row)
        self._lines[place] = row.line
        call, detail = self._read(row, swapped, vote)
        self.calls.setdefault(pair.key, []).append(call)
        if winner := next((name for name in _WINNERS if name in row.values), None):
            theirs = _named(row, winner, _OWN)
            reason = None if theirs else Reason.NO_VERDICT
            self.source.setdefault(pair.key, []).append(
                Call(swapped=swapped, vote=vote, verdict=theirs, reason=reason, paid=False)
            )
            if call.verdict is not theirs:
                self.differences.append(_difference(pair, call, theirs, detail))

    def _read(self, row: Row, swapped: bool, vote: int) -> tuple[Call, str]:
        verdict, reason, detail = self._verdict(row, swapped)
        call = Call(
            swapped=swapped,
            vote=vote,
            verdict=verdict,
            reason=reason,
            prompt_tokens=int(_amount(row, "prompt_tokens")),
            completion_tokens=int(_amount(row, "completion_tokens")),
            seconds=_amount(row, "seconds"),
            paid=False,
        )
        return call, detail

    def _verdict(self, row: Row, swapped: bool) -> tuple[Verdict | None, Reason | None, str]:
        """By the data set's order, with the reason where there is none, and what was read."""
        text, failed = _first(row, _TEXTS), row.values.get("reason")
        if failed in _OF_ENGINE:
            return None, Reason(failed), ""
        if self._take == "texts" and text is not None:
            if not isinstance(text, str):
                raise ConfigError(f"{row.file}, row {row.line}: what the judge wrote has to be a text")
            parsed = parse(text, self._grammar, finished=_finished(row))
            return _by_data(parsed.verdict, swapped), parsed.reason, parsed.detail
        if "verdict" in row.values:
            verdict = _by_data(_named(row, "verdict", _SHOWN), swapped)
            return verdict, None if verdict else _reason(failed), ""
        winner = next((name for name in _WINNERS if name in row.values), None)
        if winner is None:
            raise ConfigError(
                f"{row.file}, row {row.line}: there is neither a text ({' or '.join(_TEXTS)}) nor a verdict; "
                f"it has {', '.join(row.values)}"
            )
        verdict = _named(row, winner, _OWN)
        return verdict, None if verdict else Reason.NO_VERDICT, ""

    def _doubled(self, line: int, row: Row) -> ConfigError:
        earlier = next(each for each in _rows(self._path, self._where) if each.line == line)
        apart = [
            f"{name}={earlier.values.get(name)} or {name}={value}"
            for name, value in row.values.items()
            if earlier.values.get(name) != value and isinstance(value, str | int) and len(str(value)) < 60
        ]
        known = {*_IDS, *_TEXTS, *_VOTES, *_WINNERS, "verdict", "finish", "swapped", "subset", "prompt_tokens"}
        apart = [each for each in apart if each.partition("=")[0] not in known]
        help = f": choose one run with --where {', --where '.join(apart)}" if apart else ""
        return ConfigError(f"{row.file}, rows {line} and {row.line} hold the same call{help}")


def replay(
    pairs: Sequence[LabelledPair],
    path: Path,
    grammar: Grammar,
    *,
    where: Mapping[str, str] | None = None,
    take: Taken = "texts",
) -> Replayed:
    """The calls on some pairs, from a file.

    Args:
        path: JSON Lines, also gzipped, JSON or Parquet.
        grammar: of the texts.
        where: use only rows in which these columns have these values.
        take: read the texts, or take the recorded verdicts as they are.

    Raises:
        ConfigError: a row is not of the form, two rows hold the same call, or no row holds one of these pairs.
    """
    chosen = dict(where or {})
    gathering = _Gathering(path, grammar, chosen, take)
    by_key, by_id = {pair.key: pair for pair in pairs}, _by_id(pairs)
    for row in _rows(path, chosen):
        subset, name = _key(row)
        pair = by_key.get((subset, name)) if subset else by_id.get(name)
        if pair is None:
            gathering.unused += 1
        else:
            gathering.add(row, pair)
    if not gathering.calls:
        held = " and ".join(f"{name}={value}" for name, value in chosen.items())
        raise ConfigError(f"{path} holds no call on a pair of this benchmark{f' with {held}' if held else ''}")
    return _put_together(pairs, gathering)


def _put_together(pairs: Sequence[LabelledPair], gathered: _Gathering) -> Replayed:
    present = {subset for subset, _ in gathered.calls}
    judged_pairs = [pair for pair in pairs if pair.subset in present]
    shown = {(call.swapped, call.vote) for calls in gathered.calls.values() for call in calls}
    used = sum(map(len, gathered.calls.values()))
    theirs = gathered.source if sum(map(len, gathered.source.values())) == used else None
    return Replayed(
        judged=[_whole(pair, gathered.calls, shown) for pair in judged_pairs],
        source=None if theirs is None else [_whole(pair, theirs, shown) for pair in judged_pairs],
        differences=gathered.differences,
        used=used,
        unused=gathered.unused,
        absent=sorted({pair.subset for pair in pairs} - present),
    )


def _whole(pair: LabelledPair, calls: Mapping[Key, list[Call]], shown: set[tuple[bool, int]]) -> JudgedPair:
    """A pair with its calls, and one without a verdict for each that was made on other pairs and not on this one."""
    made = {(call.swapped, call.vote): call for call in calls.get(pair.key, [])}
    return JudgedPair(
        pair=pair,
        calls=tuple(
            made.get(place)
            or Call(swapped=place[0], vote=place[1], verdict=None, reason=Reason.NOT_RECORDED, paid=False)
            for place in sorted(shown)
        ),
    )


def recorded_prompt(path: Path) -> str | None:
    """The preset that the calls in a file were asked with, as `rrm eval` writes it; None where the file does not say.

    Raises:
        ConfigError: there is no such file, or its first line is no row.
    """
    first = next(_rows(path, {}), None)
    name = first.values.get("prompt") if first is not None else None
    return name if isinstance(name, str) and name in PRESETS else None


def _by_id(pairs: Sequence[LabelledPair]) -> Mapping[str, LabelledPair]:
    """Pairs by their id alone, where no two subsets share one: for rows that name no subset."""
    found = {pair.id: pair for pair in pairs}
    return found if len(found) == len(pairs) else {}


def _rows(path: Path, where: Mapping[str, str]) -> Iterator[Row]:
    if not path.is_file():
        raise ConfigError(f"there is no file of recorded calls {path}")
    for row in Source(name=path.stem, path=str(path), options={}).read():
        if isinstance(row, Reject):
            raise ConfigError(f"{row.file}, row {row.line}: {row.reason}: {row.detail}")
        if unknown := [name for name in where if name not in row.values]:
            raise ConfigError(
                f"{row.file}, row {row.line} has no column {unknown[0]!r} to choose by; it has {', '.join(row.values)}"
            )
        if all(str(row.values[name]) == value for name, value in where.items()):
            yield row


def _first(row: Row, names: Sequence[str]) -> Any:
    return next((row.values[name] for name in names if row.values.get(name) is not None), None)


def _key(row: Row) -> Key:
    name = _first(row, _IDS)
    if name is None:
        raise ConfigError(f"{row.file}, row {row.line}: there is no column {' or '.join(_IDS)} that names the pair")
    return str(row.values.get("subset") or ""), str(name)


def _named(row: Row, name: str, meanings: Mapping[str, Verdict]) -> Verdict | None:
    value = row.values[name]
    if value is None:
        return None
    if str(value).lower() not in meanings:
        known = ", ".join(meanings)
        raise ConfigError(f"{row.file}, row {row.line}, column {name!r}: {value!r} is none of {known}")
    return meanings[str(value).lower()]


def _by_data(verdict: Verdict | None, swapped: bool) -> Verdict | None:
    return verdict.swapped if verdict is not None and swapped else verdict


def _finished(row: Row) -> bool:
    finished = row.values.get("finished")
    return finished if isinstance(finished, bool) else row.values.get("finish") != "length"


def _reason(value: Any) -> Reason:
    try:
        return Reason(value)
    except ValueError:
        return Reason.NO_VERDICT


def _amount(row: Row, name: str) -> float:
    """What a call took; 0 where that is not recorded."""
    value = row.values.get(name)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"{row.file}, row {row.line}, column {name!r}: a number from 0 is needed, not {value!r}")
    return float(value)


def _difference(pair: LabelledPair, call: Call, theirs: Verdict | None, detail: str) -> Difference:
    return Difference(
        subset=pair.subset,
        id=pair.id,
        swapped=call.swapped,
        vote=call.vote,
        source=_NAMES[theirs],
        here=_NAMES[call.verdict],
        reason=call.reason.value if call.reason is not None else "other_verdict",
        detail=detail,
    )
