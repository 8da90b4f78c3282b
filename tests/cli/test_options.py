"""The options of judging commands, and the settings file they go before."""

from __future__ import annotations

import errno

import click
import pytest
from click.testing import CliRunner

from rrm_plugin.cli.options import _takes, judge_settings, make_judge, plain_errors
from rrm_plugin.engines import engine
from rrm_plugin.errors import ConfigError

SERVER = "engine: http://localhost:1/v1\nmodel: m\nconcurrency: 4\napi_key: k\norders: fixed\n"


def filed(tmp_path, text):
    (tmp_path / "judge.yaml").write_text(text)
    return {"config": str(tmp_path / "judge.yaml")}


@pytest.mark.parametrize("other", ["scripted:longer", "replay:texts.jsonl", "transformers"])
def test_options_of_an_engine_that_is_replaced_go_with_it_and_are_named(tmp_path, capsys, other):
    settings = judge_settings({**filed(tmp_path, SERVER), "engine": other, "votes": None})
    assert settings == {"engine": other, "model": "m", "orders": "fixed"}
    said = capsys.readouterr().err
    assert "judge.yaml: concurrency, api_key left out" in said and other in said


def test_an_engine_of_the_same_kind_keeps_the_options(tmp_path, capsys):
    settings = judge_settings({**filed(tmp_path, SERVER), "engine": "http://localhost:2/v1"})
    assert settings["concurrency"] == 4 and settings["engine"] == "http://localhost:2/v1"
    assert capsys.readouterr().err == ""


def test_the_engine_of_a_file_that_names_none_is_the_default(tmp_path):
    settings = judge_settings({**filed(tmp_path, "model: m\nbatch_size: 4\n"), "engine": "http://localhost:2/v1"})
    assert settings == {"model": "m", "engine": "http://localhost:2/v1"}


@pytest.mark.parametrize(
    "options", [{"concurrency": 8}, {"timeout": 3.0}], ids=["in the file too", "on the command line alone"]
)
def test_an_option_that_was_given_is_never_left_out(tmp_path, capsys, options):
    given = {**filed(tmp_path, "engine: http://localhost:1/v1\nconcurrency: 4\n"), "engine": "scripted:longer"}
    with pytest.raises(ConfigError, match=f"no option '{next(iter(options))}'"):
        make_judge({**given, **options})


def test_a_misspelt_option_stays_an_error(tmp_path):
    with pytest.raises(ConfigError, match="'konkurrenz'"):
        make_judge({**filed(tmp_path, SERVER + "konkurrenz: 2\n"), "engine": "scripted:longer"})


@pytest.mark.parametrize(
    "spec",
    [
        "http://localhost:1/v1",
        "http://a/v1,http://b/v1",
        ["http://a/v1"],
        "replay:x",
        "scripted:longer",
        "transformers",
        "vllm",
    ],
)
def test_what_an_engine_is_thought_to_take_is_what_it_takes(spec):
    with pytest.raises(ConfigError) as refused:
        engine(spec, model="m", nonsense=1)
    takes = str(refused.value).partition("it takes ")[2]
    assert _takes(spec) == (frozenset() if takes == "none" else frozenset(takes.split(", ")))


def test_what_is_no_engine_is_left_to_the_engines_own_error(tmp_path):
    assert _takes("localhost:8000") is None and _takes(3) is None
    with pytest.raises(ConfigError, match="localhost:8000"):
        make_judge({**filed(tmp_path, SERVER), "engine": "localhost:8000"})


def test_errors_of_files_are_messages():
    @click.command()
    @plain_errors
    def command() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out.jsonl")

    result = CliRunner().invoke(command)
    assert result.exit_code == 1 and "No space left on device: 'out.jsonl'" in result.output
