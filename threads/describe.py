"""What a step did, in one line for people, from what its nodes wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from langgraph.types import Overwrite

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE_CHARS = 100


class Step(NamedTuple):
    """Columns of a step row that tell what was done; what it took is in the books."""

    node: str
    what: str


def describe(
    written: Sequence[tuple[str, Sequence[tuple[str, Any]]]], node: str | None = None
) -> Step | None:
    """The step of these (task path, writes) pairs; None when no node of ours wrote them."""
    nodes = {_node_of(path) for path, _ in written} - {"__start__", ""}
    if node is None and not nodes:
        return None
    entries: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}
    # By task path the results stand in call order; settling writes finished ones a second time.
    for _, writes in sorted(written, key=lambda task: task[0]):
        for channel, value in writes:
            if channel == "history":
                new = value.value if isinstance(value, Overwrite) else value
                entries |= {entry["id"]: entry for entry in new}
            else:
                values[channel] = value
    name = node or min(nodes)
    return Step(name, _what(name, [*entries.values()], values))


def _node_of(task_path: str) -> str:
    parts = task_path.removeprefix("~").split(", ")
    return "tool_exec" if parts[0] == "__pregel_push" else parts[-1] if len(parts) > 1 else ""


def _what(node: str, entries: Sequence[dict[str, Any]], values: dict[str, Any]) -> str:
    if node == "compact":
        if values.get("stop"):
            return f"stopped: {values['stop']}"
        return f"history rewritten to {len(entries)} entries" if entries else "room enough"
    if node == "llm_call":
        return "; ".join(_spoken(entry) for entry in entries) or "window learned"
    if node == "doom_check":
        return "repeated calls refused" if values.get("refused") else "note" if entries else "no loop"
    if node == "approval_interrupt":
        decisions = [call["decision"] for call in values.get("batch") or []]
        return ", ".join(f"{decisions.count(kind)} {kind}" for kind in dict.fromkeys(decisions))
    return _line("; ".join(_result(entry) for entry in entries))


def _spoken(entry: dict[str, Any]) -> str:
    message = entry["message"]
    calls = [
        f"{call['function']['name']} {call['function']['arguments']}"
        for call in message.get("tool_calls") or []
    ]
    return _line("; ".join(calls) if calls else str(message.get("content") or ""))


def _result(entry: dict[str, Any]) -> str:
    outcome = entry.get("status") or ("ok" if entry.get("ok") else "failed")
    return f"{entry['message'].get('name', 'note')}: {outcome}"


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LINE_CHARS else f"{text[: LINE_CHARS - 1]}…"
