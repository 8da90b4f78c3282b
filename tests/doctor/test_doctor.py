"""What the checks find, and what they advise."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import math
import os
import time

import pytest
from click.testing import CliRunner

from rrm_plugin import RRMJudge
from rrm_plugin.cli import main
from rrm_plugin.doctor import Status, check_flags, check_installation, check_judge, check_settings, installation
from rrm_plugin.engines import Reply, ScriptedEngine
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.types import Reason, TokenLogprob
from tests.engines.local_servers import dead_url
from tests.house.source import ROOT
from tests.service.services import Model


def statuses(findings):
    return {finding.subject: finding.status for finding in findings}


def advice(findings):
    return " ".join(finding.advice for finding in findings)


def right_answer(messages):
    text = messages[-1]["content"]
    sums = {"37+85": "122", "48+27": "75", "12+34": "46"}
    wanted = next(result for sum_, result in sums.items() if sum_ in text)
    first = text.partition("### Assistant 2")[0]
    return rf"\boxed{{Assistant {1 if wanted in first.partition('### Assistant 1')[2] else 2}}}"


# ---------------------------------------------------------------- installation


def versions(monkeypatch, **installed):
    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(installation.importlib.metadata, "version", version)


@pytest.mark.parametrize(
    ("found", "status"),
    [("1.14.0", Status.OK), ("1.16.3", Status.OK), ("1.13.9", Status.FAILED), ("1.17.0", Status.WARNING)],
)
def test_versions_of_a_trainer(found, status, monkeypatch):
    versions(monkeypatch, trl=found)
    (finding,) = check_installation(["trl"])
    assert finding.status is status and found in finding.told
    assert bool(finding.advice) == (status is not Status.OK)


def test_a_trainer_that_is_not_there(monkeypatch):
    versions(monkeypatch)
    (finding,) = check_installation(["openrlhf"])
    assert finding.status is Status.FAILED and "rrm-plugin[openrlhf]" in finding.advice
    (finding,) = check_installation([])
    assert finding.status is Status.WARNING and "openrlhf" in finding.told


class EntryPoint:
    def __init__(self, error=None):
        self.error = error

    def load(self):
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("points", "chosen", "status", "told"),
    [
        ([EntryPoint()], "auto", Status.OK, "found"),
        ([], "auto", Status.FAILED, "no 'rrm'"),
        ([EntryPoint(ImportError("no module named ray"))], "auto", Status.FAILED, "no module named ray"),
        ([EntryPoint()], "none", Status.FAILED, "VERL_USE_EXTERNAL_PLUGINS=none"),
        ([EntryPoint()], "other,rrm", Status.OK, "found"),
    ],
)
def test_verls_entry_point(points, chosen, status, told, monkeypatch):
    versions(monkeypatch, verl="0.9.1")
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", chosen)
    monkeypatch.setattr(installation.importlib.metadata, "entry_points", lambda **_: points)
    _, finding = check_installation(["verl"])
    assert finding.status is status and told in finding.told


# ---------------------------------------------------------------- the judge


def test_a_judge_that_is_right():
    with RRMJudge(engine=ScriptedEngine(right_answer)) as judge:
        findings = check_judge(judge, group_size=8)
    assert set(statuses(findings).values()) == {Status.OK}
    assert "48 judge calls" in findings[-1].told


@pytest.mark.parametrize("place", [1, 2])
def test_a_judge_that_goes_by_position(place):
    with RRMJudge(engine=ScriptedEngine(lambda _: rf"\boxed{{Assistant {place}}}")) as judge:
        findings = check_judge(judge)
    assert statuses(findings)["the judge's verdicts"] is Status.WARNING
    assert "position" in advice(findings)


def test_a_judge_that_errs():
    def wrong(messages):
        return right_answer(messages).translate(str.maketrans("12", "21"))

    with RRMJudge(engine=ScriptedEngine(wrong)) as judge:
        findings = check_judge(judge)
    assert "0 of 6" in findings[1].told and findings[1].status is Status.WARNING


@pytest.mark.parametrize(
    ("reason", "told"),
    [(Reason.UNREACHABLE, "start the server"), (Reason.REJECTED, "model"), (Reason.TIMEOUT, "timeout")],
)
def test_a_judge_that_does_not_answer(reason, told):
    def fail(messages):
        raise EngineError("the engine's own words", reason)

    with RRMJudge(engine=ScriptedEngine(fail)) as judge:
        (finding,) = check_judge(judge)
    assert finding.status is Status.FAILED and "the engine's own words" in finding.told and told in finding.advice


def test_a_judge_that_speaks_another_form():
    with RRMJudge(engine=ScriptedEngine(lambda _: "The first one is better: [[A]]")) as judge:
        (finding,) = check_judge(judge)
    assert finding.status is Status.FAILED and "preset" in finding.advice


def test_a_group_of_one():
    with RRMJudge(engine=ScriptedEngine(right_answer)) as judge:
        assert statuses(check_judge(judge, group_size=1))["the group"] is Status.FAILED


def test_settings_files(tmp_path, monkeypatch):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("engine: scripted:longer\n")
    bad.write_text("engine: scripted:longer\nvotes: 0\n")
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    monkeypatch.setenv("RRM_REWARD_CONFIG", str(bad))
    findings = check_settings(str(good))
    assert [finding.status for finding in findings] == [Status.OK, Status.FAILED]
    monkeypatch.setenv("RRM_CONFIG", str(bad))
    assert "votes" in check_settings(None)[0].told


# ---------------------------------------------------------------- flags


def flags(tmp_path, host, text):
    (tmp_path / "file").write_text(text)
    return check_flags(host, str(tmp_path / "file"))


def test_the_recipes_of_this_repository_fit():
    for host, name in (
        ("trl", "trl/grpo_rrm.yaml"),
        ("trl", "trl/judge_7b.yaml"),
        ("openrlhf", "openrlhf/policy_7b.sh"),
        ("openrlhf", "openrlhf/judge_7b.sh"),
        ("verl", "verl/judge_7b.yaml"),
    ):
        findings = check_flags(host, str(ROOT / "integrations" / name))
        assert {finding.status for finding in findings} == {Status.OK}, (name, findings)


def test_trl_groups_that_straddle_ranks(tmp_path):
    text = "num_generations: 8\nper_device_train_batch_size: 6\ngradient_accumulation_steps: 2\n"
    findings = flags(tmp_path, "trl", text)
    assert statuses(findings)["groups on ranks"] is Status.WARNING and "12 rows" in findings[1].told
    assert statuses(flags(tmp_path, "trl", "num_generations: 1\n"))["the size of a group"] is Status.FAILED


@pytest.mark.parametrize(
    ("script", "subject", "status"),
    [
        ("--rollout.n_samples_per_prompt 1 --train.agent_func_path a.py", "the size of a group", Status.FAILED),
        ("--rollout.n_samples_per_prompt 8 --reward.remote_url http://a/get_reward,http://b/get_reward", "the reward",
         Status.FAILED),
        ("--rollout.n_samples_per_prompt 8 --reward.remote_url http://a/get_reward", "replies in evaluation",
         Status.FAILED),
        ("--rollout.n_samples_per_prompt=4 --reward.remote_url http://a/get_reward", "replies in evaluation",
         Status.OK),
        ("--rollout.n_samples_per_prompt 8 --train.agent_func_path a.py --algo.dynamic_filtering_enable",
         "dynamic filtering", Status.WARNING),
        ("--rollout.n_samples_per_prompt 8 --train.agent_func_path a.py \\\n --algo.dynamic_filtering_enable \\\n"
         " --algo.dynamic_filtering_range 0.001 10", "dynamic filtering", Status.OK),
    ],
)  # fmt: skip
def test_openrlhf_flags(script, subject, status, tmp_path):
    findings = flags(tmp_path, "openrlhf", f"python -m openrlhf.cli.train_ppo_ray {script}  # as it is\n")
    assert statuses(findings)[subject] is status


def test_verl_workers_and_manager(tmp_path):
    text = (
        "data: {train_batch_size: 512}\nactor_rollout_ref: {rollout: {n: 16}}\n"
        "reward: {num_workers: 8, reward_manager: {name: rrm}}\n"
    )
    findings = flags(tmp_path, "verl", text)
    assert statuses(findings)["reward workers"] is Status.FAILED and "reward.num_workers=11" in advice(findings)
    assert statuses(flags(tmp_path, "verl", "data: {}"))["the reward manager"] is Status.FAILED


@pytest.mark.parametrize(
    ("host", "text", "told"),
    [
        ("trl", "a: [b", "cannot be read"),
        ("trl", "num_generations: eight", "num_generations must be a whole number"),
        ("trl", "per_device_train_batch_size: ${size}", "only the shell or hydra knows"),
        ("verl", "- a", "no mapping"),
        ("verl", "actor_rollout_ref: {rollout: {n: '${n}'}}", "only the shell or hydra knows"),
        ("openrlhf", "--a 'b", "cannot be read"),
        ("openrlhf", "--rollout.n_samples_per_prompt $N", "only the shell or hydra knows"),
        ("openrlhf", "--rollout.n_samples_per_prompt 8 --train.agent_func_path a.py --algo.dynamic_filtering_enable "
         "--algo.dynamic_filtering_range 0.1", "two numbers"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_findings(host, text, told, tmp_path):
    (finding,) = flags(tmp_path, host, text)
    assert finding.status is Status.FAILED and told in finding.told


@pytest.mark.parametrize(
    ("host", "name"), [("trl", "verl/policy_7b.yaml"), ("openrlhf", "openrlhf/agent.py"), ("verl", "trl/grpo_rrm.yaml")]
)
def test_a_file_of_another_host_is_no_pass(host, name):
    (finding,) = check_flags(host, str(ROOT / "integrations" / name))
    assert finding.status is Status.FAILED


def test_a_verl_file_laid_over_another_has_to_be_composed_first():
    (finding,) = check_flags("verl", str(ROOT / "integrations/verl/policy_7b_colocated.yaml"))
    assert finding.status is Status.WARNING and "--cfg job" in finding.advice


def test_a_check_makes_no_ledger(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge.yaml").write_text("engine: scripted:longer\nledger: runs/judge.db\n")
    assert check_settings("judge.yaml")[0].status is Status.OK
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        check_flags("trl", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("text", ["num_generations: 0", "num_generations: 8\ngeneration_batch_size: 64"])
def test_trl_without_rows_on_ranks(text, tmp_path):
    assert "groups on ranks" not in statuses(flags(tmp_path, "trl", text))


@pytest.mark.parametrize(
    ("text", "processes", "subject", "status", "told"),
    [
        ("gradient_accumulation_steps: 4", 4, "the batch", Status.FAILED, "128 rows, no multiple of 6"),
        ("gradient_accumulation_steps: 4", 3, "groups on ranks", Status.WARNING, "straddle"),
        ("gradient_accumulation_steps: 4", None, "groups on ranks", Status.WARNING, "is a multiple of 3"),
        ("gradient_accumulation_steps: 3", 5, "groups on ranks", Status.OK, "4 whole groups"),
        ("generation_batch_size: 64", None, "the batch", Status.FAILED, "64 rows, no multiple of 6"),
        ("generation_batch_size: 48", None, "the batch", Status.OK, "8 whole groups"),
        ("generation_batch_size: 48", 4, "the batch", Status.FAILED, "no multiple of 8 rows on each of 4 processes"),
        ("generation_batch_size: 96", 2, "groups on ranks", Status.OK, "48 rows"),
    ],
)
def test_batches_that_trl_refuses(text, processes, subject, status, told, tmp_path):
    (tmp_path / "file").write_text(f"num_generations: 6\nper_device_train_batch_size: 8\n{text}\n")
    finding = check_flags("trl", str(tmp_path / "file"), processes)[1]
    assert (finding.subject, finding.status) == (subject, status) and told in finding.told


def test_flags_in_an_array_of_bash(tmp_path):
    findings = flags(tmp_path, "openrlhf", "ARGS=(--rollout.n_samples_per_prompt 8 --train.agent_func_path a.py)")
    assert statuses(findings)["the size of a group"] is Status.OK


def test_verl_trainers_that_do_not_wait_have_more_in_flight(tmp_path):
    text = (
        "data: {train_batch_size: 512}\nactor_rollout_ref: {rollout: {n: 16}}\n"
        "reward: {num_workers: 11, reward_manager: {name: rrm}}\n"
    )
    assert statuses(flags(tmp_path, "verl", text))["reward workers"] is Status.OK
    ahead = text + "trainer: {v1: {trainer_mode: async, async: {num_warmup_batches: 3}}}\n"
    assert "reward.num_workers=43" in advice(flags(tmp_path, "verl", ahead))


def test_two_looks_cost_twice_the_calls():
    with RRMJudge(engine=ScriptedEngine(right_answer), first_tokens=100) as judge:
        assert "96 judge calls" in check_judge(judge, group_size=8)[-1].told


@pytest.mark.parametrize(
    ("chance", "told"),
    [(None, "6 of 6 verdicts came without"), (0.999, "above 99%"), (0.8, "6 verdicts with probabilities from 0.80")],
)
def test_soft_verdicts_of_a_judge_that_gives_none_or_is_always_sure(chance, told):
    def answer(messages):
        text = right_answer(messages)
        if chance is None:
            return text
        said = text[-2]
        top = ((said, math.log(chance)), ({"1": "2", "2": "1"}[said], math.log(1 - chance)))
        tokens = (TokenLogprob(text=text[:-2], logprob=0.0), TokenLogprob(text=said, logprob=-0.1, top=top))
        tokens += (TokenLogprob(text="}", logprob=0.0),)
        return Reply(text=text, finished=True, prompt_tokens=1, completion_tokens=3, seconds=0.1, logprobs=tokens)

    with RRMJudge(engine=ScriptedEngine(answer), soft_verdicts=True) as judge:
        (found,) = [one for one in check_judge(judge) if one.subject == "soft verdicts"]
    assert told in found.told
    assert found.status is (Status.OK if chance == 0.8 else Status.WARNING)


def test_a_judge_too_slow_for_the_deadline():
    async def slow(messages):
        await asyncio.sleep(0.02)
        return right_answer(messages)

    with RRMJudge(engine=ScriptedEngine(slow)) as judge:
        found = statuses(check_judge(judge, group_size=4, deadline=0.01))
        assert found["the deadline"] is Status.WARNING
        assert "the deadline" not in statuses(check_judge(judge, group_size=4, deadline=60.0))


def test_servers_that_do_not_answer_are_named_and_not_waited_for():
    dead = dead_url()
    began = time.monotonic()
    with RRMJudge(engine=dead, model="judge") as judge:
        (finding,) = check_judge(judge)
    assert finding.status is Status.FAILED and dead in finding.told and "start the server" in finding.advice
    assert time.monotonic() - began < 10
    model = Model("longer")
    try:
        with RRMJudge(engine=[dead, model.url], model="judge") as judge:
            findings = check_judge(judge)
    finally:
        model.close()
    assert (
        findings[0].status is Status.WARNING and dead in findings[0].told and "calls gave a verdict" in findings[1].told
    )


def test_the_judge_is_asked_inside_a_running_loop_too():
    async def notebook():
        with RRMJudge(engine=ScriptedEngine(right_answer)) as judge:
            return check_judge(judge)

    assert set(statuses(asyncio.run(notebook())).values()) == {Status.OK}


# ---------------------------------------------------------------- the command


def test_the_command_tells_and_exits_by_what_it_found(tmp_path, monkeypatch):
    versions(monkeypatch, trl="1.16.0", **{"rrm-plugin": "0"})
    done = CliRunner().invoke(main, ["doctor", "--engine", "scripted:first", "--group-size", "4"])
    assert done.exit_code == 0 and "WARNING  the judge's verdicts" in done.output and "\n         ->" in done.output
    done = CliRunner().invoke(main, ["doctor", "--engine", "http://127.0.0.1:9/v1", "--timeout", "0.2", "--json"])
    rows = [json.loads(line) for line in done.output.splitlines()]
    assert done.exit_code == 1 and rows[-1]["status"] == "failed" and "127.0.0.1:9" in rows[-1]["told"]


def test_a_recorded_verdict_does_not_hide_a_dead_server(tmp_path):
    ledger = ["--ledger", str(tmp_path / "judge.db")]
    CliRunner().invoke(main, ["doctor", "--engine", "scripted:first", *ledger])
    assert not (tmp_path / "judge.db").exists()


def test_flags_need_a_host():
    assert CliRunner().invoke(main, ["doctor", "--offline", "--flags", "x"]).exit_code == 2


def test_a_judge_that_cannot_be_made_is_a_finding():
    done = CliRunner().invoke(main, ["doctor", "--engine", "scripted:nobody"])
    assert done.exit_code == 1 and "scripted:nobody" in done.output


RECIPE = ["doctor", "--host", "trl", "--flags", str(ROOT / "integrations/trl/grpo_rrm.yaml")]


def test_the_env_block_of_trls_file_names_the_judge_and_its_groups_the_cost(tmp_path, monkeypatch):
    versions(monkeypatch, trl="1.16.0", **{"rrm-plugin": "0"})
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge.yaml").write_text("engine: scripted:first\norders: balanced\n")
    (tmp_path / "own.yaml").write_text("engine: scripted:longer\n")
    (tmp_path / "grpo.yaml").write_text("num_generations: 8\nenv:\n  RRM_CONFIG: judge.yaml\n")
    words = ["doctor", "--host", "trl", "--flags", "grpo.yaml"]
    found = CliRunner().invoke(main, words).output
    assert "judge.yaml describes a judge" in found and "8 responses take up to 24 judge calls" in found
    found = CliRunner().invoke(main, [*words, "--config", "own.yaml", "--offline"]).output
    assert "own.yaml describes a judge" in found and "8 responses take up to 48 judge calls" in found
    assert "RRM_CONFIG" not in os.environ


def test_without_a_call_the_group_is_looked_at_too(monkeypatch):
    versions(monkeypatch, trl="1.16.0", **{"rrm-plugin": "0"})
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    alone = CliRunner().invoke(main, ["doctor", "--group-size", "1", "--offline"])
    assert alone.exit_code == 1 and "nothing to be compared with" in alone.output
    found = CliRunner().invoke(main, ["doctor", "--group-size", "8", "--offline", "--schedule", "circulant:1"])
    assert found.exit_code == 0 and "up to 16 judge calls by circulant:1" in found.output
    wrong = CliRunner().invoke(main, ["doctor", "--group-size", "8", "--offline", "--schedule", "cirulant:1"])
    assert wrong.exit_code == 1 and "cirulant" in wrong.output


def test_the_recipe_is_checked_as_its_page_says(monkeypatch):
    versions(monkeypatch, trl="1.16.0", **{"rrm-plugin": "0"})
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(main, [*RECIPE, "--processes", "4", "--offline"])
    assert done.exit_code == 0 and "judge.yaml describes a judge" in done.output and "24 judge calls" in done.output


def test_processes_are_those_of_trl():
    assert CliRunner().invoke(main, ["doctor", "--offline", "--processes", "2"]).exit_code == 2


def test_who_names_no_judge_is_told_of_the_variable(monkeypatch):
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    assert "RRM_CONFIG" in CliRunner().invoke(main, ["doctor"]).output
