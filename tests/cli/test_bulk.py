"""`rrm rank --ray` up to where Ray begins: options that do not fit, input and settings that are refused."""

from __future__ import annotations

import importlib.util
import json

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main


@pytest.fixture
def rank(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.jsonl").write_text(json.dumps({"prompt": "q", "responses": ["a", "bb"]}) + "\n")

    def run(*words: str):
        places = [str(tmp_path / "in" / word) if word.endswith(".jsonl") else word for word in words]
        return CliRunner().invoke(
            main, ["rank", *places, "--output", str(tmp_path / "out"), "--engine", "scripted:longer"]
        )

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.jsonl", "b.jsonl"], "several are ranked with --ray"),
        (["a.jsonl", "--replicas", "2"], "--replicas is for --ray"),
        (["a.jsonl", "--max-calls", "2"], "--max-calls is for --ray"),
        (["c.jsonl"], "does not exist"),
        ([], "Missing argument"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(rank, words, message):
    result = rank(*words)
    assert result.exit_code == 2 and message in result.output


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow")
def test_input_and_settings_are_refused_before_ray_is_asked_for(rank, tmp_path):
    assert "there is nothing at" in rank("--ray", "c.jsonl").output
    (tmp_path / "out" / "_rank").mkdir(parents=True)
    plan = {"settings": {"schedule": "knockout"}, "files": [], "stamp": "s"}
    (tmp_path / "out" / "_rank" / "plan.json").write_text(json.dumps(plan))
    result = rank("--ray", "a.jsonl")
    assert result.exit_code == 1 and "schedule was 'knockout' and is 'circulant:3'" in result.output
    (tmp_path / "out" / "_rank" / "plan.json").unlink()
    (tmp_path / "out" / "a.jsonl").write_text("mine\n")
    result = rank("--ray", "a.jsonl")
    assert result.exit_code == 1 and "a.jsonl stands in" in result.output and "Traceback" not in result.output


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow")
def test_a_folder_that_another_run_has_is_refused_and_left_as_it_is(rank, tmp_path, monkeypatch):
    from rrm_plugin.bulk import holding
    from rrm_plugin.bulk.folder import Folder

    monkeypatch.setattr(holding, "BEAT", 0.05)
    with holding.holding(Folder(str(tmp_path / "out"))):
        result = rank("--ray", "a.jsonl")
        assert result.exit_code == 1 and "another run ranks into" in result.output.replace("\n", " ")
        assert not (tmp_path / "out" / "_rank" / "plan.json").exists()


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named(rank):
    result = rank("--ray", "a.jsonl")
    assert result.exit_code == 1 and "pip install 'rrm-plugin[ray]'" in result.output
