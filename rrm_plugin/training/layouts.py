"""What the columns of a row mean: from the layouts of public preference data to pairs of a better and a worse response.

    prompt, chosen, rejected                  texts or messages: UltraFeedback binarized (HuggingFaceH4), the Tülu 3
                                              preference mixtures (allenai), TRL's preference format
    chosen, rejected                          conversations that begin alike: Skywork-Reward-Preference-80K
    context, response1, response2, overall_preference
                                              HelpSteer3 (nvidia): -3 to 3, below 0 the first is better
    prompt, response_1, response_2, preference_strength
                                              HelpSteer2 (nvidia, data_dir=preference): the same scale
    a prompt, two responses and a label       1 or 2, A or B, first or second, model_a or model_b; other values by
                                              `labels`
    a question and `responses`                sampled answers with their correctness, or for a verifier

As the cards of these data sets describe them. Other names are mapped by `columns`. A layout is chosen by the first row
of a source and holds for all of it. Left out: prompts that only exist inside one long text with speakers' names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rrm_plugin.errors import ConfigError
from rrm_plugin.training.pairs import Pair, RowError, column, content
from rrm_plugin.training.samples import Sampled, sampled
from rrm_plugin.training.sources import RejectReason, Row

__all__ = ["FIELDS", "Layout", "Reading", "recognise"]

FIELDS = ("prompt", "chosen", "rejected", "first", "second", "label", "responses", "correct", "answer")
"""What `columns` can map to a column: `prompt=question`, or `prompt=instruction+input` to join two."""

Layout = Callable[[Row], Iterable[Pair]]
"""The pairs in a row. Raises `RowError` for a row that holds none."""

_PROMPTS = ("prompt", "context", "question", "instruction", "query", "problem", "input")
_RESPONSES = (
    ("response_1", "response_2"),
    ("response1", "response2"),
    ("response_a", "response_b"),
    ("output_1", "output_2"),
    ("answer_a", "answer_b"),
    ("completion_a", "completion_b"),
    ("conversation_a", "conversation_b"),
)
_STRENGTHS = ("overall_preference", "preference_strength")
_LABELS = ("label", "preference", "preferred", "winner", "better")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a user wants columns to be read.

    Args:
        columns: the column of a field, see `FIELDS`; for one source alone, of `source:field`.
        labels: what a value of the label column means: "1", "2" or "tie"; for one source alone, of `source:value`.
        samples: how sampled answers become pairs.

    Raises:
        ConfigError: a field or a meaning is unknown.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    samples: Sampled = field(default_factory=Sampled)

    def __post_init__(self) -> None:
        fields = {name.rpartition(":")[2] for name in self.columns}
        if unknown := sorted(fields - set(FIELDS)):
            raise ConfigError(f"columns: there is no field {unknown[0]!r}; fields are {', '.join(FIELDS)}")
        for value, meaning in self.labels.items():
            if meaning not in ("1", "2", "tie"):
                raise ConfigError(f"labels: {value!r} can mean 1, 2 or tie, not {meaning!r}")


def _of_source(mapping: Mapping[str, str], source: str) -> dict[str, str]:
    """What holds for a source: what is said for all, and over it what is said for this one."""
    own = {key.removeprefix(f"{source}:"): value for key, value in mapping.items() if key.startswith(f"{source}:")}
    return {key: value for key, value in mapping.items() if ":" not in key} | own


def recognise(row: Row, reading: Reading) -> Layout:
    """The layout of a source whose first row this is.

    Raises:
        ConfigError: the columns are none of a known layout; names those there are and how to map them.
    """
    known = _Names(row, reading)
    prompt, responses = known.get("prompt", _PROMPTS), known.get("responses", ("responses",))
    chosen, rejected = known.get("chosen", ("chosen",)), known.get("rejected", ("rejected",))
    first, second, label = known.compared()
    if chosen and rejected:
        if prompt is None and (isinstance(row.values.get(chosen), str) or isinstance(row.values.get(rejected), str)):
            raise _unknown(row, "there is no column with what was asked")
        return _Preferred(prompt=prompt, chosen=chosen, rejected=rejected)
    talks = not isinstance(row.values.get(first or ""), str) and not isinstance(row.values.get(second or ""), str)
    if first and second and label and (prompt is not None or talks):
        return _Compared(
            prompt=prompt, first=first, second=second, label=label, labels=_of_source(reading.labels, row.source)
        )
    if prompt is None:
        raise _unknown(row, "there is no column with what was asked")
    if responses:
        correct = known.get("correct", ("correct", "is_correct", "correctness"))
        answer = known.get("answer", ("answer", "ground_truth", "gt", "solution", "target"))
        return sampled(prompt, responses, correct, answer, reading.samples)
    raise _unknown(row, "there are no columns with two responses and which is better")


class _Names:
    """Which of the columns of a row serves a field."""

    def __init__(self, row: Row, reading: Reading) -> None:
        self._row = row
        self._mapped = _of_source(reading.columns, row.source)
        for name, mapped in self._mapped.items():
            if absent := [part for part in mapped.split("+") if part not in row.values]:
                problem = f"the column {absent[0]!r}, which is to serve as {name!r}, is not there"
                raise _unknown(row, f"{problem} (for one source alone: SOURCE:{name}={mapped})")

    def get(self, name: str, candidates: Sequence[str]) -> str | None:
        if name in self._mapped:
            return self._mapped[name]
        there = [candidate for candidate in candidates if candidate in self._row.values]
        if {"instruction", "input"} <= set(there) and there[0] in ("instruction", "input"):
            raise _unknown(
                self._row,
                "both 'instruction' and 'input' are there: say --columns prompt=instruction+input, or the one to use",
            )
        return there[0] if there else None

    def compared(self) -> tuple[str | None, str | None, str | None]:
        label = self.get("label", (*_STRENGTHS, *_LABELS))
        if "first" in self._mapped or "second" in self._mapped:
            return self._mapped.get("first"), self._mapped.get("second"), label
        for first, second in _RESPONSES:
            if first in self._row.values and second in self._row.values:
                return first, second, label
        return None, None, label


def _unknown(row: Row, problem: str) -> ConfigError:
    names = ", ".join(map(str, row.values)) or "none"
    return ConfigError(
        f"{row.file}, line {row.line}: {problem}. The columns are: {names}. Map them with "
        "--columns prompt=...,chosen=...,rejected=... or prompt=...,first=...,second=...,label=... or "
        "prompt=...,responses=...,correct=..."
    )


@dataclass(frozen=True, kw_only=True)
class _Preferred:
    """A better and a worse response, or two conversations that end in them."""

    prompt: str | None
    chosen: str
    rejected: str

    def __call__(self, row: Row) -> Iterable[Pair]:
        chosen, rejected = content(row, self.chosen), content(row, self.rejected)
        if isinstance(chosen, str) or isinstance(rejected, str):
            yield Pair(prompt=self._prompt(row), chosen=chosen, rejected=rejected)
            return
        shared = _shared(chosen, rejected)
        # The conversation says more than a prompt column, which may hold its first turn only.
        prompt = chosen[:shared] if shared else self._prompt(row)
        yield Pair(
            prompt=prompt, chosen=_turn(chosen[shared:], self.chosen), rejected=_turn(rejected[shared:], self.rejected)
        )

    def _prompt(self, row: Row) -> Any:
        return _asked(row, self.prompt, self.rejected)


def _asked(row: Row, prompt: str | None, blamed: str) -> Any:
    if prompt is None:
        raise RowError(blamed, RejectReason.NO_SHARED_PROMPT, "the two conversations do not begin alike")
    return content(row, prompt)


def _turn(messages: Sequence[Mapping[str, Any]], name: str) -> Sequence[Mapping[str, Any]]:
    if all(message.get("role") in ("user", "system", "developer") for message in messages):
        raise RowError(name, RejectReason.WRONG_TYPE, "the conversation does not end in a message of the assistant")
    return messages


def _shared(chosen: Sequence[Mapping[str, Any]], rejected: Sequence[Mapping[str, Any]]) -> int:
    """How many messages two conversations have in common before their last one."""
    shared = 0
    for left, right in zip(chosen[:-1], rejected[:-1], strict=False):
        if (left.get("role"), left.get("content")) != (right.get("role"), right.get("content")):
            break
        shared += 1
    return shared


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """Two responses, and a label or a strength that says which is better."""

    prompt: str | None
    first: str
    second: str
    label: str
    labels: Mapping[str, str]

    def __call__(self, row: Row) -> Iterable[Pair]:
        meaning = self._meaning(row)
        if meaning == "tie":
            raise RowError(self.label, RejectReason.TIE, "neither response is better")
        prompt, first, second = self._parts(row)
        better, worse = (first, second) if meaning == "1" else (second, first)
        yield Pair(prompt=prompt, chosen=better, rejected=worse)

    def _parts(self, row: Row) -> tuple[Any, Any, Any]:
        first, second = content(row, self.first), content(row, self.second)
        if not isinstance(first, str) and not isinstance(second, str) and (shared := _shared(first, second)):
            return first[:shared], _turn(first[shared:], self.first), _turn(second[shared:], self.second)
        prompt = _asked(row, self.prompt, self.second)
        return (
            _turns(prompt) if self.label == "preference_strength" and isinstance(prompt, str) else prompt,
            first,
            second,
        )

    def _meaning(self, row: Row) -> str:
        value = column(row, self.label)
        # A column of numbers with gaps comes out of data frames as floats.
        key = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
        if key in self.labels:
            return self.labels[key]
        if (
            self.label in _STRENGTHS
            and isinstance(value, int | float)
            and not isinstance(value, bool)
            and value == value
        ):
            return "1" if value < 0 else "2" if value > 0 else "tie"
        if key == "0":
            # In one file 0 is a tie, in another the first of two: a guess would turn half of the labels round.
            raise ConfigError(
                f"{row.file}, line {row.line}, column {self.label!r}: 0 can mean a tie or the first response; "
                "say --labels 0=tie, or --labels 0=1,1=2"
            )
        meaning = _MEANINGS.get(key.lower())
        if meaning is None:
            detail = f"{key[:60]!r} says neither which is better nor a tie; --labels says what a value means"
            raise RowError(self.label, RejectReason.WRONG_LABEL, detail)
        return meaning


_MEANINGS = {
    **dict.fromkeys(("1", "a", "first", "left"), "1"),
    **dict.fromkeys(("2", "b", "second", "right"), "2"),
    **{
        f"{word}{joint}{own}": "1"
        for word in ("response", "model", "assistant", "output")
        for joint in "_ "
        for own in "1a"
    },
    **{
        f"{word}{joint}{own}": "2"
        for word in ("response", "model", "assistant", "output")
        for joint in "_ "
        for own in "2b"
    },
    **{f"{word}{own}": meaning for word in ("response", "output") for own, meaning in (("1", "1"), ("2", "2"))},
    **dict.fromkeys(("tie", "same", "equal", "both", "neither", "tie (bothbad)", "both_bad"), "tie"),
}

_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def _turns(prompt: str) -> Any:
    """HelpSteer2 writes further turns into the prompt, behind a token with the speaker's name."""
    parts = _TURN.split(prompt)
    if len(parts) == 1:
        return prompt
    turns = [("User", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    if turns[-1] == ("Assistant", ""):
        turns.pop()
    return [{"role": speaker.lower(), "content": text} for speaker, text in turns]
