"""`rrm rank --ray`: many files of groups, ranked by judges on a Ray cluster into a folder of files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from rrm_plugin.bulk.cluster import Cluster, Status, connect
from rrm_plugin.bulk.folder import Folder, PartTally, Plan
from rrm_plugin.bulk.holding import Hold, holding
from rrm_plugin.bulk.replica import score_settings
from rrm_plugin.bulk.sources import File, find_files
from rrm_plugin.cli.progress import Progress, note
from rrm_plugin.errors import ConfigError
from rrm_plugin.reward import RRMJudge

__all__ = ["BULK", "bulk_options", "rank_on_ray"]

_PART_MB = 8.0
_OPTIONS = (
    click.option("--ray", is_flag=True, help="Rank many files on a Ray cluster: that of RAY_ADDRESS, or this machine."),
    click.option(
        "--replicas", type=click.IntRange(min=1), help="Judges on the cluster, by default one a GPU or machine."
    ),
    click.option("--gpus", type=click.FloatRange(min=0), help="GPUs of each judge that runs in process; 1 by default."),
    click.option(
        "--part-mb",
        type=click.FloatRange(min=0, min_open=True),
        help=f"Megabytes of a file that are ranked, and finished, at a time; {_PART_MB:g} by default.",
    ),
    click.option("--max-calls", type=click.IntRange(min=1), help="Judge calls after which all of them stop."),
)
BULK = ("replicas", "gpus", "part_mb", "max_calls")
"""Options that only --ray takes."""


def bulk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of bulk ranking to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def rank_on_ray(
    places: Sequence[str],
    place: str,
    settings: Mapping[str, Any],
    *,
    replicas: int | None,
    gpus: float | None,
    part_mb: float | None,
    max_calls: int | None,
) -> None:
    """Ranks the files at `places` into the folder `place`.

    Raises:
        click.ClickException: the run was stopped, or not all could be scored.
        RRMError, OSError: it could not be done; the message says what to change.
    """
    # The judge of this process only says what cannot work, and what decides the scores: it makes no call.
    with RRMJudge(**settings) as judge:
        folder = Folder(place if "://" in place else os.path.abspath(os.path.expanduser(place)))
        before = folder.read_plan()
        plan, files = _planned(judge, folder, before, places, int((part_mb or _PART_MB) * 2**20))
        with holding(folder, note) as hold:
            if folder.read_plan() != before:
                raise ConfigError(f"another run into {folder.place} has begun meanwhile: run the same command again")
            folder.write_plan(plan)
            with _connected() as ray:
                share = _gpus(ray, settings) if gpus is None else gpus
                cluster = Cluster(
                    ray, judge, folder, plan.stamp, files, replicas=replicas, gpus=share, max_calls=max_calls, say=note
                )
                _run(cluster, folder, files, hold)
            _report(cluster, folder, files)


def _planned(
    judge: RRMJudge, folder: Folder, before: Plan | None, places: Sequence[str], part_size: int
) -> tuple[Plan, list[File]]:
    known = {file.name: file for file in before.files} if before else {}
    files = find_files(places, but=folder.place, part_size=part_size, known=known)
    if foreign := {file.name for file in files if file.name not in known} & folder.names():
        raise ConfigError(
            f"{min(foreign)} stands in {folder.place} and is of no earlier run into it: name another folder"
        )
    settings = score_settings(judge)
    plan = before.continued(settings, files) if before else Plan(settings=settings, files=files)
    if kept := len(plan.files) - len(files):
        note(
            f"{kept} files of earlier runs into {folder.place} are not among those given now, and are left as they are"
        )
    return plan, files


@contextlib.contextmanager
def _connected() -> Iterator[Any]:
    # Ray colours the names of its processes, in log files too.
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    note("connecting to Ray")
    ray = connect()
    try:
        yield ray
    finally:
        ray.shutdown()


def _gpus(ray: Any, settings: Mapping[str, Any]) -> float:
    here = settings.get("engine", "transformers") in ("transformers", "vllm")
    return float(settings.get("tensor_parallel_size", 1)) if here and ray.cluster_resources().get("GPU") else 0.0


def _run(cluster: Cluster, folder: Folder, files: Sequence[File], hold: Hold) -> None:
    began = time.monotonic()
    parts = sum(len(file.parts) for file in files)
    with Progress(parts, "part") as progress:

        def show(status: Status) -> None:
            hold.check()
            seconds = time.monotonic() - began
            progress.stand(
                status.parts,
                f"{status.files} of {len(files)} files; now {status.now.told()}, "
                f"{status.now.groups / seconds:.1f} groups/s, {status.replicas} replicas",
            )

        try:
            cluster.run(folder.names(), show)
        except KeyboardInterrupt:
            done = cluster.status
            raise click.ClickException(
                f"stopped; {done.files} of {len(files)} files and {done.parts} of {parts} parts are finished in "
                f"{folder.place}: run the same command again to go on"
            ) from None


def _report(cluster: Cluster, folder: Folder, files: Sequence[File]) -> None:
    names = folder.names()
    whole = [file for file in files if file.name in names]
    tally = PartTally()
    for each in folder.tallies(part for file in whole for part in file.parts):
        tally.add(each)
    folder.remove_unfinished()
    note(f"{tally.told()} in {len(whole)} files -> {folder.place}")
    if cluster.failed:
        told = "; ".join(f"{item}: {why}" for item, why in cluster.failed[:3])
        raise click.ClickException(
            f"{len(cluster.failed)} parts could not be ranked, and their files have no output: {told}. "
            "The same command again tries them again"
        )
    if len(whole) < len(files):
        raise click.ClickException(
            f"{len(files) - len(whole)} files that were ranked are not in {folder.place}: do all machines see it?"
        )
    if tally.errors:
        raise click.ClickException(
            f"{tally.errors} of {tally.groups} rows could not be scored: see 'error' in {folder.place}"
        )
