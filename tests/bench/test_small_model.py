from __future__ import annotations

import json

import httpx
import pytest

from ml_intern.tests.bench.openai_wire import OpenAIWire
from ml_intern.tests.bench.script import Script
from ml_intern.tests.bench.wire import Refusal

USER = {"role": "user", "content": "Name a colour."}


def test_a_real_model_streams_an_answer_with_usage(real_model_server: str) -> None:
    body = {
        "model": "smollm2",
        "messages": [USER],
        "max_tokens": 8,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = httpx.post(f"{real_model_server}/chat/completions", json=body, timeout=60)
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text.strip()
    assert chunks[-1]["usage"]["completion_tokens"] in range(1, 9)


def test_a_real_model_is_listed_under_its_short_name(real_model_server: str) -> None:
    models = httpx.get(f"{real_model_server}/models", timeout=30).json()["data"]
    assert [model["id"] for model in models] == ["smollm2"]


def test_a_real_server_refuses_a_long_request_in_the_words_that_scripts_play(real_model_server: str) -> None:
    messages = [{"role": "user", "content": "word " * 9_000}]
    real = httpx.post(f"{real_model_server}/chat/completions", json={"messages": messages}, timeout=60)
    script = Script(context_tokens=8192, overflow_wording="llamacpp")
    with pytest.raises(Refusal) as refused:
        OpenAIWire().check({"model": "m", "messages": messages}, {}, script)
    told, played = real.json()["error"], refused.value.body["error"]
    assert told.keys() == played.keys()
    assert (real.status_code, told["type"], told["n_ctx"]) == (400, played["type"], played["n_ctx"])
    assert told["message"].partition(" tokens")[2] == played["message"].partition(" tokens")[2]
