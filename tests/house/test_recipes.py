"""The recipes are the same in every host, and the command of docs/recipes.md makes the data that they train on."""

from __future__ import annotations

import json
import random
import shlex
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main as rrm
from tests.house.source import ROOT
from tests.tiny import save_tiny_model

sys.path.append(str(ROOT / "docs" / "scripts"))
import recipe_files
from estimates import Recipe

SHARED = (
    *("model", "gpus", "machines", "prompts", "replies", "updates", "steps", "prompt_limit", "reply_limit"),
    *("temperature", "kl", "clip", "learning_rate", "adapter_rank"),
)
OTHERS = [recipe for host in ("openrlhf", "verl") for recipe in recipe_files.recipes(host)]


@pytest.mark.parametrize("recipe", OTHERS, ids=lambda recipe: f"{recipe.host}-{recipe.name}")
def test_a_recipe_has_the_same_values_in_every_host(recipe: Recipe) -> None:
    (same,) = [other for other in recipe_files.recipes("trl") if other.model == recipe.model]
    # A host without adapters trains all weights, with a learning rate for that, and says so by its name.
    own = () if recipe.name == same.name else ("adapter_rank", "learning_rate")
    differing = [name for name in SHARED if name not in own and getattr(recipe, name) != getattr(same, name)]
    assert differing == []


def test_flags_of_a_script_are_read(tmp_path: Path) -> None:
    script = tmp_path / "judge.sh"
    script.write_text(
        'x=1\nflags=(\n  --a.b 3   # three\n  --c.on\n  --d "$x y"\n  --e -1\n)\nexec run "${flags[@]}"\n'
    )
    assert recipe_files._flags(script) == {"a.b": "3", "c.on": "", "d": "$x y", "e": "-1"}


def sentence(chance: random.Random) -> str:
    return " ".join("".join(chance.choices("abcdefgh", k=6)) for _ in range(12))


def rows_of(name: str, count: int) -> list[dict[str, object]]:
    """Rows with the columns of the cards of the three data sets."""
    chance = random.Random(name)
    rows: list[dict[str, object]] = []
    for index in range(count):
        prompt, good, bad = (sentence(chance) for _ in range(3))
        talks = [[{"role": "user", "content": prompt}, {"role": "assistant", "content": text}] for text in (good, bad)]
        if name == "skywork":
            rows.append({"chosen": talks[0], "rejected": talks[1], "source": "x"})
        elif name == "tulu":
            rows.append({"id": str(index), "prompt": prompt, "chosen": talks[0], "rejected": talks[1], "source": "x"})
        else:
            thought = [f"<think>Hm.</think>{text}" for text in (good, bad)]
            graded = {"generations": thought, "correctness_math_verify": [True, False], "correctness_llama": None}
            rows.append({"problem": prompt, "solution": good, "answer": "4", "source": "olympiads", **graded})
    return rows


def written(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_command_of_the_page_makes_the_data(tmp_path: Path) -> None:
    """With files that have the columns of the data sets in their place, and a tiny tokenizer in that of the judge's."""
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    command = page.partition("```bash\n")[2].partition("\n\n")[0].replace("\\\n", " ")
    words = shlex.split(command)[1:]
    sizes = {"skywork": 100, "tulu": 40, "math": 40}
    for index, word in enumerate(words):
        name = word.partition("=")[0]
        if name in sizes and "/" in word:
            words[index] = f"{name}={written(tmp_path / f'{name}.jsonl', rows_of(name, sizes[name]))}"
        elif words[index - 1] == "--benchmarks":
            words[index] = written(tmp_path / f"benchmark{index}.jsonl", [{"prompt": rows_of("tulu", 1)[0]["prompt"]}])
        elif words[index - 1] == "--tokenizer":
            words[index] = str(save_tiny_model(tmp_path / "model"))
        elif word == "train.jsonl":
            words[index] = str(tmp_path / word)
    done = CliRunner().invoke(rrm, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    shares = Counter(row["source"] for row in rows)
    assert shares["skywork"] == 100 and {shares["tulu"], shares["math"]} <= {20, 21}
    assert not any("<think>Hm." in row["prompt"][-1]["content"] for row in rows)
    rejects = [json.loads(line)["reason"] for line in (tmp_path / "train.jsonl.rejects.jsonl").read_text().splitlines()]
    assert rejects == ["benchmark"]
