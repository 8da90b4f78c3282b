"""The miniature experiment: it leaks no question, its texts survive its tokenizers, its page says what was measured."""

from __future__ import annotations

import html
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("trl")
pytest.importorskip("matplotlib")

import torch

from examples.experiment import (
    languages,
    measures,
    pairs,
    playing,
    pretraining,
    questions,
    report,
    results,
    stages,
    traces,
)
from examples.experiment.embed import card
from examples.experiment.page import page
from examples.experiment.questions import Question
from rrm_plugin import miniature
from rrm_plugin.prompts import load_prompt
from rrm_plugin.verdicts import parse, split_thinking

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs" / "experiment"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only lose by sharing their work out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_no_question_is_in_two_splits() -> None:
    for one, other in itertools.combinations(questions.SPLITS, 2):
        assert not set(questions.split(one)) & set(questions.split(other)), f"{one} and {other} share questions"


def test_splits_hold_all_questions() -> None:
    every = [question for name in questions.SPLITS for question in questions.split(name)]
    assert len(set(every)) == 8100
    assert {name: len(questions.split(name)) for name in questions.SPLITS} == questions.SPLITS


def test_corpus_is_as_mediocre_as_it_says() -> None:
    draws = np.random.default_rng(0)
    asked = [questions.split("corpus")[index % 4500] for index in range(20_000)]
    answers = [(one, questions.corpus_answer(one, draws)) for one in asked]
    with_carry = [answer == one.right for one, answer in answers if questions.carries(one)]
    without = [answer == one.right for one, answer in answers if not questions.carries(one)]
    assert np.mean(without) == pytest.approx(1 - questions.SLIPS, abs=0.02)
    assert np.mean(with_carry) == pytest.approx((1 - questions.SLIPS) * (1 - questions.FORGOTTEN), abs=0.02)


def test_wrong_answers_are_wrong_and_within_the_judges_numbers() -> None:
    draws = np.random.default_rng(0)
    for question in questions.split("corpus")[:2000]:
        answer = questions.wrong_answer(question, draws)
        assert answer != question.right and 0 <= int(answer) <= 199


@pytest.mark.parametrize("kind", ["working", "glance", "drill", "practice"])
def test_traces_survive_the_judges_tokenizer(kind: str) -> None:
    tokenizer, draws = languages.judge_tokenizer(), np.random.default_rng(1)
    for _ in range(200):
        trace = traces.draw_trace({kind: 1.0}, draws)
        text = trace.prompt + trace.reply
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids
        # What is learnt as a reply has to begin where the prompt ends.
        assert tokenizer(trace.prompt)["input_ids"] + tokenizer(trace.reply)["input_ids"] == ids
        assert len(tokenizer(trace.reply)["input_ids"]) < measures.JUDGE_TOKENS


def test_policy_tokenizer_keeps_texts() -> None:
    tokenizer = languages.policy_tokenizer()
    for question in questions.split("corpus")[:50]:
        assert (
            tokenizer.decode(tokenizer(question.text + question.right)["input_ids"]) == question.text + question.right
        )


def test_summands_are_digits_and_other_numbers_one_token() -> None:
    tokenizer = languages.judge_tokenizer()
    said = "Question: 37+85=?\n122 (Assistant 1)\n7 (Assistant 2)\n<think>7+5=12 3+8+1=12 so 122"
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(said)["input_ids"])
    assert tokens[1:7] == ["3", "7", "+", "8", "5", "=?"]
    assert tokens[-1] == "122" and tokens.count("12") == 2 and tokens.count("122") == 2


@pytest.mark.parametrize("answer", ["", "012", "1234567", "3+3", "=?", "(empty response)", "\\boxed{Assistant 1}"])
def test_judge_can_be_shown_any_answer(answer: str) -> None:
    tokenizer = languages.judge_tokenizer()
    (message,) = load_prompt("miniature").render("37+85=?", answer, "122", special_tokens=tokenizer.all_special_tokens)
    prompt = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    assert len(tokenizer(prompt)["input_ids"]) + measures.JUDGE_TOKENS < languages.CONTEXT


def test_cold_start_has_the_prompt_of_the_judge() -> None:
    (message,) = load_prompt("miniature").render("37+85=?", "122", "112")
    template = languages.judge_tokenizer().apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    assert traces.judge_prompt("37+85=?", "122", "112") == template


@pytest.mark.parametrize(("a", "b"), [(37, 85), (11, 22), (99, 99), (10, 90)])
def test_working_is_right(a: int, b: int) -> None:
    question = Question(a, b)
    thinking = split_thinking("<think>" + traces.working(question, 1)).thinking
    columns, said = thinking.split(" so ")
    for sum_ in columns.split():
        left, right = sum_.split("=")
        assert sum(map(int, left.split("+"))) == int(right)
    assert said == f"{a + b} (Assistant 1)"


def test_traces_end_in_a_verdict() -> None:
    draws = np.random.default_rng(2)
    for kind in ("working", "glance", "drill"):
        trace = traces.draw_trace({kind: 1.0}, draws)
        assert trace.ends
        assert parse("<think>" + trace.reply).verdict is not None


def test_cold_start_ends_in_guessing() -> None:
    """At the decoding of the judge, too: temperature 0.6 makes the likelier of two kinds of text likelier still."""
    last = pretraining.COLD_START[-1].mixture
    # Glances begin in two ways, one for each assistant; practice begins as working does.
    beginnings = [last["working"] + last["practice"], last["glance"] / 2, last["glance"] / 2, last["drill"]]
    shares = np.array(beginnings) ** (1 / 0.6)
    assert shares[0] / shares.sum() < 0.2


def test_mixtures_are_whole() -> None:
    for phase in pretraining.COLD_START:
        assert sum(phase.mixture.values()) == pytest.approx(1)


def test_pairs_hold_one_right_answer_each() -> None:
    question = Question(37, 85)
    given = ["122", "112", "112", "", "123", "132", "99"]
    training = pairs.training_pairs([question, Question(10, 10)], [given, ["20", "20"]])
    assert len(training) == 6, "three wrong answers in both orders; nothing where the policy is always right"
    for pair in training + pairs.test_pairs([question], [given], 0):
        assert (pair.first, pair.second)[pair.side - 1] == "122"
        assert "" != (pair.first, pair.second)[2 - pair.side] != "122"


def test_pass_at_1_is_the_chance_of_the_right_answer() -> None:
    tokenizer = languages.policy_tokenizer()
    model = languages.new_model(tokenizer, 0)
    asked = [Question(37, 85), Question(11, 22)]
    expected = []
    for question in asked:
        prompt = tokenizer(question.text)["input_ids"]
        reply = tokenizer(question.right + tokenizer.eos_token)["input_ids"]
        chance = 1.0
        for index, token in enumerate(reply):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + reply[:index]])).logits[0, -1]
            chance *= float(logits.softmax(-1)[token])
        expected.append(chance)
    assert measures.pass_at_1(model, tokenizer, asked) == pytest.approx(100 * np.mean(expected), rel=1e-4)


def test_pretraining_learns() -> None:
    phases = (pretraining.Phase(steps=12, rate=3e-3),)
    model, tokenizer = pretraining.pretrain_policy(0, phases)
    untrained = languages.new_model(tokenizer, 0)
    held_out = questions.split("dev")
    assert measures.pass_at_1(model, tokenizer, held_out) > 10 * measures.pass_at_1(untrained, tokenizer, held_out)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    file = DOCS / "results.json"
    if not file.is_file():
        pytest.skip("the experiment has not been run: no docs/experiment/results.json")
    return json.loads(file.read_text(encoding="utf-8"))


def test_results_have_a_row_a_seed(rows: list[dict]) -> None:
    assert len({row["seed"] for row in rows}) == len(rows) >= 3
    for row in rows:
        for when in ("judge_before", "judge_after"):
            assert {"first_order", "swapped_order", "agreement"} <= row[when].keys()
            assert all(0 <= row[when][key] <= 100 for key in ("first_order", "swapped_order", "agreement"))
        assert 0 < row["policy_before"] < 100
        assert row["policy_after"].keys() == {"rrm", "labels", "cold_start", "random"}
        assert all(seconds > 0 for seconds in row["seconds"].values())


def test_page_is_written_from_the_results(rows: list[dict]) -> None:
    written = (ROOT / "docs" / "experiment.md").read_text(encoding="utf-8")
    assert written == page(*results.read(DOCS)), "run: python -m examples.experiment --page"


def test_the_page_of_the_curves_has_the_table_of_the_results(rows: list[dict]) -> None:
    written = (DOCS / "curves.html").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<pre>(.*?)</pre>", written, re.DOTALL)
    assert html.unescape(shown) == report.table(rows), "run: python -m examples.experiment --page"


def test_card_is_written_from_the_results(rows: list[dict]) -> None:
    written = (miniature.FOLDER / "README.md").read_text(encoding="utf-8")
    assert written == card(rows[0]), "run: python -m examples.experiment.embed"


def made_up_row(**changes: object) -> dict:
    judge = {"first_order": 99.0, "swapped_order": 98.0, "agreement": 97.0, "computes": 99.0, "sum_right": 98.0}
    return {
        "seed": 1,
        "judge_before": {**judge, "first_order": 55.0, "swapped_order": 56.0, "agreement": 50.0},
        "judge_after": judge,
        "policy_before": 40.0,
        "policy_after": {"rrm": 69.0, "labels": 70.0, "cold_start": 45.0, "random": 41.0},
        **changes,
    }


def test_targets_that_are_met() -> None:
    assert all(target.met for target in results.targets([made_up_row(), made_up_row(seed=2)]))


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        (
            {"judge_after": {"first_order": 99.0, "swapped_order": 94.9, "agreement": 97.0}},
            "judge after it, worse order",
        ),
        ({"judge_before": {"first_order": 50.0, "swapped_order": 65.1}}, "judge before its training, better order"),
        (
            {"policy_after": {"rrm": 54.0, "labels": 54.0, "cold_start": 41.0, "random": 40.0}},
            "lift of the policy by the judge",
        ),
        (
            {"policy_after": {"rrm": 55.0, "labels": 70.0, "cold_start": 41.0, "random": 40.0}},
            "that lift as share of the labels', average",
        ),
        (
            {"policy_after": {"rrm": 69.0, "labels": 70.0, "cold_start": 41.0, "random": 36.9}},
            "change by random rewards",
        ),
    ],
)
def test_one_seed_that_misses_is_a_miss(changes: dict, missed: str) -> None:
    found = results.targets([made_up_row(), made_up_row(), made_up_row(**changes)])
    assert [target.what for target in found if not target.met] == [missed]


def test_share_of_labels() -> None:
    assert results.share_of_labels(made_up_row()) == pytest.approx(100 * 29 / 30)


def test_table_says_what_is_missed() -> None:
    text = report.table([made_up_row(), made_up_row(policy_before=60.0)])
    assert "NOT MET" in text and "that is 97% of what the labels give" in text
    assert "by the judge before its training" in text and max(map(len, text.splitlines())) <= 80


def test_a_fresh_run_throws_away_runs_and_nothing_else(tmp_path: Path) -> None:
    for name in ("seed-1/policy", "mine"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("seed-1/policy/stage.json", "mine/thesis.tex", "time.json"):
        (tmp_path / name).write_text("{}")
    playing.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "thesis.tex"]


@pytest.mark.parametrize(
    ("stage", "log", "told_of"),
    [
        ("policy", "    step 100: loss 2.345\n    step 200: loss 1.234\n", "step 200 of 1000, loss 1.234"),
        ("cold_start", "    step 2300: loss 0.5\n", "step 2300 of 2300, loss 0.5"),
        ("judge", "    step 5  one 1  two 2  three 3  four 4\n", "step 5 of 60, one 1 two 2 three 3"),
        ("policy-rrm", "    step 120  pass_at_1 58.8\n", "step 120 of 120, pass_at_1 58.8"),
        ("policy-random", "loading\n", ""),
    ],
)
def test_a_stage_says_how_far_it_is(tmp_path: Path, stage: str, log: str, told_of: str) -> None:
    run = stages.Run(folder=tmp_path, seed=11)
    run.at(stage).mkdir(parents=True)
    (run.at(stage) / "log.txt").write_text(log)
    assert playing._how_far(run, stage) == (f"  seed 11: {stage}: {told_of}" if told_of else "")


@pytest.mark.parametrize("options", [["--demo", "--report"], ["--fresh", "--page"], ["--fresh", "--report"]])
def test_what_trains_and_what_only_reports_exclude_each_other(options: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.experiment", *options], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "do not" in done.stderr


def test_stages_of_other_code_or_other_questions_are_not_taken_for_done(tmp_path: Path, monkeypatch) -> None:
    run = stages.Run(folder=tmp_path, seed=1)
    monkeypatch.setitem(stages.STAGES, "policy", stages.Stage(work=lambda *_: {"after": 1.0}, what="nothing"))
    stages.run_stage(run, "policy")
    found = run.results("policy")
    assert found is not None and found["after"] == 1.0
    assert stages.Run(folder=tmp_path, seed=1, split="dev").results("policy") is None
    monkeypatch.setattr(stages, "code_mark", lambda: "another")
    assert run.results("policy") is None
