"""Letting a server write on from a text: how each kind of server can be made to.

Chat templates of models that think drop the thinking from assistant turns, so handing the text over as the last
message (`continue_final_message`) loses it on most servers. What works is to render the prompt as the server does,
put the text behind it, and ask for a plain completion:

    tokens    vLLM: `/tokenize` the messages and the text, then `/v1/completions` with the ids of both
    template  llama.cpp: `/apply-template`, then `/v1/completions` with the prompt and the text
    prefill   SGLang: its `continue_final_message` puts the text raw behind the rendered prompt, so it may be used there

Which way works is found out once for each server. A server that knows none cannot continue a text.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yarl import URL

from rrm_plugin.engines.logprobs import for_plain_completion
from rrm_plugin.engines.servers import Server
from rrm_plugin.engines.thinking import OPEN, continuation
from rrm_plugin.engines.wire import Completion, Failure, parse_chat, parse_completion, parse_json
from rrm_plugin.types import Message

__all__ = ["TEMPLATE_SETTINGS", "Continuation", "plain_settings", "resume_on"]

logger = logging.getLogger(__name__)

_TRANSIENT = (408, 425, 429)
TEMPLATE_SETTINGS = ("chat_template", "chat_template_kwargs")
"""Fields of a request that only chats have."""

Ask = Callable[[URL, Mapping[str, Any] | None], Awaitable[bytes]]
"""Posts a body to an address, or gets it where the body is None; raises Failure for any answer but 200."""


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What is to be continued."""

    messages: Sequence[Message]
    text: str
    settings: Mapping[str, Any]
    """Model and sampling, as a chat request would carry them."""

    @property
    def for_template(self) -> dict[str, Any]:
        """The settings that decide how messages become a prompt."""
        return {key: self.settings[key] for key in TEMPLATE_SETTINGS if key in self.settings}

    @property
    def for_completion(self) -> dict[str, Any]:
        """The settings that a plain completion takes."""
        return plain_settings(self.settings)


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a chat as a plain completion takes them, which has no template."""
    return for_plain_completion({key: value for key, value in settings.items() if key not in TEMPLATE_SETTINGS})


class _Unsupported(Exception):
    """This server cannot go this way."""


async def resume_on(server: Server, ask: Ask, wanted: Continuation) -> Completion | None:
    """The new text, or None where this server cannot continue one.

    Raises:
        Failure: the server can, but this time it went wrong.
    """
    if server.resume_way == "":
        return None
    known = [server.resume_way] if server.resume_way else list(_WAYS)
    for way in known:
        try:
            completion = await _WAYS[way](server, ask, wanted)
        except _Unsupported:
            continue
        server.resume_way = way
        return completion
    server.resume_way = ""
    logger.warning(
        "the server at %s cannot continue a text, so a judge that runs out of max_tokens there gives no verdict "
        "(cut_off): raise max_tokens, or serve the judge with vLLM, SGLang or llama.cpp",
        server,
    )
    return None


async def _first(server: Server, ask: Ask, url: URL, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The first request of a way, which tells whether the server knows it."""
    try:
        return parse_json(await ask(url, body), str(url.with_query(None)))
    except Failure as failure:
        if server.resume_way or not _says_unknown(failure.status):
            raise
        raise _Unsupported from failure


def _says_unknown(status: int | None) -> bool:
    """Whether an answer means that the server does not have what was asked for, rather than that it failed now."""
    return status is not None and (status in (200, 501) or 300 <= status < 500) and status not in _TRANSIENT


async def _by_tokens(server: Server, ask: Ask, wanted: Continuation) -> Completion:
    url = server.at_root("tokenize")
    model = wanted.settings.get("model")
    chat = {"model": model, "messages": wanted.messages, "add_generation_prompt": True, **wanted.for_template}
    prompt = _ids(await _first(server, ask, url, chat))
    text = wanted.text
    if text.startswith(OPEN):
        if server.prompt_end is None:
            server.prompt_end = await _end_of(server, ask, prompt)
        text = continuation(text, server.prompt_end)
    rest: list[int] = []
    if text:
        plain = {"model": model, "prompt": text, "add_special_tokens": False}
        rest = _ids(await _first(server, ask, url, plain))
    body = {**wanted.for_completion, "prompt": prompt + rest}
    return parse_completion(await ask(server.at("completions"), body), server)


def _ids(answer: Mapping[str, Any]) -> list[int]:
    ids = answer.get("tokens")
    # llama.cpp has a /tokenize too, which passes over these fields and answers with no tokens.
    if not isinstance(ids, list) or not ids or not all(isinstance(each, int) for each in ids):
        raise _Unsupported
    return ids


async def _end_of(server: Server, ask: Ask, prompt: list[int]) -> str:
    try:
        answer = parse_json(await ask(server.at_root("detokenize"), {"tokens": prompt[-8:]}), server)
    except Failure as failure:
        if _says_unknown(failure.status):
            return ""
        raise
    end = answer.get("prompt")
    return end if isinstance(end, str) else ""


async def _by_template(server: Server, ask: Ask, wanted: Continuation) -> Completion:
    chat = {"messages": wanted.messages, **wanted.for_template}
    prompt = (await _first(server, ask, server.at_root("apply-template"), chat)).get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise _Unsupported
    body = {**wanted.for_completion, "prompt": prompt + continuation(wanted.text, prompt)}
    return parse_completion(await ask(server.at("completions"), body), server)


async def _by_prefill(server: Server, ask: Ask, wanted: Continuation) -> Completion:
    if not server.resume_way:
        served = (await _first(server, ask, server.at("models"), None)).get("data")
        owners = {each.get("owned_by") for each in served or [] if isinstance(each, dict)}
        if owners != {"sglang"}:
            raise _Unsupported
    # Raw text: a reasoning parser would take a continuation without an opening tag for thinking.
    raw = {**wanted.settings, "separate_reasoning": False}
    text = wanted.text
    if text.startswith(OPEN):
        if server.prompt_end is None:
            # The prompt cannot be seen here; a model that opens its thinking itself begins with the tag.
            probe = {**raw, "messages": wanted.messages, "max_tokens": 4, "temperature": 0}
            begun = parse_chat(await ask(server.chat, probe), server).text
            server.prompt_end = "" if begun.lstrip().startswith(OPEN) else f"{OPEN}\n"
        text = continuation(text, server.prompt_end)
    messages = [*wanted.messages, {"role": "assistant", "content": text}]
    body = {**raw, "messages": messages, "continue_final_message": True}
    return parse_chat(await ask(server.chat, body), server)


_WAYS: dict[str, Callable[[Server, Ask, Continuation], Awaitable[Completion]]] = {
    "tokens": _by_tokens,
    "template": _by_template,
    "prefill": _by_prefill,
}
