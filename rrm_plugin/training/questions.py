"""Unlabelled questions to train a policy on, with a judge as its only reward: a stream from sources to a file.

    summary = write_questions([source("questions.jsonl")], Path("train.jsonl"), QuestionReading(suffix=" Think."))

Of a row only what was asked is taken, and its id: no answer, label, category or difficulty reaches the file. A row is
read as it is by TRL, OpenRLHF and verl:

    prompt                        TRL; OpenRLHF with --data.input_key prompt; verl
    datasource                    OpenRLHF, for its evaluation by source
    data_source, reward_model, extra_info
                                  verl; the style is `model` and the ground truth is empty
    source, id                    for people

Left out: preference data (`builder.py`), and the judge, which is asked while the policy is trained.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rrm_plugin.errors import ConfigError
from rrm_plugin.training.candidates import MEDIA_TOKENS
from rrm_plugin.training.checks import Benchmarks, HashSet, TokenLimit, text_hash, words_of
from rrm_plugin.training.pairs import RowError, content
from rrm_plugin.training.sources import LONGEST_LINE, Reject, RejectReason, Row, Source

__all__ = ["COLUMNS", "PolicyQuestion", "QuestionReading", "QuestionSummary", "write_questions"]

COLUMNS = ("question", "problem", "prompt", "instruction", "messages")
"""Where what is asked is looked for, in this order, in the first row of a source."""


@dataclass(kw_only=True)
class QuestionReading:
    """How rows become questions.

    Args:
        columns: the column of `prompt` or `id`; for one source alone, of `source:prompt`. `instruction+input` joins
            two columns.
        suffix: written behind what was asked, as it is; begin it with a space or a new line.
        dedup: use a question once, in all sources together; case, punctuation and white space do not count.
        benchmarks: questions that must not be trained on.
        limit: of the prompt in the policy's tokens.
        special_tokens: of the policy's tokenizer; a question that holds one could end its own turn, and is refused.
        longest_line: most bytes of a line.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    dedup: bool = True
    benchmarks: Benchmarks | None = None
    limit: TokenLimit | None = None
    special_tokens: tuple[str, ...] = ()
    longest_line: int = LONGEST_LINE
    _seen: HashSet = field(default_factory=HashSet)

    def __post_init__(self) -> None:
        fields = {name.rpartition(":")[2] for name in self.columns}
        if unknown := sorted(fields - {"prompt", "id"}):
            raise ConfigError(f"columns: there is no field {unknown[0]!r}; fields are prompt, id")

    def column_of(self, name: str, row: Row) -> str | None:
        """The column that is to serve as `name` in the source of this row, as far as the user said."""
        return self.columns.get(f"{row.source}:{name}", self.columns.get(name))

    def is_new(self, asked: str) -> bool:
        """Whether this was not asked before; remembers it. Always true without `dedup`."""
        return not self.dedup or self._seen.add(text_hash(" ".join(words_of(asked)) or asked))


@dataclass(frozen=True, kw_only=True)
class PolicyQuestion:
    """One question as a policy will be asked it."""

    messages: list[dict[str, str]]
    id: str
    source: str
    origin: str
    """File and line that it comes from."""


@dataclass
class QuestionSummary:
    """What became of the rows, by source."""

    read: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    rejects: dict[str, Counter[str]] = field(default_factory=dict)
    ended: bool = False
    """Whether the run ended at the most rows that were wanted."""

    @property
    def rows(self) -> int:
        """Questions written."""
        return self.written.total()

    def told(self) -> str:
        """A line for each source, for a person."""
        lines = []
        for name in self.rejects:
            why = ", ".join(f"{reason} {times}" for reason, times in self.rejects[name].most_common())
            lines.append(f"{name}: {self.read[name]} read, {self.written[name]} written{f'; {why}' if why else ''}")
        return "\n".join([*lines, *([f"ended at {self.rows} questions, as told"] if self.ended else [])])


def write_questions(
    sources: Sequence[Source],
    out: Path,
    reading: QuestionReading,
    *,
    most: int | None = None,
    rejects: Path | None = None,
    on_row: Callable[[], None] = lambda: None,
) -> QuestionSummary:
    """Reads sources one after the other and writes a row for each question.

    `out` is replaced when the run is complete; until then its rows stand in a file with `.partial` behind its name.

    Args:
        sources: where the questions come from.
        out: the JSONL file to write. Its name has to end in .jsonl, by which trainers know how to read it.
        reading: how a row becomes a question, and which are refused.
        most: questions at most.
        rejects: the JSONL file for rows that are not used; by default the name of `out` with `.rejects.jsonl`.
        on_row: called for each row read.

    Raises:
        ConfigError: a source cannot be read, or not one question is left.
    """
    _check(sources, out)
    summary = QuestionSummary(rejects={one.name: Counter() for one in sources})
    partial = out.with_name(out.name + ".partial")
    refused = rejects or out.with_name(out.name + ".rejects.jsonl")
    with ExitStack() as stack:
        written, rejected = (stack.enter_context(_opened(path)) for path in (partial, refused))
        for item in _items(sources, reading, summary, on_row):
            if isinstance(item, Reject):
                summary.rejects[item.source][item.reason.value] += 1
                rejected.write(_line(dataclasses.asdict(item)))
                continue
            written.write(_line(_row(item, summary.rows)))
            summary.written[item.source] += 1
            if summary.rows == most:
                summary.ended = True
                break
    if not summary.rows:
        partial.unlink()
        raise ConfigError(f"not one question to train on; {refused} has each row with its reason\n{summary.told()}")
    os.replace(partial, out)
    return summary


def _items(
    sources: Sequence[Source], reading: QuestionReading, summary: QuestionSummary, on_row: Callable[[], None]
) -> Iterator[PolicyQuestion | Reject]:
    for source in sources:
        asked_in: str | None = None
        for row in source.read(reading.longest_line):
            summary.read[source.name] += 1
            on_row()
            if isinstance(row, Reject):
                yield row
                continue
            asked_in = asked_in or _prompt_column(row, reading)
            try:
                yield _question(row, asked_in, reading)
            except RowError as error:
                yield Reject(
                    source=row.source,
                    file=row.file,
                    line=row.line,
                    reason=error.reason,
                    column=error.column,
                    detail=error.detail,
                )


def _prompt_column(row: Row, reading: QuestionReading) -> str:
    """The column with what is asked; the first row decides for all of its source."""
    columns = f"The columns are: {', '.join(map(str, row.values)) or 'none'}"
    mapped = reading.column_of("prompt", row)
    if mapped is not None:
        if absent := [part for part in mapped.split("+") if part not in row.values]:
            raise ConfigError(f"{row.file}, line {row.line}: there is no column {absent[0]!r}. {columns}")
        return mapped
    there = [name for name in COLUMNS if name in row.values]
    if not there:
        raise ConfigError(
            f"{row.file}, line {row.line}: there is no column with what is asked. {columns}. "
            "Name it with --columns prompt=COLUMN"
        )
    if there[0] == "instruction" and "input" in row.values:
        raise ConfigError(
            f"{row.file}, line {row.line}: both 'instruction' and 'input' are there: say --columns "
            "prompt=instruction+input, or the one to use"
        )
    return there[0]


def _question(row: Row, name: str, reading: QuestionReading) -> PolicyQuestion:
    """
    Raises:
        RowError: the row holds no question, or one that is not to be trained on.
    """
    turns = _turns(content(row, name), name)
    asked = turns[-1]["content"]
    if not asked.strip():
        raise RowError(name, RejectReason.EMPTY, "nothing is asked")
    for token in (*MEDIA_TOKENS, *reading.special_tokens):
        if any(token in turn["content"] for turn in turns):
            detail = f"holds {token!r}, which trainers take for more than text"
            raise RowError(name, RejectReason.WRONG_TYPE, detail)
    whole = "\n".join(turn["content"] for turn in turns)
    if reading.benchmarks is not None:
        for turn in turns:
            reading.benchmarks.check(turn["content"])
    messages = [*turns[:-1], {"role": "user", "content": asked + reading.suffix}]
    if reading.limit is not None:
        reading.limit.check(messages)
    # Last of the checks: a row that is refused for another reason does not make a later one a duplicate.
    if not reading.is_new(whole):
        raise RowError(name, RejectReason.DUPLICATE, "an earlier row asks the same")
    return PolicyQuestion(
        messages=messages,
        id=_id(row, whole, reading),
        source=row.source,
        origin=f"{row.file}:{row.line}",
    )


def _turns(value: Any, name: str) -> list[dict[str, str]]:
    """The conversation up to its last question: what the assistant answers to that is a label."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    turns = [{"role": str(turn.get("role")), "content": turn.get("content")} for turn in value]
    last = max((index for index, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if last is None:
        raise RowError(name, RejectReason.WRONG_TYPE, "no message is of the user")
    if odd := next((turn for turn in turns[: last + 1] if not isinstance(turn["content"], str)), None):
        detail = f"the content of a message must be a text, not {type(odd['content']).__name__}"
        raise RowError(name, RejectReason.WRONG_TYPE, detail)
    return [{"role": turn["role"], "content": str(turn["content"])} for turn in turns[: last + 1]]


def _id(row: Row, asked: str, reading: QuestionReading) -> str:
    mapped = reading.column_of("id", row)
    given = row.values.get(mapped or "id")
    if mapped is not None and given is None:
        raise RowError(mapped, RejectReason.MISSING, "the row has no such id")
    if isinstance(given, str | int) and not isinstance(given, bool):
        return str(given)
    return f"{text_hash(asked):016x}"


def _row(question: PolicyQuestion, index: int) -> dict[str, Any]:
    """One row, with the same keys and types as every other."""
    return {
        "prompt": question.messages,
        "source": question.source,
        "id": question.id,
        "datasource": question.source,
        "data_source": question.source,
        "reward_model": {"style": "model", "ground_truth": ""},
        "extra_info": {"index": index, "origin": question.origin},
    }


def _check(sources: Sequence[Source], out: Path) -> None:
    if twice := sorted(name for name, times in Counter(one.name for one in sources).items() if times > 1):
        raise ConfigError(f"two sources are called {twice[0]!r}: write NAME=PATH for one of them")
    if out.suffix not in (".jsonl", ".json"):
        raise ConfigError(f"{out}: the name has to end in .jsonl, by which trainers know how to read the file")
    if any(Path(one.path).resolve() == out.resolve() for one in sources):
        raise ConfigError(f"{out} would be written over the file that is read")


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
