"""Ask the model for its next message."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

from langgraph.graph import END
from langgraph.runtime import Runtime

from ..configs.notes import note
from ..errors import ContextOverflow, ModelError
from ..graphs.state import AgentContext, AgentState, AgentUpdate, Entry, Turn, Window, new_entry, new_window
from ..llm.tokens import estimate_message
from ._booking import book_call
from ._entries import current_plan, note_entry, wire_messages
from ._window import fixed_tokens, learned_limit, used_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..llm.reply import Reply

CUT_LIMIT = 3
"""Answers in a row that may be cut or empty before the turn ends."""
PLAN_NUDGES = 2
"""Times in a row a headless run is reminded of an unfinished plan."""


async def llm_call(state: AgentState, runtime: Runtime[AgentContext]) -> AgentUpdate:
    """Append the model's answer, or what was learned from its refusal."""
    context = runtime.context
    try:
        reply = await context.model.complete(
            wire_messages(state["history"], context.system_prompt, context.blobs),
            context.tools.schemas(),
            stream=context.stream,
            on_text=lambda text: context.emit("assistant_chunk", {"content": text}),
            on_discard=lambda reason: context.emit("assistant_discarded", {"reason": reason}),
            on_notice=lambda log: context.emit("tool_log", {"tool": "system", "log": log}),
        )
    except ContextOverflow as overflow:
        return _learn_window(state, overflow, context)
    book_call("main", reply, context)
    if text := reply.message.get("content"):
        context.emit("assistant_message", {"content": text})
    if context.stream:
        context.emit("assistant_stream_end", {})
    return _take(state, reply, context)


def route_reply(state: AgentState) -> Literal["doom_check", "compact", "__end__"]:
    """Run the tools, go round again, or end."""
    if state["reply"] == "tools":
        return "doom_check"
    return "compact" if state["reply"] == "again" else END  # type: ignore[return-value] # END is "__end__"


def _take(state: AgentState, reply: Reply, context: AgentContext) -> AgentUpdate:
    """What the answer changes: the history, the turn's counts and where to go."""
    turn: Turn = {**state["turn"], "iterations": state["turn"]["iterations"] + 1}
    message = reply.message
    calls = message.get("tool_calls") or []
    if reply.finish_reason == "length":
        return _take_cut(state, turn, reply, context)
    if not calls and not (message.get("content") or "").strip():
        turn["cut_count"] += 1
        if turn["cut_count"] > CUT_LIMIT:
            raise ModelError(
                f"{context.model.model_id} gave {CUT_LIMIT + 1} empty answers in a row; "
                "go on with -r, or choose another model with -m."
            )
        return {
            "history": [note_entry("empty", note("empty_reply"))],
            "turn": turn,
            "reply": "again",
        }
    turn["cut_count"] = 0
    entry = _answer_entry(message, reply.malformed, context)
    update: AgentUpdate = {"history": [entry], "turn": turn, "window": _window(state, reply)}
    if calls:
        turn["plan_nudge_count"] = 0
        return {**update, "reply": "tools"}
    unfinished = [item for item in current_plan(state["history"]) if item["status"] != "completed"]
    if unfinished and context.headless and turn["plan_nudge_count"] < PLAN_NUDGES:
        turn["plan_nudge_count"] += 1
        context.emit("guard_fired", {"guard": "plan", "tools": [], "action": "note"})
        nudge = note_entry("plan", note("plan_unfinished", items=[item["content"] for item in unfinished]))
        return {**update, "history": [entry, nudge], "reply": "again"}
    return {**update, "reply": "answer", "stop": "answer"}


def _take_cut(state: AgentState, turn: Turn, reply: Reply, context: AgentContext) -> AgentUpdate:
    """An answer that ran into its output limit: its text stays, its calls cannot be trusted."""
    turn["cut_count"] += 1
    lost = [call["function"]["name"] for call in reply.message.get("tool_calls") or []]
    text = reply.message.get("content") or ""
    entries: list[Entry] = []
    if text.strip():
        kept = {key: value for key, value in reply.message.items() if key != "tool_calls"}
        entries.append(_answer_entry(kept, {}, context))
    update: AgentUpdate = {"turn": turn, "window": _window(state, reply)}
    if turn["cut_count"] > CUT_LIMIT:
        if lost or not entries:
            raise ModelError(
                f"{context.model.model_id} ran into its output limit {CUT_LIMIT + 1} times in a row; "
                "go on with -r, or choose a model with a larger output with -m."
            )
        return {**update, "history": entries, "reply": "answer", "stop": "answer"}
    reason = "truncated_tools" if lost else "truncated"
    entries.append(
        note_entry(reason, note("truncated_calls", tools=lost) if lost else note("truncated_text"))
    )
    context.emit("guard_fired", {"guard": reason, "tools": lost, "action": "note"})
    return {**update, "history": entries, "reply": "again"}


def _answer_entry(message: dict[str, Any], as_received: Mapping[str, str], context: AgentContext) -> Entry:
    """The answer as it enters the history, its call ids unique within the thread."""
    malformed = dict(as_received)
    calls = []
    for call in message.get("tool_calls") or []:
        call_id = call["id"]
        if call_id in context.known_call_ids:
            call_id = f"call_{uuid.uuid4().hex[:20]}"
            if call["id"] in malformed:
                malformed[call_id] = malformed.pop(call["id"])
        context.known_call_ids.add(call_id)
        calls.append({**call, "id": call_id})
    if calls:
        message = {**message, "tool_calls": calls}
    # Not the provider's count: that one holds thinking which is never sent again.
    tokens = estimate_message(message)
    if malformed:
        return new_entry("assistant", message, tokens, malformed=malformed)
    return new_entry("assistant", message, tokens)


def _window(state: AgentState, reply: Reply) -> Window:
    """What this call teaches about the window; the answer itself is part of the counted entries."""
    window = new_window(state.get("window"))
    if reply.usage and reply.usage.prompt_tokens:
        window["used_tokens"] = reply.usage.prompt_tokens + reply.usage.completion_tokens
        window["counted_entries"] = len(state["history"]) + 1
    return window


def _learn_window(state: AgentState, overflow: ContextOverflow, context: AgentContext) -> AgentUpdate:
    """Keep the limit the provider named, or take four fifths of what it refused."""
    window: Window = {**(state.get("window") or new_window())}
    refused = used_tokens(state["history"], window, fixed_tokens(context))
    limit = overflow.limit_tokens or int(0.8 * refused)
    window["limit_tokens"] = min(limit, learned_limit(window, context) or limit)
    window["model_id"] = context.model.model_id
    window["overflow_count"] += 1
    context.emit(
        "tool_log", {"tool": "system", "log": f"The model's window is {limit:,} tokens: compacting."}
    )
    return {"window": window, "reply": "again"}
