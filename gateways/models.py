"""`ml-intern models`: what the present keys can use, how large its window is, what it costs."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..configs.models import choose_model, packaged_models
from ..configs.settings import load_settings
from ..errors import UserError
from ..llm import router_catalogue
from ..llm.catalogue import models_available
from ..llm.routes import LOCAL, resolve
from ..threads.model_settings import model_settings
from .streams import Writer
from .tables import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..configs.settings import Loaded
    from ..llm.catalogue import Model, Price
    from ..llm.model_settings import ModelSettings

_MILLION = 1_000_000


def list_models(environ: Mapping[str, str], *, refresh: bool, output: Literal["text", "json"]) -> None:
    """Print the models the present keys can use, then where local models are looked for.

    Args:
        environ: Environment of the process.
        refresh: Fetch the Hugging Face router's catalogue first, for five seconds at most.
        output: How to print.

    Raises:
        UserError: The settings are broken, or the catalogue was asked for and did not come.
    """
    loaded = load_settings(environ=environ, cwd=Path.cwd())
    settings = model_settings(loaded.settings, loaded.env)
    if refresh and not asyncio.run(router_catalogue.fetch(settings)):
        raise UserError("The Hugging Face router did not send its catalogue; check the network.")
    models = models_available(settings, packaged_models()["defaults"])
    chosen = _chosen(loaded)
    if output == "json":
        data = {
            "models": [_as_data(model, chosen) for model in models],
            "local": [{"prefix": f"{name}/", "base_url": url} for name, url in _local(settings)],
            "chosen": chosen,
        }
        Writer(sys.stdout).write(json.dumps(data, indent=2) + "\n")
        return
    _print(models, settings, chosen, environ)


def _chosen(loaded: Loaded) -> str | None:
    try:
        return choose_model(loaded.settings, loaded.env)
    except UserError:
        return None


def _print(
    models: list[Model], settings: ModelSettings, chosen: str | None, environ: Mapping[str, str]
) -> None:
    keys = ", ".join(packaged_models()["defaults"])
    print_table(
        ("model", "key", "window", "$/M in", "$/M out", ""),
        [
            (
                model.model_id,
                model.key_variable,
                f"{model.window:,}" if model.window else "?",
                _dollars(model.price, "input"),
                _dollars(model.price, "output"),
                "chosen" if model.model_id == chosen else None,
            )
            for model in models
        ],
        sys.stdout,
        env=environ,
        empty=f"No key is set, so no hosted model can be used: set one of {keys}.",
    )
    out = Writer(sys.stdout)
    out.write("\nLocal models need no key and cost nothing:\n")
    for name, url in _local(settings):
        out.write(f"  {name}/NAME  at {url}\n")
    if settings.env.get("HF_TOKEN") and not router_catalogue.known(settings):
        out.write("\n`ml-intern models --refresh` adds what the Hugging Face router serves right now.\n")


def _local(settings: ModelSettings) -> list[tuple[str, str]]:
    return [(name, resolve(f"{name}/NAME", settings).origin) for name in LOCAL]


def _dollars(price: Price | None, kind: Literal["input", "output"]) -> str:
    if price is None:
        return "?"
    amount = (price.input if kind == "input" else price.output) * _MILLION
    whole, _, cents = f"{amount:.4f}".rstrip("0").partition(".")
    return f"{whole}.{cents:0<2}"


def _as_data(model: Model, chosen: str | None) -> dict[str, Any]:
    return {
        "id": model.model_id,
        "key": model.key_variable,
        "window_tokens": model.window,
        "usd_per_million": _price(model.price),
        "default": model.default,
        "chosen": model.model_id == chosen,
    }


def _price(price: Price | None) -> dict[str, float] | None:
    if price is None:
        return None
    amounts = {
        "input": price.input,
        "output": price.output,
        "cache_read": price.cache_read,
        "cache_write": price.cache_write,
    }
    return {name: round(amount * _MILLION, 6) for name, amount in amounts.items()}
