"""A template and two responses -> the chat messages that a judge is asked with.

Texts are prepared (flattened, stripped of thinking, guarded) once and shown in many matches, so that is a step of its
own. Left out: reading template files (`files.py`), and sending the messages anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jinja2
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rrm_plugin.prompts.content import prompt_text, response_text
from rrm_plugin.prompts.guards import VERSION, Frame, Guard, guard
from rrm_plugin.types import Prompt, Response
from rrm_plugin.verdicts import Grammar, closing_tag, split_thinking

__all__ = ["EMPTY_QUERY", "EMPTY_RESPONSE", "ENVIRONMENT", "Guarded", "JudgePrompt"]

ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
"""Templates are code of a file's author: they may format, not reach into the process. Values are not expanded."""

EMPTY_RESPONSE = "(empty response)"
EMPTY_QUERY = "(empty query)"


class Guarded(str):
    """A text that `JudgePrompt.prepare` or `prepare_query` made; `render` of the same prompt shows it as it is."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class JudgePrompt:
    """How a judge is asked. Immutable, hashable, picklable.

    Args:
        name: of the preset, or of the file.
        grammar: the markup of the verdict that the template asks for.
        system: template of the system message; without one there is only a user message.
        user: template of the user message. Both see `query`, `response_1` and `response_2`.
        opening: what follows thinking that is closed by force, so that the judge only has to name a verdict.
        headings: further lines that no judged text may imitate; the literal lines of `user` are known.
    """

    name: str
    grammar: Grammar
    system: str
    user: str
    opening: str
    headings: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with all that the judge sees or that decides how it is read."""
        return _fingerprint(self)

    @property
    def frame(self) -> tuple[str, ...]:
        """The literal lines of the user message, what stands beside a text on its line, and `headings`."""
        frame = _frame(self)
        return tuple(dict.fromkeys((*frame.lines, *frame.heads, *frame.tails)))

    def prepare(
        self, response: Response, *, special_tokens: Sequence[str] = (), keep_thinking: bool = False
    ) -> Guarded:
        """A response as the judge may see it. Do this once for all the matches that show it.

        Args:
            response: a text, one message, or the messages of one turn.
            special_tokens: of the judge's tokenizer, to be broken wherever they stand in the text.
            keep_thinking: show the policy's own thinking; without it, a response that never ends its thinking is empty.

        Raises:
            TypeError: the response is neither a text nor messages.
        """
        text = self._guard(special_tokens)(response_text(response, keep_thinking=keep_thinking))
        return Guarded(text or EMPTY_RESPONSE)

    def prepare_query(
        self, prompt: Prompt, *, special_tokens: Sequence[str] = (), keep_thinking: bool = False
    ) -> Guarded:
        """What was asked, as the judge may see it. Arguments and errors as in `prepare`."""
        text = self._guard(special_tokens)(prompt_text(prompt, keep_thinking=keep_thinking))
        return Guarded(text or EMPTY_QUERY)

    def render(
        self,
        prompt: Prompt | Guarded,
        first: Response | Guarded,
        second: Response | Guarded,
        *,
        special_tokens: Sequence[str] = (),
        keep_thinking: bool = False,
    ) -> list[dict[str, str]]:
        """The messages that ask which of two responses is better, in this order. What is not yet prepared is prepared.

        Raises:
            TypeError: a prompt or response is neither a text nor messages.
        """
        if not isinstance(prompt, Guarded):
            prompt = self.prepare_query(prompt, special_tokens=special_tokens, keep_thinking=keep_thinking)
        if not isinstance(first, Guarded):
            first = self.prepare(first, special_tokens=special_tokens, keep_thinking=keep_thinking)
        if not isinstance(second, Guarded):
            second = self.prepare(second, special_tokens=special_tokens, keep_thinking=keep_thinking)
        user = {"role": "user", "content": _fill(self.user, prompt, first, second)}
        if not self.system:
            return [user]
        return [{"role": "system", "content": _fill(self.system, prompt, first, second)}, user]

    def closing(self, text: str) -> str:
        """What to put after a judge's cut-off text so that its next words are the verdict.

        Thinking that is open, or a text without tags, is closed in the form in which it was opened.
        """
        head, tag, rest = self.opening.partition("</think>")
        if not tag:
            return self.opening
        if split_thinking(text).closed:
            return rest
        return f"{head}{closing_tag(text, tag)}{rest}"

    def _guard(self, special_tokens: Sequence[str]) -> Guard:
        return guard(self.grammar, _frame(self), tuple(special_tokens))


@lru_cache(maxsize=256)
def _compiled(source: str) -> jinja2.Template:
    return ENVIRONMENT.from_string(source)


def _fill(source: str, query: str, first: str, second: str) -> str:
    values = {"query": query, "response_1": first, "response_2": second}
    pieces = _pieces(source)
    if pieces is None:
        return _compiled(source).render(**values)
    return "".join([values[text] if is_slot else text for is_slot, text in pieces])


@lru_cache(maxsize=256)
def _pieces(source: str) -> tuple[tuple[bool, str], ...] | None:
    """Literal text and slots of a template without any logic: joining them is ten times quicker than rendering it."""
    pieces: list[tuple[bool, str]] = []
    for node in ENVIRONMENT.parse(source).body:
        if not isinstance(node, jinja2.nodes.Output):
            return None
        for part in node.nodes:
            if isinstance(part, jinja2.nodes.TemplateData):
                pieces.append((False, part.data))
            elif isinstance(part, jinja2.nodes.Name) and part.name in _SLOTS:
                pieces.append((True, part.name))
            else:
                return None
    return tuple(pieces)


_SLOTS = ("query", "response_1", "response_2")


@lru_cache(maxsize=64)
def _fingerprint(prompt: JudgePrompt) -> str:
    parts = (prompt.system, prompt.user, prompt.opening, repr(prompt.grammar), "\n".join(prompt.frame), str(VERSION))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


_SLOT = "\ue000"


@lru_cache(maxsize=64)
def _frame(prompt: JudgePrompt) -> Frame:
    lines, heads, tails = [], [], []
    for line in _fill(prompt.user, _SLOT, _SLOT, _SLOT).splitlines():
        pieces = line.split(_SLOT)
        if len(pieces) == 1:
            lines += pieces
        heads += pieces[:-1]
        tails += pieces[1:]
    return Frame(lines=_spoken([*lines, *prompt.headings]), heads=_spoken(heads), tails=_spoken(tails))


def _spoken(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.strip() for line in lines if any(map(str.isalnum, line))))
