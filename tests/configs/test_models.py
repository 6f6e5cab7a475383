from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from ml_intern.configs.models import LOCAL_PREFIXES, choose_model, packaged_models
from ml_intern.configs.schema import PriceOverride, Settings
from ml_intern.errors import UserError

KEYS = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "HF_TOKEN": "h"}


def test_the_setting_wins_over_every_key() -> None:
    assert choose_model(Settings(model_name="vllm/x"), KEYS) == "vllm/x"


@pytest.mark.parametrize(
    ("left_out", "prefix"),
    [
        ((), "anthropic/"),
        (("ANTHROPIC_API_KEY",), "openai/"),
        (("ANTHROPIC_API_KEY", "OPENAI_API_KEY"), "huggingface/"),
    ],
)
def test_else_the_first_key_that_is_set_chooses(left_out: tuple[str, ...], prefix: str) -> None:
    env = {**KEYS, **dict.fromkeys(left_out, " ")}
    assert choose_model(Settings(), env).startswith(prefix)


def test_without_model_and_key_the_three_variables_and_the_local_prefixes_are_listed() -> None:
    with pytest.raises(UserError) as error:
        choose_model(Settings(), {})
    for name in (*KEYS, *LOCAL_PREFIXES):
        assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_packaged_figures_agree_with_litellms_map() -> None:
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "model_prices_and_context_window_backup.json"
    catalogue = json.loads(path.read_text())
    compared = 0
    for model, data in packaged_models()["models"].items():
        entry = catalogue.get(model.partition("/")[2])
        if entry is None:
            continue
        compared += 1
        assert data["context_window"] == entry["max_input_tokens"], model
        if "usd_per_million" in data:
            price = PriceOverride.model_validate(data["usd_per_million"])
            assert price.input == pytest.approx(entry["input_cost_per_token"] * 1e6)
            assert price.output == pytest.approx(entry["output_cost_per_token"] * 1e6)
            assert price.cache_read == pytest.approx(entry["cache_read_input_token_cost"] * 1e6)
            assert price.cache_write == pytest.approx(entry["cache_creation_input_token_cost"] * 1e6)
            assert not any("above" in key and "tokens" in key for key in entry), f"{model} has tiers"
    assert compared >= 4


def test_every_default_model_has_a_known_window() -> None:
    data = packaged_models()
    assert list(data["defaults"]) == list(KEYS)
    for model in data["defaults"].values():
        assert data["models"][model]["context_window"] > 100_000
