"""Where each model id leads, and with which key."""

from __future__ import annotations

import pytest

from ml_intern.errors import UserError
from ml_intern.llm.model_settings import ModelSettings
from ml_intern.llm.routes import NO_KEY, is_local, is_loopback, resolve

KEYS = {
    "OPENAI_API_KEY": "of-openai",
    "ANTHROPIC_API_KEY": "of-anthropic",
    "HF_TOKEN": "of-hf",
    "GROQ_API_KEY": "of-groq",
}


@pytest.mark.parametrize(
    ("model_id", "extra", "litellm_model", "base", "key"),
    [
        ("openai/gpt-x", {}, "openai/gpt-x", "https://api.openai.com/v1", "of-openai"),
        ("openai/gpt-x", {"OPENAI_BASE_URL": "http://h/v1/"}, "openai/gpt-x", "http://h/v1", "of-openai"),
        ("openai/gpt-x", {"OPENAI_API_BASE": "http://h/v2"}, "openai/gpt-x", "http://h/v2", "of-openai"),
        ("anthropic/c", {}, "anthropic/c", "https://api.anthropic.com", "of-anthropic"),
        ("anthropic/c", {"ANTHROPIC_BASE_URL": "http://h/v1"}, "anthropic/c", "http://h", "of-anthropic"),
        ("huggingface/o/m:p", {}, "openai/o/m:p", "https://router.huggingface.co/v1", "of-hf"),
        ("o/m", {}, "openai/o/m", "https://router.huggingface.co/v1", "of-hf"),
        ("o/m", {"HF_ROUTER_URL": "http://127.0.0.1:1"}, "openai/o/m", "http://127.0.0.1:1/v1", "of-hf"),
        ("groq/m", {}, "groq/m", None, "of-groq"),
        ("ollama/m:7b", {}, "openai/m:7b", "http://localhost:11434/v1", NO_KEY),
        ("vllm/o/m", {}, "openai/o/m", "http://localhost:8000/v1", NO_KEY),
        ("lm_studio/m", {}, "openai/m", "http://127.0.0.1:1234/v1", NO_KEY),
        ("llamacpp/m", {}, "openai/m", "http://localhost:8080/v1", NO_KEY),
        (
            "vllm/m",
            {"LOCAL_LLM_BASE_URL": "http://h:1", "LOCAL_LLM_API_KEY": "l"},
            "openai/m",
            "http://h:1/v1",
            "l",
        ),
        (
            "vllm/m",
            {"LOCAL_LLM_BASE_URL": "http://h:1", "VLLM_BASE_URL": "http://g:2/v1/", "VLLM_API_KEY": "v"},
            "openai/m",
            "http://g:2/v1",
            "v",
        ),
    ],
)
def test_a_model_id_leads_to_its_endpoint(
    model_id: str, extra: dict[str, str], litellm_model: str, base: str | None, key: str
) -> None:
    route = resolve(model_id, ModelSettings(env={**KEYS, **extra}))
    assert (route.litellm_model, route.api_base, route.api_key) == (litellm_model, base, key)


@pytest.mark.parametrize(
    ("model_id", "variable"),
    [
        ("openai/gpt-x", "OPENAI_API_KEY"),
        ("anthropic/c", "ANTHROPIC_API_KEY"),
        ("huggingface/o/m", "HF_TOKEN"),
        ("o/m", "HF_TOKEN"),
        ("groq/m", "GROQ_API_KEY"),
    ],
)
def test_a_missing_key_is_named(model_id: str, variable: str) -> None:
    with pytest.raises(UserError, match=variable):
        resolve(model_id, ModelSettings(env={"OTHER_API_KEY": "x", variable: "  "}))


@pytest.mark.parametrize(
    "model_id", ["", "gpt-x", "/x", "openai/", "vllm/", "vllm/a b", "huggingface/m", "openai//x"]
)
def test_what_is_no_model_id_is_refused(model_id: str) -> None:
    with pytest.raises(UserError, match=r"huggingface/ORG/NAME"):
        resolve(model_id, ModelSettings(env=KEYS))


def test_an_emulator_on_this_machine_needs_no_key() -> None:
    route = resolve("openai/x", ModelSettings(env={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}))
    assert route.local
    assert route.api_key == NO_KEY


def test_the_process_environment_is_never_asked_for_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-someone-else")
    with pytest.raises(UserError):
        resolve("openai/x", ModelSettings(env={}))


def test_local_means_by_prefix_or_loopback() -> None:
    assert is_local("ollama/m")
    assert not is_local("o/m")
    assert is_loopback("http://[::1]:1/v1")
    assert is_loopback("http://127.8.0.1")
    assert not is_loopback("http://127.0.0.1.evil.example")
    assert not is_loopback(None)
