"""litellm's bundled map of models, with or without litellm loaded."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILE = "model_prices_and_context_window_backup.json"


def entry(model_id: str) -> Mapping[str, Any]:
    """What the map says of a model; empty when it says nothing."""
    known = models()
    provider, _, name = model_id.partition("/")
    # OpenAI's and Anthropic's models stand there by their bare names; others' never count for these.
    names = (model_id, name) if provider in {"openai", "anthropic", "bedrock", "vertex_ai"} else (model_id,)
    for candidate in names:
        found = known.get(candidate)
        if isinstance(found, dict):
            return found
    return {}


def chat_models(providers: set[str]) -> Iterator[str]:
    """Ids of the chat models with tools of some litellm providers, sorted."""
    for name, data in sorted(models().items()):
        provider = data.get("litellm_provider") if isinstance(data, dict) else None
        if (
            provider not in providers
            or data.get("mode") != "chat"
            or not data.get("supports_function_calling")
        ):
            continue
        yield name if name.startswith(f"{provider}/") else f"{provider}/{name}"


def models() -> Mapping[str, Any]:
    """The whole map: litellm's own once it is loaded, since it may have been added to, else its file."""
    loaded = getattr(sys.modules.get("litellm"), "model_cost", None)
    return loaded if isinstance(loaded, dict) and loaded else _from_file()


@cache
def _from_file() -> Mapping[str, Any]:
    # Finding a module does not import it: 50 ms instead of seconds.
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    try:
        data = json.loads((Path(spec.origin).parent / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
