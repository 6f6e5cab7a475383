"""Reading and making history entries: what several nodes and the thread's life share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..graphs.state import Entry, new_entry
from ..llm.tokens import estimate_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..graphs.state import Blobs
    from ..tools.base import ToolResult

NOTHING_RECORDED = (
    "No result was recorded for this call: the run stopped before it ended. Check before repeating it."
)


def calls_of(entry: Entry) -> list[dict[str, Any]]:
    """The tool calls of an entry, in the model's order."""
    return entry["message"].get("tool_calls") or []


def text_of(entry: Entry) -> str:
    """The text of an entry, images left out."""
    content = entry["message"].get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or [] if part.get("type") == "text")


def last_calls(history: Sequence[Entry]) -> tuple[int, Entry] | None:
    """Position and entry of the newest assistant answer, if it asked for tools."""
    for position in range(len(history) - 1, -1, -1):
        if history[position]["kind"] == "assistant":
            entry = history[position]
            return (position, entry) if calls_of(entry) else None
        if history[position]["kind"] == "user":
            return None
    return None


def results_after(history: Sequence[Entry], position: int) -> dict[str, Entry]:
    """Results that follow the answer at `position`, by call id; the first one of a call counts."""
    results: dict[str, Entry] = {}
    for entry in history[position + 1 :]:
        if entry["kind"] == "assistant":
            break
        if entry["kind"] == "result":
            results.setdefault(entry["call_id"], entry)
    return results


def groups(history: Sequence[Entry]) -> Iterator[tuple[int, int]]:
    """Half-open ranges that may not be torn apart: an answer with all that follows it up to the next.

    Entries before the first answer are a group each.
    """
    start: int | None = None
    for position, entry in enumerate(history):
        if entry["kind"] == "assistant":
            if start is not None:
                yield start, position
            start = position
        elif entry["kind"] in ("user", "summary"):
            if start is not None:
                yield start, position
                start = None
            yield position, position + 1
        elif start is None:
            yield position, position + 1
    if start is not None:
        yield start, len(history)


def wire_messages(history: Sequence[Entry], system_prompt: str, blobs: Blobs) -> list[dict[str, Any]]:
    """The request's messages: each call followed by its one result, in call order.

    Results arrive in any order and notes may stand between; results nobody asked for are left out.
    Message dicts are the history's own, never copied, so this costs microseconds per entry.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": system_prompt}]
    open_calls: list[dict[str, Any]] = []
    found: dict[str, Entry] = {}
    others: list[dict[str, Any]] = []

    def close_batch() -> None:
        for call in open_calls:
            result = found.get(call["id"])
            messages.append(
                blobs.inline(result["message"])
                if result
                else {"role": "tool", "tool_call_id": call["id"], "content": NOTHING_RECORDED}
            )
        messages.extend(others)
        open_calls.clear()
        found.clear()
        others.clear()

    for entry in history:
        if entry["kind"] == "assistant":
            close_batch()
            messages.append(entry["message"])
            open_calls.extend(calls_of(entry))
        elif entry["kind"] == "result":
            if any(call["id"] == entry["call_id"] for call in open_calls):
                found.setdefault(entry["call_id"], entry)
        elif open_calls:
            others.append(blobs.inline(entry["message"]))
        else:
            messages.append(blobs.inline(entry["message"]))
    close_batch()
    return messages


def user_entry(text: str) -> Entry:
    """What a person said."""
    message = {"role": "user", "content": text}
    return new_entry("user", message, estimate_message(message))


def note_entry(reason: str, text: str) -> Entry:
    """A note of the system to the model; no user turn."""
    message = {"role": "user", "content": f"[note from ml-intern, not from the user]\n{text}"}
    return new_entry("note", message, estimate_message(message), reason=reason)


def result_entry(call: dict[str, Any], result: ToolResult, blobs: Blobs, status: str | None = None) -> Entry:
    """The result of one call; images go to the blob store."""
    message = blobs.lift(
        {
            "role": "tool",
            "tool_call_id": call["id"],
            "name": call["function"]["name"],
            "content": result.content,
        }
    )
    extra: dict[str, Any] = {"call_id": call["id"], "ok": result.ok}
    if result.details:
        extra["details"] = result.details
    if status:
        extra["status"] = status
    return new_entry("result", message, estimate_message(message), **extra)


def current_plan(history: Sequence[Entry]) -> list[dict[str, Any]]:
    """The plan as the model last wrote it; empty when there is none."""
    for entry in reversed(history):
        plan = entry.get("details", {}).get("plan")
        if plan is not None:
            return list(plan)
    return []


def current_stamps(history: Sequence[Entry]) -> dict[str, str]:
    """Files as the thread last saw them: resolved path -> sha256."""
    stamps: dict[str, str] = {}
    for entry in history:
        stamps.update(entry.get("details", {}).get("stamps", {}))
    return stamps


def final_response(history: Sequence[Entry]) -> str | None:
    """Text of the newest answer, with the pieces before it that were cut; None when there is none."""
    pieces: list[str] = []
    for entry in reversed(history):
        if entry["kind"] == "assistant":
            if calls_of(entry):
                break
            pieces.append(text_of(entry))
        elif entry["kind"] != "note" or not pieces:
            if entry["kind"] == "user" or pieces:
                break
        elif entry.get("reason") != "truncated":
            break
    return "".join(reversed(pieces)) or None
