"""Which model runs when nobody names one, and what is known about models without asking anyone."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .schema import Settings

LOCAL_PREFIXES = ("ollama/", "vllm/", "lm_studio/", "llamacpp/")
"""Models of the person's own machine or network; they need no key and cost nothing."""


class ModelData(TypedDict):
    """The content of `models.json`."""

    defaults: dict[str, str]
    """Variable that holds a key -> the model it pays for, in order of preference."""
    models: dict[str, dict[str, Any]]
    """Model id -> `context_window` (tokens), `usd_per_million` (input, output, cache_read, cache_write)."""


@functools.cache
def packaged_models() -> ModelData:
    """The packaged model data."""
    data: ModelData = json.loads((Path(__file__).parent / "models.json").read_text(encoding="utf-8"))
    return data


def choose_model(settings: Settings, env: Mapping[str, str]) -> str:
    """The model id to use: the setting, else the one of the first key that is set.

    Raises:
        UserError: neither.
    """
    if settings.model_name:
        return settings.model_name
    defaults = packaged_models()["defaults"]
    for variable, model in defaults.items():
        if env.get(variable, "").strip():
            return model
    raise UserError(
        f"No model: set {', '.join(list(defaults)[:-1])} or {list(defaults)[-1]}, "
        f"or name a local model with -m ({', '.join(prefix + 'NAME' for prefix in LOCAL_PREFIXES)})."
    )
