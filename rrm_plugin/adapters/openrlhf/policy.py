"""A judge as the reward of OpenRLHF's rollout: an executor, for `--train.agent_func_path`.

    class AgentExecutor(GroupReward, SingleTurnAgentExecutor): ...        integrations/openrlhf/agent.py

OpenRLHF's own executor generates a reply; this one then has it judged among its siblings and fills in the reward. Who
they are is known from the sampling parameters (`siblings`). In a version of OpenRLHF in which that does not hold, a
group is `num_generations` replies to the same prompt and label.

The trainer always gets a number: of a reply without a reward the mean of its group, and where nobody in it has one the
mean of all rewards so far, which is 0 before the first.
The settings, in the file that RRM_CONFIG names, are those of `RRMJudge`, and under `gate` those of `Gate`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from typing import Any

from rrm_plugin.adapters.openrlhf.siblings import Siblings, SiblingsByParameters, hands_out_siblings
from rrm_plugin.adapters.openrlhf.texts import asked
from rrm_plugin.cohorts import Gate, Member, Outcome
from rrm_plugin.config import read_judge_settings
from rrm_plugin.errors import AlarmError, ConfigError, RRMError
from rrm_plugin.reporting.outcomes import numbers_of
from rrm_plugin.reward import RRMJudge

__all__ = ["GroupReward", "configured_gate"]

logger = logging.getLogger(__name__)


def configured_gate() -> Gate:
    """A gate with the settings of the file that RRM_CONFIG names.

    Raises:
        ConfigError: a setting cannot work.
    """
    _, own = read_judge_settings()
    judge = RRMJudge.from_config()
    try:
        return Gate(judge, **{"size": judge.num_generations, **own})
    except TypeError as error:
        judge.close()
        raise ConfigError(f"gate in the settings file must hold settings of a gate: {error}") from error


class GroupReward:
    """What an executor of OpenRLHF has to inherit before `SingleTurnAgentExecutor` to have groups judged.

    Args:
        gate: collects the groups; None for the one that RRM_CONFIG describes.

    Raises:
        ConfigError: a setting cannot work.
    """

    def __init__(self, gate: Gate | None = None) -> None:
        super().__init__()
        self.gate = configured_gate() if gate is None else gate
        self._siblings = SiblingsByParameters()
        self._ever_scored = False
        self._shared: asyncio.Future[bool] | None = None
        self._begun: asyncio.Future[None] | None = None

    async def execute(
        self,
        prompt: str,
        label: Any,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,
    ) -> dict[str, Any]:
        """One reply with its reward, in OpenRLHF's shape: `reward`, `scores`, `extra_logs` and what is generated.

        `scores` is the spread of the group's rewards, the same for all of its replies, so that
        `--algo.dynamic_filtering_range 0.001 10` drops the groups on which all are equal.

        Raises:
            ConfigError: siblings cannot be told, and `num_generations` is not set; or a setting of the judge cannot
                work, a model that its server does not have, say.
            EngineUnavailableError: with the first replies: the judge's server does not answer.
            AlarmError: an alarm is to stop the run.
        """
        siblings, number = self._siblings.enter(prompt, sampling_params)
        try:
            # After this all siblings have entered, and the size of the group is known.
            await asyncio.sleep(0)
            key, size, place = await self._group(siblings, number, prompt, label, llm_engine)
            await self._ready()
            generate = super().execute  # pyright: ignore[reportAttributeAccessIssue]
            try:
                output = await generate(
                    prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images=images
                )
                member = _member(output, label, hf_tokenizer, place)
            except BaseException:
                await self.gate.withdraw(key, None if place is None else str(place), size=size)
                raise
            return output | await self._answer(key, member, size)
        finally:
            self._siblings.leave(siblings)

    async def _ready(self) -> None:
        """Here rather than when it is made, since that would hold up whoever makes it."""
        if self._begun is None:
            self._begun = asyncio.ensure_future(self.gate.ready())
        await asyncio.shield(self._begun)

    async def _group(
        self, siblings: Siblings, number: int, prompt: str, label: Any, engine: Any
    ) -> tuple[str, int, int | None]:
        """Key and size of the reply's group, and its number in it where that is known."""
        if self._shared is None:
            self._shared = asyncio.ensure_future(hands_out_siblings(engine))
        if await asyncio.shield(self._shared):
            return siblings.key, siblings.begun, number
        if self.gate.size is None:
            raise ConfigError(
                "this version of OpenRLHF does not show which replies belong together: set num_generations in the file "
                "of RRM_CONFIG to the same as --rollout.n_samples_per_prompt and --eval.n_samples_per_prompt"
            )
        _warn_of_fallback(self.gate.size)
        return f"{label!r} {prompt}", self.gate.size, None

    async def _answer(self, key: str, member: Member, size: int) -> dict[str, Any]:
        began = time.perf_counter()
        outcome: Outcome | None = None
        try:
            # Once for the siblings, once for the judge: nothing waits for ever.
            outcome = await self.gate.join(key, member, size=size, patience=2 * self.gate.deadline)
        except (AlarmError, ConfigError) as error:
            # These end the run, by wish or because no reply can ever be judged; OpenRLHF shows them among Ray's errors.
            logger.error("%s", error)
            raise
        except Exception:
            # OpenRLHF would go on without a reward, note it at INFO, and fail later for another reason.
            logger.exception("a reply could not be judged, and gets the mean of all rewards so far")
            # One that found no room is not in its group, which would wait for it until the deadline.
            with contextlib.suppress(RRMError):
                await self.gate.withdraw(key, member.id, size=size)
        self._tell_of_silence(outcome)
        logs = numbers_of(outcome, time.perf_counter() - began, self.gate.judge.__name__)
        if outcome is None:
            return {"reward": self.gate.neutral, "scores": 0.0, "extra_logs": logs}
        return {"reward": outcome.number, "scores": outcome.spread, "extra_logs": logs}

    def _tell_of_silence(self, outcome: Outcome | None) -> None:
        """A wrong address is a mistake rather than a bad moment, and must not look like a run."""
        self._ever_scored = self._ever_scored or (outcome is not None and outcome.reward is not None)
        if not self._ever_scored and outcome is not None and outcome.error is not None and outcome.index <= 0:
            logger.error("no reply has been scored since the start, and all rewards are 0: %s", outcome.error)


def _member(output: dict[str, Any], label: Any, tokenizer: Any, place: int | None) -> Member:
    ((begin, end),) = output["action_ranges"]
    question, reference = asked(output["prompt"], label, tokenizer)
    return Member(
        prompt=question,
        response=tokenizer.decode(output["observation_tokens"][begin:end], skip_special_tokens=True),
        id=None if place is None else str(place),
        index=place,
        length=end - begin,
        reference=reference,
    )


@functools.cache
def _warn_of_fallback(size: int) -> None:
    logger.warning(
        "this version of OpenRLHF does not show which replies belong together: a group is %d replies to a prompt",
        size,
    )
