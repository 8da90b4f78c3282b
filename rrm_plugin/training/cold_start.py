"""A judge's own right replies as rows for supervised fine-tuning: a base model gets the form before it is rewarded.

Reinforcement learning from the verdict alone cannot start where no reply holds a verdict. So the model is asked for
several replies to each training row, those with the right verdict are kept (rejection sampling), as many for the first
response as for the second, and the model is fine-tuned on them. A reply that never comes to a verdict can be made to
state one: its thinking is closed, the verdict is opened, and the model writes the rest; it is kept if that is right.

Left out: the fine-tuning, which is TRL's SFTTrainer or any other that reads messages. A chat template that drops the
thinking from finished turns (DeepSeek-R1's does) drops it from these rows too; such models know the form already.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rrm_plugin.background import BackgroundLoop
from rrm_plugin.engines.base import Engine, Reply, Sampling
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.prompts import JudgePrompt, load_prompt
from rrm_plugin.training.reward import RewardRule, verdict_reward
from rrm_plugin.training.sources import Reject, Source
from rrm_plugin.training.windows import Answered, in_order
from rrm_plugin.types import Judgement, Reason
from rrm_plugin.verdicts import grammar, split_thinking

__all__ = ["ColdStart", "ColdStartSummary", "Form", "write_cold_start"]

Form = Literal["prompt-completion", "messages"]

FORCED_VERDICT_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """How replies are sampled and which are kept.

    Args:
        engine: the model that is to be fine-tuned, or a better one.
        prompt: the template that the rows were made with: the grammar of its verdict, and how a verdict is opened.
        sampling: of the replies.
        samples: replies asked for per row.
        per_row: right replies kept per row, the first ones.
        most: rows written at most; sampling ends when they are found. None takes all.
        require_thinking: keep only replies whose verdict stands behind closed thinking.
        force: have the model state a verdict where its reply holds none.
        form: `prompt-completion`, on which TRL's SFTTrainer learns the reply alone, or `messages`.

    Raises:
        ConfigError: a number makes no sense.
    """

    engine: Engine
    prompt: JudgePrompt = field(default_factory=lambda: load_prompt("rrm"))
    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 8
    per_row: int = 1
    most: int | None = None
    require_thinking: bool = False
    force: bool = True
    form: Form = "prompt-completion"

    def __post_init__(self) -> None:
        for name in ("samples", "per_row"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be a number from 1, not {getattr(self, name)!r}")
        if self.most is not None and self.most < 2:
            raise ConfigError(f"most must be 2 or more, one row for each label, not {self.most!r}")
        if self.form not in ("prompt-completion", "messages"):
            raise ConfigError(f"form must be prompt-completion or messages, not {self.form!r}")


@dataclass
class ColdStartSummary:
    """What became of the replies."""

    rows: int = 0
    """Training rows that replies were asked for."""
    replies: int = 0
    right: int = 0
    wrong: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    """Replies without a verdict, by reason; those of the engine's failures too."""
    forced: int = 0
    """Replies that were made to state a verdict, right or wrong."""
    solved: int = 0
    """Rows with a right reply."""
    written: int = 0
    left_out: int = 0
    """Right replies left out so that both labels are written equally often."""

    def told(self) -> str:
        """For a person."""
        lost = ", ".join(f"{reason} {times}" for reason, times in self.malformed.most_common())
        without = f"{sum(self.malformed.values())} without a verdict{f' ({lost})' if lost else ''}"
        return (
            f"{self.rows} rows, {self.replies} replies: {self.right} right, {self.wrong} wrong, {without}; "
            f"{self.forced} made to state one\n{self.solved} rows have a right reply; "
            f"{self.left_out} right replies left out for balance, {self.written} written"
        )


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A training row."""

    prompt: Sequence[Mapping[str, str]]
    label: int
    carried: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """A reply, judged."""

    text: str
    correct: bool
    reason: str | None
    forced: bool = False


def write_cold_start(
    rows: Source, out: Path, settings: ColdStart, *, on_row: Callable[[], None] = lambda: None
) -> ColdStartSummary:
    """Samples replies to training rows and writes the right ones, label 1 and label 2 in turn.

    `out` is replaced when the run is complete.

    Args:
        rows: what `rrm train-data` wrote.
        out: the JSONL file to write.
        settings: how replies are sampled, and which are kept.
        on_row: called for each row that replies were asked for.

    Raises:
        ConfigError: the rows are not of `rrm train-data`, or no reply is right for one of the labels.
        EngineUnavailableError: the engine answers none of many calls.
    """
    summary = ColdStartSummary()
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    enough = None if settings.most is None else settings.most // 2
    answered = Answered(settings.engine)

    async def ask(question: _Question) -> tuple[_Question, list[_Sample]]:
        asked = (_sampled(question, settings, vote, answered) for vote in range(settings.samples))
        return question, await asyncio.gather(*asked)

    loop = BackgroundLoop("rrm-cold-start")
    try:
        for question, samples in in_order(loop, _questions(rows, found, enough), ask):
            on_row()
            _count(samples, summary)
            right = list(dict.fromkeys(sample.text for sample in samples if sample.correct))
            found[question.label] += [_row(question, text, settings.form) for text in right[: settings.per_row]]
            if enough is not None and min(map(len, found.values())) >= enough:
                break
    finally:
        loop.close(settings.engine.close())
    _write(out, found, enough, summary)
    return summary


def _questions(rows: Source, found: Mapping[int, list[Any]], enough: int | None) -> Iterator[_Question]:
    """The training rows, without those of a label of which there are enough."""
    for row in rows.read():
        if isinstance(row, Reject):
            raise ConfigError(f"{row.file}, line {row.line}: {row.reason}: {row.detail}")
        prompt, label = row.values.get("prompt"), row.values.get("label")
        if not isinstance(prompt, list) or label not in (1, 2):
            raise ConfigError(
                f"{row.file}, line {row.line}: a row of `rrm train-data` is needed, "
                "with a prompt of messages and a label 1 or 2"
            )
        if enough is None or len(found[label]) < enough:
            carried = {name: row.values[name] for name in ("source", "id", "pair") if name in row.values}
            yield _Question(prompt=prompt, label=label, carried=carried)


async def _sampled(question: _Question, settings: ColdStart, vote: int, answered: Answered) -> _Sample:
    sampling = settings.sampling
    if sampling.seed is not None:
        sampling = dataclasses.replace(sampling, seed=sampling.seed + vote)
    try:
        reply = await settings.engine.generate(question.prompt, sampling)
    except EngineError as error:
        answered.note(Judgement(verdict=None, reason=error.reason, detail=str(error)))
        return _Sample(text="", correct=False, reason=error.reason)
    answered.note(Judgement(verdict=None, reason=Reason.NO_VERDICT))
    sample = _judged(reply.text, question.label, settings, finished=reply.finished)
    if sample.reason not in _FORCIBLE or not settings.force:
        return sample
    forced = await _stated(question, reply, settings)
    return sample if forced is None else dataclasses.replace(_judged(forced, question.label, settings), forced=True)


_FORCIBLE = (Reason.CUT_OFF, Reason.NO_VERDICT, Reason.EMPTY)


def _judged(text: str, label: int, settings: ColdStart, *, finished: bool = True) -> _Sample:
    rule = RewardRule(grammar=settings.prompt.grammar, require_thinking=settings.require_thinking)
    outcome = verdict_reward(text, label, finished=finished, rule=rule)
    return _Sample(text=text.strip(), correct=outcome.correct, reason=outcome.reason)


async def _stated(question: _Question, reply: Reply, settings: ColdStart) -> str | None:
    """The reply with a verdict that the model was made to state; None where the engine cannot continue a text."""
    text = reply.text.rstrip()
    if split_thinking(text).closed is None:
        # Closing thinking that nothing opened would teach half of the form.
        text = f"<think>\n{text}"
    begun = text + settings.prompt.closing(text)
    brief = dataclasses.replace(settings.sampling, temperature=0.0, max_tokens=FORCED_VERDICT_TOKENS)
    try:
        rest = await settings.engine.resume(question.prompt, begun, brief)
    except EngineError:
        return None
    if rest is None:
        return None
    whole = begun + rest.text
    # What is written after the verdict was not asked for.
    marks = [
        mark for mark in grammar(settings.prompt.grammar).marks(whole) if not mark.unclosed and mark.end > len(begun)
    ]
    return whole[: marks[0].end] if marks else None


def _count(samples: Sequence[_Sample], summary: ColdStartSummary) -> None:
    summary.rows += 1
    summary.replies += len(samples)
    summary.right += sum(sample.correct for sample in samples)
    summary.wrong += sum(not sample.correct and sample.reason is None for sample in samples)
    summary.malformed.update(str(sample.reason) for sample in samples if sample.reason is not None)
    summary.forced += sum(sample.forced for sample in samples)
    summary.solved += any(sample.correct for sample in samples)


def _row(question: _Question, text: str, form: Form) -> dict[str, Any]:
    prompt = [dict(message) for message in question.prompt]
    reply = [{"role": "assistant", "content": text}]
    shaped = {"messages": prompt + reply} if form == "messages" else {"prompt": prompt, "completion": reply}
    return {**shaped, "label": question.label, **question.carried}


def _write(out: Path, found: Mapping[int, list[dict[str, Any]]], enough: int | None, summary: ColdStartSummary) -> None:
    each = min(map(len, found.values()))
    if enough is not None:
        each = min(each, enough)
    if not each:
        missing = " and ".join(str(label) for label, rows in found.items() if not rows)
        raise ConfigError(
            f"not one right reply to a row with label {missing}; nothing is written. {summary.told()}\n"
            "More samples per row, a better model or another template may find some"
        )
    summary.written = 2 * each
    summary.left_out = sum(map(len, found.values())) - summary.written
    partial = out.with_name(out.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", errors="replace") as file:
            for pair in zip(found[1][:each], found[2][:each], strict=True):
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in pair)
        os.replace(partial, out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror or error}") from error
