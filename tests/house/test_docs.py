"""README and docs cannot drift: their Python and their commands run, their data parses, their links lead somewhere.

The line before a fence may say how it is taken:

    <!-- not run: reason -->   not executed; it still has to compile, and what it uses of the package has to exist
    <!-- continues -->         the Python fence before it comes first
"""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from aiohttp import web

from rrm_plugin.engines.scripted import NAMED_SCRIPTS
from tests.engines.local_servers import chat, serve
from tests.house.source import PACKAGE, ROOT, tracked_files

PAGES = [
    path
    for path in tracked_files()
    if path.suffix == ".md"
    and path.relative_to(ROOT).parts[0] in ("README.md", "CONTRIBUTING.md", "docs", "integrations", "examples")
]
MARK = re.compile(r"<!--\s*(not run:\s*\S.*?|continues)\s*-->")
PARSERS = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}


@dataclass(frozen=True, kw_only=True)
class Fence:
    page: Path
    line: int
    """Of its first line of code, from 1."""
    language: str
    code: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@functools.cache
def fences() -> tuple[Fence, ...]:
    return tuple(fence for page in PAGES for fence in read_fences(page))


def read_fences(page: Path) -> Iterator[Fence]:
    lines = page.read_text(encoding="utf-8").splitlines()
    start, before = None, ""
    for number, line in enumerate(lines, 1):
        if line.startswith("```") and start is None:
            start, language = number + 1, line[3:].strip()
        elif line.startswith("```") and start is not None:
            mark = MARK.fullmatch(before.strip())
            code = "\n".join(lines[start - 1 : number - 1]) + "\n"
            yield Fence(page=page, line=start, language=language, code=code, mark=mark.group(1) if mark else "")
            start, before = None, ""
        elif start is None and line.strip():
            before = line
    assert start is None, f"{page} ends inside a fence"


def each_fence(*languages: str, run: bool | None = None) -> pytest.MarkDecorator:
    chosen = [
        fence
        for fence in fences()
        if fence.language in languages and run in (None, not fence.mark.startswith("not run"))
    ]
    return pytest.mark.parametrize("fence", chosen, ids=str)


def python_of(fence: Fence) -> str:
    """The code of a fence behind that of the fences it continues, on the lines it has in its page."""
    if fence.mark != "continues":
        return "\n" * (fence.line - 1) + fence.code
    earlier = [other for other in fences() if other.page == fence.page and other.language == "python"]
    before = python_of(earlier[earlier.index(fence) - 1])
    return before + "\n" * (fence.line - 1 - before.count("\n")) + fence.code


@each_fence("python", run=True)
def test_python_runs(fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(python_of(fence), str(fence.page), "exec"), {"__name__": "__main__"})


@each_fence("python", run=False)
def test_python_that_is_not_run_uses_what_exists(fence: Fence) -> None:
    tree = ast.parse(python_of(fence))
    ours = dict(imported_from_package(tree))
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ours:
            check_keywords(ours[call.func.id], [word.arg for word in call.keywords if word.arg])


def imported_from_package(tree: ast.AST) -> Iterator[tuple[str, Any]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                yield alias.asname or alias.name, getattr(module, alias.name)


def check_keywords(function: Any, words: list[str]) -> None:
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    unknown = [word for word in words if word not in parameters]
    assert not unknown, f"{function} takes no {unknown}"


@each_fence(*PARSERS)
def test_data_parses(fence: Fence) -> None:
    PARSERS[fence.language](fence.code)


def commands(fence: Fence) -> Iterator[list[str]]:
    """The simple commands of a shell fence, without what is set in front of them."""
    lexer = shlex.shlex(fence.code.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    for token in [*lexer, ";"]:
        if set(token) <= set("();|&"):
            while words and re.match(r"\w+=", words[0]):
                words.pop(0)
            if words:
                yield words
            words = []
        else:
            words.append(token)


def without_comments(fence: Fence) -> Fence:
    code = "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in fence.code.splitlines())
    return Fence(page=fence.page, line=fence.line, language=fence.language, code=code, mark=fence.mark)


@pytest.fixture(scope="module")
def judge_server() -> Iterator[str]:
    """The address of a server that judges by length, for commands that ask one at localhost."""

    async def answer(request: web.Request, body: Any) -> web.StreamResponse:
        if request.path.endswith("/models"):
            return web.json_response({"data": [{"id": "Reward-Reasoning/RRM-7B"}]})
        return chat(NAMED_SCRIPTS["longer"](body["messages"]))

    ready, found = threading.Event(), []

    async def run() -> None:
        stop = asyncio.Event()
        async with serve(answer) as server:
            found.append((server.url, asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    url, loop, stop = found[0]
    yield url
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


def kit(fence: Fence, folder: Path) -> None:
    """What a command of the docs finds in its folder: the checkout's examples, and the files that its page writes."""
    for name in ("examples", "integrations"):
        (folder / name).symlink_to(ROOT / name)
    row = {"id": "sky", "prompt": "Why is the sky blue?", "responses": ["It reflects the sea.", "Air scatters it."]}
    (folder / "groups.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (folder / "train.jsonl").write_text("{}\n" * 600, encoding="utf-8")
    if fence.page.name == "training.md":
        first = next(other for other in fences() if other.page == fence.page and other.language == "python")
        subprocess.run([sys.executable, "-c", first.code], cwd=folder, check=True, timeout=100)


@each_fence("bash", "sh", "console", run=True)
def test_commands_run(fence: Fence, tmp_path: Path, judge_server: str) -> None:
    """In a folder of their own; a judge's address at localhost is that of a server that judges by length."""
    kit(fence, tmp_path)
    code = re.sub(r"http://localhost:800[01]/v1", judge_server, fence.code)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    plain = {name: value for name, value in os.environ.items() if name != "RRM_CONFIG"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=tmp_path,
        env=plain | {"PATH": paths, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each_fence("bash", "sh", "console")
def test_commands_exist(fence: Fence) -> None:
    for words in commands(without_comments(fence)):
        if words[0] == "rrm":
            check_rrm(words[1:])
        elif words[0] == "make":
            check_make(words[1:])


def check_rrm(words: list[str]) -> None:
    main = importlib.import_module(f"{PACKAGE}.cli").main
    # With its own settings: click keeps the help option that the first context of a command asked for.
    command, context = main, click.Context(main, info_name="rrm", **main.context_settings)
    for word in words:
        if word.startswith("-") and not re.fullmatch(r"-[\d.]*", word):
            known = {name for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)}
            assert word.partition("=")[0] in known, f"{context.command_path} has no option {word}"
        elif isinstance(command, click.Group):
            inner = command.get_command(context, word)
            assert inner is not None, f"{context.command_path} has no command {word}"
            command, context = inner, click.Context(inner, parent=context, info_name=word)


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    unknown = [word for word in words if "=" not in word and not word.startswith("-") and word not in targets]
    assert not unknown, f"the Makefile has no target {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
