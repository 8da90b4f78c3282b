"""What the demo prints, for a terminal of 80 columns or a log file: rankings, tables, the judge's own words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from transformers import TrainerCallback

from rrm_plugin import Judgement, Scores, Verdict

WIDTH = 80


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A question with its answers, and what the judge made of them."""

    row: dict[str, Any]
    scores: Scores
    seconds: float


def say(text: str = "") -> None:
    print(text, flush=True)


def heading(text: str) -> None:
    say(f"\n\n{text}\n{'-' * len(text)}")


def show_ranking(ranked: Ranked) -> None:
    """The answers, best first. T is the temperature at which an answer was drawn."""
    say(f"\n{_wrapped(ranked.row['prompt'])}")
    for index in ranked.scores.ranking + ranked.scores.unscored:
        value = ranked.scores.values[index]
        answer = textwrap.shorten(ranked.row["responses"][index], WIDTH - 16, placeholder=" ...")
        score = " none" if value is None else f"{value:+.2f}"
        say(f"  {score}  T={ranked.row['temperatures'][index]}  {answer}")


def show_table(ranked: Sequence[Ranked]) -> None:
    """A line per question: how many matches, what they took, how far the judge agreed with itself."""
    heading("What the judge did")
    columns = ("matches", "verdicts", "calls", "orders agree", "first wins", "seconds")
    say(f"{'question':<10}{_line(columns, columns)}")
    for one in ranked:
        judged, scores = one.scores.judgements, one.scores
        decided = sum(judgement.verdict is not None for judgement in judged)
        counts = (len(judged), decided, scores.calls, _share(scores.agreement), _share(scores.first_rate))
        say(f"{one.row['id']:<10}{_line(columns, (*counts, f'{one.seconds:.1f}'))}")
    say("\nA match in which the thinking was cut off takes a second call, for the verdict.")
    say("What stands in the ledger already takes none.")


class StepTable(TrainerCallback):
    """A line per training step, with what the judge told the trainer's log."""

    columns: ClassVar = {
        "reward": "reward",
        "spread": "reward_std",
        "verdicts": "rrm/verdict_rate",
        "calls": "rrm/calls",
        "orders agree": "rrm/order_agreement",
        "first wins": "rrm/first_rate",
        "seconds": "step_time",
    }

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        say(f"step{_line(self.columns, self.columns)}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs and "reward" in logs:
            values = [logs.get(key) for key in self.columns.values()]
            # Adding 0 makes a plain zero of a negative one.
            cells = ["-" if value is None else f"{value + 0.0:.2f}" for value in values]
            say(f"{state.global_step:<4}{_line(self.columns, cells)}")


def show_words(ranked: Ranked) -> None:
    """One judgement with a verdict, whole."""
    heading("One judgement, in the judge's own words")
    judgements = ranked.scores.judgements
    say(told(ranked.row, next((one for one in judgements if one.verdict), judgements[0])))


def show_conclusion(ranked: Sequence[Ranked]) -> None:
    """How far the verdicts are better than a coin's."""
    heading("What these verdicts are worth: nothing")
    matches = sum(len(one.scores.judgements) for one in ranked)
    won = [(one.row["temperatures"], judgement) for one in ranked for judgement in _decided(one.scores)]
    first = sum(judgement.verdict is Verdict.FIRST for _, judgement in won)
    cooler = sum(drawn[_winner(judgement)] < drawn[_loser(judgement)] for drawn, judgement in won)
    agreed = [winners[0] == winners[1] for one in ranked for winners in _in_both_orders(one.scores)]
    say(f"{len(won):>3} of {matches} matches had a winner")
    say(f"{first:>3} of {len(won)} were won by the answer shown first            (a coin: half)")
    say(f"{cooler:>3} of {len(won)} by the answer drawn at the lower temperature,")
    say("             mostly the saner one to a reader               (a coin: half)")
    say(f"{sum(agreed):>3} of {len(agreed)} pairs had the same winner in both orders      (a coin: half)\n")
    say("A model of 135 million parameters judges at chance, or by position; what it")
    say("rewards is not worth learning. What ran for real is all around it: prompts,")
    say("matches, verdicts, scores and GRPO. A judge that is good at its task is a Reward")
    say("Reasoning Model on a GPU: integrations/trl/README.md says how to run one.")


def write_words(ranked: Sequence[Ranked], path: Path) -> None:
    """All judgements as a text file."""
    judged = (told(one.row, judgement) for one in ranked for judgement in one.scores.judgements)
    path.write_text(f"\n\n{'=' * WIDTH}\n\n".join(judged) + "\n", encoding="utf-8")


def told(row: dict[str, Any], judgement: Judgement) -> str:
    """What was asked, what the judge wrote, and what was read."""
    assert judgement.match is not None
    first, second = row["responses"][judgement.match.first], row["responses"][judgement.match.second]
    asked = f"Query: {row['prompt']}\nAssistant 1: {first}\nAssistant 2: {second}"
    lines = _wrapped(judgement.text.strip(), WIDTH - 4).splitlines()
    words = "\n".join(f"  | {line}".rstrip() for line in lines)
    return f"{_wrapped(asked)}\n\n{words}\n\nVerdict: {named(judgement)}."


def named(judgement: Judgement) -> str:
    """A verdict in words."""
    verdict = judgement.verdict.value if judgement.verdict else f"none ({judgement.reason})"
    return verdict + (", which it was made to name when its thinking was cut off" if judgement.forced else "")


def _decided(scores: Scores) -> Iterator[Judgement]:
    return (one for one in scores.judgements if one.verdict in (Verdict.FIRST, Verdict.SECOND) and one.match)


def _winner(judgement: Judgement) -> int:
    assert judgement.match is not None
    return judgement.match.first if judgement.verdict is Verdict.FIRST else judgement.match.second


def _loser(judgement: Judgement) -> int:
    assert judgement.match is not None
    return judgement.match.second if judgement.verdict is Verdict.FIRST else judgement.match.first


def _in_both_orders(scores: Scores) -> Iterator[list[int]]:
    """For each pair with a winner in both orders, who won in each."""
    winners: dict[tuple[int, int], list[int]] = {}
    for judgement in _decided(scores):
        assert judgement.match is not None
        winners.setdefault(judgement.match.pair, []).append(_winner(judgement))
    return (found for found in winners.values() if len(found) == 2)


def _line(columns: Iterable[str], cells: Iterable[Any]) -> str:
    return "".join(f"{cell!s:>{len(name) + 3}}" for name, cell in zip(columns, cells, strict=True))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _wrapped(text: str, width: int = WIDTH) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())
