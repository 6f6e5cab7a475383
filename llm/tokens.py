"""Estimate tokens without a tokenizer: cheap, the same every time, and corrected by what providers report.

Three and a half characters a token fits English prose and code within a fifth for the tokenizers in use;
text outside ASCII costs more, by its bytes. A provider's own count then sets the factor.
"""

from __future__ import annotations

import json
from typing import Any

CHARS_PER_TOKEN = 3.5
_EXTRA_BYTE_TOKENS = 0.35
"""Tokens for each byte above one that a character takes in UTF-8: a Chinese character is about one token."""
IMAGE_TOKENS = 1_600
"""What Anthropic counts for the largest image it does not shrink; others count less."""
_MESSAGE_TOKENS = 4
_CALL_TOKENS = 8
_LEAST_FACTOR, _MOST_FACTOR = 0.4, 3.0


def estimate_text(text: str) -> int:
    """Tokens of a text."""
    chars = len(text)
    if text.isascii():
        return round(chars / CHARS_PER_TOKEN)
    extra_bytes = len(text.encode("utf-8", "replace")) - chars
    return round(chars / CHARS_PER_TOKEN + extra_bytes * _EXTRA_BYTE_TOKENS)


def estimate_message(message: dict[str, Any]) -> int:
    """Tokens of one OpenAI message, its tool calls, thinking and images included; linear in its size."""
    tokens = _MESSAGE_TOKENS + _estimate_content(message.get("content"))
    blocks = message.get("thinking_blocks")
    if blocks:
        tokens += sum(
            estimate_text(str(block.get("thinking") or block.get("data") or "")) for block in blocks
        )
    else:
        tokens += estimate_text(message.get("reasoning_content") or "")
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        tokens += _CALL_TOKENS + estimate_text(function.get("name") or "")
        tokens += estimate_text(function.get("arguments") or "")
    return tokens


def estimate_tools(tools: list[dict[str, Any]] | None) -> int:
    """Tokens of the tool schemas sent with each request."""
    return estimate_text(json.dumps(tools, ensure_ascii=False)) if tools else 0


def calibrate(estimated: int, reported: int) -> float:
    """The factor by which to multiply estimates of this thread from now on.

    Args:
        estimated: Our estimate for the request: messages and tools.
        reported: The provider's `prompt_tokens` for it.
    """
    if estimated <= 0 or reported <= 0:
        return 1.0
    return min(_MOST_FACTOR, max(_LEAST_FACTOR, reported / estimated))


def _estimate_content(content: Any) -> int:
    if isinstance(content, str):
        return estimate_text(content)
    if not isinstance(content, list):
        return 0
    return sum(_estimate_part(part) for part in content)


def _estimate_part(part: Any) -> int:
    if not isinstance(part, dict):
        return 0
    # A data URL is megabytes of base64 and a stored image only its hash: neither says what it costs.
    if part.get("type") in {"image_url", "image"} or str(part.get("mime", "")).startswith("image/"):
        return IMAGE_TOKENS
    return estimate_text(str(part.get("text") or ""))
