"""Notice a model that repeats itself: first a note, then the repeated calls are refused."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Literal, NamedTuple

from langgraph.runtime import Runtime

from ..configs.notes import note
from ..graphs.state import AgentContext, AgentState, AgentUpdate, Entry, Guard
from ..tools.base import ToolResult
from ._entries import calls_of, last_calls, note_entry, result_entry, results_after, text_of
from ._telling import tell_result

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOK_BACK = 12
"""Batches of the tail that are compared: enough for a cycle of five, twice."""
LONGEST_CYCLE = 5
SAME_IN_A_ROW = 3
REFUSALS = 5
"""Refused batches in a row before the turn ends."""


class Batch(NamedTuple):
    """One answer's calls and what they gave, as they count for repetition."""

    calls: str
    results: str


async def doom_check(state: AgentState, runtime: Runtime[AgentContext]) -> AgentUpdate:
    """Compare the batch that is about to run with the tail of what has run, results included."""
    context = runtime.context
    found = last_calls(state["history"])
    update: AgentUpdate = {"refused": False} if state.get("refused") else {}
    if found is None:
        return update
    position, answer = found
    notes = _malformed_streak(state["history"], position, answer, context)
    repeated = _repetition(_tail(state["history"], position), _calls_digest(answer))
    if repeated is None:
        if state.get("guard"):
            update["guard"] = None
        return {**update, "history": notes} if notes else update
    guard = state.get("guard")
    signature = _calls_digest(answer) if repeated.length == 1 else repeated.digest
    fired = guard["fired_count"] if guard and guard["signature"] == signature else 0
    memory: Guard = {"signature": signature, "fired_count": fired + 1}
    names = sorted({call["function"]["name"] for call in calls_of(answer)})
    action = "refuse" if fired else "note"
    context.emit("guard_fired", {"guard": "repetition", "tools": names, "action": action})
    if not fired:
        notes.append(note_entry("repetition", _words(names, repeated)))
        return {**update, "guard": memory, "history": notes}
    refusal = note_entry("repetition", _words(names, repeated))
    results = _refuse(state["history"], position, answer, repeated, context)
    stop: AgentUpdate = {"stop": "repetition"} if fired >= REFUSALS else {}
    return {"refused": True, "guard": memory, "history": [*results, *notes, refusal], **stop}


def route_batch(state: AgentState) -> Literal["approval_interrupt", "compact"]:
    """Go on to the approvals, or round again with the refusals."""
    return "compact" if state.get("refused") else "approval_interrupt"


class _Repetition(NamedTuple):
    length: int
    times: int
    digest: str


def _words(names: list[str], repeated: _Repetition) -> str:
    if repeated.length > 1:
        return note("repeated_cycle", tools=names, count=repeated.times)
    return note("repetition", tool=" and ".join(names), count=repeated.times)


def _repetition(past: list[Batch], calls: str) -> _Repetition | None:
    """Whether `calls` is the third equal batch in a row, or begins the third round of a cycle.

    Only the tail counts, and only with equal results: a poll whose answer changes is no loop.
    """
    in_a_row = 1
    for batch in reversed(past):
        if batch.calls != calls or batch.results != past[-1].results:
            break
        in_a_row += 1
    if in_a_row >= SAME_IN_A_ROW:
        return _Repetition(1, in_a_row, calls)
    for length in range(2, LONGEST_CYCLE + 1):
        block = past[-length:]
        if len(past) < 2 * length or past[-2 * length : -length] != block or block[0].calls != calls:
            continue
        parts = {batch.calls for batch in block}
        if len(parts) > 1:
            return _Repetition(length, 2, hashlib.sha256("".join(sorted(parts)).encode()).hexdigest())
    return None


def _tail(history: Sequence[Entry], position: int) -> list[Batch]:
    """The newest batches before `position`, oldest first; a user turn ends the tail."""
    batches: list[Batch] = []
    end = position
    for at in range(position - 1, -1, -1):
        entry = history[at]
        if entry["kind"] in ("user", "summary") or len(batches) == LOOK_BACK:
            break
        if entry["kind"] == "assistant" and calls_of(entry):
            results = results_after(history[:end], at)
            batches.append(Batch(_calls_digest(entry), _results_digest(entry, results)))
            end = at
    return batches[::-1]


def _calls_digest(answer: Entry) -> str:
    """Same for the same set of calls, whatever their order, key order or white space."""
    parts = {
        f"{call['function']['name']} {_canonical(call['function']['arguments'])}" for call in calls_of(answer)
    }
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _canonical(arguments: str) -> str:
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return " ".join(arguments.split())
    if isinstance(value, dict):
        value.pop("description", None)  # a label for people; the call is the same without it
        value = {key: " ".join(v.split()) if isinstance(v, str) else v for key, v in value.items()}
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _results_digest(answer: Entry, results: dict[str, Entry]) -> str:
    parts = []
    for call in calls_of(answer):
        result = results.get(call["id"])
        loop = result is not None and result.get("status") == "loop"
        parts.append(result["details"]["repeats"] if result and loop else text_of(result) if result else "")
    return hashlib.sha256("\n".join(sorted(parts)).encode("utf-8", "surrogatepass")).hexdigest()


def _refuse(
    history: Sequence[Entry], position: int, answer: Entry, repeated: _Repetition, context: AgentContext
) -> list[Entry]:
    """A result for every call: the last one it gave, and the word that it was not run again."""
    last: dict[str, str] = {}
    for entry in reversed(history[:position]):
        if entry["kind"] == "result" and "repeats" not in entry.get("details", {}):
            last.setdefault(entry["call_id"], text_of(entry))
    earlier = {
        _canonical(call["function"]["arguments"]) + call["function"]["name"]: last[call["id"]]
        for entry in history[:position]
        for call in calls_of(entry)
        if call["id"] in last
    }
    entries = []
    for call in calls_of(answer):
        key = _canonical(call["function"]["arguments"]) + call["function"]["name"]
        text = earlier.get(key, "")
        refusal = note("repeat_refused", tool=call["function"]["name"], count=repeated.times, result=text)
        result = ToolResult(refusal, ok=False, details={"repeats": text})
        entry = result_entry(call, result, context.blobs, status="loop")
        tell_result(call, entry, context.effects.attempt(call["id"]), context.emit)
        entries.append(entry)
    return entries


def _malformed_streak(
    history: Sequence[Entry], position: int, answer: Entry, context: AgentContext
) -> list[Entry]:
    """A note when the same tool gets unreadable arguments for the second time in a row, or more often."""
    again = _malformed_tools(answer)
    count = 1
    for entry in reversed(history[:position]):
        if entry["kind"] == "user":
            break
        if entry["kind"] != "assistant" or not calls_of(entry):
            continue
        if not again & _malformed_tools(entry):
            break
        again &= _malformed_tools(entry)
        count += 1
    if count == 1:
        return []
    tools = sorted(again)
    context.emit("guard_fired", {"guard": "malformed", "tools": tools, "action": "note"})
    return [note_entry("malformed", note("malformed_arguments", tool=" and ".join(tools), count=count))]


def _malformed_tools(answer: Entry) -> set[str]:
    malformed = answer.get("malformed") or {}
    return {call["function"]["name"] for call in calls_of(answer) if call["id"] in malformed}
