"""Template files -> chat messages for the judge, with guards against text that imitates its markup or the template.

`load_prompt` reads a template, `JudgePrompt` fills it, `content` flattens chat messages, `guards` says what judged
text may not do and what happens to it. Left out: reading the judge's reply (`rrm_plugin.verdicts`) and sending the
prompt.
"""

from __future__ import annotations

from rrm_plugin.prompts.content import prompt_text, response_text
from rrm_plugin.prompts.files import PRESETS, load_prompt
from rrm_plugin.prompts.template import EMPTY_QUERY, EMPTY_RESPONSE, Guarded, JudgePrompt

__all__ = [
    "EMPTY_QUERY",
    "EMPTY_RESPONSE",
    "PRESETS",
    "Guarded",
    "JudgePrompt",
    "load_prompt",
    "prompt_text",
    "response_text",
]
