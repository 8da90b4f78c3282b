"""`rrm serve`: what it says and how it ends; what it serves is tested in tests/service."""

from __future__ import annotations

import builtins
import re
import signal
import socket

import pytest
from click.testing import CliRunner

from rrm_plugin.cli import main
from tests.service.services import TOKEN, Served, asked


def serve(*options, **environment):
    known = {"RRM_SERVICE_TOKEN": None, "RRM_CONFIG": None} | environment
    return CliRunner(env=known).invoke(main, ["serve", "--engine", "scripted:longer", *options])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_lines_say_where_it_is_and_how_its_judge_is_and_a_signal_ends_it(number, tmp_path):
    config = tmp_path / "judge.yaml"
    config.write_text("engine: scripted:longer\ngate: {size: 2, deadline: 0.2}\n")
    with Served("--config", str(config), "--port", "0") as served:
        url = served.url()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        assert served.process.stdout.readline() == "The judge scripted:longer is in this process.\n"
        # Without its sibling a member is judged at the deadline of the file.
        member = {"key": "g", "prompt": "?", "response": "a"}
        assert asked(url, "/v1/cohort", member)[1]["closing"] == "deadline"
        served.process.send_signal(number)
        status, out, err = served.ended()
    assert status == 0 and not out and not re.search(r"[\x00-\x09\x0b-\x1f]", err), err


def test_an_address_that_others_reach_demands_a_token(tmp_path):
    result = serve("--host", "0.0.0.0")
    assert result.exit_code == 1 and "RRM_SERVICE_TOKEN" in result.output and "--token-file" in result.output
    (tmp_path / "short").write_text("short")
    result = serve("--host", "0.0.0.0", "--token-file", str(tmp_path / "short"))
    assert result.exit_code == 1 and "16 or more" in result.output


def test_the_token_comes_from_the_environment():
    with Served("--engine", "scripted:longer", "--port", "0", environment={"RRM_SERVICE_TOKEN": TOKEN}) as served:
        url = served.url()
        assert asked(url, "/metrics")[0] == 401
        assert asked(url, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert TOKEN not in "".join(map(str, served.stop()))


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = serve("--port", str(taken.getsockname()[1]))
    assert result.exit_code == 1 and "cannot listen on 127.0.0.1 port" in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--group-size", "0"], "--group-size"),
        (["--group-size", "999"], "--group-size"),
        (["--reward-deadline", "170"], "reward_patience"),
        (["--token-file", "absent"], "absent"),
        (["--budget", "calls=0"], "--budget"),
        (["--schedule", "best"], "schedule"),
    ],
)
def test_settings_that_cannot_be_end_it_before_it_serves(options, words):
    result = serve(*options)
    assert result.exit_code in (1, 2) and words in result.output and "Traceback" not in result.output


def test_a_gates_setting_that_a_service_has_not(tmp_path):
    config = tmp_path / "judge.yaml"
    config.write_text("gate: {remember: 2}\n")
    result = serve("--config", str(config))
    assert result.exit_code == 1 and "remember" in result.output


def test_what_is_missing_is_named(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name == "uvicorn":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    result = serve("--port", "0")
    assert result.exit_code == 1 and "pip install 'rrm-plugin[service]'" in result.output
