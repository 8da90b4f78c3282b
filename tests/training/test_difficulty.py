"""Pairs that the current judge always gets right are dropped, and nothing else is."""

from __future__ import annotations

import asyncio
import json

import pytest

from rrm_plugin.engines import Reply, Sampling, ScriptedEngine
from rrm_plugin.errors import EngineError, EngineUnavailableError
from rrm_plugin.judge import PairJudge
from rrm_plugin.prompts import load_prompt
from rrm_plugin.training.builder import write_training_data
from rrm_plugin.training.candidates import Preparation
from rrm_plugin.training.difficulty import DifficultyFilter
from rrm_plugin.training.sources import source
from rrm_plugin.types import Reason


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source(str(path))


def pairs(count, kind="easy"):
    return [
        {"prompt": f"{kind} {number}", "chosen": f"good {number}", "rejected": f"bad {number}"}
        for number in range(count)
    ]


def first_is_good(messages) -> bool:
    text = messages[-1]["content"]
    return "good" in text.split("### Assistant 2")[0].split("### Assistant 1")[1]


def verdict(first):
    return rf"<think>.</think>\boxed{{Assistant {1 if first else 2}}}"


def sift(tmp_path, rows, reply, times=3, orders="random"):
    calls = []

    def counted(messages):
        calls.append(messages[-1]["content"])
        return reply(messages)

    judge = PairJudge(engine=ScriptedEngine(counted), prompt=load_prompt("rrm"), sampling=Sampling())
    made = write(tmp_path / "in.jsonl", rows)
    with DifficultyFilter(judge, times, orders) as stage:
        summary = write_training_data([made], tmp_path / "out.jsonl", Preparation(), orders=orders, stage=stage)
    rejects = [json.loads(line) for line in (tmp_path / "out.jsonl.rejects.jsonl").read_text().splitlines()]
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    return summary, rejects, written, calls


def test_easy_pairs_go_and_hard_ones_stay_in_their_order(tmp_path):
    def reply(messages):
        hard = "hard" in messages[-1]["content"]
        return verdict(first_is_good(messages) != hard)

    rows = [row for both in zip(pairs(300), pairs(300, "hard"), strict=True) for row in both]
    summary, rejects, written, calls = sift(tmp_path, rows, reply)
    assert summary.pairs == 300 and {reject["reason"] for reject in rejects} == {"too_easy"}
    assert [reject["line"] for reject in rejects] == list(range(1, 600, 2))
    assert [row["extra_info"]["origin"].rpartition(":")[2] for row in written] == [str(n) for n in range(2, 601, 2)]
    assert len(calls) == 300 * 3 + 300, "a hard pair costs one call"


def test_a_judge_that_looks_at_positions_solves_nothing_in_both_orders(tmp_path):
    summary, rejects, _, _ = sift(tmp_path, pairs(10), lambda messages: verdict(True), orders="both")
    assert summary.pairs == 10 and rejects == []


def test_a_reply_without_a_verdict_is_not_right(tmp_path):
    summary, _, _, _ = sift(tmp_path, pairs(5), lambda messages: "I wonder.")
    assert summary.pairs == 5


def test_a_call_that_fails_keeps_its_pair(tmp_path):
    def reply(messages):
        if "easy 2" in messages[-1]["content"]:
            raise EngineError("busy", Reason.RATE_LIMITED)
        return verdict(first_is_good(messages))

    summary, _, written, _ = sift(tmp_path, pairs(4), reply)
    assert summary.pairs == 1 and "easy 2" in written[0]["prompt"][-1]["content"]


def test_an_engine_that_never_answers_ends_the_run(tmp_path):
    def reply(messages) -> Reply:
        raise EngineError("no route", Reason.UNREACHABLE)

    with pytest.raises(EngineUnavailableError, match="no route"):
        sift(tmp_path, pairs(100), reply)


def test_sources_that_are_mixed_share_one_engine_and_one_loop(tmp_path):
    loops = set()

    class Local(ScriptedEngine):
        closed = 0

        async def close(self):
            self.closed += 1

    async def reply(messages):
        loops.add(asyncio.get_running_loop())
        return verdict(first_is_good(messages) != ("hard" in messages[-1]["content"]))

    engine = Local(reply)
    judge = PairJudge(engine=engine, prompt=load_prompt("rrm"), sampling=Sampling())
    sources = [
        write(tmp_path / "a.jsonl", pairs(20) + pairs(20, "hard")),
        write(tmp_path / "b.jsonl", pairs(9, "hard b")),
    ]
    with DifficultyFilter(judge, 1) as stage:
        summary = write_training_data(
            sources, tmp_path / "out.jsonl", Preparation(), weights={"a": 1, "b": 1}, stage=stage
        )
        assert engine.closed == 0
    assert summary.sources["a"].pairs == 10 and summary.sources["b"].pairs == 9
    assert len(loops) == 1 and engine.closed == 1
