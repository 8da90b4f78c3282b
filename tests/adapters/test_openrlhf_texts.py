"""What was asked and answered, told from the texts that OpenRLHF hands out."""

from __future__ import annotations

import pytest

from rrm_plugin import ConfigError
from rrm_plugin.adapters.openrlhf.texts import asked, ended_turn, reply_of
from tests.tiny import save_tiny_model

QUESTION = {"role": "user", "content": "Why is the sky blue?\nIn short."}
SYSTEM = {"role": "system", "content": "Answer like a pirate."}
ANSWER = {"role": "assistant", "content": "Because."}
PROMPT = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(save_tiny_model(tmp_path_factory.mktemp("model")))


def rendered(tokenizer, *messages):
    return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)


@pytest.mark.parametrize("messages", [[QUESTION], [SYSTEM, QUESTION]])
def test_the_chat_template_is_undone(tokenizer, messages):
    assert asked(rendered(tokenizer, *messages), "", tokenizer) == (messages, None)


def test_a_conversation_of_several_turns_and_other_texts_stay_as_they_are(tokenizer):
    turns = rendered(tokenizer, QUESTION, ANSWER, QUESTION)
    for prompt in (turns, "What is 1 + 1?", turns[20:]):
        assert asked(prompt, "", tokenizer) == (prompt, None)
    assert asked(PROMPT, "") == (PROMPT, None)


def test_a_template_that_refuses_system_messages_is_undone_too(tokenizer):
    import copy

    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "[INST] {{ m['content'] }} [/INST]{% endfor %}"
    )
    assert asked(rendered(strict, QUESTION), "", strict) == ([QUESTION], None)


def test_another_copy_of_a_tokenizer_is_the_same(tokenizer):
    import copy

    from rrm_plugin.adapters.openrlhf import texts

    texts._patterns.cache_clear()
    for _ in range(3):
        asked(PROMPT, "", copy.deepcopy(tokenizer))
    assert texts._patterns.cache_info().currsize == 1


def test_a_label_may_bring_the_conversation_and_a_given_answer(tokenizer):
    turns = [QUESTION, ANSWER, QUESTION]
    assert asked(PROMPT, turns, tokenizer) == (turns, None)
    assert asked(PROMPT, {"prompt": turns, "reference": "42"}, tokenizer) == (turns, "42")
    assert asked(PROMPT, {"reference": "42"}, tokenizer) == ([{"role": "user", "content": "Why?"}], "42")
    assert asked(PROMPT, {"other": 1}) == (PROMPT, None)


@pytest.mark.parametrize(("label", "reference"), [("", None), (None, None), ("42", "42"), (42, "42"), ([], "[]")])
def test_any_other_label_is_a_given_answer(label, reference):
    assert asked("Why?", label) == ("Why?", reference)


def test_the_reply_is_what_comes_after_the_prompt():
    assert reply_of(PROMPT + "So.<|im_end|>", PROMPT) == "So.<|im_end|>"
    long = "filler " * 100 + PROMPT
    assert reply_of(long[50:] + "So.", long) == "So."
    with pytest.raises(ConfigError, match="cannot be told from the prompt"):
        reply_of("something else", PROMPT)


@pytest.mark.parametrize("end", ["<|im_end|>", "</s>", "<end_of_turn>\n", "[EOS]"])
def test_the_end_of_a_turn_is_taken_off(end):
    assert ended_turn(f"So.{end}") == ("So.", True)
    assert ended_turn("So.") == ("So.", False)
