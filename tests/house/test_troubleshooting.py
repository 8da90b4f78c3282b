"""Each message that troubleshooting.md explains is one that a user really meets.

The headings of the page hold messages with … for what varies. Every heading is the message of an error provoked here,
and every error provoked here has its heading.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from rrm_plugin import MissingExtraError, Reason, RRMJudge
from rrm_plugin.adapters.openrlhf import reward_func
from rrm_plugin.adapters.openrlhf.policy import GroupReward, configured_gate
from rrm_plugin.adapters.verl.rows import row_of
from rrm_plugin.adapters.verl.settings import PolicySettings
from rrm_plugin.bulk import holding
from rrm_plugin.bulk.folder import Folder, Plan
from rrm_plugin.bulk.ranking import Listener, rank_rows
from rrm_plugin.bulk.replica import Replica
from rrm_plugin.bulk.sources import File
from rrm_plugin.cli import main as rrm
from rrm_plugin.cohorts import Gate
from rrm_plugin.config import read_settings
from rrm_plugin.engines import HttpEngine, Sampling, ScriptedEngine, keys
from rrm_plugin.engines.templates import ChatTemplate
from rrm_plugin.engines.wire import refusal
from rrm_plugin.errors import EngineError
from rrm_plugin.evaluation.benchmarks import BENCHMARKS, read_pairs
from rrm_plugin.evaluation.choices import load_questions
from rrm_plugin.evaluation.replies import Replies
from rrm_plugin.service import ServiceClient, ServiceSettings
from rrm_plugin.service.server import Service
from tests.engines.local_servers import dead_url, failing, serve, serve_raw
from tests.house.source import ROOT
from tests.service.services import TOKEN, service
from tests.service.services import asked as asked_service

HEADINGS = re.findall(r"^### `(.+)`$", (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
ROW = {"prompts": ["Count."] * 4, "completions": ["one", "one two", "two", "three"]}
MESSAGES = [{"role": "user", "content": "Which?"}]


def pattern(heading: str) -> re.Pattern[str]:
    return re.compile(".+?".join(re.escape(part) for part in heading.split("…")), re.DOTALL)


def made(**settings: Any) -> Callable[[], Any]:
    return lambda: RRMJudge(**settings)


def rewarded(rows: dict[str, Any] = ROW, **settings: Any) -> Callable[[], Any]:
    def call() -> None:
        with RRMJudge(**{"engine": "scripted:longer", **settings}) as judge:
            judge(**rows)

    return call


def trained_with(size: int) -> Callable[..., None]:
    """What TRL passes as `log_extra`: a bound method of a trainer, which has a group size."""
    trainer = SimpleNamespace(num_generations=size, model=SimpleNamespace(training=True))

    class Bound:
        __self__ = trainer

        def __call__(self, *_: Any) -> None:
            raise AssertionError("the rows were not refused")

    return Bound()


def awaited() -> None:
    with RRMJudge(engine="scripted:longer", num_generations=3) as judge:
        asyncio.run(judge.as_async()(**ROW))


def stopped() -> None:
    limits = {"action": "stop", "steps": 2, "groups": 2}
    with RRMJudge(engine=ScriptedEngine(lambda _: "I wonder."), num_generations=4, alarms=limits) as judge:
        for _ in range(2):
            judge(**ROW)


def scored_alone() -> str | None:
    with RRMJudge(engine="scripted:longer") as judge:
        return judge.score("Count.", ["one"]).error


def key_of_another_process() -> None:
    key = keys.ApiKey("secret")
    keys._HELD.clear()
    key.value()


def tokenized(template: str | None) -> Callable[[], Any]:
    class Tokenizer:
        chat_template = template

        def apply_chat_template(self, *_: Any, **__: Any) -> str:
            return "a prompt"

        def __call__(self, *_: Any, **__: Any) -> dict[str, list[int]]:
            return {"input_ids": [1, 2, 3]}

    return lambda: ChatTemplate(model="transformers:judge").render(Tokenizer(), MESSAGES, None, 2)


def refused(status: int, message: str) -> Callable[[], Any]:
    def refuse() -> None:
        body = json.dumps({"error": {"message": message}}).encode()
        asked = {"model": "judge", "max_tokens": 8192}
        raise refusal(status, body, "http://localhost:8000/v1/chat/completions", asked=asked, wait=None)

    return refuse


async def asked(url: str, **options: Any) -> None:
    engine = HttpEngine(url, **{"retry_for": 0.0, "backoff": 0.001, **options})
    try:
        await engine.generate(MESSAGES, Sampling())
    finally:
        await engine.close()


def served(status_200: bytes | None, **options: Any) -> Callable[[], None]:
    """Asks a server that answers every request with this body; None for one that never does."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if status_200 is None:
            await reader.read()
            return
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(status_200)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + status_200)
        await writer.drain()

    async def run() -> None:
        async with serve_raw(talk) as url:
            await asked(url, **options)

    return lambda: asyncio.run(run())


def busy() -> None:
    async def run() -> None:
        async def answer(*_: Any) -> Any:
            return failing(429, "slow down")

        async with serve(answer) as server:
            await asked(server.url, model="judge")

    asyncio.run(run())


def of_another_version(folder: Path) -> None:
    with RRMJudge(engine="scripted:longer", ledger=folder / "new.db"):
        connection = sqlite3.connect(folder / "new.db")
        connection.execute("UPDATE meta SET value = '99'")
        connection.commit()
        connection.close()
    RRMJudge(engine="scripted:longer", ledger=folder / "new.db")


def answered(path: str, body: Any, *, known: bool = True, **settings: Any) -> Callable[[], str]:
    """What a service answers to a request."""

    def ask() -> str:
        with RRMJudge(engine="scripted:longer", **settings) as judge, service(judge, token=TOKEN) as url:
            for _ in range(2):
                _, found, _ = asked_service(url, path, body, Authorization=f"Bearer {TOKEN if known else ''}")
        return found["error"]["message"]

    return ask


def served_twice() -> None:
    with RRMJudge(engine="scripted:longer") as judge, service(judge) as url:
        Service(judge, ServiceSettings(port=int(url.rpartition(":")[2])))


def command(*words: str) -> Callable[[], Any]:
    return lambda: CliRunner().invoke(rrm, words).output


def provocations(folder: Path) -> Iterator[Callable[[], Any]]:
    """What a user may do, each of which ends in a message."""
    (folder / "no_ledger.db").write_text("a text of some length, and no database" * 50)
    (folder / "one.jsonl").write_text('{"prompt": "Count.", "responses": ["one"]}\n')
    models = json.dumps({"data": [{"id": "a"}, {"id": "b"}]}).encode()
    yield made(schedul="circulant:3", engine="scripted:longer")
    yield made(engine="http://localhost:8000/v1", patience=3)
    yield made(engine=ScriptedEngine(str), patience=3)
    yield made(engine="localhost:8000")
    yield made(engine="ftp://judge/v1")
    yield made()
    yield lambda: (_ for _ in ()).throw(MissingExtraError("engine='vllm'", "vllm"))
    for setting in ("schedule", "reducer", "shaping"):
        yield made(engine="scripted:longer", **{setting: "best"})
    yield made(engine="scripted:longer", prompt="no-such-preset")
    yield read_settings
    yield lambda: read_settings(folder / "absent.yaml")
    yield lambda: read_settings(_file(folder / "judge.yaml", "same_as: absent_module:key"))
    yield served(models)
    yield tokenized(None)
    yield rewarded(prompt="arena")
    yield key_of_another_process
    yield rewarded(num_generations=3)
    yield awaited
    yield rewarded({**ROW, "prompts": ["a", "a", "b", "b"]}, num_generations=4)
    yield rewarded({**ROW, "log_extra": trained_with(2)}, num_generations=4)
    yield rewarded({**ROW, "prompts": ["a", "b", "b", "b"]})
    yield rewarded(schedule="reference", num_generations=4)
    yield scored_alone
    yield lambda: RRMJudge(engine="scripted:longer").score("Count.", "one")
    yield rewarded(engine=dead_url(), model="judge", retry_for=0.0)
    yield lambda: asyncio.run(asked(dead_url(), model="judge"))
    yield refused(401, "no key")
    yield refused(404, "no such path")
    yield refused(400, "maximum context length is 4096 tokens")
    yield tokenized("a template")
    yield served(None, model="judge", timeout=0.1)
    yield busy
    yield served(b"<html>", model="judge")
    yield stopped
    yield made(engine="scripted:longer", ledger=folder / "no_ledger.db")
    yield lambda: of_another_version(folder)
    yield lambda: ServiceSettings(host="0.0.0.0")
    yield lambda: ServiceClient(dead_url(), retry_for=0.0).withdraw("g")
    yield lambda: ServiceClient("localhost:8100")
    yield served_twice
    pair = {"prompt": "Count.", "first": "one", "second": "one two"}
    yield answered("/v1/compare", pair, known=False)
    yield answered("/v1/compare", pair, budget={"calls": 1})
    yield answered("/v1/chat/completions", {"messages": MESSAGES, "model": "RRM-32B"})
    yield answered("/v1/cohort", {"key": "g", "prompt": "Count.", "response": "one"})
    yield answered("/get_reward", {"query": ["Count. one"], "prompts": ["Count."], "labels": [""]})
    yield command("rank", str(folder / "one.jsonl"), "--output", str(folder / "out.jsonl"))
    yield command(
        "rank", str(folder / "one.jsonl"), "--output", str(folder / "out.jsonl"), "--engine", "scripted:longer"
    )

    yield from of_policies(folder)
    yield from of_benchmarks(folder)
    yield from of_bulk_ranking(folder)
    yield from of_openrlhf(folder)
    yield from of_verl()


def of_policies(folder: Path) -> Iterator[Callable[[], Any]]:
    """The same with the commands that make a policy's data and evaluate it."""
    gpqa = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\nWhich?,a,b,c,d\n"
    questions = f"gpqa_diamond={_file(folder / 'gpqa.csv', gpqa)}"
    report = ("--json", str(folder / "report.json"))
    yield gated
    yield command("eval-policy", f"mmlu_pro={folder / 'gpqa.csv'}", *report, "--engine", "scripted:longer")
    yield command("eval-policy", questions, *report)
    yield lambda: (Replies(folder / "held.jsonl"), Replies(folder / "held.jsonl"))
    yield lambda: asyncio.run(refusing(questions, report))
    _file(folder / "empty.jsonl", '{"question": ""}\n')
    yield command("policy-data", str(folder / "empty.jsonl"), "--out", str(folder / "policy.jsonl"))


def of_benchmarks(folder: Path) -> Iterator[Callable[[], Any]]:
    """The same with the command that measures a judge."""
    pairs = _file(folder / "pairs.jsonl", json.dumps({"prompt": "q", "chosen": "a", "rejected": "b", "id": 1}) + "\n")
    calls = [{"id": 1, "swapped": False, "verdict": "first", "judge": name} for name in ("X", "Y")]
    said = _file(folder / "said.jsonl", "".join(json.dumps(call) + "\n" for call in calls))
    report = ("--json", str(folder / "judge.json"))
    yield lambda: read_pairs(BENCHMARKS["judgebench"])
    yield command("eval", "auto-j", "--data", str(pairs), *report, "--engine", "simulated:1")
    yield command("eval", "pairs", "--data", str(pairs), "--replay", str(said), *report)


def of_bulk_ranking(folder: Path) -> Iterator[Callable[[], Any]]:
    """The same with many files, as far as it needs no Ray."""
    file = File(place="/", path=str(folder / "a.jsonl"), name="a.jsonl", size=1, modified="1")
    plan = Plan(settings={"schedule": "circulant:3"}, files=[file])
    yield lambda: asyncio.run(Replica(b"", Folder(str(folder / "elsewhere")), plan.stamp).start())
    yield lambda: plan.continued({"schedule": "knockout"}, [file])
    yield lambda: plan.continued(plan.settings, [replace(file, size=2)])
    yield lambda: asyncio.run(left_alone())
    yield lambda: held_by_another(Folder(str(folder / "held")))


def held_by_another(folder: Folder) -> None:
    """The same run a second time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holding, "BEAT", 0.05)
        with holding.holding(folder), holding.holding(folder):
            pass


async def left_alone() -> None:
    """Groups that an engine leaves unanswered after it has answered one."""
    answers = iter(["\\boxed{Assistant 1}"] * 2)

    def reply(_: Any) -> str:
        for answer in answers:
            return answer
        raise EngineError("nobody is there", Reason.UNREACHABLE)

    with RRMJudge(engine=ScriptedEngine(reply)) as judge:
        lines = [(number, {"prompt": f"{number}", "responses": ["a", "b"]}) for number in range(1, 20)]
        async for _ in rank_rows(Listener(judge, patience=()), lines, ahead=1):
            pass


def of_openrlhf(folder: Path) -> Iterator[Callable[[], Any]]:
    """The same with what OpenRLHF is pointed at, as far as it needs no OpenRLHF."""
    (folder / "gate.yaml").write_text("engine: scripted:longer\ngate:\n  dead_line: 7\n")

    def configured() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RRM_CONFIG", str(folder / "gate.yaml"))
            configured_gate()

    def unknown() -> None:
        with RRMJudge(engine="scripted:longer") as judge:
            asyncio.run(GroupReward(Gate(judge)).execute("Why?", "", object(), 1, None, object()))

    yield lambda: reward_func(["another text"], ["Why?"], [1])
    yield unknown
    yield configured


def of_verl() -> Iterator[Callable[[], Any]]:
    """The same with the reward manager for verl, as far as it needs no verl."""
    crowd = PolicySettings(judge={}, size=16, validation_size=1, workers=8, in_flight=8192)
    yield lambda: crowd.starving
    yield lambda: row_of(SimpleNamespace(batch={}, non_tensor_batch={}), tokenizer=None)


def gated() -> None:
    """What the library of data sets says to somebody who has not accepted the terms."""

    def load_dataset(*_: Any, **__: Any) -> None:
        raise ValueError("Dataset 'Idavidrein/gpqa' is a gated dataset on the Hub.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
        load_questions("gpqa_diamond")


async def refusing(questions: str, report: tuple[str, ...]) -> str:
    """What is said where a policy's server refuses every call."""

    async def answer(*_: Any) -> Any:
        return failing(400, "no")

    async with serve(answer) as server:
        words = ("eval-policy", questions, *report, "--engine", server.url, "--model", "m")
        return await asyncio.to_thread(command(*words))


def _file(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def message_of(provoke: Callable[[], Any]) -> str:
    try:
        result = provoke()
    except Exception as error:
        return str(error)
    assert isinstance(result, str), f"{provoke} ended in no message"
    return result


@pytest.fixture
def messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name in ("RRM_CONFIG", "RRM_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    logging.getLogger("rrm_plugin").setLevel(logging.CRITICAL)
    try:
        return [message_of(provoke) for provoke in provocations(tmp_path)]
    finally:
        logging.getLogger("rrm_plugin").setLevel(logging.NOTSET)


def test_every_message_explained_is_one_that_is_met(messages: list[str]) -> None:
    met = {heading for heading in HEADINGS for message in messages if pattern(heading).search(message)}
    assert [heading for heading in HEADINGS if heading not in met] == []


def test_every_message_met_is_explained(messages: list[str]) -> None:
    unexplained = [message for message in messages if not any(pattern(heading).search(message) for heading in HEADINGS)]
    assert not unexplained
