"""The tables of docs/recipes.md and of the hosts' pages: values, hours and memory of the recipes.

Figures are rounded to two digits, which is more than they are good for.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence

from estimates import GB, GPUS, SHAPES, Assumed, Recipe, kv_tokens, memory, times
from recipe_files import HOSTS, recipes
from recipe_values import known_how

__all__ = ["TABLES", "markdown"]

CALLED = {"trl": "TRL", "openrlhf": "OpenRLHF", "verl": "verl"}
FIRST = "H100"
SHARES = ("utilisation", "bandwidth")
"""Assumptions that are shares of what a data sheet says, and cannot be above 1."""
UNITS = {"prompt": "tokens", "reply": "tokens", "between": "GB/s", "reserve": "GB", "engine": "GB"}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ["---"] * len(header), *rows])


def about(value: float) -> str:
    """Two digits of a number, and none behind the point where it is ten or more."""
    if value == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, 1 - math.floor(math.log10(abs(value)))):,.{digits}f}"


def of_host(host: str) -> str:
    """Everything computed for the recipes of one host, a column each."""
    found = recipes(host)
    rows = [[label, *(cell(recipe) for recipe in found)] for label, cell in CELLS]
    return "Computed, not measured.\n\n" + markdown(["", *(f"`{recipe.name}`" for recipe in found)], rows)


def _gpus(recipe: Recipe) -> str:
    machines = f" in {recipe.machines} machines" if recipe.machines > 1 else ""
    return f"{recipe.gpus} of 80 GB{machines}"


def _step(recipe: Recipe) -> str:
    updates = "one update" if recipe.updates == 1 else f"{recipe.updates} updates"
    return f"{recipe.prompts} x {recipe.replies}, {updates}"


def _states(recipe: Recipe) -> str:
    held = memory(recipe, GPUS[FIRST])
    return f"{about((held.weights + held.gradients + held.optimizer + held.reference) / GB)} GB"


def _held(part: str) -> Callable[[Recipe], str]:
    return lambda recipe: f"{about(getattr(memory(recipe, GPUS[FIRST]), part) / GB)} GB"


def _cache(recipe: Recipe) -> str:
    return f"{about(memory(recipe, GPUS[FIRST]).kv_cache / GB)} GB, {about(kv_tokens(recipe, GPUS[FIRST]))} tokens"


def _seconds(recipe: Recipe) -> str:
    lasts = times(recipe, GPUS[FIRST])
    parts = (lasts.generation, lasts.log_probabilities, lasts.update)
    return f"{' + '.join(about(part) for part in parts)} s"


def _hours(gpu: str) -> Callable[[Recipe], str]:
    return lambda recipe: f"{about(times(recipe, GPUS[gpu]).hours)} h"


CELLS: list[tuple[str, Callable[[Recipe], str]]] = [
    ("model", lambda recipe: recipe.model.rpartition("/")[2]),
    ("GPUs", _gpus),
    ("prompts x replies of a step", _step),
    ("a GPU in training: weights, gradients, Adam, reference", _states),
    ("activations of the longest pass", _held("activations")),
    ("logits of it", _held("logits")),
    ("**all, in training**", _held("training")),
    ("**all, in generation**", _held("generating")),
    ("of it KV cache; tokens of an engine", _cache),
    ("a step on H100: generation + log-probabilities + update", _seconds),
    ("steps", lambda recipe: str(recipe.steps)),
    ("**all steps on H100**", _hours("H100")),
    ("**all steps on A100**", _hours("A100")),
]


def of_all() -> str:
    """Memory and hours of every recipe of every host."""
    rows = [
        [
            f"`{recipe.name}`",
            CALLED[host],
            str(recipe.gpus),
            _held("training")(recipe),
            _held("generating")(recipe),
            _hours("H100")(recipe),
            _hours("A100")(recipe),
        ]
        for host in HOSTS
        for recipe in recipes(host)
    ]
    header = ["recipe", "host", "GPUs", "a GPU in training", "in generation", "on H100", "on A100"]
    # Alike recipes of the hosts stand together: both of several GPUs, then those of one, whatever their names.
    rows.sort(key=lambda row: (row[2] == "1", int(row[2])))
    return "Computed, not measured.\n\n" + markdown(header, rows)


def of_assumptions() -> str:
    """What is assumed and why, and the hours of the 32B recipe if it is half or twice of that, a share at most 1."""
    found = {host: recipe for host in HOSTS for recipe in recipes(host) if recipe.name == "judge_32b"}
    rows = []
    for name, reason in _reasons().items():
        value = getattr(Assumed(), name)
        twice = min(1.0, 2 * value) if name in SHARES else 2 * value
        changed = [dataclasses.replace(Assumed(), **{name: other}) for other in (value / 2, value, twice)]
        hours = [_all_hours(found, assumed) for assumed in changed]
        rows.append([f"`{name}`", _shown(name, value), reason, *hours])
    told = f"Hours of `judge_32b` on H100 in {', '.join(CALLED[host] for host in found)}:\n\n"
    return told + markdown(["assumed", "value", "what it is", "with half of it", "as assumed", "with twice"], rows)


def _all_hours(found: dict[str, Recipe], assumed: Assumed) -> str:
    return ", ".join(about(times(recipe, GPUS[FIRST], assumed).hours) for recipe in found.values())


def _shown(name: str, value: float) -> str:
    return f"{value / GB if value >= GB else value:g} {UNITS.get(name, '')}".rstrip()


def _reasons() -> dict[str, str]:
    """The words behind each field of `Assumed`."""
    (body,) = ast.parse(inspect.getsource(Assumed)).body
    assert isinstance(body, ast.ClassDef)
    told: dict[str, str] = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
            assert isinstance(statement.target, ast.Name) and isinstance(after.value, ast.Constant)
            told[statement.target.id] = " ".join(str(after.value.value).split())
    return told


def of_models() -> str:
    """Parameters and KV cache of each model, from its config.json."""
    rows = [
        [f"`{name}`", f"{shape.parameters:,}", f"{2 * shape.parameters / GB:.1f} GB", f"{shape.kv_bytes:,} bytes"]
        for name, shape in SHAPES.items()
    ]
    return markdown(["model", "parameters", "in bf16", "KV cache of a token"], rows)


def of_gpus() -> str:
    """What the makers publish of each GPU."""
    rows = [
        [gpu.name, f"{gpu.flops / 1e12:.0f} TFLOPS", f"{gpu.bandwidth / 1e12:.2f} TB/s", f"{gpu.link / GB:.0f} GB/s"]
        for gpu in GPUS.values()
    ]
    return markdown(["GPU", "bf16, dense", "memory", "NVLink, one direction"], rows)


def of_values() -> str:
    """Every value of the recipes, and how it is known."""
    header = ["value", *(f"`{recipe.name}`" for recipe in recipes("trl")), "known how"]
    return markdown(header, known_how())


TABLES: dict[str, Callable[[], str]] = {
    "recipe-values": of_values,
    "estimate-all": of_all,
    "estimate-assumptions": of_assumptions,
    "estimate-models": of_models,
    "estimate-gpus": of_gpus,
    "estimate-trl": lambda: of_host("trl"),
    "estimate-openrlhf": lambda: of_host("openrlhf"),
    "estimate-verl": lambda: of_host("verl"),
}
