"""From the rows of a source to pairs that may be trained on, prepared as the judge will see them.

Left out: mixing sources and writing rows (`builder.py`), and asking a judge how hard a pair is (`difficulty.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rrm_plugin.prompts import (
    EMPTY_QUERY,
    EMPTY_RESPONSE,
    Guarded,
    JudgePrompt,
    load_prompt,
    prompt_text,
    response_text,
)
from rrm_plugin.training.checks import Benchmarks, SeenPairs, TokenLimit, text_hash
from rrm_plugin.training.layouts import Layout, Reading, recognise
from rrm_plugin.training.pairs import Pair, RowError
from rrm_plugin.training.sources import LONGEST_LINE, Reject, RejectReason, Row, Source
from rrm_plugin.types import Prompt

__all__ = ["MEDIA_TOKENS", "Candidate", "Preparation", "candidates"]

MEDIA_TOKENS = ("<image>", "<video>", "<audio>")
"""OpenRLHF and verl read these in a prompt as the place of a picture, a film or a sound, and fail without one."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A pair as the judge will see it."""

    query: Guarded
    chosen: Guarded
    rejected: Guarded
    pair: str
    """16 hex digits of what was asked and answered, whichever response is better."""
    draw: int
    """64 bits of the seed and the pair, for what is drawn: the order."""
    source: str
    origin: str
    """File and line that it comes from."""


@dataclass(kw_only=True)
class Preparation:
    """How rows become candidates.

    Args:
        prompt: the judge's template.
        reading: what columns mean.
        seed: of the orders.
        special_tokens: of the judge's tokenizer; judged texts must not contain them.
        keep_thinking: leave the thinking of judged responses in.
        seen: the pairs met before, in all sources together; None keeps duplicates.
        benchmarks: prompts that must not be trained on.
        limit: of the judge's prompt in tokens.
        longest_line: most bytes of a line.
    """

    prompt: JudgePrompt = field(default_factory=lambda: load_prompt("rrm"))
    reading: Reading = field(default_factory=Reading)
    seed: int = 0
    special_tokens: tuple[str, ...] = ()
    keep_thinking: bool = False
    seen: SeenPairs | None = field(default_factory=SeenPairs)
    benchmarks: Benchmarks | None = None
    limit: TokenLimit | None = None
    longest_line: int = LONGEST_LINE


def candidates(source: Source, preparation: Preparation, on_row: Callable[[], None]) -> Iterator[Candidate | Reject]:
    """The pairs of a source, and its rows that hold none.

    Args:
        source: where the rows are.
        preparation: what is done to them.
        on_row: called for each row that was read.

    Raises:
        ConfigError: the source cannot be read, or its first row has no known layout.
    """
    layout: Layout | None = None
    for row in source.read(preparation.longest_line):
        on_row()
        if isinstance(row, Reject):
            yield row
            continue
        layout = layout or recognise(row, preparation.reading)
        yield from _of_row(row, layout, preparation)


def _of_row(row: Row, layout: Layout, preparation: Preparation) -> Iterator[Candidate | Reject]:
    try:
        for pair in layout(row):
            try:
                yield _candidate(pair, row, preparation)
            except RowError as error:
                yield _rejected(row, error)
    except RowError as error:
        yield _rejected(row, error)


def _rejected(row: Row, error: RowError) -> Reject:
    return Reject(
        source=row.source,
        file=row.file,
        line=row.line,
        reason=error.reason,
        column=error.column,
        detail=error.detail,
    )


def _candidate(pair: Pair, row: Row, preparation: Preparation) -> Candidate:
    prompt, keep = preparation.prompt, preparation.keep_thinking
    tokens = (*preparation.special_tokens, *MEDIA_TOKENS)
    try:
        query = prompt.prepare_query(pair.prompt, special_tokens=tokens, keep_thinking=keep)
        chosen, rejected = (
            prompt.prepare(response, special_tokens=tokens, keep_thinking=keep)
            for response in (pair.chosen, pair.rejected)
        )
        asked = prompt_text(pair.prompt, keep_thinking=keep)
        answers = [response_text(response, keep_thinking=keep) for response in (pair.chosen, pair.rejected)]
    except TypeError as error:
        raise RowError(None, RejectReason.WRONG_TYPE, str(error)) from error
    _refuse_empty(query, chosen, rejected)
    if preparation.benchmarks is not None:
        for text in _messages_of(pair.prompt):
            preparation.benchmarks.check(text)
    if preparation.limit is not None:
        preparation.limit.check(prompt.render(query, chosen, rejected))
    # Last of the checks: a row that is refused for another reason does not make a later one a duplicate.
    if preparation.seen is not None:
        preparation.seen.check(asked, *answers)
    return Candidate(
        query=query,
        chosen=chosen,
        rejected=rejected,
        pair=f"{text_hash(asked, *sorted(answers)):016x}",
        draw=text_hash(str(preparation.seed), asked, *answers),
        source=row.source,
        origin=f"{row.file}:{row.line}",
    )


def _refuse_empty(query: Guarded, chosen: Guarded, rejected: Guarded) -> None:
    for name, text, empty in (
        ("prompt", query, EMPTY_QUERY),
        ("chosen", chosen, EMPTY_RESPONSE),
        ("rejected", rejected, EMPTY_RESPONSE),
    ):
        if text == empty or not text.strip():
            raise RowError(name, RejectReason.EMPTY, "nothing is left without the thinking")
    if chosen == rejected:
        raise RowError("rejected", RejectReason.IDENTICAL, "both responses are the same")


def _messages_of(prompt: Prompt) -> list[str]:
    """The texts a benchmark's prompt may stand in: each message of a conversation for itself."""
    if isinstance(prompt, str):
        return [prompt]
    return [prompt_text([{**message, "role": "user"}]) for message in prompt]
