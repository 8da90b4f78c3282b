"""Settings files: three formats, and errors that name the file."""

from __future__ import annotations

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.config import import_object, read_judge_settings, read_settings
from rrm_plugin.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("judge.yaml", "engine: scripted:longer\nvotes: 3\n"),
        ("judge.json", '{"engine": "scripted:longer", "votes": 3}'),
        ("judge.toml", 'engine = "scripted:longer"\nvotes = 3\n'),
    ],
)
def test_reads_each_format(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    assert read_settings(file) == {"engine": "scripted:longer", "votes": 3}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1e-3", 0.001),
        ("1E5", 100_000.0),
        ("+2.5e3", 2500.0),
        ("-.5e+1", -5.0),
        ("1.0e-3", 0.001),
        ("'1e-3'", "1e-3"),
        ("1e-3x", "1e-3x"),
        ("e5", "e5"),
        ("scripted:1e-3", "scripted:1e-3"),
        ("12", 12),
    ],
)
def test_numbers_of_yaml_are_those_of_json(tmp_path, written, read):
    file = tmp_path / "judge.yaml"
    file.write_text(f"alarms: {{spread: {written}}}\n")
    found = read_settings(file)["alarms"]["spread"]
    assert (found, type(found)) == (read, type(read))


def test_limits_of_a_settings_file_may_have_exponents(tmp_path):
    file = tmp_path / "judge.yaml"
    file.write_text(
        "engine: scripted:longer\nalarms: {spread: 1e-3}\nbudget: {calls: 1e5, cost: 5e1}\nmax_tokens: 8e3\n"
        "prices: {prompt: 15e-2, completion: 6e-1}\ntemperature: 6e-1\n"
    )
    with RRMJudge.from_config(file) as judge:
        assert judge.lookout.alarms.spread == 0.001
        assert judge.tournament.judge.sampling.max_tokens == 8000


def test_the_variable_names_the_file(tmp_path, monkeypatch):
    file = tmp_path / "judge.yaml"
    file.write_text("votes: 3")
    monkeypatch.setenv("RRM_CONFIG", str(file))
    assert read_settings() == {"votes": 3}


def test_without_a_file_the_error_names_the_variable(monkeypatch):
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="RRM_CONFIG"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "votes: [", "not valid"),
        ("a.json", "{", "not valid"),
        ("a.toml", "votes", "not valid"),
        ("a.yaml", "- votes", "mapping"),
        ("a.yaml", "1: 2", "mapping"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_settings(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        read_settings(tmp_path / "nowhere.yaml")


def test_same_as_is_imported(tmp_path):
    file = tmp_path / "judge.yaml"
    file.write_text("same_as: json:loads")
    import json

    assert read_settings(file)["same_as"] is json.loads


@pytest.mark.parametrize("name", ["json.loads", "json:nothing", "no_such_module_here:loads"])
def test_an_object_that_cannot_be_imported_names_the_setting(name):
    with pytest.raises(ConfigError, match="same_as"):
        import_object(name, setting="same_as")


def test_settings_of_a_gate_stand_apart_and_do_not_disturb_a_judge(tmp_path):
    file = tmp_path / "judge.yaml"
    file.write_text("engine: scripted:longer\ngate:\n  deadline: 5\n")
    assert read_judge_settings(file) == ({"engine": "scripted:longer"}, {"deadline": 5})
    RRMJudge.from_config(file).close()
    file.write_text("gate: 5")
    with pytest.raises(ConfigError, match="gate must hold"):
        read_judge_settings(file)
