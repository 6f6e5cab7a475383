"""Reasoning effort: which level to try after one was refused."""

from __future__ import annotations

_LOWER: dict[str, str | None] = {
    "max": "xhigh",
    "xhigh": "high",
    "high": "medium",
    "medium": "low",
    "minimal": "low",
    "low": None,
}

LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")


def next_lower(effort: str | None, complaint: str) -> str | None:
    """The level to try next, None to send no effort at all.

    Args:
        effort: The refused level.
        complaint: The provider's text; where it says that the model takes no effort, none is tried.
    """
    words = complaint.lower()
    if "not support" in words and "must be" not in words and "supported values" not in words:
        return None
    return _LOWER.get(effort or "")
