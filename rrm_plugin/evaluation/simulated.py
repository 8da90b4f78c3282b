"""A judge of stated accuracy that knows the truth: what a benchmark or a schedule must give, without a model.

    judge = simulated_judge("simulated:0.8", truth)

Of two responses of which one is better it names that one with the given chance; of two that are equally good it names
either with the same chance. What it says depends on texts, position, vote and seed alone, so a run repeats itself, and
a pair shown in the other order is another draw. Left out: everything that makes real judges worse than their accuracy,
such as errors that several calls have in common: schedules look better under it than they are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rrm_plugin.engines.base import Reply, Sampling
from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.scores import LabelledPair
from rrm_plugin.judge import PairJudge
from rrm_plugin.prompts import Guarded, JudgePrompt, load_prompt
from rrm_plugin.types import Judgement, Match, Message, Usage, Verdict

__all__ = ["SimulatedJudge", "Truth", "accuracy_of", "simulated_judge", "truth_of_pairs"]

Truth = Callable[[Guarded, Guarded, Guarded], Verdict]
"""From a query and two responses, as they are shown, to which is better; a tie where they are equally good."""


@dataclass(frozen=True, kw_only=True)
class SimulatedJudge(PairJudge):
    """A judge that is right with a given chance; made by `simulated_judge`."""

    truth: Truth
    accuracy: float = 1.0
    seed: int = 0

    async def judge(
        self, query: Guarded, first: Guarded, second: Guarded, match: Match | None = None, vote: int = 0
    ) -> Judgement:
        """The verdict, without a text; one call, and no tokens."""
        better = self.truth(query, first, second)
        draw = _draw(self.seed, vote, query, first, second)
        if better is Verdict.TIE:
            verdict = Verdict.FIRST if draw < 0.5 else Verdict.SECOND
        else:
            verdict = better if draw < self.accuracy else better.swapped
        return Judgement(verdict=verdict, match=match, engine=self.engine.name, usage=Usage(calls=1))


def accuracy_of(spec: str) -> float:
    """The accuracy in `simulated:0.8`.

    Raises:
        ConfigError: it is no share between 0 and 1.
    """
    _, _, text = spec.partition(":")
    try:
        accuracy = float(text)
    except ValueError:
        accuracy = math.nan
    if not 0 <= accuracy <= 1:
        raise ConfigError(f"engine={spec!r}: write simulated:0.8, a share between 0 and 1")
    return accuracy


def simulated_judge(
    spec: str, truth: Truth, *, prompt: JudgePrompt | None = None, sampling: Sampling | None = None, seed: int = 0
) -> SimulatedJudge:
    """The judge that `simulated:ACCURACY` names.

    Args:
        truth: which of two responses is better.
        prompt: in whose form texts are prepared; nothing is shown to anybody.
        sampling: for the record of settings only.
        seed: of its errors.

    Raises:
        ConfigError: the accuracy is none.
    """
    return SimulatedJudge(
        engine=_NoEngine(spec),
        prompt=prompt or load_prompt("rrm"),
        sampling=sampling or Sampling(),
        truth=truth,
        accuracy=accuracy_of(spec),
        seed=seed,
    )


def truth_of_pairs(pairs: Iterable[LabelledPair], prompt: JudgePrompt) -> Truth:
    """What the labels of a benchmark say. Pairs of equal texts with different labels are ties."""
    known: dict[bytes, Verdict] = {}
    for pair in pairs:
        query, first, second = (
            prompt.prepare_query(pair.prompt),
            prompt.prepare(pair.first),
            prompt.prepare(pair.second),
        )
        for key, label in (
            (_key(query, first, second), pair.label),
            (_key(query, second, first), pair.label.swapped),
        ):
            known[key] = label if known.get(key, label) is label else Verdict.TIE

    def truth(query: Guarded, first: Guarded, second: Guarded) -> Verdict:
        return known[_key(query, first, second)]

    return truth


class _NoEngine:
    """Stands where a model would; it is never asked."""

    special_tokens: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        raise ConfigError(f"{self.name} has no model to ask")

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply | None:
        return None

    async def close(self) -> None:
        pass


def _key(*texts: str) -> bytes:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).digest()[:16]


def _draw(seed: int, vote: int, *texts: str) -> float:
    """A number in [0, 1) that the texts, their order, the vote and the seed decide."""
    joined = "\0".join((str(seed), str(vote), *texts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(joined).digest()[:8], "big") / 2**64
