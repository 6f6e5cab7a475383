from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ml_intern.tools.base import ToolResult
    from ml_intern.tools.registry import ToolRouter


def item(name: Any, status: str = "pending", content: str = "work") -> dict[str, Any]:
    return {"id": name, "content": content, "status": status}


async def test_the_plan_is_told_by_groups_and_kept_whole(call: Callable[..., Awaitable[ToolResult]]) -> None:
    todos = [item("1", "completed"), item("2", "in_progress", "train"), item(3)]
    result = await call("plan_tool", todos=todos)
    assert result.content == (
        "Completed (1):\n  [x] 1. work\nIn progress (1):\n  [~] 2. train\n"
        "Pending (1):\n  [ ] 3. work\n1 of 3 done."
    )
    assert result.details["plan"] == [*todos[:2], item("3")]


async def test_an_empty_list_clears_the_plan(call: Callable[..., Awaitable[ToolResult]]) -> None:
    result = await call("plan_tool", todos=[])
    assert result.details["plan"] == []
    assert result.ok


@pytest.mark.parametrize(
    ("todos", "text"),
    [
        ([item("1"), item("1")], "'1' occur several times"),
        (
            [item("1", "in_progress"), item("2", "in_progress")],
            "in_progress, but these are: '1', '2'",
        ),
        ([item("1", content="  ")], "todos.0.content"),
        ([item("")], "todos.0.id"),
        ([item("1", "done")], "'pending', 'in_progress' or 'completed'"),
        ([{"id": "1"}], "missing argument 'todos.0.content'"),
        (["text"], "todos.0"),
        (None, "todos"),
    ],
)
def test_a_wrong_plan_is_refused_with_the_reason(router: ToolRouter, todos: Any, text: str) -> None:
    with pytest.raises(ToolError) as caught:
        router.parse("plan_tool", json.dumps({"todos": todos}))
    assert text in str(caught.value)
