"""How full the model's window is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..llm.tokens import estimate_message, estimate_tools
from ._shrink import total_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..graphs.state import AgentContext, Entry, Window


def fixed_tokens(context: AgentContext) -> int:
    """Estimated tokens of what every request begins with: system prompt and tools."""
    return estimate_message({"content": context.system_prompt}) + estimate_tools(context.tools.schemas())


def used_tokens(history: Sequence[Entry], window: Window, fixed: int) -> int:
    """The provider's own count for what it has seen, an estimate for what came after."""
    counted = window["counted_entries"]
    if window["used_tokens"] and counted <= len(history):
        return window["used_tokens"] + total_tokens(history[counted:])
    return fixed + total_tokens(history)


def trigger_tokens(window: Window, context: AgentContext) -> int:
    """From how many tokens on the history is shrunk."""
    limits = context.limits
    known = [limit for limit in (learned_limit(window, context), limits.window_tokens) if limit]
    shares = [int(limit * limits.compact_at_fraction) for limit in known]
    return min([limits.compact_at_tokens, *shares])


def learned_limit(window: Window, context: AgentContext) -> int | None:
    """The window as refusals have taught it; what another model refused says nothing of this one."""
    return window["limit_tokens"] if window.get("model_id") == context.model.model_id else None
