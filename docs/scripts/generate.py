"""Writes what the docs read off code and benchmarks: cli.md and performance.md, and elsewhere the tables between marks.

    python docs/scripts/generate.py            rewrites the pages that are out of date, and names them
    python docs/scripts/generate.py --check    only names them, and exits with 1 if there are any

A page says where a table goes with `<!-- generated: NAME -->` and `<!-- end -->`; NAME is a key of TABLES. Pages are
those in docs/ and in the folders of integrations/. The words of a table are those of the docstrings, so that a setting
is explained in one place. performance.md and its pictures are made of what the scripts in benchmarks/ left in
benchmarks/results.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import yaml
from click.testing import CliRunner

from rrm_plugin import RRMJudge, shaping, types
from rrm_plugin import reducers as reducing
from rrm_plugin.cli import main as rrm
from rrm_plugin.cohorts import Gate
from rrm_plugin.evaluation import answers, recorded, scores
from rrm_plugin.metrics.alarms import ADVICE, Alarms
from rrm_plugin.prompts import PRESETS
from rrm_plugin.reporting import outcomes
from rrm_plugin.schedules import schedule
from rrm_plugin.service import ServiceClient, ServiceSettings, counters, problems
from rrm_plugin.training import JudgeTrainingReward, RewardRule, batches, layouts, ordering, questions
from rrm_plugin.training.sources import RejectReason

sys.path.append(str(Path(__file__).resolve().parent))
import estimate_tables
import evaluation_tables
import gpqa_tables
import metric_tables
import performance
import performance_pictures
import service_tables

DOCS = Path(__file__).resolve().parent.parent
MARKS = re.compile(r"(?P<begin><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
SCHEDULES = (
    "round_robin",
    "circulant:1",
    "circulant:2",
    "circulant:3",
    "circulant:4",
    "random:2",
    "random:4",
    "swiss:3",
    "adaptive",
    "reference",
    "reference:0",
    "knockout",
)
SIZES = (4, 8, 16)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def entries(text: str, heading: str = "Args:") -> dict[str, str]:
    """The named entries of one section of a docstring, each as one line."""
    section = inspect.cleandoc(text).partition(f"{heading}\n")[2]
    found: dict[str, str] = {}
    for line in section.splitlines():
        if re.match(r"\S", line):
            break
        if named := re.match(r" {4}(\w[\w, ]*): (.*)", line):
            last = named[1]
            found[last] = named[2]
        elif line.strip():
            last = next(reversed(found))
            found[last] += f" {line.strip()}"
    return found


def default(parameter: inspect.Parameter) -> str:
    """How the default of a parameter is written."""
    if parameter.kind is parameter.VAR_KEYWORD:
        return ""
    return "required" if parameter.default is parameter.empty else f"`{parameter.default!r}`".replace("'", '"')


def settings_of(factory: Any, first: str = "setting") -> str:
    """Each argument of a class or function, with its default and its meaning."""
    parameters = inspect.signature(factory).parameters
    explained = entries(inspect.getdoc(factory) or "")
    rows = []
    for names, meaning in explained.items():
        every = names.split(", ")
        rows.append([", ".join(f"`{n}`" for n in every), ", ".join(default(parameters[n]) for n in every), meaning])
    missing = set(parameters) - {name for names in explained for name in names.split(", ")}
    if missing:
        raise ValueError(f"{factory.__name__} does not explain {sorted(missing)}")
    return table([first, "default", "meaning"], rows)


def schedule_calls() -> str:
    """Judge calls of a group for each schedule, by size and order."""
    orders: tuple[Any, Any] = ("both", "balanced")
    rows = []
    for spec in SCHEDULES:
        made = schedule(spec)
        # A given reference answer plays along, and is no response of the group.
        cells = [str(made.calls(n + made.needs_reference, order)) for order in orders for n in SIZES]
        rows.append([f"`{spec}`", *cells])
    return table(["schedule", *(f"{order}, n = {n}" for order in orders for n in SIZES)], rows)


def reasons() -> str:
    """Each reason for a missing verdict, with its own words."""
    rows = []
    for name, text in _attribute_docs(types.Reason):
        reason = types.Reason[name]
        rows.append([f"`{reason.value}`", "engine" if reason.of_engine else "judge", text])
    return table(["reason", "whose", "what happened"], rows)


def fields_of(owner: type) -> str:
    """Each attribute of a class of results, with its own words."""
    return table([f"`{owner.__name__}`", "value"], [[f"`{name}`", text] for name, text in _attribute_docs(owner)])


def rejections() -> str:
    """Each reason for which a row of training data is not used, with its own words."""
    return table(
        ["reason", "what is wrong"],
        [[f"`{RejectReason[name].value}`", text] for name, text in _attribute_docs(RejectReason)],
    )


def reducer_units() -> str:
    """Each reducer, with what its values mean."""
    specs = ["win_rate", "majority", "bradley_terry", "elo", "knockout_rank"]
    made = [reducing.reducer(spec) for spec in specs]
    return table(
        ["name", "in full", "unit"], [[f"`{s}`", f"`{m.name}`", m.unit] for s, m in zip(specs, made, strict=True)]
    )


def shapings() -> str:
    """Each shaping, with the first sentence of its docstring."""
    makers = [shaping.raw, shaping.z_score, shaping.rank, shaping.unit_interval, shaping.length_adjusted]
    return table(["name", "reward"], [[f"`{maker().name}`", _first_paragraph(maker)] for maker in makers])


def listed(module: Any, first: str, header: Sequence[str]) -> str:
    """A list in the docstring of a module, as a table: names, two spaces or a new line, and what they mean.

    Args:
        module: whose docstring it is.
        first: what the list begins with, where there are several.
    """
    found: dict[str, str] = {}
    last = ""
    blocks = (module.__doc__ or "").split("\n\n")
    for line in next(block for block in blocks if block.startswith(f"    {first}")).splitlines():
        if line.startswith(" " * 5):
            found[last] = f"{found[last]} {line.strip()}".strip()
        else:
            last, _, meaning = line.strip().partition("  ")
            found[last] = meaning.strip()
    return table(header, [[_as_names(name), meaning] for name, meaning in found.items()])


def _as_names(text: str) -> str:
    """Names apart by commas as code; anything else as it is."""
    names = text.split(", ")
    return ", ".join(f"`{name}`" for name in names) if all(" " not in name for name in names) else text


@functools.cache
def _training_data() -> tuple[str, str]:
    """What `rrm train-data` says, and the file it writes, for the pairs that the first fence of training.md makes."""
    page = (DOCS / "training.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        exec(page.partition("```python\n")[2].partition("```")[0], {})
        done = CliRunner().invoke(rrm, ["train-data", "pairs.jsonl", "--out", "train.jsonl"], catch_exceptions=False)
        return done.output, Path("train.jsonl").read_text(encoding="utf-8")


def training_summary() -> str:
    """What `rrm train-data` says at its end; the lines of its progress are left out."""
    told = _training_data()[0]
    return f"```text\n{told[told.index('source ') :].rstrip()}\n```\n"


def training_row() -> str:
    """The first row that `rrm train-data` writes, its long texts shortened."""
    row = json.loads(_training_data()[1].splitlines()[0])
    for message in row["prompt"]:
        message["content"] = f"{message['content'][:24].rstrip()} …"
    return f"```json\n{json.dumps(row, indent=2, ensure_ascii=False)}\n```\n"


def presets() -> str:
    """Each preset, as its file describes itself."""
    rows = []
    for name in PRESETS:
        file = DOCS.parent / "rrm_plugin" / "prompts" / "presets" / f"{name}.yaml"
        described = yaml.safe_load(file.read_text(encoding="utf-8"))["description"]
        rows.append([f"`{name}`", described.replace("<", "&lt;")])
    return table(["preset", "format"], rows)


def row_out() -> str:
    """What `rrm rank` writes for the first group of the page."""
    responses = ["It reflects the sea.", "Air scatters blue light more than red.", "No idea."]
    group = {"id": "sky", "prompt": "Why is the sky blue?", "responses": responses}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "groups.jsonl", Path(folder) / "scores.jsonl"
        source.write_text(json.dumps(group) + "\n", encoding="utf-8")
        options = ["--output", str(target), "--engine", "scripted:longer", "--reducer", "win_rate"]
        CliRunner().invoke(rrm, ["rank", str(source), *options], catch_exceptions=False)
        return f"```json\n{target.read_text(encoding='utf-8')}```\n"


def command_line() -> str:
    """The page of the command line: the help of every command, as a terminal of 80 columns shows it."""
    parts = [
        "# Command line\n",
        "```bash",
        'rrm compare "Why is the sky blue?" "It reflects the sea." "Air scatters blue light." --engine scripted:longer',
        "rrm rank groups.jsonl --output scores.jsonl --engine http://localhost:8001/v1 --ledger judge.db",
        "```\n",
        "This page is written by `docs/scripts/generate.py`. [data-format.md](data-format.md) describes the files.\n",
    ]
    for context in _contexts(rrm, "rrm", None):
        parts += [f"## {context.command_path}\n", "```text", context.get_help().rstrip(), "```\n"]
    return "\n".join(parts)


def _contexts(command: click.Command, name: str, parent: click.Context | None) -> Iterator[click.Context]:
    """Of a command and all commands inside it, as a terminal of 80 columns would have them."""
    settings = {**command.context_settings, "terminal_width": 80}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield context
    for inner in command.list_commands(context) if isinstance(command, click.Group) else ():
        child = command.get_command(context, inner)  # type: ignore[union-attr]
        assert child is not None
        yield from _contexts(child, inner, context)


def _attribute_docs(owner: type) -> Iterator[tuple[str, str]]:
    """The attributes of a class, and the text below each as one line; where there is none, the type."""
    body = ast.parse(inspect.getsource(owner)).body[0]
    assert isinstance(body, ast.ClassDef)
    for statement, after in zip(body.body, [*body.body[1:], None], strict=True):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        if isinstance(target, ast.Name):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            kind = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else ""
            yield target.id, " ".join(str(after.value.value).split()) if told else f"`{kind}`"  # type: ignore


def _first_paragraph(documented: Any) -> str:
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


def _engine(name: str) -> Callable[[], str]:
    return lambda: settings_of(getattr(importlib.import_module("rrm_plugin.engines"), name), "option")


TABLES: dict[str, Callable[[], str]] = {
    "judge-settings": lambda: settings_of(RRMJudge),
    "presets": presets,
    "row-out": row_out,
    "scores": lambda: fields_of(types.Scores),
    "judgement": lambda: fields_of(types.Judgement),
    "reasons": reasons,
    "schedule-calls": schedule_calls,
    "reducers": reducer_units,
    "shapings": shapings,
    "metrics": lambda: metric_tables.metrics(table),
    "alarm-settings": lambda: settings_of(Alarms, "limit"),
    "steering-kinds": lambda: metric_tables.steering_kinds(table),
    "alarm-advice": lambda: table(
        ["alarm", "what to do"], [[f"`{kind}`", text.format(name="rrm")] for kind, text in ADVICE.items()]
    ),
    "layouts": lambda: listed(layouts, "prompt, chosen", ["columns", "known from"]),
    "rejects": rejections,
    "training-summary": training_summary,
    "training-row": training_row,
    "row-readers": lambda: listed(ordering, "prompt, label", ["keys", "read by"]),
    "reward-rule": lambda: settings_of(RewardRule),
    "training-reward": lambda: settings_of(JudgeTrainingReward),
    "training-metrics": lambda: listed(batches, "judge/", ["metric", "meaning"]),
    "question-readers": lambda: listed(questions, "prompt  ", ["keys", "read by"]),
    "answer-reasons": lambda: table(
        ["reason", "what it means"],
        [[f"`{answers.AnswerReason[name].value}`", text] for name, text in _attribute_docs(answers.AnswerReason)],
    ),
    "outcome-log": lambda: listed(outcomes, "rrm_", ["number", "meaning"]),
    "gate-settings": lambda: settings_of(Gate),
    "http-options": _engine("HttpEngine"),
    "transformers-options": _engine("TransformersEngine"),
    "vllm-options": _engine("VllmEngine"),
    "service-engine": _engine("ServiceEngine"),
    "service-settings": lambda: settings_of(ServiceSettings),
    "service-client": lambda: settings_of(ServiceClient),
    "service-errors": lambda: listed(problems, "400", ["status and type", "when"]),
    "service-counters": lambda: listed(counters, "rrm_request", ["metric", "meaning"]),
    "service-endpoints": service_tables.endpoints,
    **estimate_tables.TABLES,
    **evaluation_tables.TABLES,
    "evaluation-numbers": lambda: listed(scores, "n  ", ["number", "meaning"]),
    "recorded-columns": lambda: listed(recorded, "subset, id", ["columns", "meaning"]),
    **gpqa_tables.TABLES,
}


def renewed(page: str, text: str) -> str:
    """What the text of a page should be.

    Raises:
        KeyError: it asks for a table that there is not.
    """
    if page == "cli.md":
        return command_line()
    if page == "performance.md":
        return performance.page()
    return MARKS.sub(lambda mark: f"{mark['begin']}\n{TABLES[mark['name']]()}\n{mark['end']}", text)


def main(arguments: Sequence[str]) -> int:
    """Renews all pages, or only names those that are out of date."""
    stale = []
    for path in sorted(
        {*DOCS.glob("*.md"), DOCS / "cli.md", DOCS / "performance.md", *DOCS.parent.glob("integrations/**/*.md")}
    ):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted = renewed(path.name, text)
        if wanted != text:
            stale.append(path.relative_to(DOCS.parent))
            if "--check" not in arguments:
                path.write_text(wanted, encoding="utf-8")
    for name in performance_pictures.outdated():
        stale.append(performance_pictures.FOLDER.relative_to(DOCS.parent) / f"{name}.png")
        if "--check" not in arguments:
            performance_pictures.draw(name)
    for page in stale:
        print(f"{page} {'is out of date' if '--check' in arguments else 'is written anew'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
