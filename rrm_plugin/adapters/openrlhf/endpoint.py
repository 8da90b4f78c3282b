"""A judge behind OpenRLHF's `--reward.remote_url http://HOST:PORT/get_reward`: its requests and its replies.

    reply = await get_reward(gate, body)        body and reply are what JSON holds; HTTP is left to a service

OpenRLHF posts `{"query": [...], "prompts": [...], "labels": [...]}` with one reply in it, waits 180 s for an answer and
otherwise asks again, up to five times; what it then lacks is the end of its run. So this always answers in time, with a
number. A request does not say which reply it is or to which group it belongs: a group is as many replies to the same
prompt and label as the gate's `size` says, in order of arrival. Hence one address only, since OpenRLHF takes several in
turns, which splits groups; and the same number of replies in training and evaluation.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm_plugin.adapters.openrlhf.texts import asked, ended_turn, reply_of
from rrm_plugin.cohorts import Gate, Member, Outcome
from rrm_plugin.errors import ConfigError, GateError, GateFullError, GroupError
from rrm_plugin.reporting.outcomes import numbers_of

__all__ = ["PATIENCE", "Request", "get_reward", "parse_request", "reply"]

logger = logging.getLogger(__name__)

PATIENCE = 165.0
"""Seconds after which a reply that has no reward yet is answered without one; OpenRLHF waits 180."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One reply that wants a reward."""

    key: str
    """The same for replies to the same prompt and label."""
    member: Member


def parse_request(body: Any, tokenizer: Any = None) -> list[Request]:
    """The replies in a request, of which OpenRLHF sends one at a time.

    Args:
        body: of the request, as JSON.
        tokenizer: of the policy, to undo its chat template; see `texts.asked`.

    Raises:
        GroupError: it is not such a request; the message says what is wrong with it.
    """
    if not isinstance(body, Mapping):
        raise GroupError(f"a reward request is a JSON object with query, prompts and labels, not {type(body).__name__}")
    queries, prompts = _texts(body, "query"), _texts(body, "prompts")
    labels = body.get("labels")
    if labels is None:
        labels = [""] * len(prompts)
    if not isinstance(labels, list) or not len(queries) == len(prompts) == len(labels):
        raise GroupError("query, prompts and labels of a reward request must be lists of the same length")
    try:
        return [_request(*row, tokenizer) for row in zip(queries, prompts, labels, strict=True)]
    except ConfigError as error:
        raise GroupError(str(error)) from error


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    column = body.get(name)
    if not isinstance(column, list) or not all(isinstance(text, str) for text in column):
        raise GroupError(f"{name!r} of a reward request must be a list of texts")
    return column


def _request(query: str, prompt: str, label: Any, tokenizer: Any) -> Request:
    text, _ = ended_turn(reply_of(query, prompt))
    question, reference = asked(prompt, label, tokenizer)
    told = f"{prompt}\0{json.dumps(label, sort_keys=True)}".encode("utf-8", "surrogatepass")
    member = Member(prompt=question, response=text, reference=reference)
    return Request(key=hashlib.sha256(told).hexdigest(), member=member)


async def get_reward(gate: Gate, body: Any, *, tokenizer: Any = None, patience: float = PATIENCE) -> dict[str, Any]:
    """The reply to a reward request, once the groups in it are judged.

    Args:
        gate: collects the groups; its `size` has to be set.
        body: of the request, as JSON.
        tokenizer: of the policy, to undo its chat template.
        patience: seconds after which it answers in any case.

    Raises:
        GroupError: it is not such a request.
        GateError: the gate was closed before the groups were judged.
    """
    began = time.perf_counter()
    requests = parse_request(body, tokenizer)
    outcomes = await asyncio.gather(*(_outcome(gate, request, patience) for request in requests))
    return reply(outcomes, time.perf_counter() - began, gate.judge.__name__, gate.neutral)


async def _outcome(gate: Gate, request: Request, patience: float) -> Outcome | None:
    try:
        return await gate.join(request.key, request.member, patience=patience)
    except Exception as error:
        if isinstance(error, GateError) and not isinstance(error, GateFullError):
            # The service is being stopped, and its client asks again: the next one may have a reward.
            raise
        # Without a number the trainer's run would end.
        logger.exception("a reply could not be judged, and gets the mean of all rewards so far")
        return None


def reply(
    outcomes: Sequence[Outcome | None], seconds: float, name: str = "rrm", neutral: float = 0.0
) -> dict[str, Any]:
    """What OpenRLHF is told: `rewards`, `scores` (the spread of the group) and `extra_logs`.

    Numbers for a single reply, lists for several.

    Args:
        outcomes: of each reply; None where there is none.
        seconds: that it took.
        name: of the judge.
        neutral: the number for a reply without an outcome.
    """
    rows = [
        {
            "rewards": neutral if outcome is None else outcome.number,
            "scores": 0.0 if outcome is None else outcome.spread,
            **numbers_of(outcome, seconds, name),
        }
        for outcome in outcomes
    ]
    columns: dict[str, Any] = {key: [row[key] for row in rows] for key in (rows[0] if rows else ())}
    if len(rows) == 1:
        columns = rows[0]
    told = {key: columns.pop(key, []) for key in ("rewards", "scores")}
    return told | {"extra_logs": columns}
