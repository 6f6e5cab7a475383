"""What the readers of events learn of a tool call: that it starts, and what came of it.

Only a call that starts is told with `tool_call`; every call gets its `tool_output`, also one that was
refused, malformed, cancelled or given up.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from ._entries import text_of

if TYPE_CHECKING:
    from ..graphs.state import Emit, Entry

HEAD_CHARS = 2048
"""How much of a result an event carries; the whole stands in the history."""


def tell_start(call: dict[str, Any], arguments: dict[str, Any], attempt: int, emit: Emit) -> None:
    """Emit `tool_call`; `attempt` counts the runs of this call from 1 and is told from the second on."""
    data = {"tool": call["function"]["name"], "arguments": arguments, "tool_call_id": call["id"]}
    emit("tool_call", data | _again(attempt))


def tell_result(call: dict[str, Any], entry: Entry, attempt: int, emit: Emit) -> None:
    """Emit `tool_output` for the call's one result, whoever made it; `attempt` as in `tell_start`."""
    raw = json.dumps(entry["message"].get("content")).encode()
    data: dict[str, Any] = {
        "tool": call["function"]["name"],
        "tool_call_id": call["id"],
        "output": text_of(entry)[:HEAD_CHARS],
        "success": entry.get("ok", False),
        "entry_id": entry["id"],
        "bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    details = entry.get("details", {})
    data |= {key: details[key] for key in ("diff", "exit_code", "duration_s") if key in details}
    emit("tool_output", data | _again(attempt))


def _again(attempt: int) -> dict[str, int]:
    return {"attempt": attempt} if attempt > 1 else {}
