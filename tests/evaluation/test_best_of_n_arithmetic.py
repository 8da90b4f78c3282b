"""`rrm bon` on real answers under judges of stated accuracy, against what the arithmetic says.

What a knockout or a round robin makes of a judge that is right with a given chance is computed here once more, from
the numbers of right and wrong responses alone, with none of the package's schedules, reducers or judges. Skipped where
the real data is not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main
from rrm_plugin.evaluation.response_groups import ResponseGroup, group_source, read_groups

FILES = (
    "gsm8k/gsm8k_multi4.jsonl",
    "qwen_math/math_multi8.jsonl",
    "zeroeval/gsm_multi16_every12.jsonl",
    "mmlu_pro/mmlu_pro_multi.jsonl",
)
DRAWS = 1_000


def bon(data: Path, out: Path, accuracy: float, *ways: str) -> dict[str, Any]:
    """The report of the command."""
    words = ["bon", str(data), "--engine", f"simulated:{accuracy}", "--json", str(out), "--limit", "300"]
    for way in ways:
        words += ["--strategy", way]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES)
def test_a_perfect_judge_reaches_the_oracle_and_a_coin_reaches_random(
    shared_data: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    ways = ("knockout", "swiss:3", "circulant:3")
    perfect = bon(shared_data(name), tmp_path / "perfect.json", 1, *ways)
    oracle = perfect["baselines"]["oracle"]
    for row in perfect["strategies"]:
        # A knockout has one winner, which is right; the others may leave a right and a wrong one with equal scores.
        if row["strategy"] == "knockout":
            assert row["accuracy"] == pytest.approx(oracle["accuracy"], abs=1e-12)
        low, high = oracle["interval"]
        assert low <= row["accuracy"] <= high
    coin = bon(shared_data(name), tmp_path / "coin.json", 0.5, *ways)
    random = coin["baselines"]["random"]["accuracy"]
    for row in coin["strategies"]:
        low, high = row["interval"]
        assert low <= random <= high


@pytest.mark.parametrize("accuracy", [0.6, 0.75, 0.9])
@pytest.mark.parametrize("name", FILES)
def test_a_judge_in_between_gives_what_the_arithmetic_says(
    shared_data: Callable[[str], Path], tmp_path: Path, name: str, accuracy: float
) -> None:
    ways = {"knockout": knocked_out, "round_robin/win_rate": most_wins}
    if name.startswith("mmlu_pro"):
        del ways["round_robin/win_rate"]  # 226,000 calls
    report = bon(shared_data(name), tmp_path / "a.json", accuracy, *ways)
    kept = report["questions"]["knockout"]
    groups = [group for group in read_groups(group_source(str(shared_data(name)))) if group.id in kept]
    for row in report["strategies"]:
        expected = np.array([ways[row["strategy"]](*counts(group), accuracy) for group in groups])
        low, high = row["interval"]
        assert low <= expected.mean() <= high
        # Of these very questions, so the only chance is the judge's: a bound that is narrower than the interval.
        deviation = np.sqrt((expected * (1 - expected)).sum()) / len(expected)
        assert abs(row["accuracy"] - expected.mean()) <= 3 * deviation


def counts(group: ResponseGroup) -> tuple[int, int]:
    """Right and wrong among the texts that differ: equal ones play once."""
    texts: dict[str, bool] = {}
    for text, right in zip(group.responses, group.correct, strict=True):
        texts[text] = texts.get(text, False) or right
    return sum(texts.values()), len(texts) - sum(texts.values())


@cache
def knocked_out(right: int, wrong: int, accuracy: float) -> float:
    """The chance that a right one is left of a bracket by lot; both orders of a match, even ones to the better seed."""
    if not right or not wrong:
        return float(right > 0)
    draw = np.random.default_rng([right, wrong])
    size = 1 << (right + wrong - 1).bit_length()
    # By seed, (draws, size): 1 is right, 0 is wrong, -1 is nobody.
    kinds = np.concatenate([np.ones(right), np.zeros(wrong), np.full(size - right - wrong, -1)])
    players = kinds[None, :].repeat(DRAWS, axis=0)
    players[:, : right + wrong] = draw.permuted(players[:, : right + wrong], axis=1)
    seeds = np.array(line(size))[None, :].repeat(DRAWS, axis=0)
    players = players[:, np.array(line(size))]
    while players.shape[1] > 1:
        one, other = players[:, ::2], players[:, 1::2]
        chance = np.where(one == other, 0.5, np.where(one > other, accuracy, 1 - accuracy))
        won = draw.binomial(2, chance)
        first = (other < 0) | ((one >= 0) & ((won == 2) | ((won == 1) & (seeds[:, ::2] < seeds[:, 1::2]))))
        players = np.where(first, one, other)
        seeds = np.where(first, seeds[:, ::2], seeds[:, 1::2])
    return float(players.mean())


def line(size: int) -> list[int]:
    """The usual draw: in every round the seeds that meet add up to the same number."""
    if size == 1:
        return [0]
    return [seed for half in line(size // 2) for seed in (half, size - 1 - half)]


@cache
def most_wins(right: int, wrong: int, accuracy: float) -> float:
    """The chance that a right one has won most calls, all pairs in both orders, even ones by lot."""
    n = right + wrong
    draw = np.random.default_rng([right, wrong])
    is_right = np.arange(n) < right
    chance = np.where(is_right[:, None] == is_right, 0.5, np.where(is_right[:, None], accuracy, 1 - accuracy))
    above = np.triu(draw.binomial(2, chance[None].repeat(DRAWS, axis=0)), 1)
    won = above.sum(axis=2) + (np.triu(np.full((n, n), 2), 1)[None] - above).sum(axis=1)
    best = won == won.max(axis=1, keepdims=True)
    return float(((best & is_right).sum(axis=1) / best.sum(axis=1)).mean())
