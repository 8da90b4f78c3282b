"""Asking a policy questions with choices, several times each, and reading what it answers.

    settings = PolicyEvaluation(engine=engine("http://localhost:8000/v1"), samples=4)
    with Replies(Path("before.json.replies.jsonl")) as replies:
        samples = evaluate_policy(load_questions("gpqa_diamond"), settings, replies)

As many calls are under way as the engine takes, on a loop of its own, and each reply is on disk before it counts. A
call that failed is a wrong answer that is counted apart. Left out: means and intervals (`reports.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rrm_plugin.background import BackgroundLoop
from rrm_plugin.engines.base import Engine, Reply, Sampling
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.evaluation.answers import LETTERS, read_answer
from rrm_plugin.evaluation.choices import SUFFIX, Question
from rrm_plugin.evaluation.replies import Replies, reply_key
from rrm_plugin.training.windows import Answered, in_order
from rrm_plugin.types import Judgement, Reason

__all__ = ["PolicyEvaluation", "Sample", "Style", "evaluate_policy"]

Style = Literal["chat", "plain"]

PLAIN_STOP = ("\nQuestion:",)
"""Where a base model would go on to a question of its own."""

WINDOW = 1024
"""Calls waiting for their turn: more than an engine takes at a time, so that a long reply holds up no other."""


@dataclass(frozen=True, kw_only=True)
class PolicyEvaluation:
    """How a policy is asked.

    Args:
        engine: where the policy runs.
        sampling: its decoding.
        samples: replies to each question.
        style: `chat`, one user message; or `plain`, a text to go on from, for a base model without a chat template.
        suffix: behind each question; best the one of the training.
        prefix: what the chat template has written of the reply already, `<think>` say, so that thinking which never
            ends is not read as an answer.

    Raises:
        ConfigError: a number makes no sense, or the engine cannot go on from a plain text.
    """

    engine: Engine
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=4096))
    samples: int = 1
    style: Style = "chat"
    suffix: str = SUFFIX
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"samples must be a number from 1, not {self.samples!r}")
        if self.samples > 1 and self.sampling.temperature == 0:
            raise ConfigError("temperature 0 gives the same reply every time: take samples=1, or a temperature above 0")
        if self.style not in ("chat", "plain"):
            raise ConfigError(f"style must be chat or plain, not {self.style!r}")
        if self.style == "plain" and not hasattr(self.engine, "complete"):
            raise ConfigError(
                f"the engine {self.engine.name!r} takes chats only: a plain prompt needs a server (engine=http://...)"
            )

    def prompt(self, question: Question) -> str:
        """What the policy is sent for a question."""
        if self.style == "chat":
            return question.prompt + self.suffix
        return f"Question: {question.prompt}{self.suffix}\n\nAnswer:"

    @property
    def decoding(self) -> Sampling:
        """The sampling, with the stops that a plain prompt needs."""
        if self.style == "chat":
            return self.sampling
        return dataclasses.replace(self.sampling, stop=(*self.sampling.stop, *PLAIN_STOP))

    @property
    def settings(self) -> dict[str, Any]:
        """What the results depend on, as plain values."""
        return {
            "engine": self.engine.name,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_tokens": self.sampling.max_tokens,
            "stop": list(self.decoding.stop),
            "samples": self.samples,
            "style": self.style,
            "suffix": self.suffix,
            "prefix": self.prefix,
        }


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One reply to one question, read."""

    benchmark: str
    question: str
    category: str
    right: bool
    letter: str | None
    """The choice it names, as it was shown; None where it names none."""
    reason: str | None
    """Why there is no answer: an `AnswerReason`, or a `Reason` where the call failed."""
    failed: bool
    """Whether the call failed."""
    found: str
    """Where the answer stood."""
    finished: bool
    prompt_tokens: int
    completion_tokens: int
    kept: bool
    """Whether the reply was on disk already."""


def evaluate_policy(
    questions: Sequence[Question],
    settings: PolicyEvaluation,
    replies: Replies,
    *,
    on_sample: Callable[[Sample], None] = lambda _: None,
) -> list[Sample]:
    """Asks every question `samples` times. The engine is closed at the end.

    Args:
        questions: of one or several benchmarks.
        settings: how they are asked.
        replies: those that are there already are not asked for again.
        on_sample: called for each, in order.

    Returns:
        The samples of each question, one question after the other.

    Raises:
        ConfigError: no call can succeed with the engine's settings.
        EngineUnavailableError: the engine answers none of many calls.
    """
    loop = BackgroundLoop("rrm-eval-policy")
    asker = _Asker(settings, replies)
    samples = []
    try:
        loop.run(_named(settings.engine))
        items = ((question, number) for question in questions for number in range(settings.samples))
        for sample in in_order(loop, items, asker.ask, WINDOW):
            samples.append(sample)
            on_sample(sample)
    finally:
        loop.close(settings.engine.close())
    return samples


async def _named(engine: Engine) -> None:
    """Lets an engine learn its model's name, under which replies are filed."""
    identify: Callable[[], Awaitable[str]] | None = getattr(engine, "identify", None)
    if identify is not None:
        await identify()


class _Asker:
    """Asks, files and reads one reply."""

    def __init__(self, settings: PolicyEvaluation, replies: Replies) -> None:
        self._settings = settings
        self._replies = replies
        self._answered = Answered(settings.engine)

    async def ask(self, item: tuple[Question, int]) -> Sample:
        question, number = item
        settings = self._settings
        prompt, sampling = settings.prompt(question), dataclasses.replace(settings.decoding, draw=number)
        engine = getattr(settings.engine, "fingerprint", settings.engine.name)
        key = reply_key(engine, settings.style, f"{question.benchmark}/{question.id}", prompt, sampling)
        about = {"benchmark": question.benchmark, "question": question.id, "sample": number}
        known = self._replies.get(key)
        if known is not None:
            return self._read(question, known, kept=True)
        try:
            reply = await self._send(prompt, sampling)
        except EngineError as error:
            self._replies.add_failure(key, about, error.reason.value, str(error))
            self._answered.note(Judgement(verdict=None, reason=error.reason, detail=str(error)))
            return _failed(question, error.reason)
        self._answered.note(Judgement(verdict=None, reason=Reason.NO_VERDICT))
        self._replies.add(key, about, reply)
        return self._read(question, reply, kept=False)

    async def _send(self, prompt: str, sampling: Sampling) -> Reply:
        engine = self._settings.engine
        if self._settings.style == "plain":
            complete: Callable[[str, Sampling], Awaitable[Reply]] = engine.complete  # pyright: ignore
            return await complete(prompt, sampling)
        return await engine.generate([{"role": "user", "content": prompt}], sampling)

    def _read(self, question: Question, reply: Reply, *, kept: bool) -> Sample:
        answer = read_answer(self._settings.prefix + reply.text, question.choices, finished=reply.finished)
        return Sample(
            benchmark=question.benchmark,
            question=question.id,
            category=question.category,
            right=question.is_right(answer.choice),
            letter=None if answer.choice is None else LETTERS[answer.choice],
            reason=answer.reason.value if answer.reason is not None else None,
            failed=False,
            found=answer.found,
            finished=reply.finished,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            kept=kept,
        )


def _failed(question: Question, reason: Reason) -> Sample:
    return Sample(
        benchmark=question.benchmark,
        question=question.id,
        category=question.category,
        right=False,
        letter=None,
        reason=reason.value,
        failed=True,
        found="",
        finished=True,
        prompt_tokens=0,
        completion_tokens=0,
        kept=False,
    )
