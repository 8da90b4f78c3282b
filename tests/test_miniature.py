"""The judge that comes with the package: it loads by its name, and judges as its card says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rrm_plugin import Group, RRMJudge, Verdict, miniature
from rrm_plugin.errors import ConfigError
from rrm_plugin.verdicts import split_thinking

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from examples.experiment import languages, traces
from examples.experiment.questions import split, wrong_answer


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A model this small only loses by sharing its work out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def judge() -> Iterator[RRMJudge]:
    with RRMJudge(model="miniature", schedule="round_robin", reducer="win_rate") as made:
        yield made


def test_judges_held_out_pairs(judge: RRMJudge) -> None:
    draws = np.random.default_rng(0)
    asked = split("test")[:100]
    groups = [Group(prompt=one.text, responses=[one.right, wrong_answer(one, draws)]) for one in asked]
    scored = judge.score_groups(groups)
    straight = [scores.judgements[0].verdict is Verdict.FIRST for scores in scored]
    swapped = [scores.judgements[1].verdict is Verdict.SECOND for scores in scored]
    assert all(scores.judgements[0].match and scores.judgements[0].match.first == 0 for scores in scored)
    assert np.mean(straight) > 0.9 and np.mean(swapped) > 0.9


def test_works_the_sum_out(judge: RRMJudge) -> None:
    judgement = judge.compare("37+85=?", "112", "122")
    assert split_thinking(judgement.text).thinking.startswith("7+5=12 3+8+1=12")
    assert judgement.verdict is Verdict.SECOND


def test_ranks_a_group(judge: RRMJudge) -> None:
    scores = judge.rank("48+27=?", ["65", "75", "76", "75"])
    assert scores.ranking[:2] == [1, 3] and scores.duplicates == 1


def test_name_chooses_prompt_and_batch_size(judge: RRMJudge) -> None:
    assert judge.tournament.judge.prompt.name == "miniature"
    assert judge.tournament.settings["engine"] == "transformers:rrm_plugin/miniature"


def test_what_a_user_chose_is_kept() -> None:
    folder, prompt, options = miniature.settings("arena", {"batch_size": 3})
    assert (folder, prompt, options) == (str(miniature.FOLDER), "arena", {"batch_size": 3})


def test_other_engines_take_the_name_as_they_take_any() -> None:
    with RRMJudge(model="miniature", engine="scripted:longer") as made:
        assert made.tournament.judge.prompt.name == "rrm"


def test_options_of_the_engine_are_checked() -> None:
    with pytest.raises(ConfigError, match="batchsize"):
        RRMJudge(model="miniature", batchsize=3)


def test_tokenizer_is_the_one_of_the_experiment(judge: RRMJudge) -> None:
    from transformers import AutoTokenizer

    stored, made = AutoTokenizer.from_pretrained(miniature.FOLDER), languages.judge_tokenizer()
    assert stored.get_vocab() == made.get_vocab()
    text = traces.judge_prompt("37+85=?", "112", "122")
    assert stored(text)["input_ids"] == made(text)["input_ids"]


def test_weights_are_small() -> None:
    assert (miniature.FOLDER / "model.safetensors").stat().st_size < 1_000_000
