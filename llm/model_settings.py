"""What a model call needs to know of the settings, so that llm/ does not depend on their loader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings of model calls; every time is in seconds."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Environment to take keys and base URLs from; the process environment is never read for them."""
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Model id -> `{"context_window": tokens, "usd_per_million": {"input", "output", "cache_read",
    "cache_write"}, "images": bool}`, each key optional: the shape of `models` in configs/models.json."""
    packaged: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same as shipped: counts after `models`, and never makes a model on this machine cost anything."""
    reasoning_effort: str | None = None
    """`minimal`, `low`, `medium`, `high`, `xhigh` or `max`; None lets the provider choose."""
    session_id: str | None = None
    """Keeps the calls of one thread on one cache (prompt_cache_key, X-HF-Session-id); never a secret."""
    tries: int = 4
    """Attempts of one call in all, when the provider is busy or the connection breaks."""
    backoff_s: float = 5.0
    """Wait before the second attempt after a passing fault; doubles with each further one."""
    rate_limit_backoff_s: float = 15.0
    """The same after a rate limit without Retry-After: 15 + 30 + 60 s outlast a window of one minute."""
    retry_after_cap_s: float = 120.0
    """Longest wait a provider's Retry-After can impose."""
    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 120.0
    """A stream without a byte for so long is given up (a local model may think until `timeout_s`)."""
    timeout_s: float = 600.0
    """Longest attempt from the request to the last byte."""
    cache_dir: Path | None = None
    """Where the catalogue of the Hugging Face router is kept between runs; None keeps it in memory only."""
