"""Make the messages of a thread fit the provider they go to, without touching the history.

Only dicts that change are copied, and no text is looked into: a history of 600 messages costs well under
a millisecond. litellm changes the dicts it is given in place, which is why each one is copied flat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .routes import Route

REASONING_FIELDS = ("reasoning_content", "thinking_blocks", "provider_specific_fields")
_NO_IMAGE = "[An image was here; this model takes no images.]"
_KEEP_REASONING = frozenset({"deepseek", "moonshot", "openrouter", "zai", "minimax"})
"""Providers besides Anthropic that want their reasoning back while tools are in use."""


def outgoing(
    messages: list[dict[str, Any]], route: Route, *, images: bool, thinking: bool = True
) -> list[dict[str, Any]]:
    """The messages as this provider takes them.

    Args:
        messages: OpenAI messages; left as they are.
        route: Where they go.
        images: The model takes images; else each is replaced by a note.
        thinking: Keep thinking blocks (Anthropic refuses stale ones).
    """
    keep = thinking and (route.anthropic or route.provider in _KEEP_REASONING)
    sent: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    for message in messages:
        if waiting and message.get("role") != "tool":
            sent.append({"role": "user", "content": waiting})
            waiting = []
        copy = dict(message)
        if not keep:
            for name in REASONING_FIELDS:
                copy.pop(name, None)
        if isinstance(copy.get("content"), list):
            waiting += _fit_parts(copy, route, images=images)
        sent.append(copy)
    if waiting:
        sent.append({"role": "user", "content": waiting})
    return sent


def _fit_parts(message: dict[str, Any], route: Route, *, images: bool) -> list[dict[str, Any]]:
    """Replace the images this place cannot hold; returns those that must follow in a user message."""
    parts = message["content"]
    pictures = [part for part in parts if _is_image(part)]
    if not images:
        message["content"] = [_note(_NO_IMAGE) if _is_image(part) else part for part in parts]
        pictures = []
    elif message.get("role") == "tool" and pictures and not route.anthropic:
        # Of the providers we know only Anthropic takes images inside a tool's result.
        note = _note("[The image follows in the next message.]")
        message["content"] = [note if _is_image(part) else part for part in parts]
    else:
        pictures = []
    if message.get("role") == "tool":
        _flatten(message)
    if not pictures:
        return []
    return [_note(f"Image from the result of tool call {message.get('tool_call_id')}:"), *pictures]


def _flatten(message: dict[str, Any]) -> None:
    """Parts that are all text become one text: many OpenAI-compatible servers take nothing else there."""
    parts = message["content"]
    if all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
        message["content"] = "\n".join(str(part.get("text", "")) for part in parts)


def _is_image(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image_url"


def _note(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
