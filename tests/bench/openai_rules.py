"""What OpenAI refuses in a chat request, in its own words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .script import Json

ROLES = ("system", "assistant", "user", "function", "tool", "developer")
MESSAGE_KEYS = frozenset(
    {
        "role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call",
        "annotations", "cache_control", "reasoning_content", "reasoning_details", "thinking_blocks",
        "provider_specific_fields",
    }
)  # fmt: skip
"""OpenAI's keys, and those of gateways that send and take reasoning; a client's private keys are no part."""
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Violation(NamedTuple):
    """One thing wrong with a request."""

    message: str
    param: str | None = None
    code: str | None = None


def first_violation(request: Json) -> Violation | None:
    """The first thing the provider would complain about, or None."""
    return next(_violations(request), None)


def _violations(request: Json) -> Iterator[Violation]:
    if not isinstance(request.get("model"), str) or not request["model"]:
        yield Violation("you must provide a model parameter")
    messages = request.get("messages")
    if not isinstance(messages, list):
        yield _missing("messages")
        return
    if not messages:
        yield _empty_array("messages")
    for place, message in enumerate(messages):
        yield from _message(message, f"messages[{place}]")
    yield from _pairs(messages)
    yield from _tools(request)


def _message(message: Any, where: str) -> Iterator[Violation]:
    if not isinstance(message, dict):
        yield _type(where, "an object", message)
        return
    if unknown := sorted(set(message) - MESSAGE_KEYS):
        param = f"{where}.{unknown[0]}"
        yield Violation(f"Unknown parameter: '{param}'.", param, "unknown_parameter")
    role = message.get("role")
    if role is None:
        yield _missing(f"{where}.role")
    elif role not in ROLES:
        names = ", ".join(f"'{name}'" for name in ROLES[:-1])
        text = f"Invalid value: '{role}'. Supported values are: {names}, and '{ROLES[-1]}'."
        yield Violation(text, f"{where}.role", "invalid_value")
    yield from _content(message, where)
    if role == "assistant" and message.get("tool_calls") is not None:
        yield from _calls(message["tool_calls"], f"{where}.tool_calls")
    elif role == "tool" and not isinstance(message.get("tool_call_id"), str):
        yield _missing(f"{where}.tool_call_id")


def _content(message: Json, where: str) -> Iterator[Violation]:
    content = message.get("content")
    may_be_null = message.get("role") == "assistant" and (message.get("tool_calls") or message.get("refusal"))
    if content is None and not may_be_null:
        yield Violation("Invalid value for 'content': expected a string, got null.", f"{where}.content")
    elif content is not None and not isinstance(content, str | list):
        yield _type(f"{where}.content", "one of a string or array of objects", content)
    elif isinstance(content, list):
        if not content:
            yield _empty_array(f"{where}.content")
        for place, part in enumerate(content):
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                yield _missing(f"{where}.content[{place}].type")


def _calls(calls: Any, where: str) -> Iterator[Violation]:
    if not isinstance(calls, list):
        yield _type(where, "an array of objects", calls)
        return
    if not calls:
        yield _empty_array(where)
    for place, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(call.get("id"), str) or not call["id"]:
            yield _missing(f"{where}[{place}].{'id' if isinstance(function, dict) else 'function'}")
            continue
        if call.get("type") != "function":
            yield _missing(f"{where}[{place}].type")
        if not isinstance(function.get("name"), str) or not TOOL_NAME.fullmatch(function["name"]):
            yield _pattern(f"{where}[{place}].function.name")
        yield from _arguments(function.get("arguments"), f"{where}[{place}].function.arguments")


def _arguments(arguments: Any, where: str) -> Iterator[Violation]:
    if not isinstance(arguments, str):
        yield _type(where, "a string", arguments)
        return
    try:
        json.loads(arguments)
    except ValueError:
        yield Violation(f"Invalid '{where}': expected a valid JSON string.", where, "invalid_value")


def _pairs(messages: list[Any]) -> Iterator[Violation]:
    """Each call has one result, right after its message, and each result a call."""
    open_ids: list[str] = []
    answered: set[str] = set()
    for place, message in enumerate([*messages, {}]):
        if not isinstance(message, dict):
            continue
        if message.get("role") == "tool":
            yield from _result(message, open_ids, answered, place)
            continue
        if missing := [call_id for call_id in open_ids if call_id not in answered]:
            text = (
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                "'tool_call_id'. The following tool_call_ids did not have response messages: "
            )
            yield Violation(text + ", ".join(missing), f"messages.[{place}].role")
        calls = message.get("tool_calls") if message.get("role") == "assistant" else None
        open_ids = [str(call.get("id")) for call in calls if isinstance(call, dict)] if calls else []
        answered = set()
        if len(set(open_ids)) < len(open_ids):
            where = f"messages.[{place}].tool_calls"
            yield Violation(f"Duplicate value for 'tool_call_id' in '{where}'.", where)


def _result(message: Json, open_ids: list[str], answered: set[str], place: int) -> Iterator[Violation]:
    call_id = message.get("tool_call_id")
    if not open_ids:
        text = (
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
            "'tool_calls'."
        )
        yield Violation(text, f"messages.[{place}].role")
    elif call_id not in open_ids or call_id in answered:
        text = (
            f"Invalid parameter: 'tool_call_id' of '{call_id}' not found in 'tool_calls' of previous message."
        )
        yield Violation(text, f"messages.[{place}].tool_call_id")
    answered.add(str(call_id))


def _tools(request: Json) -> Iterator[Violation]:
    tools = request.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        yield _type("tools", "an array of objects", tools)
        return
    if not tools:
        yield _empty_array("tools")
    for place, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            yield _missing(f"tools[{place}].function")
            continue
        name, schema = function.get("name"), function.get("parameters", {"type": "object"})
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            yield _pattern(f"tools[{place}].function.name")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            kind = schema.get("type") if isinstance(schema, dict) else schema
            text = (
                f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"',"
            )
            yield Violation(
                f"{text} got 'type: \"{kind}\"'.",
                f"tools[{place}].function.parameters",
                "invalid_function_parameters",
            )


def _missing(where: str) -> Violation:
    return Violation(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")


def _empty_array(where: str) -> Violation:
    text = (
        f"Invalid '{where}': empty array. Expected an array with minimum length 1, "
        "but got an empty array instead."
    )
    return Violation(text, where, "empty_array")


def _type(where: str, wanted: str, value: Any) -> Violation:
    names = {dict: "an object", list: "an array", str: "a string", type(None): "null", bool: "a boolean"}
    got = names.get(type(value), "a number")
    return Violation(
        f"Invalid type for '{where}': expected {wanted}, but got {got} instead.", where, "invalid_type"
    )


def _pattern(where: str) -> Violation:
    text = (
        f"Invalid '{where}': string does not match pattern. Expected a string that matches the pattern "
        "'^[a-zA-Z0-9_-]+$'."
    )
    return Violation(text, where, "invalid_value")
