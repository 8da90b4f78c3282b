"""Pairs met before, prompts of benchmarks, prompts too long."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin import ConfigError, MissingExtraError
from rrm_plugin.training.checks import Benchmarks, HashSet, SeenPairs, TokenLimit, load_tokenizer, text_hash, words_of
from rrm_plugin.training.pairs import RowError
from rrm_plugin.training.sources import source

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


@given(st.lists(st.integers(1, 2**64 - 1)))
def test_the_set_of_hashes_is_a_set(numbers):
    ours, theirs = HashSet(), set()
    for number in numbers:
        assert ours.add(number) == (number not in theirs)
        theirs.add(number)
    assert len(ours) == len(theirs) and all(number in ours for number in theirs)


def test_the_set_grows_and_keeps_its_members_in_little_memory():
    ours = HashSet()
    # Equal low bits, so that all of them want the same place.
    numbers = [(number << 12) | 1 for number in range(1, 3000)]
    assert all(ours.add(number) for number in numbers)
    assert not any(ours.add(number) for number in numbers) and (1 << 40) not in ours
    for number in range(1, 100_000):
        ours.add(text_hash(str(number)))
    assert ours._slots.itemsize * len(ours._slots) < 32 * len(ours)


def test_hashes_tell_texts_and_their_borders_apart():
    assert text_hash("a", "bc") != text_hash("ab", "c") != text_hash("abc")
    assert text_hash("\ud800") != text_hash("?")
    assert text_hash("a") == 9243798235275095992, "ids and orders of existing data depend on it"


def reason(check, *arguments):
    try:
        check(*arguments)
    except RowError as error:
        return error.reason.value
    return None


def test_a_pair_is_met_once():
    seen = SeenPairs()
    assert reason(seen.check, "q", "a", "b") is None
    assert reason(seen.check, " q\n", "a ", "b") == "duplicate"
    assert reason(seen.check, "q", "b", "a") == "contradiction"
    assert reason(seen.check, "q", "A", "b") is None
    assert reason(seen.check, "q2", "a", "b") is None
    assert len(seen) == 3


def test_words_are_those_a_reader_sees():
    assert words_of("The ＣＡＴ_sat,  on 3½ mats!") == ["the", "cat", "sat", "on", "31", "2", "mats"]
    assert words_of("猫が好き") == list("猫が好き")


def benchmarks(tmp_path, *rows):
    path = tmp_path / "bench.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = Benchmarks()
    made.add(source(str(path)))
    return made


@pytest.mark.parametrize(
    ("prompt", "refused"),
    [
        ("What is the sky?", True),
        ("what IS the sky", True),
        ("What is the sky like?", False),
        (LONG, True),
        (f"Please say: {LONG.upper()}!", True),
        (LONG.replace("seven", "7"), False),
        (" ".join(LONG.split()[1:]), True),
        (" ".join(LONG.split()[2:]), False),
        ("", False),
    ],
)
def test_prompts_of_a_benchmark_are_refused(tmp_path, prompt, refused):
    made = benchmarks(tmp_path, {"question": "What is the sky?"}, {"question": LONG})
    assert reason(made.check, prompt) == ("benchmark" if refused else None)


def test_the_words_that_are_shared_are_shown(tmp_path):
    made = benchmarks(tmp_path, {"turns": ["first turn", LONG]}, {"prompt": [{"role": "user", "content": "hello"}]})
    with pytest.raises(RowError, match="one two three"):
        made.check(f"well, {LONG}")
    assert made.prompts == 2 and reason(made.check, "Hello.") == "benchmark"


@pytest.mark.parametrize("rows", [({"label": 1},), ({"prompt": 3},)])
def test_a_benchmark_without_prompts_is_an_error(tmp_path, rows):
    with pytest.raises(ConfigError, match=r"bench\.jsonl, line 1"):
        benchmarks(tmp_path, *rows)


def test_a_benchmark_that_is_not_read_in_full_is_an_error(tmp_path):
    (tmp_path / "bench.jsonl").write_text('{"prompt": "a"}\n{broken\n')
    with pytest.raises(ConfigError, match="line 2"):
        Benchmarks().add(source(str(tmp_path / "bench.jsonl")))


class Words:
    """A tokenizer with a token a word."""

    calls = 0

    def apply_chat_template(self, messages, **_):
        return " ".join(message["content"] for message in messages)

    def __call__(self, text, **_):
        self.calls += 1
        return {"input_ids": text.split()}


def test_prompts_are_measured_in_tokens():
    limit = TokenLimit(tokenizer=Words(), most=9)
    assert reason(limit.check, [{"role": "user", "content": "a b"}]) is None
    assert limit.tokenizer.calls == 0, "what is short in bytes is not cut into tokens"
    assert reason(limit.check, [{"role": "user", "content": "word " * 9}]) is None
    assert reason(limit.check, [{"role": "user", "content": "word " * 10}]) == "too_long"


def test_a_tokenizer_without_a_template_is_an_error():
    class Bare:
        def apply_chat_template(self, *_, **__):
            raise ValueError("no template")

    with pytest.raises(ConfigError, match="chat template"):
        TokenLimit(tokenizer=Bare(), most=9).check([])


def test_a_tokenizer_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="loads tokenizers")
    with pytest.raises(ConfigError, match="tokenizer"):
        load_tokenizer(str(tmp_path / "nothing"))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"\[training\]"):
        load_tokenizer("owner/name")
