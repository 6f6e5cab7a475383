"""Book a model call and tell the readers of events what it took."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..graphs.state import AgentContext
    from ..llm.reply import Reply


def book_call(kind: str, reply: Reply, context: AgentContext) -> None:
    """Record what one model call cost; `kind` is main, compaction or research."""
    context.budget.record_model(kind, reply)
    data: dict[str, Any] = {
        "model": context.model.model_id,
        "kind": kind,
        "latency_ms": reply.latency_ms,
        "finish_reason": reply.finish_reason,
        "cost_usd": reply.cost_usd,
    }
    context.emit("llm_call", data | (asdict(reply.usage) if reply.usage else {}))
