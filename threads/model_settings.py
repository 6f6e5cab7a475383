"""The part of the settings that model calls need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..configs.home import ml_intern_home
from ..configs.models import packaged_models
from ..llm.model_settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..configs.schema import Settings


def model_settings(settings: Settings, env: Mapping[str, str], thread_id: str | None = None) -> ModelSettings:
    """Settings of model calls: keys, models, effort, tries, where the router's catalogue is kept."""
    models: dict[str, dict[str, Any]] = {}
    for name, tokens in settings.context_windows.items():
        models.setdefault(name, {})["context_window"] = tokens
    for name, price in settings.price_overrides.items():
        models.setdefault(name, {})["usd_per_million"] = price.model_dump(exclude_none=True)
    return ModelSettings(
        env=env,
        models=models,
        packaged=packaged_models()["models"],
        reasoning_effort=settings.reasoning_effort,
        session_id=thread_id,
        tries=settings.retries + 1,
        cache_dir=ml_intern_home(env),
    )
