"""The endpoints of a service, as a FastAPI application around a `Desk`. Needs the extra "service".

Each endpoint is one line of work; errors become answers in one place, and what all requests have in common is the
guard's.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from rrm_plugin.cohorts import Member
from rrm_plugin.engines import Reply, Sampling
from rrm_plugin.engines.logprobs import logprobs_row
from rrm_plugin.engines.service import CANNOT_CONTINUE
from rrm_plugin.errors import RRMError
from rrm_plugin.service import models
from rrm_plugin.service.counters import CONTENT_TYPE, Counters
from rrm_plugin.service.desk import Desk, package_version
from rrm_plugin.service.problems import Problem, problem_of
from rrm_plugin.service.wire import encode, judgement_row, outcome_row, scores_row
from rrm_plugin.types import Group

__all__ = ["application"]

logger = logging.getLogger(__name__)

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": models.ErrorReply, "description": text}
    for status, text in {
        401: "the token is missing or wrong",
        413: "the body is too large",
        422: "a field of the body cannot be; the message names it",
        429: "too many requests wait; come again",
        502: "the engine does not answer",
        503: "the budget is spent, or the service is being stopped",
        504: "the engine did not answer in time",
    }.items()
}
_KINDS = {404: "not_found", 405: "not_allowed", 422: "invalid"}


def application(desk: Desk, counters: Counters) -> FastAPI:
    """The endpoints.

    Args:
        desk: does the work.
        counters: what /metrics shows.
    """
    app = FastAPI(
        title="rrm-plugin",
        version=package_version(),
        summary="A Reward Reasoning Model as judge of pairs, groups and members of groups.",
        responses=_ERRORS,
        redoc_url=None,
    )
    _answer_errors(app)
    _judging(app, desk)
    _gathering(app, desk)
    _chatting(app, desk)
    _watching(app, desk, counters)
    return app


def _judging(app: FastAPI, desk: Desk) -> None:
    @app.post("/v1/compare", tags=["judge"])
    async def compare(body: models.CompareRequest) -> Any:
        """Which of two responses is better, with what the judge wrote."""
        judgement = await desk.compare(body.prompt, body.first, body.second, both_orders=body.both_orders)
        return _json(judgement_row(judgement))

    async def score(body: models.ScoreRequest) -> Any:
        """Scores, rewards and ranking of a group; null is unscored."""
        group = Group(
            prompt=body.prompt, responses=body.responses, reference=body.reference, id=body.id, step=body.step
        )
        scores, rewards = await desk.score(group, body.lengths)
        return _json(scores_row(scores, rewards, judgements=body.judgements))

    app.post("/v1/score", tags=["judge"])(score)
    app.post("/v1/rank", tags=["judge"], name="rank")(score)


def _gathering(app: FastAPI, desk: Desk) -> None:
    @app.post("/v1/cohort", tags=["groups"])
    async def cohort(body: models.CohortRequest) -> Any:
        """One member of a group; answered when the group is judged."""
        member = Member(
            prompt=body.prompt,
            response=body.response,
            id=body.id,
            index=body.index,
            length=body.length,
            reference=body.reference,
            step=body.step,
        )
        return _json(outcome_row(await desk.join(body.key, member, size=body.size, patience=body.patience)))

    @app.post("/v1/cohort/withdraw", tags=["groups"])
    async def withdraw(body: models.WithdrawRequest) -> Any:
        """A member that will never come: its group no longer waits for it."""
        await desk.withdraw(body.key, body.id, size=body.size)
        return _json({})

    @app.post("/get_reward", tags=["groups"], responses={200: {"model": models.RewardReply}})
    async def get_reward(body: models.RewardRequest) -> Any:
        """OpenRLHF's `--reward.remote_url`. The token may stand in the query, `?token=`, since its client has no
        headers.
        """
        return _json(await desk.reward(body.model_dump()))


def _chatting(app: FastAPI, desk: Desk) -> None:
    @app.get("/v1/models", tags=["model"])
    async def served() -> Any:
        """The judge model, in OpenAI's form; its id is what a ledger files its calls under."""
        return _json({"object": "list", "data": [{"id": await desk.model(), "object": "model", "owned_by": "rrm"}]})

    @app.post("/v1/chat/completions", tags=["model"])
    async def chat(body: models.ChatRequest) -> Any:
        """A model call of a client that judges itself, through this service's ledger, budget and limits."""
        model = await desk.model()
        if body.model is not None and body.model not in _names(model):
            message = f"this service has the model {model!r}, not {body.model!r}"
            return _problem(Problem(status=404, type="not_found", message=message))
        messages, begun = body.messages, None
        if body.continue_final_message:
            messages, begun = messages[:-1], messages[-1]["content"]
        reply = await desk.chat(messages, _sampling(body), begun)
        if reply is None:
            message = f"the engine {desk.engine.name!r} cannot continue a text"
            return _problem(Problem(status=CANNOT_CONTINUE, type="cannot_continue", message=message))
        return _json(_completion(reply, model))


def _watching(app: FastAPI, desk: Desk, counters: Counters) -> None:
    @app.get("/health", tags=["service"])
    async def health(request: Request) -> Any:
        """200 where the service can judge, 503 where not; with the token (where there is one) it says why."""
        found = await desk.health()
        details = found.details if request.scope.get("rrm.known", True) else {}
        body = encode({"status": "ok" if found.well else "unwell", **details})
        return Response(body, 200 if found.well else 503, media_type="application/json")

    @app.get("/metrics", tags=["service"])
    async def metrics() -> Any:
        """For Prometheus."""
        return Response(counters.page(), headers={"content-type": CONTENT_TYPE})


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        malformed = any(one["type"] == "json_invalid" for one in found)
        status, kind = (400, "malformed") if malformed else (422, "invalid")
        # A page in a browser can send another type unasked, so that only this one is read.
        typed = "json" in request.headers.get("content-type", "")
        message = _told(found) if typed else f"send the body with Content-Type: application/json ({_told(found)})"
        return _problem(Problem(status=status, type=kind, message=message))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        kind = _KINDS.get(error.status_code, "malformed")
        return _problem(Problem(status=error.status_code, type=kind, message=str(error.detail)))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        logger.error("a request to %s ended in an error", request.url.path, exc_info=error)
        return _problem(Problem(status=500, type="internal", message="the service's log has the error"))

    @app.exception_handler(RRMError)
    async def failed(_: Request, error: RRMError) -> Response:
        return _problem(problem_of(error))


def _told(found: Sequence[Mapping[str, Any]]) -> str:
    """The first complaints about a body, each with its field."""
    lines = []
    for one in found[:5]:
        field = ".".join(str(part) for part in one["loc"] if part != "body") or "the body"
        lines.append(f"{field}: {str(one['msg']).removeprefix('Value error, ')}")
    return "; ".join(lines)


def _sampling(body: models.ChatRequest) -> Sampling:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=body.max_tokens,
        seed=body.seed,
        stop=stop,
        draw=body.draw,
        # One at least, as an engine that is asked for none gives none.
        top_logprobs=max(1, body.top_logprobs or 0) if body.logprobs else 0,
    )


def _names(model: str) -> tuple[str, ...]:
    """What a client may call the model of a fingerprint such as `http:RRM-7B#0123`."""
    plain = model.partition("#")[0]
    return model, plain, plain.partition(":")[2]


def _completion(reply: Reply, model: str) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": "stop" if reply.finished else "length",
        "message": {"role": "assistant", "content": reply.text},
    }
    if reply.logprobs is not None:
        choice["logprobs"] = logprobs_row(reply.logprobs)
    usage = {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage,
    }


def _json(row: Any) -> Response:
    return Response(encode(row), media_type="application/json")


def _problem(problem: Problem) -> Response:
    return Response(problem.body, problem.status, problem.headers, media_type="application/json")
