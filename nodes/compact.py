"""Stop at the run's limits, and make room in the model's window before it is asked."""

from __future__ import annotations

from typing import Any, Literal

from langgraph.graph import END
from langgraph.runtime import Runtime
from langgraph.types import Overwrite

from ..configs.notes import note
from ..configs.prompting import compaction_prompt
from ..errors import ModelError
from ..graphs.state import (
    AgentContext,
    AgentState,
    AgentUpdate,
    Entry,
    StopReason,
    new_entry,
    new_window,
)
from ..llm.catalogue import FREE
from ..llm.tokens import calibrate, estimate_message
from ._booking import book_call
from ._entries import current_plan, current_stamps
from ._shrink import mechanical_summary, shrink, split, squeeze, total_tokens, transcript
from ._window import fixed_tokens, trigger_tokens, used_tokens

ROOM_AFTER = 0.6
"""Compaction shrinks to this share of the room, so that it does not run at every call."""
TAIL_SHARE = 0.3
"""Share of that room for the newest groups, verbatim, when the rest is summarised."""
SUMMARY_TOKENS = 3_000
OVERFLOWS = 6
"""Refusals in a row after which shrinking is given up."""


async def compact(state: AgentState, runtime: Runtime[AgentContext]) -> AgentUpdate:
    """Return the reason to stop, a smaller history, or nothing."""
    context = runtime.context
    stop = _limit_reached(state, context)
    if stop:
        return {"stop": stop}
    window = state.get("window") or new_window()
    fixed = fixed_tokens(context)
    used = used_tokens(state["history"], window, fixed)
    trigger = trigger_tokens(window, context)
    if used < trigger and not window["overflow_count"]:
        return {}
    # Entries carry estimates, the trigger is in the provider's own tokens.
    factor = calibrate(fixed + total_tokens(state["history"]), used)
    room = max(trigger / factor - fixed, trigger / factor / 4)
    target = int(room * ROOM_AFTER ** (1 + window["overflow_count"] / 2))
    history = await make_room(state["history"], target, context)
    after = total_tokens(history) + fixed
    if history == state["history"] or window["overflow_count"] > OVERFLOWS:
        if window["overflow_count"]:
            return {"stop": "context", "window": {**window, "overflow_count": 0}}
        return {}  # over the soft trigger with nothing to shrink: the provider decides
    context.emit("compacted", {"old_tokens": used, "new_tokens": after})
    return {
        "history": Overwrite(history),
        "window": {**new_window(window), "overflow_count": window["overflow_count"]},
    }


def route_room(state: AgentState) -> Literal["llm_call", "__end__"]:
    """Ask the model, or end at a limit."""
    return END if state.get("stop") else "llm_call"  # type: ignore[return-value] # END is "__end__"


async def make_room(history: list[Entry], target_tokens: int, context: AgentContext) -> list[Entry]:
    """Shrink to the target: stubs for bulky old results first, then a summary, then whatever is left."""
    stubbed = shrink(history, target_tokens)
    if total_tokens(stubbed) <= target_tokens:
        return stubbed
    old, tail = split(stubbed, int(target_tokens * TAIL_SHARE))
    users = [entry for entry in old if entry["kind"] == "user"]
    rest = [entry for entry in old if entry["kind"] != "user"]
    if any(entry["kind"] != "summary" for entry in rest):
        summary = await _summarise(old, target_tokens, context)
        stubbed = [*users, _summary_entry(summary, rest), *tail]
    return squeeze(stubbed, target_tokens)


def _limit_reached(state: AgentState, context: AgentContext) -> StopReason | None:
    if state.get("stop") == "repetition":
        return "repetition"
    limit = context.limits.max_iterations
    if 0 <= limit <= state["turn"]["iterations"] - context.limits.iterations_base:
        return "iterations"
    return "cost" if context.budget.exhausted(free=context.model.price == FREE) else None


async def _summarise(entries: list[Entry], target_tokens: int, context: AgentContext) -> str:
    """The model's summary of the old part, or a mechanical one when it cannot give any."""
    budget_chars = max(target_tokens * 3, 4_000)
    conversation = transcript(entries, budget_chars)
    request = f"<conversation>\n{conversation}\n</conversation>\n\n{compaction_prompt()}"
    try:
        reply = await context.model.complete(
            [{"role": "user", "content": request}],
            None,
            stream=False,
            on_text=lambda _: None,
            on_discard=lambda _: None,
            on_notice=lambda log: context.emit("tool_log", {"tool": "system", "log": log}),
            max_tokens=SUMMARY_TOKENS,
        )
    except ModelError as error:
        context.emit(
            "tool_log",
            {"tool": "system", "log": f"No summary from the model ({error}); listing the calls instead."},
        )
        return mechanical_summary(entries)
    book_call("compaction", reply, context)
    text = (reply.message.get("content") or "").strip()
    return text or mechanical_summary(entries)


def _summary_entry(summary: str, replaced: list[Entry]) -> Entry:
    """The summary, with what later calls need of the entries it replaces."""
    message = {"role": "user", "content": f"{note('summary')}\n\n{summary}"}
    details: dict[str, Any] = {"entries": len(replaced)}
    if stamps := current_stamps(replaced):
        details["stamps"] = stamps
    if plan := current_plan(replaced):
        details["plan"] = plan
    return new_entry("summary", message, estimate_message(message), details=details)
