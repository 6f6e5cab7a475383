"""`ml-intern models`: only what the keys can use, with what is known of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.errors import UserError
from ml_intern.gateways.models import list_models

if TYPE_CHECKING:
    from pathlib import Path

    from ml_intern.tests.conftest import ServerFactory


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def listed(capsys: pytest.CaptureFixture[str], *, refresh: bool = False) -> Any:
    list_models(os.environ, refresh=refresh, output="json")
    return json.loads(capsys.readouterr().out)


def test_without_keys_only_local_models_are_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:7777")
    data = listed(capsys)
    assert (data["models"], data["chosen"]) == ([], None)
    assert {"prefix": "vllm/", "base_url": "http://127.0.0.1:7777/v1"} in data["local"]
    list_models(os.environ, refresh=False, output="text")
    out = capsys.readouterr().out
    assert "ANTHROPIC_API_KEY, OPENAI_API_KEY, HF_TOKEN" in out
    assert "vllm/NAME  at http://127.0.0.1:7777/v1" in out


def test_a_key_offers_its_models_with_window_and_price(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    data = listed(capsys)
    assert {model["key"] for model in data["models"]} == {"ANTHROPIC_API_KEY"}
    first = data["models"][0]
    assert first["id"] == data["chosen"]
    assert (first["default"], first["chosen"]) == (True, True)
    assert first["window_tokens"] > 100_000
    assert 0 < first["usd_per_million"]["input"] < first["usd_per_million"]["output"]
    assert all(model["id"].startswith("anthropic/") for model in data["models"])
    list_models(os.environ, refresh=False, output="text")
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "chosen"


def test_an_unknown_price_is_not_shown_as_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "k")
    monkeypatch.setenv("HF_ROUTER_URL", "https://router.test/unknown-price")
    data = listed(capsys)
    assert data["models"][0]["usd_per_million"] is None
    list_models(os.environ, refresh=False, output="text")
    out = capsys.readouterr().out
    assert out.splitlines()[1].count(" ?") == 2
    assert "--refresh" in out


def test_the_routers_catalogue_is_fetched_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], start_model_server: ServerFactory
) -> None:
    offer = {
        "provider": "p",
        "status": "live",
        "context_length": 5000,
        "pricing": {"input": 0.25, "output": 1},
    }
    server = start_model_server({"models": [{"id": "org/new", "providers": [offer]}]})
    monkeypatch.setenv("HF_TOKEN", "k")
    monkeypatch.setenv("HF_ROUTER_URL", server.base_url)
    assert "huggingface/org/new" not in [model["id"] for model in listed(capsys)["models"]]
    models = {model["id"]: model for model in listed(capsys, refresh=True)["models"]}
    found = models["huggingface/org/new"]
    assert found["window_tokens"] == 5000
    assert found["usd_per_million"] == dict.fromkeys(found["usd_per_million"], 0.0), "loopback costs nothing"
    list_models(os.environ, refresh=False, output="text")
    assert "5,000" in capsys.readouterr().out

    server.stop()
    with pytest.raises(UserError, match="router"):
        listed(capsys, refresh=True)
