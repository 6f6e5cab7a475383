"""Arguments of a tool as the JSON schema a model is shown."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Tool

_NAMED = ("properties", "$defs", "patternProperties")
"""Keywords whose keys are names of the tool's own, not of JSON schema."""


def function_schema(tool: Tool[Any]) -> dict[str, Any]:
    """The tool in OpenAI's function shape, free of `$ref`, titles and null alternatives.

    Providers differ in how much of JSON schema they take; plain nested objects are taken by all.
    """
    schema = tool.arguments.model_json_schema()
    definitions = schema.pop("$defs", {})
    parameters = _plain(schema, definitions)
    parameters.pop("description", None)
    parameters.setdefault("properties", {})
    description = inspect.cleandoc(tool.arguments.__doc__ or "")
    return {
        "type": "function",
        "function": {"name": tool.name, "description": description, "parameters": parameters},
    }


def _plain(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[str(node["$ref"]).rpartition("/")[2]]
        return _plain({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
    plain = {
        key: {name: _plain(value, definitions) for name, value in child.items()}
        if key in _NAMED
        else _plain(child, definitions)
        for key, child in node.items()
        if key not in {"title", "discriminator"}
    }
    if plain.get("default", 0) is None:
        del plain["default"]
    return _without_null(plain)


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    choices = node.get("anyOf")
    if not choices:
        return node
    kept = [choice for choice in choices if choice != {"type": "null"}]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**kept[0], **rest} if len(kept) == 1 else {**rest, "anyOf": kept}
