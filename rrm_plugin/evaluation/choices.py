r"""Questions with choices: GPQA and MMLU-Pro, and how a policy is asked them.

    load_questions("gpqa_diamond")                        the official data set of the hub, once its terms are accepted
    load_questions("gpqa_diamond=dataset/gpqa_diamond.csv")   the file of the official archive, unpacked
    load_questions("mmlu_pro")                            the test split, from the hub
    load_questions("mmlu_pro=test.parquet")               a file with its columns, Parquet or JSON Lines

The choices of a question are shown in an order that a hash of its id and a seed draws: GPQA lists the right one first.
Left out: what a reply names (`answers.py`), and examples in the prompt, as both are asked without any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.answers import LETTERS
from rrm_plugin.training.sources import Row, Source, source

__all__ = ["BENCHMARKS", "SUFFIX", "Benchmark", "Question", "load_questions", "shuffled", "subset"]

SUFFIX = " Let's think step by step and output the final answer within \\boxed{}."
"""What the paper's policies were asked with in training, behind each question."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question, its choices in the order in which they are shown."""

    id: str
    benchmark: str
    text: str
    choices: tuple[str, ...]
    answer: int
    """Index of the right one."""
    category: str = ""

    @property
    def prompt(self) -> str:
        """Question and choices, without what is to be done with them."""
        listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, self.choices, strict=False))
        return f"{self.text}\n\n{listed}\n\nWhich choice is right? Give its letter."

    def is_right(self, choice: int | None) -> bool:
        """Whether a choice is the right one, or reads the same as it: some questions list a choice twice."""
        return choice is not None and self.choices[choice].split() == self.choices[self.answer].split()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Where the questions of a benchmark are, and how its rows are read."""

    data_set: str
    """On the Hugging Face hub."""
    options: Mapping[str, str]
    read: Callable[[Row, str], Question]
    """Raises KeyError, TypeError or ValueError for a row of another layout."""
    columns: tuple[str, ...]
    file: str = ""
    """Name of its file in the official archive."""


def _gpqa(row: Row, benchmark: str) -> Question:
    values = row.values
    choices = [str(values[name]).strip() for name in ("Correct Answer", *_WRONG)]
    if not all(choices):
        raise ValueError("a choice is empty")
    text = str(values["Question"]).strip()
    return Question(
        id=str(values.get("Record ID") or hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]),
        benchmark=benchmark,
        text=text,
        choices=tuple(choices),
        answer=0,
        category=str(values.get("High-level domain") or ""),
    )


_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def _mmlu_pro(row: Row, benchmark: str) -> Question:
    values = row.values
    # An early revision fills up to ten choices with N/A.
    choices = tuple(str(choice).strip() for choice in values["options"] if str(choice).strip() != "N/A")
    given = values.get("answer_index")
    answer = LETTERS.index(str(values["answer"]).strip()) if given is None else int(given)
    if not 0 <= answer < len(choices) <= len(LETTERS):
        raise ValueError(f"the answer is number {answer + 1} of {len(choices)} choices")
    return Question(
        id=str(values["question_id"]),
        benchmark=benchmark,
        text=str(values["question"]).strip(),
        choices=choices,
        answer=answer,
        category=str(values.get("category") or ""),
    )


def _of_gpqa(part: str) -> Benchmark:
    return Benchmark(
        data_set="Idavidrein/gpqa",
        options={"name": f"gpqa_{part}", "split": "train"},
        read=_gpqa,
        columns=("Question", "Correct Answer", *_WRONG),
        file=f"gpqa_{part}.csv",
    )


BENCHMARKS: Mapping[str, Benchmark] = {
    "gpqa_diamond": _of_gpqa("diamond"),
    "gpqa_main": _of_gpqa("main"),
    "gpqa_extended": _of_gpqa("extended"),
    "mmlu_pro": Benchmark(
        data_set="TIGER-Lab/MMLU-Pro",
        options={"split": "test"},
        read=_mmlu_pro,
        columns=("question_id", "question", "options", "answer"),
    ),
}
"""The known benchmarks by name."""


def load_questions(spec: str, *, seed: int = 0) -> list[Question]:
    """The questions of a benchmark, their choices shuffled.

    Args:
        spec: a name in `BENCHMARKS`, or `NAME=FILE` for its file on this machine.
        seed: of the order of the choices.

    Raises:
        ConfigError: the benchmark is unknown, its data cannot be had, or a row has another layout; says what to do.
    """
    name, _, path = spec.partition("=")
    benchmark = BENCHMARKS.get(name)
    if benchmark is None:
        raise ConfigError(f"benchmark {name!r} is not known; known are {', '.join(BENCHMARKS)}")
    place = _file(name, path, benchmark) if path else _of_hub(name, benchmark)
    questions = [shuffled(question, seed) for question in _read(name, place, benchmark)]
    if not questions:
        raise ConfigError(f"{name}: there is no question in {place.path}")
    return questions


def _file(name: str, path: str, benchmark: Benchmark) -> Source:
    found = Path(path).expanduser()
    if found.is_dir() and benchmark.file:
        places = (found / benchmark.file, found / "dataset" / benchmark.file)
        found = next((place for place in places if place.exists()), places[0])
    if not found.is_file():
        raise ConfigError(f"{name}: there is no file {found}")
    return source(f"{name}={found}")


def _of_hub(name: str, benchmark: Benchmark) -> Source:
    return Source(name=name, path=benchmark.data_set, options=benchmark.options)


def _read(name: str, place: Source, benchmark: Benchmark) -> Iterator[Question]:
    ids: set[str] = set()
    for row in _rows(name, place, benchmark):
        try:
            question = benchmark.read(row, name)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{name}: {row.file}, line {row.line} is no row of it ({type(error).__name__}: {error}); "
                f"needed are the columns {', '.join(benchmark.columns)}"
            ) from error
        if question.id in ids:
            raise ConfigError(f"{name}: {row.file}, line {row.line}: the id {question.id!r} stands in a row before")
        ids.add(question.id)
        yield question


def _rows(name: str, place: Source, benchmark: Benchmark) -> Iterator[Row]:
    try:
        for row in place.read():
            if not isinstance(row, Row):
                raise ConfigError(f"{name}: {row.file}, line {row.line}: {row.reason}: {row.detail}")
            yield row
    except ConfigError as error:
        if place.path == benchmark.data_set and error.__cause__ is not None:
            raise ConfigError(_unreachable(name, benchmark, error)) from error
        raise


def _unreachable(name: str, benchmark: Benchmark, error: ConfigError) -> str:
    """What to do where the hub does not give a data set out."""
    said = f"{error} {error.__cause__!r}"
    file = f"{name}={benchmark.file or 'FILE.parquet'}"
    if not any(sign in said for sign in ("gated", "401", "403", "authenticated", "Unauthorized", "Forbidden")):
        return f"{error}. Or give its file: {file}"
    page = f"https://huggingface.co/datasets/{benchmark.data_set}"
    return (
        f"{name} is gated: accept its terms at {page}, then make a token known with `hf auth login` or HF_TOKEN; "
        f"or give the unpacked file of the official archive: {file}. The hub said: {error}"
    )


def shuffled(question: Question, seed: int) -> Question:
    """The question with its choices in the order that a hash of seed, benchmark and id draws.

    The same in every process and for every version of NumPy, whatever other questions there are.
    """
    order = sorted(range(len(question.choices)), key=lambda place: _draw(seed, question, str(place)))
    return replace(
        question, choices=tuple(question.choices[place] for place in order), answer=order.index(question.answer)
    )


def subset(questions: list[Question], most: int, seed: int) -> list[Question]:
    """At most so many of the questions, drawn by a hash of seed and id, in their own order."""
    drawn = sorted(questions, key=lambda question: _draw(seed, question, "subset"))[:most]
    kept = {question.id for question in drawn}
    return [question for question in questions if question.id in kept]


def _draw(seed: int, question: Question, what: str) -> bytes:
    text = "\0".join((str(seed), question.benchmark, question.id, what))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
