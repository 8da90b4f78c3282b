"""From chat messages to the prompt of a model in this process, by its tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rrm_plugin.engines.thinking import continuation, opening
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.types import Message, Reason

__all__ = ["ChatTemplate", "Rendered"]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A prompt, ready for the model."""

    prompt: str
    ids: list[int]
    prefix: str
    """What a fresh reply's text begins with, as the prompt ends with it: an opening tag of thinking, or nothing."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """How a model's prompts are written.

    Args:
        model: for messages to a person.
        source: Jinja text in place of the tokenizer's own template.
        variables: further variables of the template.
    """

    model: str
    source: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

    def render(self, tokenizer: Any, messages: Sequence[Message], text: str | None, context: int) -> Rendered:
        """The prompt after which the model writes its turn, or writes on from `text`.

        Raises:
            ConfigError: there is no template.
            EngineError: the template refuses the messages, or the prompt leaves no room in `context` tokens.
        """
        if self.source is None and not getattr(tokenizer, "chat_template", None):
            raise ConfigError(f"{self.model} has no chat template; give it one with chat_template=")
        prompt = self._apply(tokenizer, messages)
        prefix = opening(prompt) if text is None else ""
        if text is not None:
            prompt += continuation(text, prompt)
        ids = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        if len(ids) >= context:
            raise EngineError(
                f"the prompt has {len(ids)} tokens; {self.model} takes {context} for prompt and reply together",
                Reason.REJECTED,
            )
        return Rendered(prompt=prompt, ids=ids, prefix=prefix)

    def _apply(self, tokenizer: Any, messages: Sequence[Message]) -> str:
        own = {} if self.source is None else {"chat_template": self.source}
        try:
            return tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=True,
                **own,
                **self.variables,
            )
        except Exception as error:
            # Templates raise what they like: an unknown role is a TemplateError, a missing field an UndefinedError.
            said = f"the chat template of {self.model} refuses these messages: {error}"
            raise EngineError(said, Reason.REJECTED) from error
