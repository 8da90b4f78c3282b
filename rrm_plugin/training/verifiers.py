r"""Whether an answer to a question is right, by rules.

math                 mathematically equal, by math-verify: 1/2 is 0.5, x+1 is 1+x
exact                the same final answer but for case, spaces and punctuation around it; the final answer is what
                     stands in the last \boxed{}, behind the last "####" or "answer is", or on the last line
module:function      a function of answer and reference that returns True, False, or None where it cannot tell
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, cast

from rrm_plugin.config import import_object
from rrm_plugin.errors import ConfigError, MissingExtraError

__all__ = ["Verifier", "exact_verifier", "final_answer", "math_verifier", "verifier"]

Verifier = Callable[[str, str], bool | None]
"""From an answer and the reference to whether the answer is right; None where that cannot be said."""

_MARKED = re.compile(r"####[ \t]*(.+)|\banswer\s*(?:is\s*:?|:)\s*(.+)", re.IGNORECASE)


def verifier(spec: str) -> Verifier:
    """The verifier of a name: `math`, `exact` or `module:function`.

    Raises:
        ConfigError: there is none.
        MissingExtraError: math-verify is not installed.
    """
    if spec == "math":
        return math_verifier()
    if spec == "exact":
        return exact_verifier
    if ":" in spec:
        found = import_object(spec, setting="verifier")
        if not callable(found):
            raise ConfigError(f"verifier: {spec!r} is no function")
        return cast(Verifier, found)
    raise ConfigError(f"verifier: {spec!r} is none of math, exact, module:function")


def exact_verifier(answer: str, reference: str) -> bool | None:
    """Whether the final answers are the same text; None where the answer has none."""
    given, wanted = _plain(final_answer(answer)), _plain(final_answer(reference))
    if not wanted or not given:
        return None
    return given == wanted


def math_verifier() -> Verifier:
    """Whether an answer is mathematically equal to the reference, by math-verify.

    Its time limits rest on signals, so they hold in the main thread only.

    Raises:
        MissingExtraError: math-verify is not installed.
    """
    try:
        import math_verify  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError("the verifier 'math'", "training") from None
    parse: Any = math_verify.parse
    verify: Any = math_verify.verify

    def check(answer: str, reference: str) -> bool | None:
        seconds = 5 if threading.current_thread() is threading.main_thread() else None
        gold = parse(_in_box(reference), parsing_timeout=seconds)
        given = parse(answer, parsing_timeout=seconds)
        if not gold or not given:
            return None
        return bool(verify(gold, given, timeout_seconds=seconds))

    return check


def final_answer(text: str) -> str:
    """What a text gives as its answer, or its last line."""
    if boxed := _last_box(text):
        return boxed
    marked = list(_MARKED.finditer(text))
    if marked:
        return next(filter(None, marked[-1].groups())).strip()
    return text.strip().rpartition("\n")[2]


def _in_box(reference: str) -> str:
    if _last_box(reference) or "$" in reference:
        return reference
    return f"\\boxed{{{final_answer(reference)}}}"


def _last_box(text: str) -> str:
    """The content of the last complete `\\boxed{}`; braces inside it may nest."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return ""
    depth, begin = 0, start + len("\\boxed")
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin + 1 : index].strip()
    return ""


def _plain(text: str) -> str:
    squeezed = re.sub(r"(?<=\d),(?=\d{3}\b)", "", re.sub(r"\s+", " ", text)).strip()
    return squeezed.strip(" .,;:!*_`$\"'()").casefold()
