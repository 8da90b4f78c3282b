"""verl's own reward loop on a Ray of this machine, and responses that go through verl's own code to it.

What is real: hydra's configuration, `RewardLoopManager` and its workers as Ray actors, the entry point, and the code of
`AgentLoopWorker` that packs a finished response and awaits its reward. What a GPU would be needed for is left out: the
responses are written here, not generated.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rrm_plugin import RRMJudge
from tests.contract.with_verl.recipes import verls_own


@dataclass
class Run:
    """A reward loop that is up."""

    manager: Any
    tokenizer: Any
    config: Any
    answers: dict[Any, tuple[float, dict[str, float]]] = field(default_factory=dict)

    @property
    def workers(self) -> list[Any]:
        return self.manager.reward_loop_worker_handles

    def rollout(self, workers: Sequence[Any] | None = None) -> Any:
        """verl's rollout worker, as far as it rewards: made without its engines, which need a GPU."""
        from verl.experimental.agent_loop.agent_loop import AgentLoopWorker

        worker = object.__new__(AgentLoopWorker)
        worker.processor, worker.mm_processor_kwargs = None, {}
        worker.reward_loop_worker_handles = list(workers or self.workers)
        return worker

    async def reward(
        self, prompt: str, text: str, *, workers: Sequence[Any] | None = None, **columns: Any
    ) -> tuple[float, dict[str, float]]:
        """The reward of one response, on verl's own way from a rollout to a worker and back."""
        from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

        asked = messages(prompt)
        ids = self.tokenizer(text)["input_ids"]
        output = AgentLoopOutput(
            prompt_ids=self.tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"],
            response_ids=ids,
            response_mask=[1] * len(ids),
            metrics=AgentLoopMetrics(),
        )
        row = {"raw_prompt": asked, "data_source": "s", "reward_model": {"ground_truth": ""}, "global_steps": 3}
        await self.rollout(workers)._compute_score([output], kwargs={**row, **columns})
        return output.reward_score, output.extra_fields["reward_extra_info"]

    def broker(self) -> Any:
        import ray

        from rrm_plugin.adapters.verl.rendezvous import NAMESPACE, broker_name

        return ray.get_actor(broker_name(), namespace=NAMESPACE)

    def counts(self) -> dict[str, float]:
        import ray

        return {name.split("/")[-1]: count for name, count in ray.get(self.broker().metrics.remote()).items()}


def messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


@contextmanager
def reward_loop(model: str, tokenizer: Any, *overrides: str, workers: int = 2, n: int = 8) -> Iterator[Run]:
    """verl's reward loop with the manager `rrm`, taken down at the end."""
    import ray
    from verl.experimental.reward_loop import RewardLoopManager

    config = verls_own(
        "reward.reward_manager.name=rrm",
        f"reward.num_workers={workers}",
        f"actor_rollout_ref.model.path={model}",
        "actor_rollout_ref.rollout.name=vllm",
        f"actor_rollout_ref.rollout.n={n}",
        "data.train_batch_size=64",
        *overrides,
    )
    manager = RewardLoopManager(config)
    try:
        ray.get([worker.__ray_ready__.remote() for worker in manager.reward_loop_workers])
        yield Run(manager=manager, tokenizer=tokenizer, config=config)
    finally:
        for worker in manager.reward_loop_workers:
            ray.kill(worker)
        kill_broker()


def kill_broker() -> None:
    import ray

    from rrm_plugin.adapters.verl.rendezvous import NAMESPACE, broker_name

    try:
        ray.kill(ray.get_actor(broker_name(), namespace=NAMESPACE))
    except ValueError:
        return


def write_settings(path: Any, **settings: Any) -> None:
    path.write_text(json.dumps({"engine": "scripted:random", **settings}))


def response(group: int, index: int) -> str:
    return f"answer {index} to question {group}" + " so" * ((index * 5 + group) % 7)


async def in_any_order(run: Run, groups: Sequence[int], n: int, seed: int = 0) -> dict[tuple[int, int], Any]:
    """All members of all groups, brought in a random order with random turns between them."""
    rng = random.Random(seed)
    places = [(group, index) for group in groups for index in range(n)]
    rng.shuffle(places)

    async def one(group: int, index: int) -> Any:
        for _ in range(rng.randrange(30)):
            await asyncio.sleep(0)
        return await run.reward(f"question {group}", response(group, index), uid=f"uid {group}", session_id=index)

    answers = await asyncio.gather(*(one(*place) for place in places))
    return dict(zip(places, answers, strict=True))


def batch_of(run: Run, rows: Sequence[tuple[int, int]], columns: Sequence[dict[str, Any]]) -> Any:
    """A whole batch, padded as verl's colocated path pads it."""
    import numpy as np
    import torch
    from tensordict import TensorDict
    from verl import DataProto

    asked = [run.tokenizer.apply_chat_template(messages(f"question {group}")) for group, _ in rows]
    prompts, prompt_mask = _padded([ids["input_ids"] for ids in asked])
    responses, response_mask = _padded([run.tokenizer(response(*row))["input_ids"] for row in rows])
    tensors = {
        "prompts": prompts,
        "responses": responses,
        "attention_mask": torch.cat([prompt_mask, response_mask], dim=1),
    }
    told = [{"raw_prompt": messages(f"question {group}")} for group, _ in rows]
    names = {"raw_prompt"}.union(*columns)
    others = {name: np.empty(len(rows), dtype=object) for name in names}
    for index, row in enumerate(told):
        for name in names:
            others[name][index] = {**row, **columns[index]}.get(name)
    return DataProto(batch=TensorDict(tensors, batch_size=len(rows)), non_tensor_batch=others)


def _padded(rows: Sequence[list[int]]) -> tuple[Any, Any]:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.tensor(row) for row in rows]
    return pad_sequence(ids, batch_first=True), pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)


@contextmanager
def another_broker() -> Iterator[None]:
    """The next broker that is made has a name of its own, and is taken down at the end."""
    from rrm_plugin.adapters.verl import rendezvous

    kept, rendezvous.NAME = rendezvous.NAME, "another_broker"
    try:
        yield
    finally:
        rendezvous.NAME = kept


def offline(group, n=8):
    with RRMJudge(engine="scripted:random") as judge:
        return judge.score(messages(f"question {group}"), [response(group, index) for index in range(n)]).values


async def bring(run: Run, group: int, sessions=range(8), **more):
    texts = ((index, response(group, index)) for index in sessions)
    calls = [
        run.reward(f"question {group}", text, uid=f"uid {group}", session_id=index, **more) for index, text in texts
    ]
    return await asyncio.gather(*calls)


def rewards(answers):
    return [reward for reward, _ in answers]


def numbers(answers, name):
    return [extra[f"rrm_{name}"] for _, extra in answers]


async def until(run: Run, name: str, more: int) -> None:
    """Waits until the broker has counted so many more."""
    begun = (await run.broker().metrics.remote()).get(f"rrm/gate/{name}", 0)
    while (await run.broker().metrics.remote()).get(f"rrm/gate/{name}", 0) < begun + more:
        await asyncio.sleep(0.02)
