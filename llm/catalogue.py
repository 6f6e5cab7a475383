"""Context windows, prices and abilities of models, from the nearest source that knows.

In this order: the settings; zero for models on this machine; what ships with the program; the Hugging
Face router's catalogue, when it was fetched before; litellm's bundled map; else None, which is unknown
and not zero.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from . import model_map, router_catalogue
from .routes import LOCAL, OWN_CREDENTIALS, PROVIDER_KEYS, base_url, is_loopback, resolve, split_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .model_settings import ModelSettings
    from .reply import Usage

_MILLION = 1_000_000
_TIER = re.compile(r"(input|output)_cost_per_token_above_(\d+)k_tokens")


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    above_tokens: int | None = None
    """Requests with a longer prompt cost `above`."""
    above: Price | None = None


FREE = Price(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Model:
    """One model as `ml-intern models` lists it."""

    model_id: str
    key_variable: str | None
    window: int | None
    price: Price | None
    default: bool


def window(model_id: str, settings: ModelSettings) -> int | None:
    """Context window in tokens, None when nothing says."""
    for table in (settings.models, settings.packaged):
        own = _own(model_id, table).get("context_window")
        if isinstance(own, int) and own > 0:
            return own
    offers = _offers(model_id, settings)
    if known := [offer.window for offer in offers if offer.window]:
        return min(known)  # the router may choose any of them
    if model_id.partition("/")[0] in LOCAL:
        return None  # a local server's own setting decides, whatever the model could take
    entry = model_map.entry(model_id)
    for key in ("max_input_tokens", "max_tokens"):
        if isinstance(value := entry.get(key), int) and value > 0:
            return value
    return None


def price(model_id: str, settings: ModelSettings) -> Price | None:
    """What the model costs, None when nothing says."""
    own = _own(model_id, settings.models).get("usd_per_million")
    if own:
        return _price_of_settings(own)
    if _is_free(model_id, settings):
        return FREE
    if shipped := _own(model_id, settings.packaged).get("usd_per_million"):
        return _price_of_settings(shipped)
    offers = [offer for offer in _offers(model_id, settings) if offer.input_usd is not None]
    if offers:
        # The router chooses among them, so the dearest is what a cap has to reckon with.
        dearest = max(offers, key=lambda offer: (offer.output_usd or 0.0, offer.input_usd or 0.0))
        return _per_token(dearest.input_usd or 0.0, dearest.output_usd or 0.0)
    return _price_of_map(model_map.entry(model_id))


def takes_images(model_id: str, settings: ModelSettings) -> bool:
    """Whether the model takes images; False when nothing says so."""
    for table in (settings.models, settings.packaged):
        if isinstance(own := _own(model_id, table).get("images"), bool):
            return own
    provider = model_id.partition("/")[0]
    if provider in LOCAL:
        return False
    if any(offer.images for offer in _offers(model_id, settings)):
        return True
    entry = model_map.entry(model_id)
    if "supports_vision" in entry:
        return bool(entry["supports_vision"])
    return provider == "anthropic"  # every model they sell does


def cost(usage: Usage | None, price: Price | None) -> float | None:
    """USD of one call, None when the usage or the price is unknown."""
    if price is None:
        return None
    if usage is None:
        return 0.0 if price == FREE else None
    if price.above is not None and price.above_tokens and usage.prompt_tokens > price.above_tokens:
        price = price.above
    cached = usage.cache_read_tokens + usage.cache_creation_tokens
    return (
        max(0, usage.prompt_tokens - cached) * price.input
        + usage.cache_read_tokens * price.cache_read
        + usage.cache_creation_tokens * price.cache_write
        + usage.completion_tokens * price.output
    )


def models_available(settings: ModelSettings, defaults: Mapping[str, str]) -> list[Model]:
    """Models the present keys can use, those of the settings first; litellm is not imported.

    Args:
        settings: Keys (`env`) and models of the settings.
        defaults: Key variable -> the model it picks when none is named.
    """
    chosen = set(defaults.values())
    listed: dict[str, Model] = {}
    for model_id in (*defaults.values(), *settings.models, *_catalogued(settings)):
        if model_id in listed:
            continue
        try:
            route = resolve(model_id, settings)
        except UserError:
            continue
        listed[model_id] = Model(
            model_id,
            route.key_variable,
            window(model_id, settings),
            price(model_id, settings),
            model_id in chosen,
        )
    return list(listed.values())


def _own(model_id: str, table: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """What a table says of a model; a router model is found with or without prefix and suffix."""
    if model_id in table:
        return table[model_id]
    try:
        provider, name = split_id(model_id)
    except UserError:
        return {}
    if provider != "huggingface":
        return {}
    bare = name.partition(":")[0]
    names = (f"huggingface/{name}", name, f"huggingface/{bare}", bare)
    return next((table[key] for key in names if key in table), {})


def _catalogued(settings: ModelSettings) -> Iterator[str]:
    for name in sorted(router_catalogue.known(settings)):
        yield f"huggingface/{name}"
    keyed = {
        provider
        for provider, names in PROVIDER_KEYS.items()
        if provider != "huggingface" and any(settings.env.get(name) for name in names)
    }
    yield from model_map.chat_models(keyed)


def _is_free(model_id: str, settings: ModelSettings) -> bool:
    try:
        provider, _ = split_id(model_id)
    except UserError:
        return False
    if provider in LOCAL or provider == "scripted":
        return True
    return provider not in OWN_CREDENTIALS and is_loopback(base_url(provider, settings.env))


def _offers(model_id: str, settings: ModelSettings) -> list[router_catalogue.Offer]:
    try:
        provider, name = split_id(model_id)
    except UserError:
        return []
    return router_catalogue.offers(name, settings) if provider == "huggingface" else []


def _price_of_settings(own: Mapping[str, Any]) -> Price:
    read, write = own.get("cache_read"), own.get("cache_write")
    return _per_token(
        float(own.get("input") or 0.0),
        float(own.get("output") or 0.0),
        None if read is None else float(read),
        None if write is None else float(write),
    )


def _per_token(
    input_usd: float, output_usd: float, read_usd: float | None = None, write_usd: float | None = None
) -> Price:
    """From USD per million; what is read from or written to a cache costs as much as input unless it says."""
    return Price(
        input=input_usd / _MILLION,
        output=output_usd / _MILLION,
        cache_read=(input_usd if read_usd is None else read_usd) / _MILLION,
        cache_write=(input_usd if write_usd is None else write_usd) / _MILLION,
    )


def _price_of_map(entry: Mapping[str, Any]) -> Price | None:
    base = _map_price(entry, "")
    if base is None:
        return None
    tiers = sorted({int(found.group(2)) for key in entry if (found := _TIER.fullmatch(key))})
    above = _map_price(entry, f"_above_{tiers[0]}k_tokens") if tiers else None
    if above is None:
        return base
    return Price(base.input, base.output, base.cache_read, base.cache_write, tiers[0] * 1000, above)


def _map_price(entry: Mapping[str, Any], suffix: str) -> Price | None:
    into, out = entry.get(f"input_cost_per_token{suffix}"), entry.get(f"output_cost_per_token{suffix}")
    if suffix and (into is None or out is None):
        into = entry.get("input_cost_per_token") if into is None else into
        out = entry.get("output_cost_per_token") if out is None else out
    if into is None or out is None:
        return None
    read = entry.get(f"cache_read_input_token_cost{suffix}")
    write = entry.get(f"cache_creation_input_token_cost{suffix}")
    return Price(
        float(into),
        float(out),
        float(into if read is None else read),
        float(into if write is None else write),
    )
