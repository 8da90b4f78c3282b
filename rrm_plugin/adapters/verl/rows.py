"""One row of verl's data, as the member of a group that it is.

verl's streaming rollout passes the columns of the data set and beside them `uid`, which siblings share, and
`session_id`, which tells them apart. Its colocated path passes `raw_prompt` alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rrm_plugin.cohorts import Member
from rrm_plugin.engines.thinking import opening
from rrm_plugin.errors import ConfigError

__all__ = ["Row", "response_ids", "row_of"]

VALIDATION_SPLITS = frozenset({"test", "val", "valid", "validation", "dev", "eval", "evaluation"})
PROMPT_TAIL = 16
"""Tokens of a prompt's end in which a chat template may open the thinking."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A member, and what is known of its group."""

    key: str
    """The same for the responses to one prompt."""
    member: Member
    told: bool
    """Whether verl said which group it is; otherwise the key is made of the prompt."""
    validation: bool | None
    """Whether the row says that it is one of a validation; None where it says nothing."""


def response_ids(item: Any) -> Any:
    """The tokens of a row's response without its padding: a tensor of one dimension."""
    responses = item.batch["responses"]
    length = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
    return responses[:length]


def row_of(item: Any, tokenizer: Any, reference_column: str = "reference") -> Row:
    """A row of verl's data.

    Args:
        item: a `DataProtoItem` with `prompts`, `responses` and `attention_mask`.
        tokenizer: of the policy.
        reference_column: the key of `extra_info` that holds a given answer, for schedules that compare with one.

    Raises:
        ConfigError: the row does not hold the prompt as messages.
    """
    columns = item.non_tensor_batch
    if "raw_prompt" not in columns:
        raise ConfigError("verl passed no raw_prompt to the reward: set data.return_raw_chat=True")
    prompt = [dict(message) for message in columns["raw_prompt"]]
    ids = response_ids(item)
    tail = tokenizer.decode(item.batch["prompts"][-PROMPT_TAIL:], skip_special_tokens=True)
    text = opening(tail) + tokenizer.decode(ids, skip_special_tokens=True)
    extra = columns.get("extra_info")
    extra = extra if isinstance(extra, Mapping) else {}
    uid, session = columns.get("uid"), columns.get("session_id")
    member = Member(
        prompt=prompt,
        response=text,
        id=None if uid is None or session is None else str(session),
        index=None if uid is None else _number(session),
        length=len(ids),
        reference=extra.get(reference_column),
        step=_number(columns.get("global_steps")),
    )
    split = extra.get("split")
    return Row(
        key=_digest(prompt) if uid is None else str(uid),
        member=member,
        told=uid is not None,
        validation=None if split is None else str(split).lower() in VALIDATION_SPLITS,
    )


def _digest(prompt: list[dict[str, Any]]) -> str:
    told = json.dumps(prompt, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
    return hashlib.sha256(told).hexdigest()


def _number(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None
