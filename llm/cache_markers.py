"""Mark what the provider should keep cached between the calls of a turn.

Anthropic allows four breakpoints and reads the longest cached prefix that ends at one: the last tool, the
system prompt, the end of this request and the end of the one before, so that its prefix is found again
(Anthropic looks back over twenty blocks only, which a batch of results can exceed).
"""

from __future__ import annotations

from typing import Any

_MARK = {"type": "ephemeral"}
_MESSAGE_MARKS = 2


def mark(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Copies of both lists with the breakpoints in them; only the marked dicts are copied."""
    marked = list(messages)
    if marked and marked[0].get("role") == "system":
        marked[0] = _marked(marked[0]) or marked[0]
    end = len(marked) - 1
    for _ in range(_MESSAGE_MARKS):
        end = _mark_last(marked, end)
        # Back over the results just marked and the answer that asked for them: the last call ended there.
        while end > 0 and marked[end].get("role") != "assistant":
            end -= 1
    if tools:
        tools = [*tools[:-1], {**tools[-1], "cache_control": _MARK}]
    return marked, tools


def _mark_last(messages: list[dict[str, Any]], end: int) -> int:
    """Mark the last message up to `end` that can hold a breakpoint; returns its place, or 0."""
    for place in range(end, 0, -1):
        copy = _marked(messages[place])
        if copy is not None:
            messages[place] = copy
            return place
    return 0


def _marked(message: dict[str, Any]) -> dict[str, Any] | None:
    """A copy of the message with a breakpoint at its end, or None when it cannot hold one."""
    content = message.get("content")
    if message.get("role") == "tool":
        return {**message, "cache_control": _MARK}  # litellm moves it to the tool_result block
    if message.get("role") == "assistant":
        return None  # ends with tool calls or thinking more often than not, where no marker may stand
    if isinstance(content, str):
        if not content.strip():
            return None
        return {**message, "content": [{"type": "text", "text": content, "cache_control": _MARK}]}
    if isinstance(content, list) and content and isinstance(content[-1], dict):
        return {**message, "content": [*content[:-1], {**content[-1], "cache_control": _MARK}]}
    return None
