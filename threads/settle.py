"""Give every call of a half-done batch its result, so that nothing dangles and nothing finished is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..configs.notes import note
from ..nodes._entries import calls_of, last_calls, result_entry, results_after
from ..nodes._telling import tell_result
from ..tools.base import ToolResult
from .questions import asked_by

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from langchain_core.runnables import RunnableConfig
    from langgraph.types import StateSnapshot

    from ..graphs.agent import AgentGraph
    from ..graphs.state import Blobs, Emit, Entry
    from .checkpointer import JournalingSaver
    from .effects import EffectLog

Why = str
"""`cancelled` (the person stopped the run) or `abandoned` (the person went on with something new)."""


async def settle(
    graph: AgentGraph,
    config: RunnableConfig,
    *,
    saver: JournalingSaver,
    effect_log: EffectLog,
    blobs: Blobs,
    emit: Emit,
    why: Why,
    state: StateSnapshot | None = None,
) -> list[Entry]:
    """Write results for the newest batch if it is not over; returns the results that were missing.

    LangGraph shows finished results of a half-done superstep but drops them when anything else is
    written, so they are all written again together with the missing ones.
    """
    state = state or await graph.aget_state(config)
    history: list[Entry] = state.values.get("history", [])
    found = last_calls(history)
    if found is None or not unfinished_nodes(state) & {"tool_exec", "approval_interrupt", "doom_check"}:
        return []
    position, answer = found
    finished = results_after(history, position)
    question = asked_by(state) or {"tools": []}
    asked = {call["tool_call_id"] for call in question["tools"]}
    results: list[Entry] = []
    missing: list[Entry] = []
    for call in calls_of(answer):
        if call["id"] in finished:
            results.append(finished[call["id"]])
            continue
        entry = effect_log.result(call["id"]) or _settled(call, effect_log, blobs, why, asked)
        if effect_log.is_open(call["id"]):
            await effect_log.finish(call["id"], entry, unknown=why != "cancelled")
        if "status" in entry:
            state_change = {"tool_call_id": call["id"], "tool": call["function"]["name"], "state": why}
            emit("tool_state_change", state_change)
        tell_result(call, entry, effect_log.attempt(call["id"]), emit)
        results.append(entry)
        missing.append(entry)
    saver.settling_node = "tool_exec"
    try:
        await graph.aupdate_state(config, {"history": results}, as_node="tool_exec")
    finally:
        saver.settling_node = None
    return missing


def unfinished_nodes(state: StateSnapshot) -> set[str]:
    """Nodes of the step under way, also those that are done while the checkpoint of the step is not written.

    LangGraph leaves the latter out of `next`: killed between the two, a thread would look finished.
    """
    return {task.name for task in state.tasks}


def unanswered_calls(history: Sequence[Entry]) -> set[str]:
    """Calls of the newest answer that have no result in the history."""
    found = last_calls(history)
    if found is None:
        return set()
    return {call["id"] for call in calls_of(found[1])} - results_after(history, found[0]).keys()


def _settled(
    call: dict[str, Any], effect_log: EffectLog, blobs: Blobs, why: Why, asked: Collection[str]
) -> Entry:
    tool = call["function"]["name"]
    running = effect_log.is_open(call["id"])
    if why == "cancelled":
        text = note("cancelled" if running else "cancelled_before_start", tool=tool)
        return result_entry(call, ToolResult(text, ok=False), blobs, status="cancelled")
    if running:
        text = note("outcome_unknown", tool=tool)
        return result_entry(call, ToolResult(text, ok=False), blobs, status="unknown")
    # Nobody declined to answer what nobody was asked.
    text = note("abandoned" if call["id"] in asked else "not_started", tool=tool)
    return result_entry(call, ToolResult(text, ok=False), blobs, status="abandoned")
