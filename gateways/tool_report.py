"""`ml-intern tools`: what the model can call, as it sees it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UserError
from ..tools.parsing import nearest
from ..tools.registry import default_tools
from ..tools.schema import function_schema
from .streams import Writer
from .tables import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..tools.base import Tool

BY_CALL = "by call"
"""Effect of a tool whose calls differ, e.g. a shell command that only reads and one that writes."""


def list_tools(environ: Mapping[str, str], *, output: Literal["text", "json"]) -> None:
    """Print one line a tool: name, class of its effect, what it does."""
    rows = [_row(tool) for tool in default_tools()]
    if output == "json":
        Writer(sys.stdout).write(json.dumps(rows, indent=2) + "\n")
        return
    print_table(
        ("name", "effect", "what it does"),
        [(row["name"], row["effect"], row["summary"]) for row in rows],
        sys.stdout,
        env=environ,
    )


def show_tool(name: str, *, output: Literal["text", "json"]) -> None:
    """Print the whole description and schema of one tool.

    Raises:
        UserError: There is no such tool.
    """
    tools = {tool.name: tool for tool in default_tools()}
    tool = tools.get(name)
    if tool is None:
        near = nearest(name, tools)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(tools)}."
        raise UserError(f"No tool {name!r}; {hint}")
    data = {**_row(tool), **function_schema(tool)["function"]}
    if output == "json":
        text = json.dumps(data, indent=2)
    else:
        schema = json.dumps(data["parameters"], indent=2)
        text = f"{name}  (effect: {data['effect']})\n\n{data['description']}\n\nArguments:\n{schema}"
    Writer(sys.stdout).write(text + "\n")


def _row(tool: Tool[Any]) -> dict[str, Any]:
    schema = function_schema(tool)["function"]
    effect = BY_CALL if callable(tool.effect) else tool.effect
    return {"name": tool.name, "effect": effect, "summary": _summary(schema["description"])}


def _summary(description: str) -> str:
    """The first sentence of the first paragraph."""
    paragraph = " ".join(description.partition("\n\n")[0].split())
    sentence = paragraph.partition(". ")[0]
    return sentence if sentence.endswith(".") else f"{sentence}."
