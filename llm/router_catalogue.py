"""The Hugging Face router's catalogue: who serves a model, at what price, with which window.

Fetched only when asked for; until then what an earlier run kept on disk has to do, however old.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .routes import base_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .model_settings import ModelSettings

_TIMEOUT_S = 5.0
_FILE = "router-models.json"
_POLICIES = frozenset({"fastest", "cheapest", "preferred"})

_memory: dict[str, dict[str, Any]] = {}
"""Base URL -> model name -> entry; one catalogue for the process."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One provider's terms for one model; prices in USD per million tokens."""

    provider: str
    window: int | None
    input_usd: float | None
    output_usd: float | None
    images: bool


async def fetch(settings: ModelSettings) -> bool:
    """Get the catalogue from the router and keep it; False when it did not answer within five seconds."""
    import httpx  # noqa: PLC0415 - 70 ms, only wanted here

    base = _base(settings)
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as http:
            response = await http.get(f"{base}/models")
            response.raise_for_status()
            entries = response.json()["data"]
        by_name = {str(entry["id"]): entry for entry in entries if isinstance(entry, dict) and "id" in entry}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False
    _memory[base] = by_name
    if settings.cache_dir is not None:
        _keep(settings.cache_dir / _FILE, {base: by_name})
    return True


def known(settings: ModelSettings) -> Mapping[str, Any]:
    """Model name -> entry as far as the catalogue was ever fetched; never waits for the network."""
    base = _base(settings)
    if base not in _memory:
        _memory[base] = _kept(settings.cache_dir, base)
    return _memory[base]


def offers(name: str, settings: ModelSettings) -> list[Offer]:
    """Live offers for `org/name[:provider]`; with a provider named, only its own."""
    model, _, suffix = name.partition(":")
    found = known(settings).get(model)
    if not isinstance(found, dict):
        return []
    modalities = (found.get("architecture") or {}).get("input_modalities") or ()
    listed = [
        _offer(entry, images="image" in modalities)
        for entry in found.get("providers") or ()
        if isinstance(entry, dict) and entry.get("status", "live") == "live"
    ]
    if suffix == "cheapest":
        priced = [offer for offer in listed if offer.input_usd is not None]
        return (
            sorted(priced, key=lambda offer: (offer.output_usd or 0.0, offer.input_usd or 0.0))[:1] or listed
        )
    if suffix and suffix not in _POLICIES:
        return [offer for offer in listed if offer.provider == suffix]
    return listed


def _offer(entry: Mapping[str, Any], *, images: bool) -> Offer:
    pricing = entry.get("pricing") or {}
    window = entry.get("context_length")
    return Offer(
        provider=str(entry.get("provider", "")),
        window=window if isinstance(window, int) and window > 0 else None,
        input_usd=_number(pricing.get("input")),
        output_usd=_number(pricing.get("output")),
        images=images,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _base(settings: ModelSettings) -> str:
    return base_url("huggingface", settings.env) or ""


def _kept(cache_dir: Path | None, base: str) -> dict[str, Any]:
    if cache_dir is None:
        return {}
    try:
        data = json.loads((cache_dir / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = data.get(base) if isinstance(data, dict) else None
    return entries if isinstance(entries, dict) else {}


def _keep(path: Path, data: dict[str, Any]) -> None:
    """Written beside and renamed, so that another process never reads half of it."""
    half = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        half.touch(mode=0o600)
        half.write_text(json.dumps(data), encoding="utf-8")
        half.replace(path)
    except OSError:
        return  # a cache that cannot be written is only a slower one
