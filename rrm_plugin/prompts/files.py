"""Template files: the presets of this package, and those that users write.

    name          for messages and records; without it, the file's name
    description   for people; where the format comes from
    grammar       name of a built-in grammar, or a mapping with pattern and values
    system        Jinja template of the system message; may be left out
    user          Jinja template of the user message; sees query, response_1, response_2
    opening       what follows thinking closed by force, up to the verdict
    headings      list of further lines that judged text may not imitate; may be left out

Left out: what the text of a template says. Whether a judge understands it, only verdicts show.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import yaml

from rrm_plugin.errors import ConfigError
from rrm_plugin.prompts.template import ENVIRONMENT, Guarded, JudgePrompt
from rrm_plugin.verdicts import Grammar, grammar

__all__ = ["PRESETS", "load_prompt"]

PRESETS = ("rrm", "rm_r1", "arena", "llmbar", "scores", "json", "miniature")
"""Names of the templates that come with the package."""

_KEYS = ("name", "description", "grammar", "system", "user", "opening", "headings")
_NEEDED = ("grammar", "user", "opening")
_VARIABLES = {"query", "response_1", "response_2"}


def load_prompt(spec: str | os.PathLike[str] | JudgePrompt) -> JudgePrompt:
    """The template of a preset's name, of a file, or the one given.

    Raises:
        ConfigError: there is no such preset or file, or the file is wrong; names the file and the key.
    """
    if isinstance(spec, JudgePrompt):
        return spec
    if isinstance(spec, str) and spec in PRESETS:
        return _preset(spec)
    if not isinstance(spec, str | os.PathLike):
        raise ConfigError(f"prompt: a name, a path or a JudgePrompt is needed, not {type(spec).__name__}")
    path = Path(spec)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(
            f"prompt: {os.fspath(spec)!r} is neither a preset ({', '.join(PRESETS)}) nor a readable file: {error}"
        ) from error
    return _parsed(text, str(path), path.stem)


@lru_cache(maxsize=len(PRESETS))
def _preset(name: str) -> JudgePrompt:
    file = resources.files("rrm_plugin.prompts") / "presets" / f"{name}.yaml"
    return _parsed(file.read_text(encoding="utf-8"), f"preset {name}", name)


def _parsed(text: str, source: str, name: str) -> JudgePrompt:
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: this is no YAML: {error}") from error
    if not isinstance(fields, Mapping):
        raise ConfigError(f"{source}: a mapping with the keys {', '.join(_NEEDED)} is needed")
    _check_keys(fields, source)
    prompt = JudgePrompt(
        name=str(fields.get("name", name)),
        grammar=_grammar(fields["grammar"], source),
        system=str(fields.get("system") or "").strip(),
        user=fields["user"].strip(),
        opening=fields["opening"],
        headings=tuple(fields.get("headings") or ()),
    )
    _check_templates(prompt, source)
    return prompt


def _check_keys(fields: Mapping[Any, Any], source: str) -> None:
    for key in fields:
        if key not in _KEYS:
            raise ConfigError(f"{source}: unknown key {key!r}; known are {', '.join(_KEYS)}")
    for key in _NEEDED:
        if key not in fields:
            raise ConfigError(f"{source}: the key {key!r} is missing")
    for key in ("name", "description", "system", "user", "opening"):
        if fields.get(key) is not None and not isinstance(fields[key], str):
            raise ConfigError(f"{source}: {key} must be text, not {type(fields[key]).__name__}")
    for key in ("user", "opening"):
        if not (fields[key] or "").strip():
            raise ConfigError(f"{source}: {key} is empty")
    headings = fields.get("headings")
    if headings is not None and not (isinstance(headings, list) and all(isinstance(line, str) for line in headings)):
        raise ConfigError(f"{source}: headings must be a list of lines")


def _grammar(spec: Any, source: str) -> Grammar:
    try:
        return grammar(spec)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _check_templates(prompt: JudgePrompt, source: str) -> None:
    used: set[str] = set()
    for key, template in (("system", prompt.system), ("user", prompt.user)):
        try:
            names = jinja2.meta.find_undeclared_variables(ENVIRONMENT.parse(template))
        except jinja2.TemplateError as error:
            raise ConfigError(f"{source}: {key} is no Jinja template: {error}") from error
        if unknown := sorted(names - _VARIABLES):
            raise ConfigError(f"{source}: {key} uses {unknown[0]!r}; a template sees {', '.join(sorted(_VARIABLES))}")
        used |= names
    if missing := sorted(_VARIABLES - used):
        raise ConfigError(f"{source}: user must show {missing[0]!r}; it never does")
    try:
        prompt.render(Guarded("query"), Guarded("one"), Guarded("two"))
    except Exception as error:
        raise ConfigError(f"{source}: the template cannot be filled: {error}") from error
