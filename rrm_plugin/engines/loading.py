"""Loading a causal language model and its tokenizer with transformers: where from, onto what, in which type.

Left out: anything about prompts and generation. transformers and torch are imported by the functions that need them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rrm_plugin.errors import ConfigError

__all__ = ["Checkpoint", "Loaded", "control_tokens", "model_label", "model_place", "unchanged_random_state"]

_FOR_TOKENIZER = ("trust_remote_code", "revision", "token")
_FETCHING = frozenset({"cache_dir", "device_map", "local_files_only", "max_memory", "proxies", "token"})


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model that is ready to generate."""

    tokenizer: Any
    model: Any
    device: Any
    """Where its inputs have to be."""
    context: int
    """Most tokens of prompt and reply together."""
    eos: frozenset[int]
    pad: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a model lies, and how it is to be loaded; `TransformersEngine` says what the settings mean."""

    folder: str
    gguf_file: str | None = None
    device: str | None = None
    dtype: str | None = None
    context: int | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shaping(self) -> dict[str, Any]:
        """The settings that change what the model says, not those of where it runs and how it is fetched."""
        dtype = self.dtype or ("float32" if self.device == "cpu" else None)
        return {
            "gguf_file": self.gguf_file,
            "dtype": dtype and str(dtype).removeprefix("torch."),
            "context": self.context,
            "model_kwargs": {key: value for key, value in self.model_kwargs.items() if key not in _FETCHING},
        }

    def tokenizer(self) -> Any:
        """Load the tokenizer.

        Raises:
            ConfigError: there is none that transformers can load.
        """
        from transformers import AutoTokenizer

        options = {key: self.model_kwargs[key] for key in _FOR_TOKENIZER if key in self.model_kwargs}
        if self.gguf_file:
            options["gguf_file"] = self.gguf_file
        try:
            return AutoTokenizer.from_pretrained(self.folder, **options)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(f"the tokenizer of model={self.folder!r} cannot be loaded: {error}") from error

    def load(self, tokenizer: Any) -> Loaded:
        """Load the model, leaving the global random state as it was.

        Raises:
            ConfigError: there is none that transformers can load, or a setting does not fit it.
        """
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig

        device = self.device or _default_device(torch)
        options: dict[str, Any] = {"dtype": _dtype(torch, self.dtype, device), **self._gguf_options()}
        if device == "auto":
            options["device_map"] = "auto"
        try:
            # Loading may draw random numbers for weights that a checkpoint lacks.
            with unchanged_random_state():
                model: Any = AutoModelForCausalLM.from_pretrained(self.folder, **options, **self.model_kwargs)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(f"model={self.folder!r} cannot be loaded: {error}") from error
        if device != "auto":
            model.to(device)
        model.eval()
        eos = _ids(model.generation_config.eos_token_id) | _ids(tokenizer.eos_token_id)
        pad = next(each for each in (tokenizer.pad_token_id, min(eos, default=None), 0) if each is not None)
        # A checkpoint's own sampling settings (a repetition penalty, say) are not what the caller asked for.
        model.generation_config = GenerationConfig(eos_token_id=sorted(eos) or None, pad_token_id=pad)
        return Loaded(
            tokenizer=tokenizer,
            model=model,
            device=model.get_input_embeddings().weight.device,
            context=self.context or _context(model.config, tokenizer),
            eos=eos,
            pad=pad,
        )

    def _gguf_options(self) -> dict[str, Any]:
        if not self.gguf_file:
            return {}
        import transformers

        # Newer versions keep the blocks packed unless told otherwise; older ones always unpack them.
        packed = hasattr(transformers, "GgufConfig")
        unpack = {"quantization_config": transformers.GgufConfig(dequantize=True)} if packed else {}
        return {"gguf_file": self.gguf_file, **unpack}


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Puts the random states of this process back as they were: a trainer lives in it too."""
    import numpy as np
    import torch

    plain, array, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(array)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The tokens of a tokenizer that steer a model: its special ones, and others that its chat template writes."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    written = [str(token) for token in added if token.special or (str(token).strip() and str(token) in template)]
    return tuple(dict.fromkeys([*tokenizer.all_special_tokens, *written]))


def model_label(model: str) -> str:
    """A model's name for people: a hub name as it is, of a path the last two parts."""
    return model if _on_hub(model) else "/".join(Path(model).absolute().parts[-2:])


def model_place(model: str) -> str:
    """What tells a model from others: a hub name as it is, of a path all of it, links followed.

    The folder is not looked into: weights that were written over others are not told from them.
    """
    return model if _on_hub(model) else str(Path(model).resolve())


def _on_hub(model: str) -> bool:
    path = Path(model)
    return not path.is_absolute() and len(path.parts) <= 2 and not path.exists()


def _default_device(torch: Any) -> str:
    if not torch.cuda.is_available():
        return "cpu"
    # Not the current device: that is a setting of the calling thread, and this is the worker's.
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def _dtype(torch: Any, name: str | None, device: str) -> Any:
    if name is None:
        return torch.float32 if device == "cpu" else "auto"
    dtype = name if name == "auto" else getattr(torch, str(name).removeprefix("torch."), None)
    if dtype != "auto" and not isinstance(dtype, torch.dtype):
        raise ConfigError(f"dtype={name!r} is not a type of torch; write 'float32', 'bfloat16' or 'float16'")
    return dtype


def _ids(value: int | Sequence[int] | None) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)


def _context(config: Any, tokenizer: Any) -> int:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    # A tokenizer without a limit says so with a huge number.
    return int(limit or min(tokenizer.model_max_length, 1 << 20))
