"""How a headless run ended, and the exit code that says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["done", "error", "limit", "waiting", "interrupted"]

EXIT_CODES: dict[Status, int] = {"done": 0, "error": 1, "limit": 3, "waiting": 4, "interrupted": 130}

_PRECEDENCE = (2, 130, 1, 4, 3, 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run amounts to; the object that `--output json` prints."""

    status: Status
    thread_id: str | None = None
    """None when the run failed before there was a thread."""
    final_response: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    """Tokens by kind: prompt_tokens, completion_tokens, total_tokens, …"""
    cost_usd: float | None = None
    """None when any call had no known price."""
    unpriced_calls: int = 0
    iterations: int = 0
    """Model calls of the main loop."""
    approvals: list[dict[str, Any]] = field(default_factory=list)
    """The calls that wait for an answer, each with tool, arguments and tool_call_id."""
    error: str | None = None
    """One line: what went wrong, which limit was reached, why it was interrupted."""

    @property
    def exit_code(self) -> int:
        """0 done, 1 error, 3 limit, 4 waiting for an approval, 130 interrupted."""
        return EXIT_CODES[self.status]

    def as_dict(self) -> dict[str, Any]:
        """Plain data in the order people read it."""
        return {
            "thread_id": self.thread_id,
            "status": self.status,
            "final_response": self.final_response,
            "usage": self.usage,
            "cost_usd": self.cost_usd,
            "unpriced_calls": self.unpriced_calls,
            "iterations": self.iterations,
            "approvals": self.approvals,
            "error": self.error,
        }


def gravest(*codes: int) -> int:
    """The exit code to use when several apply; 0 when none does."""
    return next((code for code in _PRECEDENCE if code in codes), max(codes, default=0))
