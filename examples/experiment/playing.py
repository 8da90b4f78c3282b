"""Plays the stages of all seeds, each in a process of its own, a few at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from examples.experiment import judge_rl, policy_rl, pretraining
from examples.experiment.stages import STAGES, Run

__all__ = ["clear", "play"]

NEWS_SECONDS = 30
"""How long a terminal stays silent at most."""

Task = tuple[int, str]
"""A seed and the name of a stage."""


def play(folder: Path, seeds: Sequence[int], split: str, workers: int) -> None:
    """Plays what is not done yet.

    Raises:
        SystemExit: a stage failed; shows the end of its log.
    """
    runs = {seed: Run(folder=folder, seed=seed, split=split) for seed in seeds}
    tasks = [(seed, name) for name in STAGES for seed in seeds]
    done = {task for task in tasks if runs[task[0]].results(task[1]) is not None}
    waiting = [task for task in tasks if task not in done]
    waited = tuple(waiting)
    playing: dict[Future[None], Task] = {}
    said: dict[Task, str] = {}
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        while waiting or playing:
            for task in [task for task in waiting if _ready(task, done)][: workers - len(playing)]:
                waiting.remove(task)
                playing[pool.submit(_play_one, runs[task[0]], task[1])] = task
            ended = wait(playing, timeout=NEWS_SECONDS, return_when=FIRST_COMPLETED).done
            for future in ended:
                future.result()
                done.add(playing.pop(future))
            for seed, name in () if ended else playing.values():
                news = _how_far(runs[seed], name)
                if news != said.get((seed, name), ""):
                    said[seed, name] = news
                    _say(news)
    if len(waited) == len(tasks):
        _note_time(folder, time.perf_counter() - began, workers)
    elif waited:
        # The time that was noted is that of another run.
        (folder / "time.json").unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Throws away what runs have left in a folder, and nothing else that lies there."""
    for left in folder.glob("seed-*"):
        shutil.rmtree(left)
    (folder / "time.json").unlink(missing_ok=True)


def _ready(task: Task, done: set[Task]) -> bool:
    seed, name = task
    return all((seed, need) in done for need in STAGES[name].needs)


def _play_one(run: Run, name: str) -> None:
    folder = run.at(name)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "examples.experiment", "--stage", name, "--seeds", str(run.seed)]
    command += ["--output", str(run.folder), "--split", run.split]
    place = f"stage {list(STAGES).index(name) + 1} of {len(STAGES)}"
    _say(f"seed {run.seed}: {place}, {name}, begins:\n  {STAGES[name].what}")
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        code = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        ).returncode
    if code:
        tail = "".join((folder / "log.txt").read_text(encoding="utf-8").splitlines(keepends=True)[-20:])
        raise SystemExit(f"seed {run.seed}: {name} failed\n{tail}")
    found = run.results(name) or {}
    _say(f"seed {run.seed}: {name} took {found['seconds']:.0f} s{_news(found)}")


def _how_far(run: Run, name: str) -> str:
    """The newest step in the log of a stage; empty as long as there is none."""
    lines = (run.at(name) / "log.txt").read_text(encoding="utf-8").split("\n")
    steps = [line.strip() for line in lines if line.lstrip().startswith("step ")]
    if not steps:
        return ""
    _, step, *figures = steps[-1].split()
    # The first three figures: a line of a terminal holds no more.
    return f"  seed {run.seed}: {name}: step {step.rstrip(':')} of {_steps(name)}, {' '.join(figures[:6])}"


def _steps(name: str) -> int:
    """All that a stage takes."""
    phases = {"cold_start": pretraining.COLD_START, "policy": pretraining.POLICY}
    if name in phases:
        return sum(phase.steps for phase in phases[name])
    return judge_rl.STEPS if name == "judge" else policy_rl.STEPS


def _say(line: str) -> None:
    # In one piece: print would let another thread write between a line and its end.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _news(found: dict) -> str:
    before, after = found.get("before"), found.get("after")
    if isinstance(before, dict) and isinstance(after, dict):
        orders = ("first_order", "swapped_order", "agreement")
        return ": " + ", ".join(f"{name} {before[name]} -> {after[name]}" for name in orders)
    return f": pass@1 {before:.1f} -> {after:.1f}" if before is not None and after is not None else ""


def _note_time(folder: Path, seconds: float, workers: int) -> None:
    """Of a run from nothing to its end; one that was interrupted has no time of its own."""
    noted = {"wall_seconds": round(seconds), "workers": workers, "cpus": os.cpu_count()}
    (folder / "time.json").write_text(json.dumps(noted) + "\n", encoding="utf-8")
