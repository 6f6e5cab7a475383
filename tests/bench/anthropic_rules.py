"""What Anthropic refuses in a messages request, in its own words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .script import Json

ID = re.compile(r"[a-zA-Z0-9_-]+")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
MAX_CACHE_MARKS = 4


def first_violation(request: Json) -> str | None:
    """The first thing the provider would complain about, or None."""
    return next(_violations(request), None)


def _violations(request: Json) -> Iterator[str]:
    for key in ("model", "max_tokens", "messages"):
        if request.get(key) is None:
            yield f"{key}: Field required"
            return
    messages = request["messages"]
    if not isinstance(messages, list):
        yield "messages: Input should be a valid list"
        return
    if not messages:
        yield "messages: at least one message is required"
        return
    yield from _roles(messages)
    seen: set[str] = set()
    for place, message in enumerate(messages):
        yield from _blocks(message, f"messages.{place}", last=place == len(messages) - 1, seen=seen)
    yield from _pairs(messages)
    yield from _tools(request.get("tools"))
    if (marks := _cache_marks(request)) > MAX_CACHE_MARKS:
        yield f"A maximum of {MAX_CACHE_MARKS} blocks with cache_control may be provided. Found {marks}."


def _roles(messages: list[Any]) -> Iterator[str]:
    previous = None
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            yield f"messages.{place}: Input should be a valid dictionary"
            return
        role = message.get("role")
        if role == "system":
            yield (
                'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
                'parameter, not "system" as an input message role.'
            )
        elif role not in {"user", "assistant"}:
            yield f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant".'
        elif place == 0 and role != "user":
            yield 'messages: first message must use the "user" role'
        elif role == previous:
            yield (
                'messages: roles must alternate between "user" and "assistant", but found multiple '
                f'"{role}" roles in a row'
            )
        previous = role


def _blocks(message: Json, where: str, *, last: bool, seen: set[str]) -> Iterator[str]:
    content = message.get("content")
    if content is None:
        yield f"{where}.content: Field required"
        return
    if not content and not (last and message["role"] == "assistant"):
        text = "all messages must have non-empty content except for the optional final assistant message"
        yield f"{where}: {text}"
    if isinstance(content, str):
        if last and message["role"] == "assistant" and content != content.rstrip():
            yield "messages: final assistant content cannot end with trailing whitespace"
        return
    if not isinstance(content, list):
        yield f"{where}.content: Input should be a valid list"
        return
    for index, block in enumerate(content):
        yield from _block(block, f"{where}.content.{index}", message["role"], seen)


def _block(block: Any, where: str, role: str, seen: set[str]) -> Iterator[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind is None:
        yield f"{where}.type: Field required"
    elif kind == "text":
        if not block.get("text"):
            yield "messages: text content blocks must be non-empty"
        elif not block["text"].strip():
            yield "messages: text content blocks must contain non-whitespace text"
    elif kind == "tool_use":
        yield from _tool_use(block, where, role, seen)
    elif kind == "tool_result" and role != "user":
        yield f"{where}: `tool_result` blocks can only be in `user` messages"


def _tool_use(block: Json, where: str, role: str, seen: set[str]) -> Iterator[str]:
    call_id = str(block.get("id"))
    if role != "assistant":
        yield f"{where}: `tool_use` blocks can only be in `assistant` messages"
    if not ID.fullmatch(call_id):
        yield f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
    if not isinstance(block.get("input"), dict):
        yield f"{where}.tool_use.input: Input should be a valid dictionary"
    if call_id in seen:
        yield f"{where.rpartition('.content')[0]}: `tool_use` ids must be unique"
    seen.add(call_id)


def _pairs(messages: list[Any]) -> Iterator[str]:
    """Results come first in the message right after their calls, one for each, and for nothing else."""
    called: list[str] = []
    for place, message in enumerate([*messages, {"content": []}]):
        content = message["content"] if isinstance(message["content"], list) else []
        blocks = [(index, block) for index, block in enumerate(content) if block.get("type") == "tool_result"]
        leading = 0
        while leading < len(content) and content[leading].get("type") == "tool_result":
            leading += 1
        answered = [block.get("tool_use_id") for _, block in blocks[:leading]]
        if missing := [call_id for call_id in called if call_id not in answered]:
            yield (
                f"messages.{place - 1}: `tool_use` ids were found without `tool_result` blocks immediately "
                f"after: {', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` "
                "block in the next message."
            )
        yield from _results(blocks, called, f"messages.{place}")
        called = [str(block.get("id")) for block in content if block.get("type") == "tool_use"]


def _results(blocks: list[tuple[int, Json]], called: list[str], where: str) -> Iterator[str]:
    answered: set[Any] = set()
    for index, block in blocks:
        call_id = block.get("tool_use_id")
        if call_id not in called:
            yield (
                f"{where}.content.{index}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{call_id}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message."
            )
        if call_id in answered:
            yield (
                f"{where}.content.{index}: each tool_use must have a single result. Found multiple "
                f"`tool_result` blocks with id: {call_id}"
            )
        answered.add(call_id)


def _tools(tools: Any) -> Iterator[str]:
    names: set[str] = set()
    for index, tool in enumerate(tools or ()):
        name = str(tool.get("name"))
        if not TOOL_NAME.fullmatch(name):
            yield f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        schema = tool.get("input_schema")
        if tool.get("type", "custom") == "custom" and (
            not isinstance(schema, dict) or schema.get("type") != "object"
        ):
            yield f"tools.{index}.custom.input_schema.type: Field required"
        if name in names:
            yield "tools: Tool names must be unique."
        names.add(name)


def _cache_marks(request: Json) -> int:
    blocks: list[Any] = [*(request.get("tools") or ())]
    blocks += request["system"] if isinstance(request.get("system"), list) else []
    for message in request["messages"]:
        if isinstance(message.get("content"), list):
            blocks += message["content"]
    return sum(isinstance(block, dict) and bool(block.get("cache_control")) for block in blocks)
