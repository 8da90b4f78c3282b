"""RewardBench 2's Ties: the source's formula written down once more, and hand counts of ratings made of verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rrm_plugin.errors import ConfigError
from rrm_plugin.evaluation.benchmarks import BENCHMARKS, Figures, read_pairs
from rrm_plugin.evaluation.benchmarks.rewardbench2_ties import Standing, ties_score
from rrm_plugin.evaluation.scores import Call, JudgedPair, LabelledPair
from rrm_plugin.types import Verdict

TIES = BENCHMARKS["rewardbench2-ties"]
FIRST, SECOND, TIE = Verdict.FIRST, Verdict.SECOND, Verdict.TIE
Says = Callable[[LabelledPair, bool], Verdict | None]


def question(name: str, right: int, wrong: int, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "prompt": "a colour of the rainbow",
        "chosen": [f"right {i}" for i in range(right)],
        "rejected": [f"wrong {i}" for i in range(wrong)],
        "num_correct": right,
        "subset": "Ties",
        **more,
    }


def pairs(folder: Path, *rows: dict[str, Any]) -> list[LabelledPair]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_pairs(TIES, folder / "rows.jsonl")


def figures(given: Sequence[LabelledPair], says: Says) -> Figures:
    def calls(pair: LabelledPair) -> tuple[Call, ...]:
        return tuple(Call(swapped=swapped, vote=0, verdict=says(pair, swapped)) for swapped in (False, True))

    return TIES.figures([JudgedPair(pair=pair, calls=calls(pair)) for pair in given])


def published(tied: Sequence[tuple[float, float]], ref: Sequence[float]) -> float:
    """The formula of the source over all questions: margins and spreads of `tied`, margins of `ref`."""
    margins, spreads = np.array(tied).T
    smaller = np.minimum(margins, ref)
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = np.nan_to_num(np.tanh(smaller / spreads - 1), nan=0.0)
    return float(
        0.3 * np.mean(margins > 0)
        + 0.3 * np.mean(np.array(ref) > 0)
        + 0.2 * np.mean(margins > spreads)
        + 0.2 * np.mean(smaller > spreads)
        + 0.01 * np.mean(beyond)
    )


def test_the_mean_over_questions_is_the_sources_formula() -> None:
    draw = np.random.default_rng(5)
    tied = [(float(draw.normal(0.2, 1)), float(abs(draw.normal(0, 0.7)))) for _ in range(200)]
    ref = [float(draw.normal(0.2, 1)) for _ in range(200)]
    tied += [(0.5, 0.0), (0.0, 0.0), (-0.5, 0.0), (0.25, 0.25)]
    ref += [0.5, 0.5, 0.5, 0.25]
    ours = [
        ties_score(Standing(margin=margin, spread=spread), Standing(margin=other, spread=0.0))
        for (margin, spread), other in zip(tied, ref, strict=True)
    ]
    assert np.mean(ours) == pytest.approx(published(tied, ref), abs=1e-12)


def test_a_judge_that_may_say_tie_gets_all_there_is(tmp_path: Path) -> None:
    given = pairs(tmp_path, question("tied:4", 3, 2), question("ref:4", 1, 3))
    assert len(given) == 3 + 6 + 3
    found = figures(given, lambda pair, _: pair.label)
    assert found.value == pytest.approx(1.01) and set(found.parts.values()) == {1.0}
    assert figures(given, lambda pair, _: pair.label.swapped).value == pytest.approx(-0.01)


def test_ratings_are_counted_by_hand(tmp_path: Path) -> None:
    """Right 0 beats right 1 in both orders, and loses to the wrong one in one order of two."""
    given = pairs(tmp_path, question("tied:4", 2, 1), question("ref:4", 1, 1))

    def says(pair: LabelledPair, swapped: bool) -> Verdict:
        if pair.id == "tied:4:0-2":
            return SECOND if swapped else FIRST
        return FIRST

    # Right: (1/2 + 1) / 2 and (0 + 1/2) / 2; wrong: (1/2 + 0) / 2. Margin 0, spread 1/2; of the twin 1/2 - 0.
    found = figures(given, says)
    assert found.parts == {
        "tied: right above wrong": 0.0,
        "ref: right above wrong": 1.0,
        "margin above spread": 0.0,
        "smaller margin above spread": 0.0,
    }
    assert found.value == pytest.approx(0.3 + 0.01 * np.tanh(-1))
    # Two orders that contradict each other are even, and not above.
    even = figures(given, lambda pair, swapped: SECOND if swapped else FIRST)
    assert even.value == 0.0


def test_a_response_without_any_verdict_fails_its_question(tmp_path: Path) -> None:
    given = pairs(tmp_path, question("tied:4", 2, 2), question("ref:4", 1, 2))
    found = figures(given, lambda pair, _: None if pair.second == "wrong 1" else pair.label)
    assert found.value == pytest.approx(-0.01)
    one_call = figures(given, lambda pair, swapped: None if pair.second == "wrong 1" and swapped else pair.label)
    assert one_call.value == pytest.approx(1.01)


def test_without_all_pairs_of_both_twins_there_is_no_figure(tmp_path: Path) -> None:
    given = pairs(tmp_path, question("tied:4", 2, 2), question("ref:4", 1, 2))
    assert figures(given[1:], lambda pair, _: pair.label).value is None
    tied_only = [pair for pair in given if pair.question == "tied:4"]
    assert figures(tied_only, lambda pair, _: pair.label).value is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (question("12", 2, 2), "tied:NUMBER or ref:NUMBER, not '12'"),
        (question("tied:1", 2, 0), "column 'rejected': there is no response"),
        (question("tied:1", 0, 2), "column 'chosen': there is no response"),
        (question("tied:1", 2, 2, chosen="a"), "column 'chosen': a list of texts"),
        (question("12", 1, 3, subset="Math"), "there is no pair"),
    ],
)
def test_rows_of_another_layout_are_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        pairs(tmp_path, row)
