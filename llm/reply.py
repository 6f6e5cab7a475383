"""What a model call gives back: one assistant message in OpenAI's shape, checked before it is kept."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f]")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call as the provider counted them."""

    prompt_tokens: int
    """All input tokens, those read from and written to a cache included."""
    completion_tokens: int
    total_tokens: int
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished answer."""

    message: dict[str, Any]
    """`role`, `content` (str or None), `tool_calls` when there are any; `reasoning_content` and
    `thinking_blocks` when the provider gave them, since Anthropic wants them back with tool results."""
    finish_reason: str
    """`stop`, `length`, `tool_calls`, `content_filter` or what else the provider said."""
    usage: Usage | None
    """None when the provider reported none."""
    cost_usd: float | None
    """None when the price or the usage is unknown, which is not zero."""
    latency_ms: int
    malformed: dict[str, str] = field(default_factory=dict)
    """Call id -> arguments as received, for the calls whose arguments were no JSON object."""


@dataclass(slots=True)
class CallDraft:
    """One tool call while its pieces arrive."""

    id: str
    name: str
    arguments: str


def clean_text(text: str) -> str:
    """Text without lone surrogates, which neither UTF-8 nor a provider's JSON parser takes.

    Providers that cut a stream between the halves of a pair send them as separate escapes; halves
    that belong together are joined first.
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return text


def clean_json(value: Any) -> Any:
    """The same JSON value with every string cleaned."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): clean_json(item) for key, item in value.items()}
    return value


def finish_message(
    *,
    text: str | None,
    reasoning: str | None,
    thinking_blocks: list[dict[str, Any]] | None,
    drafts: list[CallDraft],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The assistant message and its malformed arguments by call id.

    Call ids are unique afterwards (empty and repeated ones are replaced), and the arguments of every
    call are the text of a JSON object.
    """
    message: dict[str, Any] = {"role": "assistant", "content": clean_text(text) if text else None}
    if reasoning:
        message["reasoning_content"] = clean_text(reasoning)
    if thinking_blocks:
        message["thinking_blocks"] = clean_json(thinking_blocks)
    malformed: dict[str, str] = {}
    calls: list[dict[str, Any]] = []
    seen: set[str] = set()
    for draft in drafts:
        call_id = clean_text(draft.id).strip()
        if not call_id or call_id in seen:
            call_id = fresh_call_id()
        seen.add(call_id)
        raw = clean_text(draft.arguments)
        arguments = checked_arguments(raw)
        if arguments is None:
            malformed[call_id] = raw
        function = {"name": clean_text(draft.name).strip(), "arguments": arguments or "{}"}
        calls.append({"id": call_id, "type": "function", "function": function})
    if calls:
        message["tool_calls"] = calls
    return message, malformed


def fresh_call_id() -> str:
    """A new tool call id in the form every provider takes."""
    return f"call_{uuid.uuid4().hex[:24]}"


def checked_arguments(raw: str) -> str | None:
    """The text of a JSON object as strict JSON, `{}` for nothing or null, None for anything else."""
    if not raw.strip():
        return "{}"
    try:
        # Models leave line breaks unescaped in the files they write; what they mean is plain.
        value = json.loads(raw, strict=False, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    if value is None:
        return "{}"
    if not isinstance(value, dict):
        return None
    # An escaped half of a surrogate pair is valid JSON but becomes a lone surrogate when parsed.
    rewrite = "\\ud" in raw.lower() or _CONTROL.search(raw)
    return json.dumps(clean_json(value), ensure_ascii=False) if rewrite else raw


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
