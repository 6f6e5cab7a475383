"""Windows and prices: which source wins, and what nobody knows stays unknown."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.llm import catalogue, router_catalogue
from ml_intern.llm.catalogue import FREE, Price
from ml_intern.llm.model_settings import ModelSettings
from ml_intern.llm.reply import Usage
from ml_intern.tests.bench.script import Script

if TYPE_CHECKING:
    from pathlib import Path

    from ml_intern.tests.conftest import AsyncServerFactory

OURS: dict[str, dict[str, Any]] = {
    "openai/gpt-x": {
        "context_window": 9000,
        "usd_per_million": {"input": 4.0, "output": 20.0, "cache_read": 0.5, "cache_write": 5.0},
    },
    "vllm/paid": {"usd_per_million": {"input": 1.0, "output": 2.0}},
    "vllm/sees": {"images": True},
}
SETTINGS = ModelSettings(env={}, models=OURS)
ROUTER_MODEL = {
    "id": "org/m",
    "architecture": {"input_modalities": ["text", "image"]},
    "providers": [
        {
            "provider": "dear",
            "status": "live",
            "context_length": 1000,
            "pricing": {"input": 3.0, "output": 9.0},
        },
        {
            "provider": "cheap",
            "status": "live",
            "context_length": 800,
            "pricing": {"input": 1.0, "output": 2.0},
        },
        {"provider": "free", "status": "live", "context_length": 900},
        {"provider": "dead", "status": "error", "context_length": 1, "pricing": {"input": 99, "output": 99}},
    ],
}


def test_the_settings_win() -> None:
    assert catalogue.window("openai/gpt-x", SETTINGS) == 9000
    assert catalogue.price("openai/gpt-x", SETTINGS) == Price(4e-6, 20e-6, 0.5e-6, 5e-6)
    assert catalogue.price("vllm/paid", SETTINGS) == Price(1e-6, 2e-6, 1e-6, 1e-6)
    assert catalogue.takes_images("vllm/sees", SETTINGS)


@pytest.mark.parametrize(
    "model_id", ["org/m", "huggingface/org/m", "org/m:novita", "huggingface/org/m:novita"]
)
def test_a_router_model_is_found_under_all_its_names(model_id: str) -> None:
    settings = ModelSettings(models={"huggingface/org/m": {"context_window": 7}})
    assert catalogue.window(model_id, settings) == 7


@pytest.mark.parametrize("model_id", ["ollama/m", "vllm/m", "lm_studio/m", "llamacpp/m"])
def test_a_local_model_is_free_and_its_window_unknown(model_id: str) -> None:
    assert catalogue.price(model_id, SETTINGS) == FREE
    assert catalogue.window(model_id, SETTINGS) is None
    assert not catalogue.takes_images(model_id, SETTINGS)


def test_a_base_url_on_loopback_is_free() -> None:
    here = ModelSettings(env={"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})
    assert catalogue.price("openai/gpt-4.1", here) == FREE
    assert catalogue.price("openai/gpt-4.1", ModelSettings()) != FREE


def test_the_bundled_map_knows_the_usual_models() -> None:
    price = catalogue.price("openai/gpt-4.1", ModelSettings())
    assert price is not None
    assert 0 < price.cache_read < price.input < price.output < 1e-3
    assert (catalogue.window("openai/gpt-4.1", ModelSettings()) or 0) > 1_000_000
    assert catalogue.takes_images("openai/gpt-4.1", ModelSettings())


@pytest.mark.parametrize("model_id", ["openai/never-heard-of", "huggingface/org/never", "no id at all"])
def test_unknown_is_not_zero(model_id: str) -> None:
    assert catalogue.price(model_id, ModelSettings()) is None
    assert catalogue.window(model_id, ModelSettings()) is None
    assert catalogue.cost(Usage(1, 1, 2), None) is None


def test_a_router_model_never_takes_the_price_of_its_namesake() -> None:
    assert catalogue.price("huggingface/openai/gpt-4.1", ModelSettings()) is None


def test_cost_counts_cached_tokens_at_their_own_prices() -> None:
    usage = Usage(1000, 10, 1010, cache_read_tokens=600, cache_creation_tokens=300)
    price = Price(4e-6, 20e-6, 0.4e-6, 5e-6)
    assert catalogue.cost(usage, price) == pytest.approx((100 * 4 + 600 * 0.4 + 300 * 5 + 10 * 20) / 1e6)


def test_a_long_prompt_costs_what_long_prompts_cost() -> None:
    price = Price(1e-6, 2e-6, 0, 0, above_tokens=200_000, above=Price(3e-6, 4e-6, 0, 0))
    assert catalogue.cost(Usage(200_000, 1, 200_001), price) == pytest.approx(0.2 + 2e-6)
    assert catalogue.cost(Usage(200_001, 1, 200_002), price) == pytest.approx(200_001 * 3e-6 + 4e-6)


def test_usage_nobody_reported_costs_nothing_known() -> None:
    assert catalogue.cost(None, Price(1e-6, 1e-6, 0, 0)) is None
    assert catalogue.cost(None, FREE) == 0.0


async def test_the_router_says_what_its_models_cost(model_server: AsyncServerFactory, tmp_path: Path) -> None:
    server = await model_server(Script(models=[ROUTER_MODEL]))
    # A port on loopback would be free: look at the offers as they are.
    settings = ModelSettings(env={"HF_ROUTER_URL": server.base_url}, cache_dir=tmp_path)
    assert router_catalogue.offers("org/m", settings) == []
    assert await router_catalogue.fetch(settings)
    offers = {offer.provider: offer for offer in router_catalogue.offers("org/m", settings)}
    assert set(offers) == {"dear", "cheap", "free"}
    assert (offers["dear"].input_usd, offers["dear"].output_usd) == (3.0, 9.0)
    assert [offer.provider for offer in router_catalogue.offers("org/m:cheap", settings)] == ["cheap"]
    assert [offer.provider for offer in router_catalogue.offers("org/m:cheapest", settings)] == ["cheap"]
    assert catalogue.window("huggingface/org/m", settings) == 800
    assert catalogue.window("org/m:dear", settings) == 1000
    assert catalogue.takes_images("huggingface/org/m", settings)
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_an_earlier_run_kept_is_used_and_the_dearest_offer_counts(tmp_path: Path) -> None:
    base = "http://router.invalid/v1"
    (tmp_path / "router-models.json").write_text(json.dumps({base: {"org/m": ROUTER_MODEL}}))
    settings = ModelSettings(env={"HF_ROUTER_URL": base}, cache_dir=tmp_path)
    assert catalogue.price("huggingface/org/m", settings) == Price(3e-6, 9e-6, 3e-6, 3e-6)
    assert catalogue.price("huggingface/org/m:cheap", settings) == Price(1e-6, 2e-6, 1e-6, 1e-6)
    assert catalogue.price("huggingface/org/m:free", settings) is None


async def test_a_router_that_is_not_there_is_only_unknown() -> None:
    settings = ModelSettings(env={"HF_ROUTER_URL": "http://127.0.0.1:1"})
    assert not await router_catalogue.fetch(settings)
    assert router_catalogue.offers("org/m", settings) == []


def test_only_models_with_a_key_are_listed() -> None:
    defaults = {"OPENAI_API_KEY": "openai/gpt-x", "HF_TOKEN": "huggingface/org/m"}
    settings = ModelSettings(env={"OPENAI_API_KEY": "k"}, models=OURS)
    listed = catalogue.models_available(settings, defaults)
    ids = [model.model_id for model in listed]
    assert ids[0] == "openai/gpt-x"
    assert listed[0].default
    assert listed[0].window == 9000
    assert "vllm/paid" in ids
    assert "openai/gpt-4.1" in ids
    assert not any(name.startswith(("anthropic/", "huggingface/")) for name in ids)
    assert len(ids) == len(set(ids))


def test_listing_models_does_not_load_litellm() -> None:
    code = (
        "import sys\n"
        "from ml_intern.llm import catalogue\n"
        "from ml_intern.llm.model_settings import ModelSettings\n"
        "models = catalogue.models_available(ModelSettings(env={'ANTHROPIC_API_KEY': 'k'}), {})\n"
        "assert any(model.price for model in models), models\n"
        "print([name for name in ('litellm', 'httpx', 'openai', 'pydantic') if name in sys.modules])\n"
    )
    result: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
