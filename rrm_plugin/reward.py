"""`RRMJudge`: the object a user builds. A judge model, a tournament and a shaping, as one reward.

    judge = RRMJudge(model="Reward-Reasoning/RRM-7B", engine="http://localhost:8001/v1")
    judge.compare(prompt, first, second)       one match: a Judgement
    judge.score(prompt, responses)             a group: Scores
    GRPOTrainer(..., reward_funcs=[judge])     a trainer's batch: a reward per row

Synchronous methods work anywhere, inside a running event loop too; their `a...` twins are awaited. Pickled copies
(spawned workers) make their own clients.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import logging
import os
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from rrm_plugin import miniature
from rrm_plugin.background import BackgroundLoop
from rrm_plugin.config import read_judge_settings
from rrm_plugin.engines import Engine, Sampling
from rrm_plugin.engines import engine as resolve_engine
from rrm_plugin.engines.limits import limited
from rrm_plugin.errors import BudgetSpentError, ConfigError, EngineUnavailableError, GroupError
from rrm_plugin.judge import PairJudge
from rrm_plugin.ledger import Ledger
from rrm_plugin.looks import Early
from rrm_plugin.metrics.alarms import Alarms
from rrm_plugin.metrics.alarms import alarms as resolve_alarms
from rrm_plugin.processes import Alone, ranks
from rrm_plugin.prompts import JudgePrompt, load_prompt
from rrm_plugin.reducers import Reducer
from rrm_plugin.reducers import reducer as resolve_reducer
from rrm_plugin.reporting.lookout import Lookout
from rrm_plugin.reporting.match_tables import MatchTables
from rrm_plugin.reporting.trainer_log import report
from rrm_plugin.rows import Rows, Scored, ScoredRows, reward_rows, reward_rows_here, trainer_view
from rrm_plugin.schedules import Orders, Schedule
from rrm_plugin.schedules import schedule as resolve_schedule
from rrm_plugin.shaping import Shaping, rewards_of
from rrm_plugin.shaping import shaping as resolve_shaping
from rrm_plugin.tournament import SameAs, Tournament
from rrm_plugin.types import Group, Judgement, Prompt, Reason, Response, Scores

__all__ = ["AsyncReward", "RRMJudge"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_OF_TRAINER = frozenset({"completion_ids", "log_extra", "log_metric", "trainer_state"})
"""What TRL passes to a reward besides the columns of its dataset."""

TOP_LOGPROBS = 20
"""Tokens at each place, among which the other verdict should be: as many as OpenAI's interface and vLLM allow."""


class RRMJudge:
    """A Reward Reasoning Model as judge of pairs, scorer of groups and reward of a trainer.

    Args:
        model: name of the judge model, as its server or the hub knows it; "miniature" is the tiny one that comes with
            the package, for `engine="transformers"`.
        engine: where it runs: a server's URL (or several), "transformers", "vllm", "replay:FILE", "scripted:longer", or
            an `Engine`.
        schedule: which responses of a group meet: round_robin, circulant:k, swiss:r, adaptive:calls, knockout,
            reference, random:k, or a `Schedule`.
        reducer: how verdicts become scores: win_rate, elo, bradley_terry, knockout_rank, majority, or a `Reducer`.
        orders: both, balanced, random or fixed. `both` shows each pair twice and measures how far the judge depends on
            position; `balanced` shows it once, each response first as often as second, at half the cost.
        votes: most judge calls per match; it ends as soon as its majority is settled.
        prompt: a preset (rrm, rm_r1, arena, llmbar, scores, json), the path of a template file, or a `JudgePrompt`.
        shaping: what turns scores into rewards: raw, z_score, rank, unit_interval, length_adjusted:0.5, or several in a
            list.
        temperature, top_p, max_tokens: the judge's decoding; the defaults are the paper's.
        first_tokens: tokens of a first, short look at each pair; only where its orders disagree, or there is no
            verdict, it is judged again with max_tokens. None judges once.
        soft_verdicts: count a verdict with the probability of its tokens, where the engine gives log-probabilities. For
            judges that answer without thinking; one that thinks is sure by then.
        num_generations: responses per prompt in a trainer's batch; TRL's trainers are asked for it, others may need it
            given.
        same_as: key of a response's text; equal keys are judged once (the extracted final answer, say).
        reference_column: the dataset column that holds the given answer, for `schedule="reference"`.
        force_verdict: end a thinking that ran into max_tokens by asking for the verdict, where the engine can continue
            a text.
        keep_thinking: show the judge the policy's own `<think>` part too.
        ledger: file that records every judgement; a call found there is not paid again.
        budget: the most that all calls together may take: `calls`, `tokens` or `cost`, by name. With a ledger it counts
            what stands there: earlier runs, and other processes on the same file.
        prices: of a million tokens, `prompt` and `completion` by name; then metrics tell the cost.
        over_budget: stop, with an error, or unscored, to go on without scores where the budget is spent.
        alarms: warn, stop or off, limits by name, or an `Alarms`: what happens when the metrics of a run say that its
            judge or its policy has gone wrong.
        seed: of the draws of schedules and orders.
        gather: put groups that straddle ranks together. False judges each rank's rows alone.
        name: under which a trainer logs the reward and its metrics; several judges of a run need different ones.
        engine_options: further arguments of the engine: `timeout`, `concurrency`, `api_key`, `batch_size`...

    Raises:
        ConfigError: a setting cannot work; the message names it.
    """

    def __init__(
        self,
        model: str | None = None,
        engine: str | Sequence[str] | Engine = "transformers",
        *,
        schedule: str | Schedule = "circulant:3",
        reducer: str | Reducer = "bradley_terry",
        orders: Orders = "both",
        votes: int = 1,
        prompt: str | os.PathLike[str] | JudgePrompt = "rrm",
        shaping: str | Shaping | Sequence[str | Shaping] = "raw",
        temperature: float = 0.6,
        top_p: float = 1.0,
        max_tokens: int = 8192,
        first_tokens: int | None = None,
        soft_verdicts: bool = False,
        num_generations: int | None = None,
        same_as: SameAs | None = None,
        reference_column: str = "reference",
        force_verdict: bool = True,
        keep_thinking: bool = False,
        ledger: str | os.PathLike[str] | Ledger | None = None,
        budget: Mapping[str, float] | None = None,
        prices: Mapping[str, float] | None = None,
        over_budget: Literal["stop", "unscored"] = "stop",
        alarms: str | Mapping[str, Any] | Alarms = "warn",
        seed: int = 0,
        gather: bool = True,
        name: str = "rrm",
        **engine_options: Any,
    ) -> None:
        _refuse_misspelt(engine_options)
        if model is not None and "://" in model:
            raise ConfigError(f"model={model!r} is an address: write engine={model!r}, and the model's name as model=")
        _check("orders", orders, orders in ("both", "balanced", "random", "fixed"), "both, balanced, random or fixed")
        _check("votes", votes, _counts(votes), "a whole number from 1")
        _check(
            "num_generations", num_generations, num_generations is None or _counts(num_generations), "a number from 1"
        )
        _check("soft_verdicts", soft_verdicts, isinstance(soft_verdicts, bool), "true or false")
        top = TOP_LOGPROBS if soft_verdicts else 0
        sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens, top_logprobs=top)
        fits = first_tokens is None or (_counts(first_tokens) and first_tokens < sampling.max_tokens)
        _check("first_tokens", first_tokens, fits, f"a number of tokens below max_tokens={max_tokens}")
        _check("over_budget", over_budget, over_budget in ("stop", "unscored"), "stop or unscored")
        _check("same_as", same_as, same_as is None or callable(same_as), "a function of a response's text")
        limits = resolve_alarms(alarms)
        if model == miniature.NAME and engine == "transformers":
            model, prompt, engine_options = miniature.settings(prompt, engine_options)
        kept = ledger if ledger is None or isinstance(ledger, Ledger) else Ledger(ledger)
        self.tournament = Tournament(
            judge=PairJudge(
                engine=limited(resolve_engine(engine, model=model, **engine_options), budget, prices, kept),
                prompt=load_prompt(prompt),
                sampling=sampling,
                force_verdict=force_verdict,
                ledger=kept,
            ),
            schedule=resolve_schedule(schedule),
            reducer=resolve_reducer(reducer),
            orders=orders,
            votes=votes,
            seed=seed,
            same_as=same_as,
            keep_thinking=keep_thinking,
            first_tokens=first_tokens,
        )
        self.shaping = resolve_shaping(shaping)
        self.num_generations = num_generations
        self.reference_column = reference_column
        self.over_budget = over_budget
        self.gather = gather
        self.__name__ = name
        self.lookout = Lookout(limits, name)
        self._tables = MatchTables(name)
        self._answered = False
        self._origin: RRMJudge | None = None
        self._start()

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None) -> RRMJudge:
        """A judge with the settings of a file, by default the one that the environment variable RRM_CONFIG names."""
        settings, _ = read_judge_settings(path)
        try:
            return cls(**settings)
        except ConfigError as error:
            raise ConfigError(f"in the settings file {path or os.environ.get('RRM_CONFIG')}: {error}") from error

    def compare(self, prompt: Prompt, first: Response, second: Response, *, both_orders: bool = False) -> Judgement:
        """Which of two responses is better, shown in this order.

        Args:
            prompt: a text or chat messages; responses likewise.
            both_orders: judge the swapped order too; the verdict is then a tie where the orders disagree, and `votes`
                holds both.

        Returns:
            A judgement whose verdict is by the order given here; None with the reason where the judge came to none.

        Raises:
            BudgetSpentError: the budget is spent, and `over_budget` is stop.
        """
        return self._loop.run(self._compare(prompt, first, second, both_orders))

    async def acompare(
        self, prompt: Prompt, first: Response, second: Response, *, both_orders: bool = False
    ) -> Judgement:
        """`compare`, awaited."""
        return await self._loop.run_async(self._compare(prompt, first, second, both_orders))

    def score(self, prompt: Prompt, responses: Sequence[Response], *, reference: Response | None = None) -> Scores:
        """Scores of the responses to one prompt, by a tournament among them.

        Args:
            reference: a given answer, for `schedule="reference"`.

        Raises:
            GroupError: there are no responses.
            BudgetSpentError: the budget is spent, and `over_budget` is stop.
        """
        return self._loop.run(self._score_groups([_group(prompt, responses, reference)]))[0]

    async def ascore(
        self, prompt: Prompt, responses: Sequence[Response], *, reference: Response | None = None
    ) -> Scores:
        """`score`, awaited."""
        return (await self._loop.run_async(self._score_groups([_group(prompt, responses, reference)])))[0]

    def rank(self, prompt: Prompt, responses: Sequence[Response], *, reference: Response | None = None) -> Scores:
        """`score`, for those who look for this name: `.ranking` lists the responses' indices, best first."""
        return self.score(prompt, responses, reference=reference)

    def score_groups(self, groups: Sequence[Group]) -> list[Scores]:
        """Scores of many groups, played side by side. What goes wrong with one stands in its `error`."""
        return self._loop.run(self._score_groups(groups))

    async def ascore_groups(self, groups: Sequence[Group]) -> list[Scores]:
        """`score_groups`, awaited."""
        return await self._loop.run_async(self._score_groups(groups))

    def rewards(self, scores: Scores, lengths: Sequence[int]) -> list[float | None]:
        """Scores of a group after shaping; None where a response is unscored."""
        return rewards_of(self.shaping, scores.values, lengths)

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Response], **columns: Any
    ) -> list[float | None]:
        """A reward per row of a trainer's batch: the contract of TRL's reward functions.

        Args:
            prompts, completions: a row per response, the responses to one prompt consecutive.
            columns: whatever else the trainer passes: `completion_ids`, `log_metric`, `log_extra`, `trainer_state` and
                the dataset's columns.

        Raises:
            GroupError: the rows (of all ranks) are no whole groups; the message names the trainer's setting.
            EngineUnavailableError: no call of this judge has ever been answered.
            BudgetSpentError: the budget is spent, and `over_budget` is stop.
            AlarmError: an alarm stands, and the judge was made with `alarms="stop"`.
        """
        began = time.perf_counter()
        together = ranks() if self.gather else Alone()
        view = trainer_view(columns.get("log_extra"))
        scored = reward_rows(
            lambda: self._rows(prompts, completions, columns),
            self.num_generations,
            view,
            together,
            self._score_rows,
            self.tournament.look,
        )
        self._close_batch(scored, columns, began, training=view.training, speaks=together.rank == 0)
        return scored.rewards

    def as_async(self) -> AsyncReward:
        """The same reward as an async callable, which TRL (from 1.14) awaits beside its other async rewards.

        Groups must be whole on every rank: collectives of several awaited rewards could interleave.
        """
        return AsyncReward(self)

    def refuse_silence(self, scored: Sequence[Scores]) -> None:
        """Does nothing once any call of this judge was answered; as a trainer's reward it must not train on nothing.

        An engine that falls silent later leaves responses unscored and is warned of; the run goes on.

        Raises:
            EngineUnavailableError: these scores hold calls, and none that was ever made was answered.
            GroupError: none of these groups could even be played, as with a schedule that does not fit their size.
        """
        calls = [call for scores in scored for judgement in scores.judgements for call in judgement.ballots]
        self._answered = self._answered or any(call.reason is None or not call.reason.of_engine for call in calls)
        if self._answered:
            return
        if calls:
            # No "?" for a model that no server was there to name.
            engine = self.tournament.judge.engine.name.removesuffix(":?")
            raise EngineUnavailableError(
                f"the engine {engine!r} has answered none of the judge's calls; "
                f"the first failed with: {calls[0].detail}"
            )
        # A group of one is nobody's mistake where a trainer evaluates with one generation per prompt.
        unplayed = [scores.error for scores in scored if len(scores.values) > 1]
        if unplayed and all(unplayed):
            raise GroupError(f"no group could be scored: {unplayed[0]}")

    def variant(self, **changes: Any) -> RRMJudge:
        """A judge with other tournament settings (`schedule`, `orders`...) on the same engine, clients and ledger."""
        # Not copy.copy, which goes the way of a pickled copy and would start clients of its own.
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.tournament = dataclasses.replace(self.tournament, **changes)
        # The clients end with the judge that made them, so it has to live as long as this one.
        other._origin = self
        return other

    def close(self) -> None:
        """Closes clients and threads, those of variants too; a later call opens them again."""
        self._loop.close(self.tournament.judge.engine.close())
        if self.tournament.judge.ledger is not None:
            self.tournament.judge.ledger.close()

    def __enter__(self) -> RRMJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.tournament.settings.items())
        return f"RRMJudge({settings})"

    async def _compare(self, prompt: Prompt, first: Response, second: Response, both_orders: bool) -> Judgement:
        judgement = await self.tournament.compare(prompt, first, second, both_orders=both_orders)
        self._stop_where_spent([judgement])
        return judgement

    async def _score_groups(self, groups: Sequence[Group]) -> list[Scores]:
        scores = await self.tournament.score(groups)
        await self.tournament.record(groups, [(one, None) for one in scores])
        self._stop_where_spent(judgement for one in scores for judgement in one.judgements)
        return scores

    def run_on_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        """`on_loop`, for callers that do not await; not to be called from the judge's own loop."""
        return self._loop.run(work)

    async def on_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Runs a coroutine on the judge's own event loop, where its clients live; from any loop or thread.

        Cancelling the caller cancels the work.
        """
        return await self._loop.run_async(work)

    async def score_whole(self, group: Group, lengths: Sequence[int], early: Early | None = None) -> Scored:
        """Scores and rewards of one group, recorded; only to be awaited on the judge's own loop (`on_loop`).

        Args:
            lengths: of each response, in tokens where they are known.
            early: matches of the group that are under way already.
        """
        scores = await self.tournament.score_group(group, early)
        scored = scores, self.rewards(scores, lengths)
        await self.tournament.record([group], [scored], [lengths])
        return scored

    async def _score_shaped(self, groups: Sequence[Group], lengths: Sequence[Sequence[int]]) -> list[Scored]:
        scores = await self.tournament.score(groups)
        scored = [(one, self.rewards(one, sizes)) for one, sizes in zip(scores, lengths, strict=True)]
        await self.tournament.record(groups, scored, lengths)
        self._stop_where_spent(judgement for one in scores for judgement in one.judgements)
        return scored

    def _stop_where_spent(self, judgements: Iterable[Judgement]) -> None:
        """Ends what was asked for where the budget did not last; all that was paid is done and recorded by then."""
        if self.over_budget != "stop":
            return
        for judgement in judgements:
            for ballot in judgement.ballots:
                if ballot.reason is Reason.OVER_BUDGET:
                    raise BudgetSpentError(ballot.detail)

    def _score_rows(self, groups: Sequence[Group], lengths: Sequence[Sequence[int]]) -> list[Scored]:
        return self._loop.run(self._score_shaped(groups, lengths))

    async def _score_rows_async(self, groups: Sequence[Group], lengths: Sequence[Sequence[int]]) -> list[Scored]:
        return await self._loop.run_async(self._score_shaped(groups, lengths))

    def _close_batch(
        self, scored: ScoredRows, columns: dict[str, Any], began: float, *, training: bool, speaks: bool = True
    ) -> None:
        # From the groups of all ranks, so that all ranks go on or all end.
        self.refuse_silence(scored.scores)
        found = self.lookout.metrics(scored.scores, scored.lengths, scored.signs, watched=training, speaks=speaks)
        report(self.__name__, scored, columns, found | {f"{self.__name__}/seconds": time.perf_counter() - began})
        if training:
            self._tables.send(scored.matches, columns.get("log_extra"))
            self.lookout.stop_if_alarmed()

    def _rows(self, prompts: Sequence[Prompt], completions: Sequence[Response], columns: dict[str, Any]) -> Rows:
        if len(prompts) != len(completions):
            raise GroupError(
                f"{len(prompts)} prompts and {len(completions)} completions: one prompt per completion is needed"
            )
        ids = columns.get("completion_ids")
        lengths = [len(one) for one in ids] if ids else [self.tournament.length(one) for one in completions]
        references = columns.get(self.reference_column)
        if self.tournament.schedule.needs_reference and references is None:
            others = ", ".join(sorted(columns.keys() - _OF_TRAINER)) or "none"
            raise GroupError(
                f"schedule={self.tournament.schedule.name!r} compares with a given answer: the dataset needs a column "
                f"{self.reference_column!r}, or the judge another reference_column; other columns of it: {others}"
            )
        return Rows(
            prompts=prompts,
            completions=completions,
            lengths=lengths,
            references=references if self.tournament.schedule.needs_reference else None,
            step=getattr(columns.get("trainer_state"), "global_step", None),
        )

    def _start(self) -> None:
        self._loop = BackgroundLoop()
        judge = self.tournament.judge
        self._end = weakref.finalize(self, _shut, self._loop, judge.engine.close, judge.ledger)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_loop", "_end")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()


class AsyncReward:
    """A judge as an async reward function; made by `RRMJudge.as_async`."""

    def __init__(self, judge: RRMJudge) -> None:
        self.judge = judge
        self.__name__ = judge.__name__

    async def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Response], **columns: Any
    ) -> list[float | None]:
        """A reward per row, as `RRMJudge.__call__`, without gathering over ranks.

        Raises:
            GroupError: the rows of this rank are no whole groups.
            AlarmError: an alarm stands on this rank, and the judge was made with `alarms="stop"`.
        """
        began = time.perf_counter()
        judge = self.judge
        rows = judge._rows(prompts, completions, columns)
        view = trainer_view(columns.get("log_extra"))
        look = judge.tournament.look
        scored = await reward_rows_here(rows, judge.num_generations, view, judge._score_rows_async, look)
        judge._close_batch(scored, columns, began, training=view.training)
        return scored.rewards


def _group(prompt: Prompt, responses: Sequence[Response], reference: Response | None) -> Group:
    if isinstance(responses, str):
        raise GroupError("responses must be a list of responses, not a single text")
    if not responses:
        raise GroupError("responses is empty: a group needs at least one response")
    return Group(prompt=prompt, responses=responses, reference=reference)


def _shut(loop: BackgroundLoop, close: Callable[[], Coroutine[Any, Any, None]], ledger: Ledger | None) -> None:
    loop.close(close())
    if ledger is not None:
        ledger.close()


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check(setting: str, value: object, fits: bool, wanted: str) -> None:
    if not fits:
        raise ConfigError(f"{setting} must be {wanted}, not {value!r}")


def _refuse_misspelt(options: dict[str, Any]) -> None:
    """A misspelt setting lands among the engine's options, whose error would not help."""
    settings = [name for name in inspect.signature(RRMJudge).parameters if name != "engine_options"]
    for option in options:
        close = difflib.get_close_matches(option, settings, n=1, cutoff=0.8)
        if close:
            raise ConfigError(f"there is no setting {option!r}; did you mean {close[0]!r}?")
