"""plan_tool: the list of what is to be done, kept by the model and shown to the person."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .base import Arguments, Tool, ToolContext, ToolResult

Status = Literal["pending", "in_progress", "completed"]

_GROUPS: tuple[tuple[Status, str, str], ...] = (
    ("completed", "Completed", "[x]"),
    ("in_progress", "In progress", "[~]"),
    ("pending", "Pending", "[ ]"),
)


class Todo(BaseModel):
    """One item of the plan."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, str_strip_whitespace=True)

    id: str = Field(min_length=1, description="Short name of the item, unique in the list.")
    content: str = Field(min_length=1, description="What is to be done.")
    status: Status = Field(description="State of the item; at most one is in_progress.")


class Plan(Arguments):
    """Keep the plan of work with three or more steps; the list given replaces the whole plan.

    Have exactly one item in_progress while you work. Mark an item completed only when it truly succeeded,
    at once, not in batches. Add items that turn up on the way.
    """

    todos: list[Todo] = Field(description="All items, in order. An empty list clears the plan.")

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        twice = [name for name, count in Counter(todo.id for todo in self.todos).items() if count > 1]
        if twice:
            raise ValueError(f"each id may occur once, but {', '.join(map(repr, twice))} occur several times")
        active = [todo.id for todo in self.todos if todo.status == "in_progress"]
        if len(active) > 1:
            raise ValueError(
                f"at most one item may be in_progress, but these are: {', '.join(map(repr, active))}"
            )
        return self


async def run_plan(arguments: Plan, context: ToolContext) -> ToolResult:
    """Take the plan as it is; `details["plan"]` holds it for the state and for readers."""
    del context
    plan = [todo.model_dump() for todo in arguments.todos]
    if not plan:
        return ToolResult("The plan is empty now.", details={"plan": []})
    lines = []
    for status, title, mark in _GROUPS:
        items = [todo for todo in arguments.todos if todo.status == status]
        if items:
            lines += [f"{title} ({len(items)}):", *(f"  {mark} {todo.id}. {todo.content}" for todo in items)]
    done = sum(todo.status == "completed" for todo in arguments.todos)
    lines.append(f"{done} of {len(plan)} done.")
    return ToolResult("\n".join(lines), details={"plan": plan})


TOOLS = (Tool("plan_tool", Plan, run_plan, effect="idempotent", timeout_s=10.0),)
