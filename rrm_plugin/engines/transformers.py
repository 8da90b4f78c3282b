"""A judge in this process, run by transformers: for small judges, laptops, tests, and GGUF files.

A server is the faster home of a big judge; here calls are batched, and a batch ends with its longest reply. Tokens
are drawn with a random generator of each call's own, so neither the batch that a call falls into nor the judge at all
changes any other random number: a training run draws the same ones with the judge as without.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrm_plugin.engines.base import Reply, Sampling
from rrm_plugin.engines.batching import Batcher, Ticket
from rrm_plugin.engines.checks import whole
from rrm_plugin.engines.decoding import Noted, Row, RowDraws, RowStops
from rrm_plugin.engines.fingerprints import mark
from rrm_plugin.engines.loading import Checkpoint, Loaded, control_tokens, model_label, model_place
from rrm_plugin.engines.templates import ChatTemplate
from rrm_plugin.errors import ConfigError, EngineError, MissingExtraError
from rrm_plugin.types import Message, TokenLogprob

__all__ = ["TransformersEngine"]

_REMEMBERED = 100_000


@dataclass(frozen=True, kw_only=True)
class _Request:
    messages: Sequence[Message]
    sampling: Sampling
    text: str | None
    """The beginning to continue, None for a fresh reply."""


@dataclass(frozen=True, kw_only=True)
class _Written:
    text: str
    finished: bool
    prompt_tokens: int
    completion_tokens: int
    logprobs: tuple[TokenLogprob, ...] | None = None


class TransformersEngine:
    """An engine that generates with a causal language model of transformers.

    Args:
        model: hub name, folder, or path of a `.gguf` file.
        device: `cpu`, `cuda:1`...; "auto" spreads the model over all devices. None takes the GPU of this process's
            LOCAL_RANK, or the CPU where there is none.
        dtype: `float32`, `bfloat16`...; None is the checkpoint's own on a GPU and float32 on a CPU.
        batch_size: most replies generated at once.
        gguf_file: name of a GGUF file inside the folder or repository `model`; its weights are unpacked.
        context: most tokens of prompt and reply together; None is the model's own limit.
        chat_template: Jinja text in place of the tokenizer's template.
        chat_template_kwargs: further variables for it, `{"enable_thinking": True}` say.
        model_kwargs: further arguments of `from_pretrained`, for model and configuration.

    Raises:
        ConfigError: a setting cannot work.
        MissingExtraError: transformers or torch is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int = 8,
        gguf_file: str | None = None,
        context: int | None = None,
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
            raise MissingExtraError("engine='transformers'", "transformers")
        folder, file = _where(model, gguf_file)
        if file and any(importlib.util.find_spec(name) is None for name in ("gguf", "accelerate")):
            raise MissingExtraError(f"reading {file!r}", "transformers")
        self.name = f"transformers:{model_label(model)}"
        self._checkpoint = Checkpoint(
            folder=folder,
            gguf_file=file,
            device=device,
            dtype=dtype,
            context=None if context is None else whole("context", context, least=1),
            model_kwargs=dict(model_kwargs or {}),
        )
        self._template = ChatTemplate(model=self.name, source=chat_template, variables=dict(chat_template_kwargs or {}))
        self._batcher: Batcher[_Request, _Written] = Batcher(
            self._run, batch_size=whole("batch_size", batch_size, least=1), name="rrm-transformers"
        )
        self._asked: Counter[bytes] = Counter()
        self.fingerprint = self.name + mark(
            model=model_place(model),
            checkpoint=self._checkpoint.shaping,
            chat_template=chat_template,
            chat_template_kwargs=chat_template_kwargs,
        )
        """`name`, and a mark of the model's place, type and template and of what it is loaded with."""
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self._loaded: Loaded | None = None
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"TransformersEngine({self.name!r})"

    def __getstate__(self) -> dict[str, Any]:
        left_behind = ("_lock", "_tokenizer", "_loaded", "_pid")
        return {key: value for key, value in self.__dict__.items() if key not in left_behind}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Control tokens of the tokenizer; loads it if need be."""
        return control_tokens(self._get_tokenizer())

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """The model's turn after `messages`.

        Raises:
            EngineError: the prompt does not fit, or the model failed.
            ConfigError: the model cannot be loaded, or has no chat template.
        """
        return await self._write(_Request(messages=messages, sampling=sampling, text=None))

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply:
        """The model's continuation of `text`; only what is new."""
        return await self._write(_Request(messages=messages, sampling=sampling, text=text))

    async def close(self) -> None:
        """Let go of the model and its memory."""
        self._batcher.close()
        loaded, self._loaded = self._loaded, None
        if loaded is not None and loaded.device.type == "cuda":
            import torch

            del loaded
            torch.cuda.empty_cache()

    async def _write(self, request: _Request) -> Reply:
        started = time.perf_counter()
        size = sum(len(str(message.get("content"))) for message in request.messages) + len(request.text or "")
        written = await self._batcher.submit(request, size)
        return Reply(
            text=written.text,
            finished=written.finished,
            prompt_tokens=written.prompt_tokens,
            completion_tokens=written.completion_tokens,
            seconds=time.perf_counter() - started,
            engine=self.name,
            logprobs=written.logprobs,
        )

    # From here on everything runs in the worker thread.

    def _run(self, tickets: Sequence[Ticket[_Request]]) -> list[_Written | Exception]:
        loaded = self._load()
        results: dict[int, _Written | Exception] = {}
        rows: list[tuple[int, Row]] = []
        for index, ticket in enumerate(tickets):
            try:
                rows.append((index, self._row(loaded, ticket)))
            except (EngineError, ConfigError) as error:
                results[index] = error
        if rows:
            written = _generate(loaded, [row for _, row in rows])
            results.update(zip([index for index, _ in rows], written, strict=True))
        return [results[index] for index in range(len(tickets))]

    def _row(self, loaded: Loaded, ticket: Ticket[_Request]) -> Row:
        request = ticket.item
        rendered = self._template.render(loaded.tokenizer, request.messages, request.text, loaded.context)
        return Row(
            ids=rendered.ids,
            limit=min(request.sampling.max_tokens, loaded.context - len(rendered.ids)),
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            stop=request.sampling.stop,
            seed=self._seed(rendered.prompt, request.sampling.seed),
            prefix=rendered.prefix,
            unwanted=lambda: ticket.abandoned,
            top_logprobs=request.sampling.top_logprobs,
        )

    def _seed(self, prompt: str, seed: int | None) -> int:
        content = hashlib.sha256(prompt.encode("utf-8", "surrogatepass"))
        if seed is None:
            # Asking the same again is a second vote, and has to be able to come out differently.
            if len(self._asked) > _REMEMBERED:
                self._asked.clear()
            times = self._asked[content.digest()[:8]]
            self._asked[content.digest()[:8]] += 1
            content.update(f"again {times}".encode())
        else:
            content.update(f"seed {seed}".encode())
        return int.from_bytes(content.digest()[:8], "big") >> 1

    def _get_tokenizer(self) -> Any:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = self._checkpoint.tokenizer()
            return self._tokenizer

    def _load(self) -> Loaded:
        if self._loaded is None or self._pid != os.getpid():
            self._loaded, self._pid = self._checkpoint.load(self._get_tokenizer()), os.getpid()
        return self._loaded


def _generate(loaded: Loaded, rows: Sequence[Row]) -> list[_Written | Exception]:
    """Replies for a batch; a batch that does not fit into memory is cut in two."""
    import torch

    try:
        return list(_generate_once(loaded, rows))
    except torch.cuda.OutOfMemoryError as error:
        if len(rows) == 1:
            said = f"out of GPU memory with a single prompt of {len(rows[0].ids)} tokens: lower max_tokens="
            return [EngineError(f"{said} ({error})")]
    torch.cuda.empty_cache()
    half = len(rows) // 2
    return _generate(loaded, rows[:half]) + _generate(loaded, rows[half:])


def _generate_once(loaded: Loaded, rows: Sequence[Row]) -> list[_Written]:
    import torch
    from transformers import LogitsProcessorList, StoppingCriteriaList

    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([[loaded.pad] * (width - len(row.ids)) + row.ids for row in rows], device=loaded.device)
    mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows], device=loaded.device)
    draws = RowDraws(rows)
    with torch.inference_mode():
        # Greedy, because RowDraws has the random part in it already.
        output = loaded.model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max(row.limit for row in rows),
            logits_processor=LogitsProcessorList([draws]),  # type: ignore[list-item]
            stopping_criteria=StoppingCriteriaList([RowStops(rows, width, loaded.tokenizer)]),  # type: ignore[list-item]
        )
    new = output[:, width:].tolist()
    return [_written(loaded, row, new[index], draws.noted.get(index)) for index, row in enumerate(rows)]


def _written(loaded: Loaded, row: Row, new: list[int], noted: Sequence[Noted] | None) -> _Written:
    new = new[: row.limit]
    end = next((index for index, token in enumerate(new) if token in loaded.eos), None)
    spent = len(new) if end is None else end + 1
    text = loaded.tokenizer.decode(new[:end], skip_special_tokens=True)
    stops = [at for at in (text.find(stop) for stop in row.stop) if at >= 0]
    if stops:
        text = text[: min(stops)]
    finished = end is not None or bool(stops)
    return _Written(
        text=row.prefix + text,
        finished=finished,
        prompt_tokens=len(row.ids),
        completion_tokens=spent,
        logprobs=None if noted is None else _logprobs(loaded.tokenizer, noted[: len(new[:end])]),
    )


def _logprobs(tokenizer: Any, noted: Sequence[Noted]) -> tuple[TokenLogprob, ...]:
    ids = sorted({token for place in noted for token, _ in (*place.top, (place.token, 0.0))})
    texts = dict(zip(ids, tokenizer.batch_decode([[token] for token in ids]), strict=True))
    return tuple(
        TokenLogprob(
            text=texts[place.token],
            logprob=place.logprob,
            top=tuple((texts[token], logprob) for token, logprob in place.top),
        )
        for place in noted
    )


def _where(model: str, gguf_file: str | None) -> tuple[str, str | None]:
    if gguf_file is None and model.lower().endswith(".gguf"):
        path = Path(model)
        if not path.is_file():
            raise ConfigError(f"model={model!r} is not a file")
        return str(path.parent), path.name
    return model, gguf_file
