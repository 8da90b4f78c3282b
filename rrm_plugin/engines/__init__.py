"""Engines: text in, text out. `engine(...)` makes one of what a user wrote in `RRMJudge(engine=...)`.

    engine("http://localhost:8001/v1", model="RRM-7B")    OpenAI-compatible server: vLLM, SGLang, llama.cpp, providers
    engine("http://a:8001/v1,http://b:8001/v1")           several of them, with failover
    engine("rrm://localhost:8100")                        a judge service, see `rrm serve`
    engine("transformers", model="RRM-7B")                in this process, with transformers
    engine("vllm", model="RRM-7B")                        in this process, with vLLM
    engine("replay:texts.jsonl")                          texts recorded before
    engine("scripted:longer")                             a function in place of a model

The module of an engine is imported when that engine is asked for.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rrm_plugin.engines.base import Engine, Reply, Sampling
from rrm_plugin.errors import ConfigError

if TYPE_CHECKING:
    from rrm_plugin.engines.http import HttpEngine
    from rrm_plugin.engines.limits import LimitedEngine
    from rrm_plugin.engines.replay import RecordingEngine, ReplayEngine
    from rrm_plugin.engines.scripted import ScriptedEngine
    from rrm_plugin.engines.service import ServiceEngine
    from rrm_plugin.engines.transformers import TransformersEngine
    from rrm_plugin.engines.vllm import VllmEngine

__all__ = [
    "Engine",
    "HttpEngine",
    "LimitedEngine",
    "RecordingEngine",
    "ReplayEngine",
    "Reply",
    "Sampling",
    "ScriptedEngine",
    "ServiceEngine",
    "TransformersEngine",
    "VllmEngine",
    "engine",
]

_MODULES = {
    "HttpEngine": "http",
    "LimitedEngine": "limits",
    "RecordingEngine": "replay",
    "ReplayEngine": "replay",
    "ScriptedEngine": "scripted",
    "ServiceEngine": "service",
    "TransformersEngine": "transformers",
    "VllmEngine": "vllm",
}
_IN_PROCESS = {"transformers": "TransformersEngine", "vllm": "VllmEngine"}
_KNOWN = (
    "a server's URL such as 'http://localhost:8001/v1' (or several, as a list or separated by commas), a judge service "
    "'rrm://localhost:8100', 'transformers', 'vllm', 'replay:FILE', 'scripted:longer', 'scripted:first', "
    "'scripted:second', 'scripted:random', or an Engine"
)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def engine(spec: str | Sequence[str] | Engine, *, model: str | None = None, **options: Any) -> Engine:
    """The engine that `spec` names.

    Args:
        spec: see the module docstring; an `Engine` is returned as it is.
        model: for engines that load or choose a model; the others have theirs already and pass over it.
        options: further arguments of that engine's constructor.

    Raises:
        ConfigError: nothing of that name is known, an option is not one of this engine's, or a model is missing.
        MissingExtraError: the engine's library is not installed.
    """
    if isinstance(spec, Engine):
        if options:
            raise ConfigError(f"options {sorted(options)} go to the constructor of the engine, which exists already")
        return spec
    if not isinstance(spec, str):
        return _http(_all_texts(spec), model, options)
    kind, _, rest = spec.partition(":")
    if kind in _IN_PROCESS and not rest:
        return _in_process(kind, model, options)
    if kind == "replay":
        if not rest:
            raise ConfigError("engine='replay:' names no file; write engine='replay:texts.jsonl'")
        return _build("ReplayEngine", (rest,), options, spec)
    if kind == "scripted":
        _refuse_options(options, (), spec)
        return __getattr__("ScriptedEngine").named(rest)
    if "://" in spec:
        return _http([url.strip() for url in spec.split(",") if url.strip()], model, options)
    raise ConfigError(f"engine={spec!r} is not known; write {_KNOWN}{_scheme_hint(spec)}")


def _all_texts(spec: Any) -> list[str]:
    if isinstance(spec, Sequence) and spec and all(isinstance(url, str) for url in spec):
        return list(spec)
    raise ConfigError(f"engine={spec!r} is not known; write {_KNOWN}")


def _scheme_hint(spec: str) -> str:
    looks_like_host = "." in spec or "localhost" in spec or ":" in spec
    return f". If it is a server's address, write engine='http://{spec}'" if looks_like_host else ""


def _http(urls: Sequence[str], model: str | None, options: dict[str, Any]) -> Engine:
    service = any(url.startswith(("rrm://", "rrms://")) for url in urls)
    name = "ServiceEngine" if service else "HttpEngine"
    return _build(name, (urls,), {"model": model, **options}, ",".join(urls))


def _in_process(kind: str, model: str | None, options: dict[str, Any]) -> Engine:
    if not model:
        raise ConfigError(f"engine={kind!r} loads a model: say which with model=, a hub name or a folder")
    return _build(_IN_PROCESS[kind], (model,), options, kind)


def _build(name: str, arguments: tuple[Any, ...], options: dict[str, Any], spec: str) -> Engine:
    factory = __getattr__(name)
    parameters = inspect.signature(factory).parameters.values()
    _refuse_options(options, [each.name for each in parameters if each.kind is each.KEYWORD_ONLY], spec)
    return factory(*arguments, **options)


def _refuse_options(options: dict[str, Any], valid: Sequence[str], spec: str) -> None:
    unknown = sorted(set(options) - set(valid))
    if unknown:
        takes = f"it takes {', '.join(valid)}" if valid else "it takes none"
        raise ConfigError(f"engine={spec!r} has no option {', '.join(map(repr, unknown))}; {takes}")
