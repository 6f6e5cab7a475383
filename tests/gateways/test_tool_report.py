"""`ml-intern tools`: what the model sees, and nothing else."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from ml_intern.errors import UserError
from ml_intern.gateways.tool_report import list_tools, show_tool
from ml_intern.tools.registry import ToolRouter, default_tools

if TYPE_CHECKING:
    from typing import Any


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_every_tool_is_listed_with_its_effect_and_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    list_tools(os.environ, output="json")
    rows = printed(capsys)
    assert [row["name"] for row in rows] == [tool.name for tool in default_tools()]
    effects = {row["name"]: row["effect"] for row in rows}
    assert effects["read"] == "read"
    assert effects["bash"] == "by call"
    assert all(row["summary"].endswith(".") and "\n" not in row["summary"] for row in rows)

    list_tools(os.environ, output="text")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["name", "effect"]
    assert len(lines) == len(rows) + 1


def test_one_tool_is_shown_as_the_model_gets_it(capsys: pytest.CaptureFixture[str]) -> None:
    sent = {
        schema["function"]["name"]: schema["function"] for schema in ToolRouter(default_tools()).schemas()
    }
    show_tool("bash", output="json")
    data = printed(capsys)
    assert data["description"] == sent["bash"]["description"]
    assert data["parameters"] == sent["bash"]["parameters"]

    show_tool("bash", output="text")
    out = capsys.readouterr().out
    assert sent["bash"]["description"] in out
    assert '"timeout"' in out


def test_an_unknown_tool_is_an_error_that_names_near_ones() -> None:
    with pytest.raises(UserError, match="did you mean grep"):
        show_tool("grpe", output="text")
