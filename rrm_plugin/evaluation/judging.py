"""Asking a judge about labelled pairs: every pair, in both orders or one, as many votes as wanted.

    judged = judge_pairs(pairs, Judging(judge=judge.tournament.judge, votes=4))

As many calls are under way as the engine takes. What was asked before stands in the judge's ledger and is not paid
again, so a killed run goes on where it was; a pair that is done is recorded there as a group. Each call is handed out
as a row with its text, for a file that `replay` reads. Left out: what the calls amount to (`scores.py`,
`judge_reports.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from rrm_plugin.background import BackgroundLoop
from rrm_plugin.errors import ConfigError, LedgerError
from rrm_plugin.evaluation.pair_records import record_pair
from rrm_plugin.evaluation.scores import Call, JudgedPair, LabelledPair
from rrm_plugin.judge import PairJudge
from rrm_plugin.prompts import Guarded
from rrm_plugin.training.windows import Answered, in_order
from rrm_plugin.types import Judgement, Usage

__all__ = ["Judging", "OrdersShown", "chosen", "drawn", "judge_pairs"]

Item = TypeVar("Item")

OrdersShown = Literal["both", "random", "fixed"]

WINDOW = 1024
"""Calls waiting for their turn: more than an engine takes at a time, so that a long reply holds up no other."""


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How a judge is asked.

    Args:
        judge: makes the calls.
        orders: `both`; `random`, one order a pair, drawn by id and seed; `fixed`, that of the data set.
        votes: calls for each pair and order; all of them are made, so that fewer can be counted as well.
        seed: of the orders.
        keep_thinking: show the judge what responses hold between thinking tags.

    Raises:
        ConfigError: a setting makes no sense.
    """

    judge: PairJudge
    orders: OrdersShown = "both"
    votes: int = 1
    seed: int = 0
    keep_thinking: bool = False

    def __post_init__(self) -> None:
        if self.orders not in ("both", "random", "fixed"):
            raise ConfigError(f"orders must be both, random or fixed, not {self.orders!r}")
        if self.votes < 1:
            raise ConfigError(f"votes must be a number from 1, not {self.votes!r}")
        if self.votes > 1 and self.judge.sampling.temperature == 0:
            raise ConfigError("temperature 0 gives the same reply every time: take votes=1, or a temperature above 0")

    @property
    def settings(self) -> dict[str, Any]:
        """How the judge is asked, as plain values."""
        return {
            "orders": self.orders,
            "votes": self.votes,
            "prompt": self.judge.prompt.name,
            "engine": self.judge.engine.name,
            "temperature": self.judge.sampling.temperature,
            "max_tokens": self.judge.sampling.max_tokens,
            "seed": self.seed,
            **({"soft_verdicts": True} if self.judge.sampling.top_logprobs else {}),
        }

    def shown(self, pair: LabelledPair) -> tuple[bool, ...]:
        """In which orders a pair is shown; True is the swapped one."""
        if self.orders == "both":
            return (False, True)
        return (_hash(self.seed, "order", *pair.key)[0] % 2 == 1,) if self.orders == "random" else (False,)


def chosen(items: Sequence[Item], most: int | None, seed: int, name: Callable[[Item], str]) -> list[Item]:
    """At most so many of some items, in their own order; all of them without a limit.

    Args:
        items: of different names.
        most: how many.
        seed: with an item's name it draws the item, whatever others there are.
        name: of an item.
    """
    if most is None:
        return list(items)
    ordered = sorted(items, key=lambda item: _hash(seed, "limit", name(item)))
    kept = {name(item) for item in ordered[:most]}
    return [item for item in items if name(item) in kept]


def drawn(pairs: Sequence[LabelledPair], most: int | None, seed: int) -> list[LabelledPair]:
    """At most so many of the pairs, drawn by seed and id, in their own order; all of them without a limit."""
    return chosen(pairs, most, seed, lambda pair: "\0".join(pair.key))


def judge_pairs(
    pairs: Sequence[LabelledPair],
    judging: Judging,
    *,
    on_pair: Callable[[JudgedPair], None] = lambda _: None,
    on_row: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[JudgedPair]:
    """The pairs with all calls on them. The engine is closed at the end.

    Args:
        pairs: in the order in which they are asked.
        judging: how.
        on_pair: called for each pair, in order.
        on_row: called for each call, in order, with what a file of recorded calls needs.

    Raises:
        ConfigError: no call can succeed with the engine's settings.
        EngineUnavailableError: the engine answers none of many calls.
    """
    loop = BackgroundLoop("rrm-eval")
    asker = _Asker(judging)
    judged: list[JudgedPair] = []
    made: list[Call] = []
    said: list[tuple[bool, Judgement]] = []
    try:
        for question, judgement, usage in in_order(loop, _questions(pairs, judging), asker.ask, WINDOW):
            call = _call(question, judgement, usage)
            made.append(call)
            said.append((question.swapped, judgement))
            on_row(_row(question, call, judgement, judging.judge.prompt.name))
            if question.last:
                judged.append(JudgedPair(pair=question.pair, calls=tuple(made)))
                if judging.judge.ledger is not None:
                    loop.run(record_pair(judging.judge.ledger, question.pair, said, judging.settings))
                made, said = [], []
                on_pair(judged[-1])
    finally:
        loop.close(judging.judge.engine.close())
    return judged


@dataclass(frozen=True, kw_only=True)
class _Question:
    """One call to make."""

    pair: LabelledPair
    query: Guarded
    texts: tuple[Guarded, Guarded]
    """As they are shown."""
    swapped: bool
    vote: int
    last: bool
    """Whether it is the last one on its pair."""


def _questions(pairs: Sequence[LabelledPair], judging: Judging) -> Iterator[_Question]:
    prompt, tokens = judging.judge.prompt, judging.judge.engine.special_tokens
    for pair in pairs:
        query = prompt.prepare_query(pair.prompt, special_tokens=tokens)
        first, second = (
            prompt.prepare(response, special_tokens=tokens, keep_thinking=judging.keep_thinking)
            for response in (pair.first, pair.second)
        )
        places = [(swapped, vote) for swapped in judging.shown(pair) for vote in range(judging.votes)]
        for swapped, vote in places:
            yield _Question(
                pair=pair,
                query=query,
                texts=(second, first) if swapped else (first, second),
                swapped=swapped,
                vote=vote,
                last=(swapped, vote) == places[-1],
            )


class _Asker:
    """Asks one question, and looks up what a call took that was paid in an earlier run."""

    def __init__(self, judging: Judging) -> None:
        self._judge = judging.judge
        self._answered = Answered(judging.judge.engine)

    async def ask(self, question: _Question) -> tuple[_Question, Judgement, Usage]:
        judgement = await self._judge.judge(question.query, *question.texts, vote=question.vote)
        self._answered.note(judgement)
        return question, judgement, await self._usage(judgement)

    async def _usage(self, judgement: Judgement) -> Usage:
        if not judgement.cached or self._judge.ledger is None:
            return judgement.usage
        try:
            record = await self._judge.ledger.find(judgement.key)
        except LedgerError:
            return judgement.usage
        if record is None:
            return judgement.usage
        return Usage(
            prompt_tokens=record.prompt_tokens, completion_tokens=record.completion_tokens, seconds=record.seconds
        )


def _call(question: _Question, judgement: Judgement, usage: Usage) -> Call:
    verdict = judgement.verdict
    return Call(
        swapped=question.swapped,
        vote=question.vote,
        verdict=verdict.swapped if verdict is not None and question.swapped else verdict,
        reason=judgement.reason,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=usage.seconds,
        forced=judgement.forced,
        paid=not judgement.cached,
        cost=judgement.usage.cost,
    )


def _row(question: _Question, call: Call, judgement: Judgement, prompt: str) -> dict[str, Any]:
    return {
        "subset": question.pair.subset,
        "id": question.pair.id,
        "swapped": question.swapped,
        "vote": question.vote,
        "verdict": judgement.verdict.value if judgement.verdict else None,
        "reason": judgement.reason.value if judgement.reason else None,
        # A forced verdict is part of the text, which then reads as a finished one.
        "finished": judgement.forced or judgement.reason is None or judgement.reason.value != "cut_off",
        "text": judgement.text,
        "prompt": prompt,
        "engine": judgement.engine,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "seconds": round(call.seconds, 6),
    }


def _hash(seed: int, *words: str) -> bytes:
    return hashlib.sha256("\0".join((str(seed), *words)).encode("utf-8", "surrogatepass")).digest()
