"""Which pairs must not be trained on: those seen before, those of a benchmark, those too long for the judge.

Each holds what it needs to know as hashes of 8 bytes, so that millions of pairs take tens of megabytes.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rrm_plugin.engines.loading import Checkpoint
from rrm_plugin.errors import ConfigError, MissingExtraError
from rrm_plugin.prompts import prompt_text
from rrm_plugin.training.pairs import RowError
from rrm_plugin.training.sources import RejectReason, Row, Source

__all__ = ["Benchmarks", "HashSet", "SeenPairs", "TokenLimit", "load_tokenizer", "text_hash", "words_of"]


def text_hash(*texts: str) -> int:
    """64 bits that are the same for the same texts in the same order, in every process; never 0."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return int.from_bytes(digest.digest(), "little") or 1


class HashSet:
    """A set of 64-bit numbers in an array, about 16 bytes a member; a set of Python's takes some 100."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
        self._members = 0

    def __len__(self) -> int:
        return self._members

    def __contains__(self, number: int) -> bool:
        return self._slots[self._place(self._slots, number)] == number

    def add(self, number: int) -> bool:
        """Adds a number other than 0; False where it is in already."""
        place = self._place(self._slots, number)
        if self._slots[place] == number:
            return False
        self._slots[place] = number
        self._members += 1
        if 3 * self._members > 2 * len(self._slots):
            self._grow()
        return True

    def _grow(self) -> None:
        larger = array("Q", bytes(16 * len(self._slots)))
        for number in self._slots:
            if number:
                larger[self._place(larger, number)] = number
        self._slots = larger

    @staticmethod
    def _place(slots: array[int], number: int) -> int:
        mask = len(slots) - 1
        place = number & mask
        while slots[place] not in (0, number):
            place = (place + 1) & mask
        return place


class SeenPairs:
    """The pairs met so far. Two pairs are the same if they differ in nothing but white space and order."""

    def __init__(self) -> None:
        self._seen = HashSet()

    def __len__(self) -> int:
        return len(self._seen)

    def check(self, prompt: str, chosen: str, rejected: str) -> None:
        """Remembers a pair.

        Raises:
            RowError: it was met before, with the same response as the better one or with the other.
        """
        prompt, chosen, rejected = (" ".join(text.split()) for text in (prompt, chosen, rejected))
        if text_hash(prompt, rejected, chosen) in self._seen:
            detail = "an earlier row says that the other response is better"
            raise RowError(None, RejectReason.CONTRADICTION, detail)
        if not self._seen.add(text_hash(prompt, chosen, rejected)):
            raise RowError(None, RejectReason.DUPLICATE, "an earlier row holds the same pair")


_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]|[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words of a text without case, punctuation and compatibility forms; each character of Chinese and Japanese."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass
class Benchmarks:
    """The prompts of benchmarks, which no training prompt may repeat.

    A prompt repeats one if both have the same words, or if any `length` words in a row stand in both; 13 is the length
    with which GPT-3's training data were compared with its benchmarks (arXiv 2005.14165).

    Args:
        length: words of a run that must not be shared.
        columns: of the benchmark files, where the prompt is; by default the first of the usual names that is there.
    """

    length: int = 13
    columns: Sequence[str] = (
        *("prompt", "question", "instruction", "query", "problem", "input", "context", "text", "turns"),
        *("Question", "Problem", "Prompt"),
    )
    prompts: int = 0
    _whole: dict[int, str] = field(default_factory=dict)
    _runs: list[np.ndarray] = field(default_factory=list)
    _sorted: np.ndarray | None = None

    def add(self, source: Source) -> None:
        """Reads the prompts of a file or data set.

        Raises:
            ConfigError: it has no column with prompts, or cannot be read; a benchmark that is not read in full would
                let its prompts pass.
        """
        for row in source.read():
            if not isinstance(row, Row):
                raise ConfigError(f"benchmark {row.file}, line {row.line}: {row.reason}: {row.detail}")
            self._add(self._prompt(row), source.name)

    def check(self, prompt: str) -> None:
        """
        Raises:
            RowError: the prompt repeats one of a benchmark.
        """
        words = words_of(prompt)
        name = self._whole.get(text_hash(" ".join(words)))
        if name is not None:
            raise RowError("prompt", RejectReason.BENCHMARK, f"asked word for word in {name}")
        known = self._known_runs()
        runs = _run_hashes(words, self.length)
        if not len(known) or not len(runs):
            return
        places = np.searchsorted(known, runs)
        shared = np.flatnonzero(known[np.minimum(places, len(known) - 1)] == runs)
        if len(shared):
            run = " ".join(words[shared[0] : shared[0] + self.length])
            raise RowError("prompt", RejectReason.BENCHMARK, f"shares {self.length} words in a row: {run}")

    def _add(self, prompt: str, name: str) -> None:
        words = words_of(prompt)
        if not words:
            return
        self.prompts += 1
        self._whole.setdefault(text_hash(" ".join(words)), name)
        self._runs.append(_run_hashes(words, self.length))
        self._sorted = None

    def _known_runs(self) -> np.ndarray:
        if self._sorted is None:
            self._sorted = np.unique(np.concatenate([np.empty(0, np.uint64), *self._runs]))
            self._runs = [self._sorted]
        return self._sorted

    def _prompt(self, row: Row) -> str:
        name = next((name for name in self.columns if row.values.get(name) is not None), None)
        if name is None:
            raise ConfigError(
                f"benchmark {row.file}, line {row.line}: no column with what is asked; the columns are "
                f"{', '.join(map(str, row.values))}; known are {', '.join(self.columns)}"
            )
        value = row.values[name]
        if isinstance(value, list) and all(isinstance(turn, str) for turn in value):
            return "\n\n".join(value)
        try:
            return prompt_text(value)
        except TypeError as error:
            raise ConfigError(f"benchmark {row.file}, line {row.line}, column {name!r}: {error}") from error


_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def _run_hashes(words: Sequence[str], length: int) -> np.ndarray:
    """A hash of every run of `length` words, (words - length + 1,). The same within a process only."""
    if len(words) < length:
        return np.empty(0, np.uint64)
    each = np.fromiter((hash(word) & 0xFFFFFFFFFFFFFFFF for word in words), np.uint64, len(words))
    count = len(words) - length + 1
    runs = np.zeros(count, np.uint64)
    for offset in range(length):
        runs = runs * _MULTIPLIER + each[offset : offset + count]
    return runs


@dataclass(frozen=True, kw_only=True)
class TokenLimit:
    """Most tokens of a judge's prompt, in the tokens and with the chat template of the judge.

    Args:
        tokenizer: of the judge, as transformers loads it.
        most: tokens, the template's own among them.
    """

    tokenizer: Any
    most: int

    def check(self, messages: Sequence[Mapping[str, str]]) -> None:
        """
        Raises:
            RowError: the prompt is longer.
            ConfigError: the tokenizer has no chat template.
        """
        try:
            text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        except Exception as error:
            # Templates raise what they like, and what one of them refuses it refuses for every row.
            raise ConfigError(f"the tokenizer's chat template cannot write the judge's prompt: {error}") from error
        # A token has at least one byte: what is short in bytes need not be cut into tokens.
        if len(text.encode("utf-8", "surrogatepass")) <= self.most:
            return
        tokens = len(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if tokens > self.most:
            raise RowError(None, RejectReason.TOO_LONG, f"{tokens} tokens, more than {self.most}")


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model: a name on the hub, or a folder.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: there is no such tokenizer.
    """
    try:
        return Checkpoint(folder=name).tokenizer()
    except ImportError:
        raise MissingExtraError("the judge's tokenizer", "training") from None
