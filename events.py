"""The one vocabulary of events: what a run tells its readers (terminal, JSON stream, traces).

Names and keys follow the seed, so that its consumers keep working; what it lacked is marked "ours".
An event is stored by its emitter before any reader sees it, except `assistant_chunk`, which is only
shown. One operation ends with exactly one closing event.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args

EventName = Literal[
    "ready",  # thread_id, model, tool_count, resumed
    "user_message",  # text (ours: what the person asked, as it entered the history)
    "processing",  # message
    "assistant_chunk",  # content; not stored
    "assistant_message",  # content; the whole text of one answer
    "assistant_stream_end",  # {}
    "assistant_discarded",  # reason (ours: the chunks shown since the last answer are void, the call repeats)
    "llm_call",  # model, kind, latency_ms, finish_reason, cost_usd, prompt_tokens, completion_tokens, …
    "tool_call",  # tool, arguments, tool_call_id [, attempt]
    "tool_log",  # tool, log [, tool_call_id]; tool is "system" for retries and guards
    "tool_output",  # tool, tool_call_id, output (2 KB head), success, entry_id, bytes, sha256 [, attempt]
    "tool_state_change",  # tool_call_id, tool, state
    "plan_update",  # plan
    "guard_fired",  # guard, tools, action (ours)
    "approval_answered",  # payload_hash, decisions (ours)
    "approval_required",  # tools, count, payload_hash
    "compacted",  # old_tokens, new_tokens, stubbed, summarised
    "turn_complete",  # final_response, history_size, iterations
    "limit_reached",  # kind, limit, message (ours)
    "interrupted",  # reason
    "error",  # error
    "undo_complete",
    "shutdown",
]
"""Every event there is."""

CLOSING: frozenset[str] = frozenset(
    {
        "turn_complete",
        "limit_reached",
        "interrupted",
        "error",
        "approval_required",
        "undo_complete",
        "shutdown",
    }
)
"""Events that end a turn or an operation. (`compacted` closes only a compaction asked for by hand.)"""

UNSTORED: frozenset[str] = frozenset({"assistant_chunk"})
"""Events that take a number but are never stored."""

EVENT_NAMES: frozenset[str] = frozenset(get_args(EventName))


class Event(NamedTuple):
    """One event as every reader gets it."""

    seq: int
    """Number within the thread: strictly increasing, with gaps."""
    thread_id: str | None
    name: EventName
    at: str
    """ISO-8601 time, UTC."""
    data: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The line of `--output stream-json`."""
        return {
            "seq": self.seq,
            "thread_id": self.thread_id,
            "event": self.name,
            "at": self.at,
            "data": self.data,
        }


def now() -> str:
    """The current time as entries, events and rows carry it: ISO-8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
