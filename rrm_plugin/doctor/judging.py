"""The settings, and the judge itself: three sums in both orders show whether it answers, decides and is consistent.

Sums, because any judge that is worth its calls knows which of two is right, the miniature one too.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rrm_plugin.config import CONFIG_VARIABLE, read_judge_settings
from rrm_plugin.doctor.findings import Finding, Status, failed, fine, warned
from rrm_plugin.errors import RRMError
from rrm_plugin.reporting.trainer_log import OTHER_PRESET
from rrm_plugin.reward import RRMJudge
from rrm_plugin.training.reward import REWARD_VARIABLE, RewardRule
from rrm_plugin.types import Judgement, Reason, Verdict

__all__ = ["OPENRLHF_LIMIT", "check_group", "check_judge", "check_settings"]

OPENRLHF_LIMIT = 180.0
"""Seconds after which OpenRLHF's HTTP client gives up."""

PROBE_SECONDS = 10.0
"""For a server to answer at all."""

SURE = 0.99
"""The probability of a verdict from which on it is no more than the verdict."""

PROBES = (("37+85=?", "122", "112"), ("48+27=?", "65", "75"), ("12+34=?", "46", "47"))
RIGHT = (Verdict.FIRST, Verdict.SECOND, Verdict.FIRST)

ADVICE = {
    Reason.UNREACHABLE: "start the server, or correct `engine`; from the trainer's machine, not from yours",
    Reason.TIMEOUT: "raise `timeout`, lower `concurrency`, or give the judge more GPUs",
    Reason.RATE_LIMITED: "lower `concurrency`, or ask the provider for a higher limit",
    Reason.REJECTED: "read the message: often `model` is not what the server calls it, or the context is too short",
    Reason.CUT_OFF: "raise `max_tokens`, and the server's context length with it",
    Reason.NO_VERDICT: OTHER_PRESET,
    Reason.INVALID: OTHER_PRESET,
    Reason.BAD_REPLY: "what answers is no OpenAI-compatible server: correct `engine`",
}


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """One sum in one order."""

    judgement: Judgement
    right: Verdict


def check_settings(path: str | None) -> list[Finding]:
    """Findings on the settings files, without a call of the judge."""
    findings = []
    named = path or os.environ.get(CONFIG_VARIABLE)
    if named:
        source = "the settings file" if path else CONFIG_VARIABLE
        try:
            settings, _ = read_judge_settings(path)
            # Not the ledger, which would be made where the run will make its own.
            RRMJudge(**{name: value for name, value in settings.items() if name != "ledger"}).close()
            findings.append(fine(source, f"{named} describes a judge"))
        except RRMError as error:
            findings.append(failed(source, str(error), "correct the file; docs/judge.md lists the settings"))
    if os.environ.get(REWARD_VARIABLE):
        try:
            RewardRule.from_environment()
            findings.append(fine(REWARD_VARIABLE, "describes the reward of a judge's training"))
        except RRMError as error:
            findings.append(failed(REWARD_VARIABLE, str(error), "correct the file; see docs/training.md"))
    return findings


def check_judge(judge: RRMJudge, group_size: int | None = None, deadline: float | None = None) -> list[Finding]:
    """Findings on a judge that is asked: six calls, where its server answers at all.

    Args:
        group_size: responses to a prompt in the run; with it the time that a group takes is looked at too.
        deadline: of the gate, in seconds, where the host has one.

    Raises:
        ConfigError: a setting cannot work.
    """
    servers = judge.run_on_loop(_servers(judge))
    findings = _of_servers(servers)
    if servers and all(servers.values()):
        # Its calls would only wait, for a server that may be back.
        return findings
    probes = judge.run_on_loop(_asked(judge))
    decided = [probe for probe in probes if probe.judgement.verdict is not None]
    findings += [_of_answers(probes), *([_of_quality(decided)] if decided else [])]
    if decided and judge.tournament.judge.sampling.top_logprobs:
        findings.append(_of_chances([probe.judgement.chance for probe in decided]))
    if group_size is not None:
        findings += _of_groups(judge, group_size, [probe.judgement for probe in probes], deadline)
    return findings


async def _servers(judge: RRMJudge) -> Mapping[str, str]:
    """For each of the engine's servers what is wrong with it; nothing for an engine in this process."""
    probe = getattr(judge.tournament.judge.engine, "probe", None)
    return {} if probe is None else await probe(PROBE_SECONDS)


def _of_servers(servers: Mapping[str, str]) -> list[Finding]:
    silent = {server: error for server, error in servers.items() if error}
    if not silent:
        return [fine("the judge's server", f"{server} answers") for server in servers]
    verdict = failed if len(silent) == len(servers) else warned
    return [verdict("the judge's server", error, ADVICE[Reason.UNREACHABLE]) for error in silent.values()]


async def _asked(judge: RRMJudge) -> list[_Probe]:
    both = [
        probe
        for (prompt, first, second), right in zip(PROBES, RIGHT, strict=True)
        for probe in ((prompt, first, second, right), (prompt, second, first, right.swapped))
    ]
    judgements = await asyncio.gather(*(judge.acompare(*texts) for *texts, _ in both))
    return [_Probe(judgement=judgement, right=right) for judgement, (*_, right) in zip(judgements, both, strict=True)]


def _of_answers(probes: Sequence[_Probe]) -> Finding:
    silent = [probe.judgement for probe in probes if probe.judgement.verdict is None]
    if not silent:
        tokens = sum(probe.judgement.usage.completion_tokens for probe in probes) // len(probes)
        return fine("the judge's answers", f"{len(probes)} of {len(probes)} calls gave a verdict; {tokens} tokens each")
    reason = Counter(judgement.reason for judgement in silent).most_common(1)[0][0]
    worst = next(judgement for judgement in silent if judgement.reason is reason)
    told = f"{len(silent)} of {len(probes)} calls gave no verdict; the commonest reason: {reason}, {worst.detail}"
    advice = ADVICE.get(reason or Reason.NO_VERDICT, "look at what it said: rrm compare '2+2=?' 4 5")
    verdict = failed if len(silent) == len(probes) else warned
    return verdict("the judge's answers", told, advice)


def _of_quality(decided: Sequence[_Probe]) -> Finding:
    subject, total = "the judge's verdicts", len(decided)
    right = sum(probe.judgement.verdict is probe.right for probe in decided)
    first = sum(probe.judgement.verdict is Verdict.FIRST for probe in decided)
    if total >= 4 and first in (0, total):
        place = "first" if first else "second"
        return warned(
            subject,
            f"all {total} name the response shown {place}",
            "the judge goes by position: use another model or prompt; orders='both' only cancels it out",
        )
    if right < total:
        return warned(
            subject,
            f"{right} of {total} sums judged right",
            "a judge that errs on sums teaches little: is it the model, and the prompt, that you meant?",
        )
    return fine(subject, f"{right} of {total} sums judged right, in both orders")


def _of_chances(chances: Sequence[float | None]) -> Finding:
    subject, known = "soft verdicts", [chance for chance in chances if chance is not None]
    if len(known) < len(chances):
        return warned(
            subject,
            f"{len(chances) - len(known)} of {len(chances)} verdicts came without the probability of their tokens",
            "such verdicts count as 1 or 0: docs/judge.md lists the engines that give log-probabilities",
        )
    least = min(max(chance, 1 - chance) for chance in known)
    if least > SURE:
        return warned(
            subject,
            f"the judge gives each of {len(known)} verdicts a probability above {SURE:.0%}",
            "soft verdicts will say what verdicts say, as with judges that think: leave soft_verdicts out",
        )
    return fine(subject, f"{len(known)} verdicts with probabilities from {least:.2f}")


def check_group(judge: RRMJudge, size: int, longest: float | None = None) -> Finding:
    """What a group of so many responses takes; not one call of the judge.

    Args:
        longest: seconds of the longest call that was made, where any was.
    """
    tournament = judge.tournament
    if size < 2 and not tournament.schedule.needs_reference:
        return failed("the group", "one response has nothing to be compared with", "raise the responses per prompt")
    players = size + tournament.schedule.needs_reference
    looks = 1 if tournament.first_tokens is None else 2
    calls = tournament.schedule.calls(players, tournament.orders) * tournament.votes * looks
    took = "" if longest is None else f"; the longest of the calls above took {longest:.1f} s"
    return fine("the group", f"{size} responses take up to {calls} judge calls by {tournament.schedule.name}{took}")


def _of_groups(judge: RRMJudge, size: int, judgements: Sequence[Judgement], deadline: float | None) -> list[Finding]:
    longest = max((judgement.usage.seconds for judgement in judgements), default=0.0)
    findings = [check_group(judge, size, longest)]
    if findings[0].status is Status.FAILED:
        return findings
    if deadline is not None and longest > deadline:
        findings.append(
            warned(
                "the deadline",
                f"one call took {longest:.1f} s, and the gate's is {deadline:g} s: in OpenRLHF a reply is answered "
                "without a reward after twice that",
                "raise deadline under gate, lower max_tokens, or give the judge more GPUs",
            )
        )
    if longest > OPENRLHF_LIMIT / 2:
        findings.append(
            warned(
                "the time of a call",
                f"{longest:.0f} s, and real responses are longer than sums",
                f"OpenRLHF's HTTP client gives up after {OPENRLHF_LIMIT:.0f} s: use its agent, "
                "--train.agent_func_path, lower max_tokens, or give the judge more GPUs",
            )
        )
    return findings
