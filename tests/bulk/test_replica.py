"""One judge of a bulk run, without a cluster: parts side by side, doubt about an engine, folders that are not seen."""

from __future__ import annotations

import asyncio
import json
import pickle
import shutil

import pytest

pytest.importorskip("pyarrow")

from rrm_plugin import RRMJudge
from rrm_plugin.bulk.folder import Folder, Plan
from rrm_plugin.bulk.replica import Replica, score_settings
from rrm_plugin.bulk.sources import find_files
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.errors import ConfigError, EngineError, EngineUnavailableError
from rrm_plugin.types import Reason

DOWN: set[str] = set()
"""Words in whose questions the judge cannot be reached."""


SEEN: set[str] = set()
"""Prompts with the word `later` that were not answered once."""


def judge_text(messages) -> str:
    text = messages[-1]["content"]
    if "later" in text and text not in SEEN:
        SEEN.add(text)
        raise EngineError("nobody is there yet", Reason.UNREACHABLE)
    if any(word in text for word in DOWN):
        raise EngineError("nobody is there", Reason.UNREACHABLE)
    return "\\boxed{Assistant 1}"


@pytest.fixture
def run(tmp_path):
    """Ranks files of the questions given, at once, and returns what came of each: rows or an error."""
    DOWN.clear()
    SEEN.clear()
    folder = Folder(str(tmp_path / "out"))

    def ranked(files: dict[str, list[str]], *, last: bool = False, purse=None, patience=(0.0,), begun=False):
        (tmp_path / "in").mkdir(exist_ok=True)
        for name, questions in files.items():
            rows = [json.dumps({"prompt": question, "responses": ["a", "b"]}) for question in questions]
            (tmp_path / "in" / f"{name}.jsonl").write_text("".join(row + "\n" for row in rows))
        found = find_files([str(tmp_path / "in")], but=folder.place, part_size=2**20, known={})
        plan = Plan(settings={}, files=found)
        folder.write_plan(plan)

        async def go():
            judge = pickle.dumps(RRMJudge(engine=ScriptedEngine(judge_text)))
            replica = Replica(judge, folder, plan.stamp, patience, purse, begun)
            await replica.start()
            work = [replica.rank(part, last) for file in found for part in file.parts]
            errors = await asyncio.gather(*work, return_exceptions=True)
            await replica.close()
            return [
                error if isinstance(error, Exception) else written(folder, file.name)
                for error, file in zip(errors, found, strict=True)
            ]

        return dict(zip([file.name.removesuffix(".jsonl") for file in found], asyncio.run(go()), strict=True))

    return ranked


def written(folder, name):
    with open(f"{folder.place}/{name}") as lines:
        return [json.loads(line) for line in lines]


def test_a_group_that_is_never_answered_is_a_row_with_its_error_where_others_are_answered_since(run):
    DOWN.add("hopeless")
    came = run({"a": ["fine", "hopeless", "fine"], "b": ["fine"] * 400})
    assert [row["error"] is None for row in came["a"]] == [True, False, True]
    assert "nobody is there" in came["a"][1]["error"] and len(came["b"]) == 400


def test_a_part_whose_last_word_is_silence_is_not_finished_until_its_last_try(run):
    DOWN.add("hopeless")
    files = {"a": ["fine", "fine", "hopeless"]}
    assert "did not answer 1 of 3 groups" in str(run(files)["a"])
    assert [row["error"] is None for row in run(files, last=True)["a"]] == [True, True, False]


def test_a_part_without_any_answer_is_never_finished(run):
    DOWN.add("hopeless")
    came = run({"a": ["fine"] * 400, "b": ["hopeless"] * 3}, last=True)
    assert len(came["a"]) == 400
    assert isinstance(came["b"], EngineError) and "did not answer 3 of 3 groups" in str(came["b"])


def test_eight_groups_in_a_row_end_all(run, tmp_path):
    DOWN.add("hopeless")
    came = run({"a": ["fine"] * 3 + ["hopeless"] * 300})
    assert isinstance(came["a"], EngineUnavailableError) and "has answered nothing for the last 8 groups" in str(
        came["a"]
    )
    assert list((tmp_path / "out").glob("*.jsonl")) == [] == list((tmp_path / "out" / "_rank" / "unfinished").glob("*"))


def test_a_group_is_waited_for_after_the_first_answer_and_not_before(run):
    DOWN.add("hopeless")
    assert isinstance(run({"a": ["hopeless"] * 20}, patience=(3600.0,))["a"], EngineUnavailableError)


def test_a_replica_that_starts_in_an_outage_waits_where_others_have_had_answers(run):
    files = {"a": [f"later {number}" for number in range(20)]}
    assert isinstance(run(files)["a"], EngineUnavailableError)
    SEEN.clear()
    assert [row["error"] for row in run(files, begun=True)["a"]] == [None] * 20


def test_a_replica_that_starts_in_an_outage_ends_as_others_do(run):
    DOWN.add("hopeless")
    came = run({"a": ["hopeless"] * 20}, begun=True)["a"]
    assert isinstance(came, EngineUnavailableError) and "answered nothing for the last 8 groups" in str(came)


def test_a_spent_budget_leaves_no_row_behind(run, tmp_path):
    purse = [10, 0]

    async def take(most: int) -> int:
        return purse.pop(0) if purse else 0

    came = run({"a": ["fine"] * 50}, purse=take)
    assert isinstance(came["a"], EngineError) and came["a"].reason is Reason.OVER_BUDGET
    assert list((tmp_path / "out").glob("*.jsonl")) == []


def test_a_folder_of_another_run_is_not_taken_for_this_one(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write_plan(Plan(settings={}, files=[]))
    replica = Replica(pickle.dumps(RRMJudge(engine="scripted:longer")), folder, "another stamp")
    with pytest.raises(ConfigError, match="does not see the folder"):
        asyncio.run(replica.start())


def test_a_ledger_is_made_on_the_machine_of_the_replica(tmp_path):
    folder = Folder(str(tmp_path / "out"))
    plan = Plan(settings={}, files=[])
    folder.write_plan(plan)
    judge = pickle.dumps(RRMJudge(engine="scripted:longer", ledger=tmp_path / "disk" / "ledger.db"))
    shutil.rmtree(tmp_path / "disk")
    asyncio.run(Replica(judge, folder, plan.stamp).start())
    assert (tmp_path / "disk" / "ledger.db").exists()


def test_settings_are_those_that_decide_a_score(tmp_path):
    settings = {"engine": "http://a:1/v1", "model": "m"}
    plain = score_settings(RRMJudge(**settings))
    json.dumps(plain)
    elsewhere = {"engine": ["http://b:2/v1", "http://c:3/v1"], "concurrency": 3, "ledger": tmp_path / "l.db"}
    assert score_settings(RRMJudge(**{**settings, **elsewhere})) == plain
    for change in (
        {"schedule": "knockout"},
        {"reducer": "win_rate"},
        {"orders": "fixed"},
        {"votes": 3},
        {"prompt": "arena"},
        {"temperature": 0},
        {"top_p": 0.5},
        {"max_tokens": 7},
        {"first_tokens": 7},
        {"seed": 1},
        {"model": "other"},
        {"extra_body": {"top_k": 1}},
        {"same_as": str.lower},
        {"keep_thinking": True},
        {"force_verdict": False},
    ):
        assert score_settings(RRMJudge(**{**settings, **change})) != plain, change
