"""Run one tool call of the batch, at most once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.runtime import Runtime

from ..configs.notes import note
from ..errors import ToolError
from ..graphs.state import AgentContext, AgentUpdate, EffectRecord, Entry, ToolTask
from ..tools.base import ToolResult
from ._entries import result_entry
from ._telling import tell_result, tell_start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..tools.base import ToolContext
    from ..tools.registry import ParsedCall


async def tool_exec(state: ToolTask, runtime: Runtime[AgentContext]) -> AgentUpdate:
    """Give the call its one result: run it, read back what an earlier run left, or say why not."""
    context = runtime.context
    call, decision = state["call"], state["decision"]
    try:
        await context.gate.wait(decision["waits_for"])
        if decision["decision"] == "run":
            entry = await _run(call, context)
        else:
            result = ToolResult(decision["reason"], ok=False)
            entry = result_entry(call, result, context.blobs, status=decision["decision"])
            tell_result(call, entry, context.effects.attempt(call["id"]), context.emit)
    finally:
        context.gate.open(call["id"])
    return {"history": [entry]}


async def _run(call: dict[str, Any], context: AgentContext) -> Entry:
    """Run the call unless an earlier run finished it or left its outcome unknown."""
    attempt = context.effects.attempt(call["id"])
    try:
        parsed = context.tools.parse(call["function"]["name"], call["function"]["arguments"])
    except ToolError as error:  # it was valid when it was decided on: this run has other tools
        entry = result_entry(call, ToolResult(str(error), ok=False), context.blobs, status="malformed")
        tell_result(call, entry, attempt, context.emit)
        return entry
    effect = context.tools.effect(parsed)
    log = _Log(call, context)
    tool_context = context.tool_context(call["id"], log)
    record = context.effects.find(call["id"], parsed.digest)
    if record and record["entry"]:
        tell_result(call, record["entry"], attempt, context.emit)
        return record["entry"]
    if record:
        settled = await _recover(call, parsed, record, tool_context, context)
        if settled:
            tell_result(call, settled, attempt, context.emit)
            return settled
    tell_start(call, parsed.given, attempt, context.emit)
    if effect != "read":
        fingerprint = await _fingerprint(parsed, tool_context) or {}
        await context.effects.start(call["id"], parsed.digest, parsed.tool.name, effect, fingerprint)
    result = await context.tools.run(parsed, tool_context)
    entry = result_entry(call, result, context.blobs)
    if effect == "read":
        context.effects.remember(call["id"], entry)
    else:
        await context.effects.finish(call["id"], entry)
    tell_result(call, entry, attempt, context.emit)
    if "plan" in result.details:
        context.emit("plan_update", {"plan": result.details["plan"]})
    return entry


async def _recover(
    call: dict[str, Any],
    parsed: ParsedCall,
    record: EffectRecord,
    tool_context: ToolContext,
    context: AgentContext,
) -> Entry | None:
    """Settle a call that started before a crash; None when it may simply run again."""
    result = await _hooked(parsed.tool.recover, parsed.arguments, tool_context, record["fingerprint"])
    rerun = record["state"] == "started" and context.tools.effect(parsed) == "idempotent"
    if result is None and rerun and await _fingerprint(parsed, tool_context) == record["fingerprint"]:
        return None
    if result is None:
        result = ToolResult(note("outcome_unknown", tool=parsed.tool.name), ok=False)
        entry = result_entry(call, result, context.blobs, status="unknown")
        await context.effects.finish(call["id"], entry, unknown=True)
        return entry
    entry = result_entry(call, result, context.blobs)
    await context.effects.finish(call["id"], entry)
    return entry


async def _fingerprint(parsed: ParsedCall, tool_context: ToolContext) -> dict[str, str] | None:
    """What the call is about to touch: nothing for a tool that does not say, None when it cannot be told."""
    if parsed.tool.fingerprint is None:
        return {}
    found: dict[str, str] | None = await _hooked(parsed.tool.fingerprint, parsed.arguments, tool_context)
    return found


async def _hooked(hook: Callable[..., Awaitable[Any]] | None, *given: Any) -> Any:
    """What a tool's hook says; None when it has none or it fails."""
    try:
        return await hook(*given) if hook else None
    except Exception:  # noqa: BLE001 - the boundary between a tool and the run: the handler fails on its own
        return None


class _Log:
    """Live output of one call, as events."""

    def __init__(self, call: dict[str, Any], context: AgentContext) -> None:
        self._emit = context.emit
        self._data = {"tool": call["function"]["name"], "tool_call_id": call["id"]}

    def __call__(self, text: str) -> None:
        self._emit("tool_log", {**self._data, "log": text})
