"""Judges as actors of Ray, and who ranks what: parts go to replicas as these have room, and come back when one dies.

The driver holds names of parts and counts, never a row: replicas read and write for themselves. A part that was under
way on a replica that died may have killed it, so it is begun again alone; one that does so each time is left out and
reported. An engine that is down is waited for twice and then ends the run, since nothing is ranked without it.
Left out: what is finished, which the folder knows.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rrm_plugin.bulk.failures import ends_all, in_one_line
from rrm_plugin.bulk.folder import Folder
from rrm_plugin.bulk.purse import purse
from rrm_plugin.bulk.ranking import Tally
from rrm_plugin.bulk.replica import PARTS_AT_A_TIME, Replica
from rrm_plugin.bulk.sources import File, Part
from rrm_plugin.errors import ConfigError, EngineError, EngineUnavailableError, MissingExtraError, RRMError
from rrm_plugin.reward import RRMJudge
from rrm_plugin.types import Reason

__all__ = ["Cluster", "Status", "connect"]

ATTEMPTS = 3
"""Times that a part is begun at most."""
PAUSES = (10.0, 60.0)
"""Seconds before a group, and then a part, is begun for the second and the third time, where its engine or file could
not be reached: what a server needs to start again.
"""
START_SECONDS = 1800.0
"""Longest wait for the first replica: for machines to come up, and for nothing else, since models load later."""
TICK = 0.5
TOLD_EVERY = 2.0
_CLOSING_SECONDS = 30.0
_SAID_AFTER = 30.0


@dataclass(kw_only=True)
class Status:
    """How far a run is."""

    parts: int = 0
    """Parts that are finished, those of earlier starts too."""
    files: int = 0
    now: Tally = field(default_factory=Tally)
    """What was done since this start, unfinished parts and those of dead replicas included."""
    replicas: int = 0
    """That have started and live."""
    died: int = 0


@dataclass(eq=False)
class _Work:
    """A part to rank, or a file whose parts are to be put together."""

    item: Part | File
    begun: int = 0
    alone: bool = False
    """Whether it may have killed a replica."""
    not_before: float = 0.0


@dataclass(eq=False)
class _Seat:
    """A replica, from the moment it is asked for."""

    actor: Any
    starting: Any
    """Ray's reference to the answer; None once it has started."""
    works: dict[Any, _Work] = field(default_factory=dict)
    telling: Any = None
    told: Tally = field(default_factory=Tally)
    asked: float = 0.0

    def takes(self, work: _Work) -> bool:
        if self.starting is not None or any(each.alone for each in self.works.values()):
            return False
        return not self.works if work.alone else len(self.works) < PARTS_AT_A_TIME


def connect() -> Any:
    """Ray, connected to the cluster that RAY_ADDRESS names, to the one of this machine, or to one started now.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there is no cluster at that address.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("rrm rank --ray", "ray") from None
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no Ray cluster can be reached: {in_one_line(error)}") from error
    return ray


class Cluster:
    """Replicas of a judge on Ray, and the parts that they rank.

    Args:
        ray: the module, connected.
        judge: is pickled for each replica.
        folder, stamp: where the output goes, and how to know that it is this folder.
        files: what is ranked.
        replicas: how many; None is one for each GPU share that the cluster has, or for each machine without GPUs.
        gpus: of each replica; a fraction shares one.
        max_calls: judge calls that may be made in all; retries of the engine's own are none.
        say: is told what a person should know, a line each.
    """

    def __init__(
        self,
        ray: Any,
        judge: RRMJudge,
        folder: Folder,
        stamp: str,
        files: Sequence[File],
        *,
        replicas: int | None = None,
        gpus: float = 0,
        max_calls: int | None = None,
        say: Callable[[str], Any] = print,
    ) -> None:
        self._ray = ray
        self._judge = ray.cloudpickle.dumps(judge)
        self._folder, self._stamp, self._files, self._say = folder, stamp, files, say
        self._actor = ray.remote(Replica).options(
            num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        self._count = replicas or self._places(gpus)
        self._purse = None if max_calls is None else purse(ray, max_calls, takers=self._count)
        self._gpus = gpus
        self._seats: list[_Seat] = []
        self._queue: deque[_Work] = deque()
        self._again: list[_Work] = []
        """What was begun before, each with its own rules; goes first."""
        self._open: dict[str, int] = {}
        """Parts of a file that are not finished, by its name."""
        self._past = Tally()
        """What replicas did that are no more."""
        self._failed_starts = 0
        self._start_after = 0.0
        self._lost_in_a_row = 0
        self._spent: EngineError | None = None
        """Why nothing new is begun: what others have under way may still be paid."""
        self._waits = _Waiting()
        self.status = Status()
        self.failed: list[tuple[Part | File, str]] = []
        """What was given up, and why."""

    def run(self, finished: frozenset[str], show: Callable[[Status], Any]) -> None:
        """Ranks all that is not finished.

        Args:
            finished: names of the files in the folder.
            show: is called about twice a second.

        Raises:
            EngineUnavailableError: the engine answers nothing.
            EngineError: `max_calls` are spent, or the budget of the service that judges.
            OSError: files cannot be read or written.
            ConfigError: a replica cannot start.
        """
        self._enter(finished)
        try:
            while any(seat.works for seat in self._seats) or (not self._spent and (self._queue or self._again)):
                self._fill()
                for ref in self._answers():
                    self._settle(ref)
                self._wait_for_machines()
                self.status.now = self._sum()
                self.status.replicas = sum(seat.starting is None for seat in self._seats)
                show(self.status)
            self._close()
            if self._spent:
                raise self._spent
        finally:
            for seat in self._seats:
                self._ray.kill(seat.actor)

    def _places(self, gpus: float) -> int:
        share = self._ray.cluster_resources().get("GPU", 0) / gpus if gpus else 0
        machines = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        return max(1, int(share) or len(machines))

    def _enter(self, finished: frozenset[str]) -> None:
        for file in self._files:
            if file.name in finished:
                self._folder.remove_parts(file)
                self.status.files += 1
                self.status.parts += len(file.parts)
                continue
            missing = [part for part in file.parts if self._folder.target(part) not in finished]
            self.status.parts += len(file.parts) - len(missing)
            self._open[file.name] = len(missing)
            # Where a file has parts and all are finished, they are yet to be put together.
            self._queue.extend(map(_Work, missing or [file]))

    def _fill(self) -> None:
        """Asks for the replicas that are missing, and gives parts to those that have room, the emptiest first."""
        if self._spent:
            return
        works = len(self._queue) + len(self._again) + sum(len(seat.works) for seat in self._seats)
        now = time.monotonic()
        while len(self._seats) < min(self._count, works) and now >= self._start_after:
            actor = self._actor.remote(self._judge, self._folder, self._stamp, PAUSES, self._purse, self._has_begun)
            self._seats.append(_Seat(actor=actor, starting=actor.start.remote()))
        for work in [work for work in self._again if work.not_before <= now]:
            if self._give(work):
                self._again.remove(work)
        while self._queue and self._give(self._queue[0]):
            self._queue.popleft()

    def _give(self, work: _Work) -> bool:
        seat = min((seat for seat in self._seats if seat.takes(work)), key=lambda each: len(each.works), default=None)
        if seat is None:
            return False
        work.begun += 1
        if isinstance(work.item, File):
            ref = seat.actor.join.remote(work.item)
        else:
            ref = seat.actor.rank.remote(work.item, work.begun >= ATTEMPTS)
        seat.works[ref] = work
        return True

    def _answers(self) -> list[Any]:
        """A reference whose answer is there, or none after a tick."""
        now = time.monotonic()
        for seat in self._seats:
            if seat.starting is None and seat.telling is None and now - seat.asked >= TOLD_EVERY:
                seat.telling, seat.asked = seat.actor.told.remote(), now
        refs = [ref for seat in self._seats for ref in (seat.starting, seat.telling, *seat.works) if ref is not None]
        if not refs:
            time.sleep(TICK)
            return []
        return self._ray.wait(refs, num_returns=1, timeout=TICK)[0]

    def _settle(self, ref: Any) -> None:
        seat = next((seat for seat in self._seats if ref in (seat.starting, seat.telling) or ref in seat.works), None)
        if seat is None:
            # Of a replica that another answer has shown to be dead.
            return
        try:
            answer = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            self._failed(seat, ref, error.cause or error)
        except self._ray.exceptions.RayError as error:
            self._died(seat, error)
        else:
            self._answered(seat, ref, answer)

    def _answered(self, seat: _Seat, ref: Any, answer: Any) -> None:
        if ref is seat.starting:
            seat.starting = None
            self._failed_starts = 0
        else:
            seat.told = answer
            if ref is seat.telling:
                seat.telling = None
            else:
                self._lost_in_a_row = 0
                self._finished(seat.works.pop(ref).item)

    def _finished(self, item: Part | File) -> None:
        file = item if isinstance(item, File) else item.file
        if isinstance(item, Part):
            self.status.parts += 1
            self._open[file.name] -= 1
            if len(file.cuts) > 1:
                if not self._open[file.name]:
                    self._queue.appendleft(_Work(file))
                return
        self.status.files += 1

    def _failed(self, seat: _Seat, ref: Any, error: BaseException) -> None:
        """A replica that lives could not do what it was asked."""
        if ref is seat.starting:
            self._not_started(seat, error)
            return
        work = seat.works.pop(ref)
        if isinstance(error, EngineError) and error.reason is Reason.OVER_BUDGET:
            self._spent = error
        elif ends_all(error, begun=self._has_begun):
            raise error
        elif not isinstance(error, EngineError | OSError):
            self._give_up(work, f"{type(error).__name__}: {in_one_line(error)}")
        elif work.begun < ATTEMPTS:
            self._later(seat, work, error)
        elif isinstance(error, EngineUnavailableError) or (self._queue and self._lost_in_a_row >= ATTEMPTS - 1):
            # Where so many fail one after the other, the rest would too.
            raise error
        else:
            self._lost_in_a_row += 1
            self._give_up(work, in_one_line(error))

    def _not_started(self, seat: _Seat, error: BaseException) -> None:
        if self._has_begun:
            # A machine that came later and is not set up as the others are.
            self._died(seat, error)
        elif isinstance(error, RRMError | OSError):
            raise error
        else:
            raise ConfigError(
                f"no replica of the judge can start: {type(error).__name__}: {in_one_line(error)}"
            ) from error

    def _later(self, seat: _Seat, work: _Work, error: BaseException) -> None:
        """What may pass is waited for: a server that starts again, a file system that is away."""
        pause = PAUSES[work.begun - 1]
        self._say(f"{work.item}: {in_one_line(error)}; it is begun again in {pause:.0f} s")
        works = [work]
        if isinstance(error, EngineUnavailableError):
            # All that this replica has under way waits for the same engine, and its judge has lost its faith in it.
            works += seat.works.values()
            self._leave(seat)
        for each in works:
            each.not_before = time.monotonic() + pause
        self._again += works

    def _died(self, seat: _Seat, error: BaseException) -> None:
        """A replica is no more, or cannot be reached any more."""
        if seat.starting is not None:
            self._failed_starts += 1
            self._start_after = time.monotonic() + PAUSES[0]
            if self._failed_starts >= ATTEMPTS * self._count:
                raise ConfigError(f"no replica of the judge can start: {in_one_line(error)}")
        self.status.died += 1
        self._say(f"a replica died, and another one takes its place: {in_one_line(error)}")
        for work in seat.works.values():
            if work.begun >= ATTEMPTS:
                self._give_up(work, f"the replica that ranked it died, {ATTEMPTS} times; lately: {in_one_line(error)}")
            else:
                work.alone = True
                self._again.append(work)
        self._leave(seat)

    def _give_up(self, work: _Work, why: str) -> None:
        self.failed.append((work.item, why))
        self._say(f"given up: {work.item}: {why}")

    def _leave(self, seat: _Seat) -> None:
        self._past.add(seat.told)
        self._seats.remove(seat)
        self._ray.kill(seat.actor)

    @property
    def _has_begun(self) -> bool:
        """Whether anything was ever ranked: before that, what fails is the set-up."""
        now = self._sum()
        return bool(now.calls or now.cached)

    def _sum(self) -> Tally:
        now = dataclasses.replace(self._past)
        for seat in self._seats:
            now.add(seat.told)
        return now

    def _wait_for_machines(self) -> None:
        """Says why nothing goes on where no replica runs.

        Raises:
            ConfigError: none has run for `START_SECONDS`.
        """
        if any(seat.starting is None for seat in self._seats) or not self._seats:
            self._waits = _Waiting()
            return
        has = ", ".join(f"{self._ray.cluster_resources().get(name, 0):g} {name}" for name in ("CPU", "GPU"))
        told = f"no replica runs yet: each needs 1 CPU and {self._gpus:g} GPU, and the cluster has {has} in all"
        if self._waits.seconds > START_SECONDS:
            raise ConfigError(told)
        if self._waits.is_due():
            self._say(told)

    def _close(self) -> None:
        closing = [seat.actor.close.remote() for seat in self._seats if seat.starting is None]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=_CLOSING_SECONDS)


class _Waiting:
    """How long one waits, and when that should be said."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._next = _SAID_AFTER

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since

    def is_due(self) -> bool:
        """True once, and again when as much time has passed."""
        if self.seconds < self._next:
            return False
        self._next *= 2
        return True
