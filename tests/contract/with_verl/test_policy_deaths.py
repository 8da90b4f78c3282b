"""Processes that are killed under the reward manager `rrm`: the broker where groups meet, and a worker of verl."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.contract.with_verl.policy_runs import bring, numbers, offline, reward_loop, rewards, until, write_settings

REASON = "needs verl: make test-verl"
pytest.importorskip("verl.experimental.reward_loop", reason=REASON, exc_type=ImportError)
ray = pytest.importorskip("ray", reason=REASON)


@pytest.fixture(scope="module")
def run(settings, model, tokenizer):
    write_settings(settings, gate={"deadline": 60.0})
    with reward_loop(model, tokenizer, workers=3) as run:
        yield run


def test_a_broker_that_is_killed_is_made_anew_and_its_groups_come_together_again(run):
    survivors = run.workers[1:]

    async def play():
        waiting = [asyncio.ensure_future(bring(run, 60, [index], workers=survivors)) for index in range(6)]
        await until(run, "members", 6)
        process = await run.broker().process.remote()
        os.kill(process, signal.SIGKILL)
        rest = await bring(run, 60, [6, 7], workers=survivors)
        return [answers[0] for answers in await asyncio.gather(*waiting)] + list(rest), process

    answers, process = asyncio.run(play())
    assert ray.get(run.broker().process.remote()) != process
    assert rewards(answers) == pytest.approx(offline(60)) and numbers(answers, "missing") == [0.0] * 8


def test_a_worker_that_is_killed_takes_no_group_with_it(run):
    """The members that it had brought stay in their group."""

    async def play():
        first, *others = run.workers
        lost = [asyncio.ensure_future(bring(run, 70, [index], workers=[first])) for index in range(4)]
        await until(run, "members", 4)
        ray.kill(first)
        answers = await bring(run, 70, range(4, 8), workers=others)
        return answers, await asyncio.gather(*lost, return_exceptions=True)

    before = run.counts().get("closed_full", 0)
    answers, lost = asyncio.run(play())
    assert run.counts()["closed_full"] == before + 1
    assert rewards(answers) == pytest.approx(offline(70)[4:]) and numbers(answers, "missing") == [0.0] * 4
    assert all(isinstance(error, ray.exceptions.RayActorError) for error in lost), "verl's own calls, which are gone"


def test_a_response_gets_a_number_where_no_broker_lives(monkeypatch):
    """It is brought again for as long as Ray may need, not for a number of times."""
    from rrm_plugin.adapters.verl import rendezvous
    from rrm_plugin.adapters.verl.settings import PolicySettings

    class Dead:
        brought = 0

        @property
        def join(self):
            return self

        async def remote(self, row):
            Dead.brought += 1
            raise ray.exceptions.RayActorError

    monkeypatch.setattr(rendezvous, "PATIENCE", 0.3)
    monkeypatch.setattr(rendezvous, "PAUSE", 0.001)
    settings = PolicySettings(judge={"engine": "scripted:first"}, size=2, validation_size=1, workers=2, in_flight=4)
    meeting = rendezvous.Rendezvous(settings)
    monkeypatch.setattr(meeting, "_broker", Dead)
    answer = asyncio.run(meeting.join(None))
    assert answer["reward_score"] == 0.0 and answer["reward_extra_info"]["rrm_failed"] == 1.0
    assert Dead.brought > 5


def test_the_broker_ends_though_a_worker_comes_during_a_look(monkeypatch):
    """And not because one cannot be reached for a moment."""
    from rrm_plugin.adapters.verl import rendezvous

    class Worker:
        def __init__(self, *answers):
            self.answers, self.looks = list(answers), 0

        @property
        def __ray_ready__(self):
            return self

        async def remote(self):
            self.looks += 1
            if self.looks == 1 and self is first:
                await broker.watch(late)
            if self.answers and (error := self.answers.pop(0)) is not None:
                raise error

    gone, away = ray.exceptions.RayActorError(), ray.exceptions.ActorUnavailableError("network", None)
    ended = []

    async def main():
        await broker.watch(first)
        await asyncio.wait_for(broker._watching, 20)

    monkeypatch.setattr(rendezvous, "ROUND", 0.01)
    monkeypatch.setattr(rendezvous.ray, "kill", ended.append)
    monkeypatch.setattr(rendezvous, "_this_actor", lambda: broker)
    broker = object.__new__(rendezvous._Process)
    broker._workers, broker._watching = [], None
    first, late = Worker(None, away, None, gone), Worker(None, None, gone)
    asyncio.run(main())
    assert ended == [broker] and (first.looks, late.looks) == (4, 3)


def test_the_broker_ends_with_the_last_worker(run):
    """It outlives the worker that made it, but not the run."""
    from rrm_plugin.adapters.verl import rendezvous
    from rrm_plugin.adapters.verl.settings import PolicySettings

    class Brief(rendezvous._Process):
        def __init__(self, settings):
            rendezvous.ROUND = 0.05
            super().__init__(settings)

    class Worker:
        pass

    settings = PolicySettings(judge={"engine": "scripted:first"}, size=2, validation_size=1, workers=2, in_flight=4)
    broker = ray.remote(Brief).options(lifetime="detached", name="brief", num_cpus=0).remote(settings)
    first, second = (ray.remote(Worker).options(num_cpus=0).remote() for _ in range(2))
    ray.get([broker.watch.remote(worker) for worker in (first, second)])
    ray.kill(first)
    for _ in range(5):
        assert ray.get(broker.ready.remote()) == "reference"
    ray.kill(second)
    with pytest.raises(ray.exceptions.RayActorError):
        for _ in range(100_000):
            ray.get(broker.ready.remote())
