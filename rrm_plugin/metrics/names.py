"""The metrics of a judge: one list for every host, tracker and page, with what a bad value means and what to do.

The judge's `name` stands before each, `rrm` unless it has another, so that two judges in one run stay apart:

    rrm/verdict_rate     of a batch, a step or a group: TRL's log and trackers, the broker's log under verl, a ledger
    rrm_no_verdict       of one response, for hosts that show means over a batch and want every number with each: there
                         0 stands where nothing was measured, and metrics for which that would be a bad sign are turned
                         round (`reporting/outcomes.py`)
    rrm_verdict_rate     of a service, in Prometheus: counters of what adds up, summaries of the rest

Left out: how they are computed (`batch.py`), and when they are an alarm (`alarms.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ADDING_UP", "METRICS", "Metric", "named"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of a judge."""

    name: str
    """Without the judge's name."""
    meaning: str
    bad: str = ""
    """What a bad value means; empty where none is bad."""
    do: str = ""
    """What to do about it."""
    outcome: str = ""
    """What hosts that reward one response at a time are told in its place, without the judge's name; empty for none."""
    prometheus: bool = True
    """Whether a service has it."""


METRICS = (
    Metric(name="groups", meaning="groups judged in this batch"),
    Metric(
        name="calls",
        meaning="judge calls paid for in this batch",
        bad="more than the schedule says: votes, second looks",
        do="a cheaper schedule",
        outcome="calls",
    ),
    Metric(name="tokens", meaning="their prompt and completion tokens", outcome="tokens"),
    Metric(
        name="cost",
        meaning="what they cost, at the prices given; only where there are prices",
        bad="more than planned",
        do="a budget; a cheaper schedule; first_tokens",
    ),
    Metric(name="judge_seconds", meaning="their durations added up; calls overlap"),
    Metric(
        name="seconds",
        meaning="wall clock of the whole reward, as its caller measured it",
        bad="far above judge_seconds / concurrency: calls wait in a queue",
        do="more servers, higher concurrency, first_tokens",
        outcome="seconds",
        prometheus=False,
    ),
    Metric(
        name="verdict_rate",
        meaning="share of the calls that ended in a verdict",
        bad="below 0.8 the rewards rest on few matches",
        do="look at no_verdict for the reason",
        outcome="no_verdict",
    ),
    Metric(
        name="no_verdict/<reason>",
        meaning="share of the calls without one, by reason",
        bad="cut_off: the thinking does not fit; rejected: the prompt does not",
        do="max_tokens; a longer context at the judge's server",
    ),
    Metric(
        name="forced_rate",
        meaning="share of the calls whose thinking ran out and that were made to state a verdict",
        bad="above a few percent: verdicts without the thinking that they are paid for",
        do="max_tokens",
    ),
    Metric(
        name="escalated_rate",
        meaning="share of the calls that looked a second time, longer, at a pair that was in doubt",
        bad="near 1 the first look saves nothing",
        do="first_tokens larger, or None",
    ),
    Metric(
        name="order_agreement",
        meaning="share of the pairs on which both orders agree; a coin gets 0.5, a judge that sees only positions 0",
        bad="below 0.55 the rewards are mostly noise",
        do="a stronger judge, votes, prompts on which responses differ",
        outcome="disagreement",
    ),
    Metric(
        name="first_rate",
        meaning="share of decided matches won by the response shown first; 0.5 is unbiased",
        bad="below 0.25 or above 0.75 position decides",
        do="orders both or balanced; another prompt or judge",
        outcome="first_excess",
    ),
    Metric(
        name="cycles",
        meaning="mean per group of triples that beat each other in a circle",
        bad="a quarter of all triples is what coins give",
        do="as for order_agreement",
    ),
    Metric(
        name="spread",
        meaning="mean over groups of the standard deviation of the scores, that of a population: it divides by n, "
        "TRL's `reward_std` by n - 1; 0 teaches nothing",
        bad="falling towards 0: responses are alike, or the judge calls them so",
        do="look at identical; the policy's temperature",
        outcome="spread",
    ),
    Metric(
        name="length_correlation",
        meaning="mean over groups of the correlation of score with length",
        bad="above 0.6, or creeping up: the judge pays for length",
        do="read long winners; shaping length_adjusted",
        outcome="length_correlation",
    ),
    Metric(
        name="unscored",
        meaning="share of the responses without a score",
        bad="above 0.1 part of the batch teaches nothing",
        do="the warnings of the log have the reasons",
        outcome="unscored",
    ),
    Metric(
        name="identical",
        meaning="share of the responses that equal an earlier one of their group",
        bad="rising: the policy collapses",
        do="its temperature; fewer steps",
    ),
    Metric(
        name="not_converged",
        meaning="share of the groups whose reducer did not converge",
        bad="above 0: too few verdicts for this reducer",
        do="another reducer, a fuller schedule",
    ),
    Metric(
        name="opening",
        meaning="share of the responses that begin with the commonest three words, over at least 8 groups",
        bad="growing while opening_gain is above 0: one way to begin is paid",
        do="read such responses beside others",
    ),
    Metric(
        name="opening_gain",
        meaning="by how much more than half of the comparisons in their groups these win",
        bad="above 0.05 for long",
        do="the same",
    ),
    Metric(
        name="steering",
        meaning="share of the responses that speak to the judge: a verdict, a plea, a claim, an opener alone",
        bad="above 0.05: the policy plays the judge",
        do="read them; stop the run; another judge or prompt",
    ),
    Metric(
        name="steering_gain",
        meaning="by how much more than half of the comparisons in their groups these win",
        bad="above 0: the judge falls for it",
        do="the same",
    ),
    Metric(
        name="alarms",
        meaning="alarms that stand after this batch",
        bad="above 0",
        do="the warning of the log says which, and what to do",
        outcome="alarms",
    ),
)

ADDING_UP = frozenset({"groups", "calls", "tokens", "cost", "judge_seconds"})
"""Metrics that are sums over a batch; the others are means or shares."""


def named(name: str) -> Metric | None:
    """The metric of that name, which may be one of a reason; None where the list has none."""
    plain = "no_verdict/<reason>" if name.startswith("no_verdict/") else name
    return next((metric for metric in METRICS if metric.name == plain), None)
