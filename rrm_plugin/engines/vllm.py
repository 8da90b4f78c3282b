"""A judge in this process, run by vLLM.

Calls join vLLM's running batch the moment they come and leave it when they are done, so that a long reply holds up
no short one: a thread of its own feeds vLLM's engine and takes its steps. (`LLM.chat` would wait for the slowest call
of each batch, and `AsyncLLM` would tie the engine to one event loop.)

Left out: weights that change under the engine, and sharing a vLLM that a trainer has made; both belong to a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import itertools
import os
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm_plugin.engines.base import Reply, Sampling
from rrm_plugin.engines.checks import number, whole
from rrm_plugin.engines.fingerprints import mark
from rrm_plugin.engines.loading import Checkpoint, control_tokens, model_label, model_place, unchanged_random_state
from rrm_plugin.engines.orphans import Reaper, reap
from rrm_plugin.engines.templates import ChatTemplate
from rrm_plugin.errors import ConfigError, EngineError, MissingExtraError, RRMError
from rrm_plugin.types import Message, Reason, TokenLogprob

__all__ = ["VllmEngine"]

_RUNNING = frozenset({"download_dir", "gpu_memory_utilization", "hf_token", "tensor_parallel_size"})

_WATCHED_EVERY = 1.0
"""Seconds between looks at whether vLLM's own process lives."""


@dataclass(eq=False)
class _Job:
    """One call on its way through vLLM."""

    messages: Sequence[Message]
    text: str | None
    sampling: Sampling
    future: asyncio.Future[Reply]
    loop: asyncio.AbstractEventLoop
    started: float
    prefix: str = ""
    abandoned: bool = False

    def settle(self, result: Reply | Exception) -> None:
        """Hand the result to the caller's event loop, from the worker's thread."""
        _settle_all([(self, result)])


class VllmEngine:
    """An engine that generates with vLLM.

    Args:
        model: hub name or folder.
        gpu_memory_utilization: share of the GPU that vLLM takes; small where a trainer lives on it too.
        tensor_parallel_size: GPUs over which the model is split.
        max_model_len: most tokens of prompt and reply together; None is the model's own limit.
        dtype: of the weights.
        chat_template: Jinja text in place of the tokenizer's template.
        chat_template_kwargs: further variables for it, `{"enable_thinking": True}` say.
        llm: further arguments of `vllm.LLM`.

    Raises:
        ConfigError: a setting cannot work.
        MissingExtraError: vLLM is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        gpu_memory_utilization: float = 0.9,
        tensor_parallel_size: int = 1,
        max_model_len: int | None = None,
        dtype: str = "auto",
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        llm: Mapping[str, Any] | None = None,
    ) -> None:
        if not _installed("vllm"):
            raise MissingExtraError("engine='vllm'", "vllm")
        self.name = f"vllm:{model_label(model)}"
        self._arguments = {
            "model": model,
            "gpu_memory_utilization": number("gpu_memory_utilization", gpu_memory_utilization, above=0, most=1),
            "tensor_parallel_size": whole("tensor_parallel_size", tensor_parallel_size, least=1),
            "dtype": dtype,
            **({} if max_model_len is None else {"max_model_len": whole("max_model_len", max_model_len, least=1)}),
            **(llm or {}),
        }
        self._template = ChatTemplate(model=self.name, source=chat_template, variables=dict(chat_template_kwargs or {}))
        self.fingerprint = self.name + mark(
            arguments=_shaping(self._arguments), chat_template=chat_template, chat_template_kwargs=chat_template_kwargs
        )
        """`name`, and a mark of the model's place, type and template and of what vLLM is made with."""
        self._special: tuple[str, ...] | None = None
        self._worker: _Worker | None = None

    def __repr__(self) -> str:
        return f"VllmEngine({self.name!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_worker": None}

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Control tokens of the tokenizer; loads it if need be."""
        if self._special is None:
            trust = {"trust_remote_code": True} if self._arguments.get("trust_remote_code") else {}
            folder = self._arguments.get("tokenizer") or self._arguments["model"]
            self._special = control_tokens(Checkpoint(folder=folder, model_kwargs=trust).tokenizer())
        return self._special

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """The model's turn after `messages`.

        Raises:
            EngineError: the prompt does not fit, or vLLM failed.
            ConfigError: the model cannot be loaded, or has no chat template.
        """
        return await self._ask(messages, None, sampling)

    async def resume(self, messages: Sequence[Message], text: str, sampling: Sampling) -> Reply:
        """The model's continuation of `text`; only what is new."""
        return await self._ask(messages, text, sampling)

    async def close(self) -> None:
        """Stop vLLM and give its memory back; calls under way fail."""
        worker, self._worker = self._worker, None
        if worker is not None and worker.pid == os.getpid():
            await asyncio.to_thread(worker.stop)

    async def _ask(self, messages: Sequence[Message], text: str | None, sampling: Sampling) -> Reply:
        worker = self._worker
        if worker is None or worker.pid != os.getpid():
            worker = self._worker = _Worker(self.name, self._arguments, self._template)
        loop = asyncio.get_running_loop()
        job = _Job(
            messages=messages,
            text=text,
            sampling=sampling,
            future=loop.create_future(),
            loop=loop,
            started=time.perf_counter(),
        )
        worker.inbox.put(job)
        try:
            return await job.future
        finally:
            job.abandoned = True


class _Worker:
    """The thread that owns vLLM."""

    def __init__(self, name: str, arguments: Mapping[str, Any], template: ChatTemplate) -> None:
        self.pid = os.getpid()
        self.inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._name = name
        self._arguments = arguments
        self._template = template
        self._running: dict[str, _Job] = {}
        self._numbers = itertools.count()
        self._core: Any = None
        self._reaper = Reaper()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="rrm-vllm", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current step."""
        self.inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            self._serve()
        except Exception as error:
            said = f"vLLM failed: {type(error).__name__}: {error}"
            failure = error if isinstance(error, RRMError) else EngineError(said)
            self._fail_running(failure)
            # Without vLLM every later call gets the same answer, until close() makes room for another try.
            while (job := self.inbox.get()) is not None:
                job.settle(failure)
        else:
            closed = EngineError("the engine was closed")
            self._fail_running(closed)
            while not self.inbox.empty():
                if (job := self.inbox.get()) is not None:
                    job.settle(closed)
        self._shut_down()
        gc.collect()

    def _shut_down(self) -> None:
        """End vLLM's own processes: left to the garbage collector, they may keep the interpreter from ever ending."""
        core, self._core = self._core, None
        self._ended.set()
        if (shutdown := getattr(core, "shutdown", None)) is not None:
            # Of a vLLM that died there may be nothing left to end.
            with contextlib.suppress(Exception):
                shutdown()
        self._reaper.stop()

    def _watch(self, resources: Any, outputs: Any) -> None:
        """See to it that the thread wakes when vLLM's own process is killed, for want of memory say: vLLM notes that,
        and goes on waiting for what that process would have said.
        """

        def watch() -> None:
            while not self._ended.wait(_WATCHED_EVERY):
                if resources.engine_dead:
                    outputs.put_nowait(EngineError("its process ended"))
                    return

        # A vLLM that runs in this process has neither.
        if hasattr(resources, "engine_dead") and outputs is not None:
            threading.Thread(target=watch, name="rrm-vllm-watch", daemon=True).start()

    def _fail_running(self, failure: Exception) -> None:
        for job in self._running.values():
            job.settle(failure)
        self._running.clear()

    def _serve(self) -> None:
        llm = _load(self._arguments)
        engine, tokenizer = llm.llm_engine, llm.get_tokenizer()
        self._core = getattr(engine, "engine_core", None)
        resources = getattr(self._core, "resources", None)
        self._watch(resources, getattr(self._core, "outputs_queue", None))
        # vLLM's own processes would outlive this one where it is killed, with all their memory of the GPU.
        started = getattr(getattr(resources, "engine_manager", None), "processes", ())
        self._reaper = reap(each.pid for each in started if each.pid)
        context = int(llm.llm_engine.model_config.max_model_len)
        while True:
            while not self._running or not self.inbox.empty():
                job = self.inbox.get()
                if job is None:
                    return
                self._admit(engine, tokenizer, context, job)
            _settle_all(
                [
                    (job, self._read(output, job))
                    for output in engine.step()
                    if output.finished and (job := self._running.pop(output.request_id, None)) is not None
                ]
            )
            self._drop_abandoned(engine)

    def _admit(self, engine: Any, tokenizer: Any, context: int, job: _Job) -> None:
        if job.abandoned:
            return
        number = f"rrm-{next(self._numbers)}"
        try:
            rendered = self._template.render(tokenizer, job.messages, job.text, context)
            limit = min(job.sampling.max_tokens, context - len(rendered.ids))
            engine.add_request(number, {"prompt_token_ids": rendered.ids}, _parameters(job.sampling, limit))
        except RRMError as error:
            job.settle(error)
        except ValueError as error:
            job.settle(EngineError(f"vLLM refuses the request: {error}"))
        else:
            job.prefix = rendered.prefix
            self._running[number] = job

    def _read(self, output: Any, job: _Job) -> Reply | EngineError:
        """What came of a call: one that vLLM answers in a way not known here fails alone, and hangs nobody."""
        try:
            return self._reply(output, job)
        except Exception as error:
            said = f"vLLM's reply could not be read: {type(error).__name__}: {error}"
            return EngineError(said, Reason.BAD_REPLY)

    def _reply(self, output: Any, job: _Job) -> Reply | EngineError:
        completion = output.outputs[0]
        if completion.finish_reason not in ("stop", "length"):
            return EngineError(f"vLLM gave the reply up ({completion.finish_reason})", retryable=True)
        return Reply(
            text=job.prefix + completion.text,
            finished=completion.finish_reason == "stop",
            prompt_tokens=len(output.prompt_token_ids or ()),
            completion_tokens=len(completion.token_ids),
            seconds=time.perf_counter() - job.started,
            engine=self._name,
            logprobs=_logprobs(completion) if job.sampling.top_logprobs else None,
        )

    def _drop_abandoned(self, engine: Any) -> None:
        gone = [number for number, job in self._running.items() if job.abandoned]
        if gone:
            engine.abort_request(gone)
            for number in gone:
                del self._running[number]


def _logprobs(completion: Any) -> tuple[TokenLogprob, ...] | None:
    """Those of the tokens drawn, and of the likeliest, before temperature and top_p."""
    if completion.logprobs is None:
        return None
    places = [
        (found.get(token), found) for token, found in zip(completion.token_ids, completion.logprobs, strict=False)
    ]
    return tuple(
        TokenLogprob(
            text=drawn.decoded_token or "",
            logprob=drawn.logprob,
            top=tuple((one.decoded_token or "", one.logprob) for one in found.values()),
        )
        for drawn, found in places
        if drawn is not None
    )


def _shaping(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that change what the model says, not those of where it runs and how it is fetched."""
    places = {key: model_place(arguments[key]) for key in ("model", "tokenizer") if arguments.get(key)}
    return {key: value for key, value in arguments.items() if key not in _RUNNING} | places


def _load(arguments: Mapping[str, Any]) -> Any:
    try:
        vllm = importlib.import_module("vllm")
        # vLLM seeds the process that it is loaded in.
        with unchanged_random_state():
            return vllm.LLM(**arguments)
    except ImportError as error:
        raise EngineError(f"vLLM cannot be imported: {error}") from error
    except (TypeError, ValueError, OSError) as error:
        raise ConfigError(f"engine='vllm' cannot load model={arguments['model']!r}: {error}") from error


def _parameters(sampling: Sampling, limit: int) -> Any:
    params = importlib.import_module("vllm.sampling_params")
    return params.SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=limit,
        seed=sampling.seed,
        stop=list(sampling.stop) or None,
        logprobs=sampling.top_logprobs or None,
        output_kind=params.RequestOutputKind.FINAL_ONLY,
    )


def _settle_all(results: Iterable[tuple[_Job, Reply | Exception]]) -> None:
    """Hand results to the callers' event loops, from the worker's thread.

    Each loop is woken once for all of its own: the wake-up hands it the interpreter in the middle of the worker's step.
    """
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Reply], Reply | Exception]]] = {}
    for job, result in results:
        by_loop.setdefault(job.loop, []).append((job.future, result))
    for loop, settled in by_loop.items():
        # A loop may be closed at any moment, and whoever waited there is gone: that is no failure of vLLM.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, settled)


def _settle(results: Iterable[tuple[asyncio.Future[Reply], Reply | Exception]]) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:
        # Put into sys.modules by hand, without a spec.
        return True
