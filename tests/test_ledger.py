"""The ledger keeps every call through kills, copies and other writers, and never overwrites what was paid."""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from rrm_plugin import ledger as ledger_module
from rrm_plugin.errors import LedgerError
from rrm_plugin.ledger import Ledger, call_key
from rrm_plugin.types import Group, Judgement, Match, Reason, Scores, Usage, Verdict

MESSAGES = [{"role": "user", "content": "which?"}]


def _judgement(key: str, text: str = r"\boxed{Assistant 1}", **changes) -> Judgement:
    usage = Usage(calls=1, prompt_tokens=7, completion_tokens=3, seconds=0.5)
    return Judgement(verdict=Verdict.FIRST, text=text, key=key, engine="scripted", usage=usage, **changes)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "deep" / "run.db")
    yield ledger
    ledger.close()


def test_what_is_recorded_is_found_and_nothing_else(ledger):
    async def scenario():
        await ledger.record(_judgement("a", text="thinking…\n\x00 done"), finished=True, answered=True)
        return await ledger.find("a"), await ledger.find("b")

    found, missing = asyncio.run(scenario())
    assert (found.text, found.finished, found.prompt_tokens, found.completion_tokens) == (
        "thinking…\n\x00 done",
        True,
        7,
        3,
    )
    assert missing is None


def test_a_failed_call_is_recorded_but_asked_again_and_an_answer_stays(ledger):
    failed = Judgement(verdict=None, reason=Reason.TIMEOUT, detail="no answer in 5 s", key="a", engine="http:m")

    async def scenario():
        await ledger.record(failed, finished=False, answered=False)
        after_failure = await ledger.find("a")
        await ledger.record(_judgement("a", text="answer"), finished=True, answered=True)
        await ledger.record(failed, finished=False, answered=False)
        return after_failure, await ledger.find("a")

    after_failure, after_answer = asyncio.run(scenario())
    assert after_failure is None
    assert after_answer.text == "answer"


def test_lone_surrogates_do_not_cost_a_record(ledger):
    async def scenario():
        await ledger.record(_judgement("a", text="broken \ud83d emoji"), finished=True, answered=True)
        return await ledger.find("a")

    assert "broken" in asyncio.run(scenario()).text


def test_groups_hold_their_matches_and_keys(ledger):
    match = Match(first=0, second=1)
    scores = Scores(values=[1.0, None], judgements=(_judgement("k", match=match),), settings={"orders": "both"})
    group = Group(prompt="q", responses=["a", [{"role": "assistant", "content": "b"}]], id="g7", step=3)
    asyncio.run(ledger.record_group(group, scores, [0.5, None]))
    with sqlite3.connect(ledger.path) as connection:
        row = connection.execute("SELECT name, step, scores, rewards, matches FROM groups").fetchone()
    assert row[:2] == ("g7", 3)
    assert json.loads(row[2]) == [1.0, None]
    assert json.loads(row[3]) == [0.5, None]
    assert json.loads(row[4]) == [
        {"first": 0, "second": 1, "round": 0, "verdict": "first", "reason": None, "keys": ["k"]}
    ]


def test_keys_tell_calls_apart():
    keys = {
        call_key("e", {"temperature": 0.6}, MESSAGES, 0),
        call_key("f", {"temperature": 0.6}, MESSAGES, 0),
        call_key("e", {"temperature": 0.0}, MESSAGES, 0),
        call_key("e", {"temperature": 0.6}, [{"role": "user", "content": "which? "}], 0),
        call_key("e", {"temperature": 0.6}, MESSAGES, 1),
    }
    assert len(keys) == 5
    assert call_key("e", {"a": 1, "b": 2}, MESSAGES, 0) == call_key("e", {"b": 2, "a": 1}, MESSAGES, 0)


@pytest.mark.parametrize("rival", [False, True])
def test_a_budget_that_begins_counts_all_calls_and_lets_others_write_meanwhile(ledger, monkeypatch, rival):
    """Also those that are recorded, and settled, while it reads what was there."""
    failed = Judgement(verdict=None, reason=Reason.TIMEOUT, key="failed", engine="scripted")

    async def fill():
        await asyncio.gather(*(ledger.record(_judgement(f"{n}"), finished=True, answered=True) for n in range(500)))
        await ledger.record(failed, finished=False, answered=False)

    asyncio.run(fill())
    ledger.close()
    meanwhile = []

    def write():
        """Called by SQLite in the middle of a long statement."""
        if not meanwhile:
            meanwhile.append("locked")
            with sqlite3.connect(ledger.path, timeout=0) as other:
                columns = ledger_module._JUDGEMENT_COLUMNS
                same = f"SELECT 'new', {columns.removeprefix('key, ')} FROM judgements WHERE key = '1'"
                other.execute(f"INSERT INTO judgements ({columns}) {same}")
                other.execute("UPDATE judgements SET answered = 1, forced = 1, prompt_tokens = 50 WHERE key = 'failed'")
                if rival:
                    other.execute("INSERT INTO spending VALUES ('scripted', 1000, 0, 0)")
            meanwhile[0] = "written"
        return 0

    connect = ledger_module._connect

    def connected(path):
        connection = connect(path)
        connection.set_progress_handler(write, 2000)
        return connection

    monkeypatch.setattr(ledger_module, "_connect", connected)
    spent = asyncio.run(ledger.spend("scripted", Usage(calls=1, prompt_tokens=2, completion_tokens=3)))
    assert meanwhile == ["written"]
    # 500 before, one new, and one that was settled with two calls.
    told = (1001, 2, 3) if rival else (504, 501 * 7 + 50 + 2, 501 * 3 + 3)
    assert (spent.calls, spent.prompt_tokens, spent.completion_tokens) == told


def test_a_pickled_copy_writes_the_same_file(ledger):
    copy = pickle.loads(pickle.dumps(ledger))
    asyncio.run(copy.record(_judgement("a"), finished=True, answered=True))
    copy.close()
    assert asyncio.run(ledger.find("a")) is not None


def test_two_writers_at_once_lose_nothing(ledger):
    other = Ledger(ledger.path)

    async def write(which: Ledger, start: int):
        keys = [str(number) for number in range(start, start + 300)]
        await asyncio.gather(*(which.record(_judgement(key), finished=True, answered=True) for key in keys))

    async def both():
        await asyncio.gather(write(ledger, 0), write(other, 300))

    asyncio.run(both())
    other.close()
    with sqlite3.connect(ledger.path) as connection:
        assert connection.execute("SELECT count(*) FROM judgements WHERE answered = 1").fetchone() == (600,)


def test_a_row_that_cannot_be_written_costs_no_other(ledger):
    class Unwritable:
        pass

    async def scenario():
        bad = _judgement("bad", text="x")
        object.__setattr__(bad, "engine", Unwritable())
        writes = [ledger.record(one, finished=True, answered=True) for one in (_judgement("a"), bad, _judgement("c"))]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        return outcomes, await ledger.find("a"), await ledger.find("c")

    outcomes, first, last = asyncio.run(scenario())
    assert [type(outcome) for outcome in outcomes] == [type(None), LedgerError, type(None)]
    assert first is not None and last is not None


def test_a_connection_that_breaks_costs_an_error_and_is_made_anew(ledger):
    async def scenario():
        with pytest.raises(LedgerError):
            await asyncio.wait_for(ledger._ask(lambda connection: connection.close()), 20)
        await asyncio.wait_for(ledger.record(_judgement("a"), finished=True, answered=True), 20)
        return await ledger.find("a")

    assert asyncio.run(scenario()) is not None


def test_a_killed_process_leaves_all_that_it_was_told_is_on_disk(tmp_path):
    path = tmp_path / "run.db"
    script = """
import asyncio, sys
from rrm_plugin.ledger import Ledger
from rrm_plugin.types import Judgement, Verdict

async def write():
    ledger = Ledger(sys.argv[1])
    for number in range(10_000):
        one = Judgement(verdict=Verdict.FIRST, text="t", key=str(number))
        await ledger.record(one, finished=True, answered=True)
        print(number, flush=True)

asyncio.run(write())
"""
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        told = [int(writer.stdout.readline()) for _ in range(100)]
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout.read().split()]
    ledger = Ledger(path)
    found = [asyncio.run(ledger.find(str(number))) for number in told]
    ledger.close()
    assert all(found)


def test_closing_beside_calls_under_way_leaves_nobody_waiting(ledger):
    async def use():
        for number in range(300):
            await ledger.record(_judgement(str(number)), finished=True, answered=True)
            assert await ledger.find(str(number)) is not None

    def close():
        while not done.is_set():
            ledger.close()

    done = threading.Event()
    closing = threading.Thread(target=close)
    closing.start()
    asyncio.run(asyncio.wait_for(use(), 60))
    done.set()
    closing.join(30)
    assert not closing.is_alive()


def test_a_file_that_another_process_holds_is_waited_for_once_and_not_call_by_call(ledger, monkeypatch):
    monkeypatch.setattr(ledger_module, "PATIENCE", 0.2)
    monkeypatch.setattr(ledger_module, "IMPATIENCE", 0.01)

    async def scenario():
        await ledger.record(_judgement("before"), finished=True, answered=True)
        with sqlite3.connect(ledger.path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            found = await ledger.find("before")
            writes = [ledger.record(_judgement(str(n)), finished=True, answered=True) for n in range(50)]
            held = await asyncio.wait_for(asyncio.gather(*writes, return_exceptions=True), 5)
            other.execute("ROLLBACK")
        await ledger.record(_judgement("after"), finished=True, answered=True)
        return found, held, await ledger.find("after")

    found, held, after = asyncio.run(scenario())
    assert found is not None and after is not None
    assert all(isinstance(outcome, LedgerError) and "locked" in str(outcome) for outcome in held)


def test_a_copy_in_another_folder_writes_the_same_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ledger = Ledger("run.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    copy = pickle.loads(pickle.dumps(ledger))
    asyncio.run(copy.record(_judgement("a"), finished=True, answered=True))
    assert asyncio.run(ledger.find("a")) is not None
    assert list((tmp_path / "elsewhere").iterdir()) == []
    copy.close()
    ledger.close()


def test_a_file_that_was_taken_away_is_made_anew(ledger):
    ledger.close()
    for part in ledger.path.parent.iterdir():
        part.unlink()
    asyncio.run(ledger.record(_judgement("a"), finished=True, answered=True))
    assert asyncio.run(ledger.find("a")) is not None


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at as one" * 10, None])
def test_a_file_that_is_no_ledger_is_a_clear_error(tmp_path, content):
    path = tmp_path / "file.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match="name another file as ledger="):
        Ledger(path)


def test_a_database_with_a_version_of_another_kind_is_no_ledger(ledger):
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("UPDATE meta SET value = 'beta'")
    with pytest.raises(LedgerError, match=r"no ledger of a judge; name another file as ledger="):
        Ledger(ledger.path)


def test_a_ledger_of_a_newer_version_is_refused(ledger):
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("UPDATE meta SET value = '99'")
    with pytest.raises(LedgerError, match="newer"):
        Ledger(ledger.path)
