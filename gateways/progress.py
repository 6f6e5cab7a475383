"""One line of text per thing that happens, for people who watch a headless run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .streams import without_controls

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event, EventName

_WIDTH = 100
_MAIN_ARGUMENT = ("command", "path", "file_path", "pattern", "query", "task", "url", "operation")


def progress_lines(event: Event, *, verbose: bool = False) -> list[str]:
    """Lines for one event, without colours and control characters; none for most events."""
    write = _VERBOSE.get(event.name) if verbose else None
    write = write or _LINES.get(event.name)
    return write(event.data) if write else []


def one_line(value: Any, width: int = _WIDTH) -> str:
    """Text of a value on one line, cut to `width` characters."""
    text = " ".join(without_controls(str(value)).split())
    return text if len(text) <= width else text[: width - 3] + "..."


def call_summary(tool: str, arguments: Any) -> str:
    """A tool's name and the argument that tells most."""
    if not isinstance(arguments, dict) or not arguments:
        return tool
    main = next((name for name in _MAIN_ARGUMENT if name in arguments), None)
    shown = arguments[main] if main else ", ".join(f"{name}={value}" for name, value in arguments.items())
    return f"{tool}: {one_line(shown)}"


def _ready(data: dict[str, Any]) -> list[str]:
    how = "resuming" if data.get("resumed") else "thread"
    return [f"{how} {data.get('thread_id', '')} with {data.get('model', 'no model')}"]


def _tool_call(data: dict[str, Any]) -> list[str]:
    again = f" (attempt {data['attempt']})" if data.get("attempt", 1) != 1 else ""
    return [f"> {call_summary(str(data.get('tool', '?')), data.get('arguments'))}{again}"]


def _tool_output(data: dict[str, Any]) -> list[str]:
    tool = data.get("tool", "?")
    if data.get("success", True):
        size = f" ({data['bytes']:,} bytes)" if data.get("bytes") else ""
        return [f"  {tool} done{size}"]
    return [f"  {tool} failed: {one_line(data.get('output', ''))}"]


def _tool_output_verbose(data: dict[str, Any]) -> list[str]:
    text = without_controls(str(data.get("output", "")))
    return _tool_output(data) + [f"    {line}" for line in text.splitlines()]


def _system_log(data: dict[str, Any]) -> list[str]:
    return [f"! {one_line(data.get('log', ''), 2 * _WIDTH)}"] if data.get("tool") == "system" else []


def _tool_log_verbose(data: dict[str, Any]) -> list[str]:
    if data.get("tool") == "system":
        return _system_log(data)
    return [f"    {line}" for line in without_controls(str(data.get("log", ""))).splitlines()]


def _plan(data: dict[str, Any]) -> list[str]:
    plan = [item for item in data.get("plan", []) if isinstance(item, dict)]
    finished = sum(item.get("status") == "completed" for item in plan)
    current = next((item for item in plan if item.get("status") == "in_progress"), None)
    return [f"plan {finished}/{len(plan)}" + (f": {one_line(current.get('content', ''))}" if current else "")]


def _compacted(data: dict[str, Any]) -> list[str]:
    old, new = data.get("old_tokens"), data.get("new_tokens")
    if isinstance(old, int) and isinstance(new, int):
        return [f"! history shortened from {old:,} to {new:,} tokens"]
    return ["! history shortened"]


def _guard(data: dict[str, Any]) -> list[str]:
    tools = data.get("tools") or []
    names = ", ".join(str(tool) for tool in tools) if isinstance(tools, list) else str(tools)
    return [f"! guard {data.get('guard', '?')}: {names} -> {data.get('action', '?')}"]


def _discarded(data: dict[str, Any]) -> list[str]:
    return [f"! answer discarded: {one_line(data.get('reason', ''))}"]


def _llm_call(data: dict[str, Any]) -> list[str]:
    cost = data.get("cost_usd")
    price = "price unknown" if cost is None else f"${cost:.4f}"
    read, written = data.get("prompt_tokens", "?"), data.get("completion_tokens", "?")
    return [f"  model call: {data.get('latency_ms', '?')} ms, {read} + {written} tokens, {price}"]


def _assistant_message(data: dict[str, Any]) -> list[str]:
    return without_controls(str(data.get("content") or "")).splitlines()


_LINES: dict[EventName, Callable[[dict[str, Any]], list[str]]] = {
    "ready": _ready,
    "tool_call": _tool_call,
    "tool_output": _tool_output,
    "tool_log": _system_log,
    "plan_update": _plan,
    "compacted": _compacted,
    "guard_fired": _guard,
    "assistant_discarded": _discarded,
}
_VERBOSE: dict[EventName, Callable[[dict[str, Any]], list[str]]] = {
    "tool_output": _tool_output_verbose,
    "tool_log": _tool_log_verbose,
    "llm_call": _llm_call,
    "assistant_message": _assistant_message,
}
