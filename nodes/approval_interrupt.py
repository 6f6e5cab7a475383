"""Decide for each call of the batch whether it runs; ask the person once for all that need it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from langgraph.runtime import Runtime
from langgraph.types import Send, interrupt

from ..configs.notes import note
from ..errors import ToolError
from ..graphs.state import AgentContext, AgentState, AgentUpdate, BatchCall
from ._entries import calls_of, last_calls, note_entry

if TYPE_CHECKING:
    from ..graphs.state import Entry

STALE = "what it would do is no longer what was asked about"


async def approval_interrupt(state: AgentState, runtime: Runtime[AgentContext]) -> AgentUpdate:
    """Mark every call as run or not; suspend the thread when one waits for a person.

    LangGraph runs an interrupted node again from its first line, so nothing here has an effect.
    """
    found = last_calls(state["history"])
    batch = _classify(found[1], runtime.context) if found else []
    notes: list[Entry] = []
    waiting = [call for call in batch if call["decision"] == "ask"]
    if waiting and found:
        payload = _payload(found[1], waiting)
        mode = runtime.context.approval_mode
        if mode == "ask" or payload["payload_hash"] == runtime.context.answered_hash:
            notes = _apply(interrupt(payload), payload["payload_hash"], waiting)
        else:
            for call in waiting:
                call["decision"] = "run" if mode == "auto" else "refused"
                call["reason"] = (
                    ""
                    if mode == "auto"
                    else note("refused_unattended", tool=call["tool"], reason=call["reason"])
                )
    update: AgentUpdate = {"batch": _order(batch)}
    return {**update, "history": notes} if notes else update


def send_calls(state: AgentState) -> list[Send]:
    """One task per call, so that each finished result is kept on its own."""
    found = last_calls(state["history"])
    calls = {call["id"]: call for call in calls_of(found[1])} if found else {}
    return [
        Send("tool_exec", {"call": calls[decision["call_id"]], "decision": decision})
        for decision in state["batch"]
    ]


def _classify(answer: Entry, context: AgentContext) -> list[dict[str, Any]]:
    """What the arguments and the policy say of each call."""
    malformed = answer.get("malformed") or {}
    batch: list[dict[str, Any]] = []
    for index, call in enumerate(calls_of(answer)):
        name = call["function"]["name"]
        item: dict[str, Any] = {
            "call_id": call["id"],
            "tool": name,
            "index": index,
            "effect": "read",
            "reason": "",
        }
        batch.append(item)
        if call["id"] in malformed:
            item |= {"decision": "malformed", "reason": note("malformed_call", tool=name)}
            continue
        try:
            parsed = context.tools.parse(name, call["function"]["arguments"])
        except ToolError as error:
            item |= {"decision": "malformed", "reason": str(error)}
            continue
        decision = context.policy(name, parsed.canonical)
        item["effect"] = context.tools.effect(parsed)
        item["arguments"] = parsed.given
        if decision.action == "deny":
            item |= {
                "decision": "refused",
                "reason": note("refused_by_policy", tool=name, reason=decision.reason),
            }
        else:
            item |= {"decision": "ask" if decision.action == "ask" else "run", "reason": decision.reason}
    return batch


def _payload(answer: Entry, waiting: list[dict[str, Any]]) -> dict[str, Any]:
    """What the person sees, with a hash that an answer must carry: what was approved is what runs."""
    names = {call["id"]: call["function"]["name"] for call in calls_of(answer)}
    tools = [
        {
            "tool": names[call["call_id"]],
            "arguments": call["arguments"],
            "tool_call_id": call["call_id"],
            "reason": call["reason"],
        }
        for call in waiting
    ]
    digest = hashlib.sha256(json.dumps(tools, sort_keys=True).encode()).hexdigest()
    return {"tools": tools, "count": len(tools), "payload_hash": digest}


def _apply(answer: Any, payload_hash: str, waiting: list[dict[str, Any]]) -> list[Entry]:
    """Take the person's answer; a call that it does not decide on is refused.

    Returns notes with what the person said to calls that do run: their results leave no room for it.
    """
    if not isinstance(answer, dict) or answer.get("payload_hash") != payload_hash:
        # The rules changed between question and answer; nothing runs that was not shown.
        for call in waiting:
            text = note("refused_unattended", tool=call["tool"], reason=STALE)
            call |= {"decision": "refused", "reason": text}
        return []
    said: dict[str, list[str]] = {}
    decisions = answer.get("decisions") or {}
    for call in waiting:
        decision = decisions.get(call["call_id"]) or {}
        feedback = decision.get("feedback") or ""
        if decision.get("approved") is True:
            call |= {"decision": "run", "reason": ""}
            if feedback:
                said.setdefault(feedback, []).append(f"call {call['index'] + 1} ({call['tool']})")
        else:
            text = note("refused_by_person", tool=call["tool"])
            if feedback:
                text = note("refused_with_feedback", tool=call["tool"], feedback=feedback)
            call |= {"decision": "refused", "reason": text}
    return [
        note_entry("approved", note("approved_with_feedback", calls=calls, feedback=feedback))
        for feedback, calls in said.items()
    ]


def _order(batch: list[dict[str, Any]]) -> list[BatchCall]:
    """Let each call wait for every earlier one, unless both only read."""
    ordered: list[BatchCall] = []
    for item in batch:
        runs = item["decision"] == "run"
        waits_for = [
            earlier["call_id"]
            for earlier in ordered
            if runs and earlier["decision"] == "run" and {item["effect"], earlier["effect"]} != {"read"}
        ]
        decision: Literal["run", "refused", "malformed", "abandoned"] = item["decision"]
        ordered.append(
            {
                "call_id": item["call_id"],
                "index": item["index"],
                "decision": decision,
                "reason": "" if runs else item["reason"],
                "effect": item["effect"],
                "waits_for": waits_for,
            }
        )
    return ordered
