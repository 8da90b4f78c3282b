"""Where the thinking ends, in the forms that models and chat templates leave it."""

from __future__ import annotations

import pytest

from rrm_plugin.verdicts import closing_tag, split_thinking, strip_thinking


@pytest.mark.parametrize(
    ("text", "thinking", "answer", "closed"),
    [
        ("<think>a</think>b", "a", "b", True),
        ("a\n</think>\n\nb", "a\n", "\n\nb", True),
        ("\n <think>\na</think>b", "\na", "b", True),
        ("<think>a", "a", "", False),
        ("a</think>b<think>c", "a", "b<think>c", True),
        ("a</think>b\n<think>\nc", "a</think>b\n\nc", "", False),
        ("a</think>b</think>c", "a</think>b", "c", True),
        ("plain", "", "plain", None),
        ("", "", "", None),
        ("it leaked its <think> tag", "", "it leaked its <think> tag", None),
        ("<THINKING>a</Thinking>b", "a", "b", True),
        ("<|begin_of_thought|>a<|end_of_thought|>b", "a", "b", True),
        ("[THINK]a[/THINK]b", "a", "b", True),
        ("◁think▷a◁/think▷b", "a", "b", True),
        ("<seed:think>a</seed:think>b", "a", "b", True),
    ],
)
def test_split(text: str, thinking: str, answer: str, closed: bool | None) -> None:
    assert split_thinking(text) == (thinking, answer, closed)


@pytest.mark.parametrize(
    ("text", "shown"), [("<think>secret", ""), ("secret</think>\nanswer", "\nanswer"), ("answer", "answer")]
)
def test_strip(text: str, shown: str) -> None:
    assert strip_thinking(text) == shown


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("no tag", "</think>"),
        ("<think>a", "</think>"),
        ("<thinking>a", "</thinking>"),
        ("[THINK]a", "[/THINK]"),
        ("<|begin_of_thought|>a", "<|end_of_thought|>"),
        ("◁think▷a", "◁/think▷"),
    ],
)
def test_closing_tag_closes(text: str, tag: str) -> None:
    assert closing_tag(text) == tag
    assert split_thinking(f"{text}{tag}b").answer == "b"
