from __future__ import annotations

import subprocess
import sys

import pytest

from rrm_plugin.engines import Engine, HttpEngine, ScriptedEngine, engine
from rrm_plugin.errors import ConfigError


def test_urls_become_http_engines():
    for spec in ("http://a:1/v1", "http://a:1, https://b/v1", ["http://a:1", "http://b:1"], ("http://a",)):
        made = engine(spec, model="RRM-7B", concurrency=3)
        assert isinstance(made, HttpEngine)
        assert isinstance(made, Engine)
        assert made.name == "http:RRM-7B"


def test_an_engine_is_passed_through():
    mine = ScriptedEngine(lambda messages: "x")
    assert engine(mine) is mine
    assert engine(mine, model="ignored") is mine
    with pytest.raises(ConfigError, match="concurrency"):
        engine(mine, concurrency=3)


def test_the_name_of_an_http_engine_holds_no_address_and_no_key():
    made = engine("http://secret-host:8123/v1", model="RRM-7B", api_key="sk-1")
    assert made.name == "http:RRM-7B"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("openai", "scripted:longer.*Engine"),
        ("localhost:8000", "http://localhost:8000"),
        ("judge.example/v1", "http://judge.example/v1"),
        ("scripted:best", "scripted:longer"),
        ("scripted:", "scripted:longer"),
        ("replay:", "replay:texts.jsonl"),
        ("transformers", "model="),
        ("vllm", "model="),
        ("", "not known"),
        ([], "not known"),
        ([1], "not known"),
        (None, "not known"),
    ],
)
def test_what_is_not_known_says_what_is(spec, says):
    with pytest.raises(ConfigError, match=says):
        engine(spec)


@pytest.mark.parametrize(
    ("spec", "model", "lists"),
    [
        ("http://a", None, "retry_for"),
        ("transformers", "m", "batch_size"),
        ("vllm", "m", "llm"),
        ("scripted:first", None, "none"),
    ],
)
def test_an_unknown_option_is_named_and_the_valid_ones_are_listed(spec, model, lists):
    with pytest.raises(ConfigError, match=f"'tempreature'.*{lists}"):
        engine(spec, model=model, tempreature=1)


def test_engines_load_no_framework_until_asked_for():
    code = (
        "import sys, rrm_plugin.engines as e; e.engine('scripted:first'); e.engine('http://a');"
        "bad = {'torch', 'transformers', 'vllm'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
