"""Mark what the provider should keep cached between the calls of a turn.

Anthropic allows four breakpoints and reads the longest cached prefix that ends at one: the last tool, the
system prompt and the last two messages that can hold one. The one before the last is where the previous
call ended, so that its prefix is found again.
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
    left = _MESSAGE_MARKS
    for place in range(len(marked) - 1, 0, -1):
        if not left:
            break
        copy = _marked(marked[place])
        if copy is not None:
            marked[place] = copy
            left -= 1
    if tools:
        tools = [*tools[:-1], {**tools[-1], "cache_control": _MARK}]
    return marked, tools


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
