"""Messages as each provider takes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ml_intern.llm.cache_markers import mark
from ml_intern.llm.model_settings import ModelSettings
from ml_intern.llm.outgoing import outgoing
from ml_intern.llm.routes import resolve

SETTINGS = ModelSettings(env={"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "DEEPSEEK_API_KEY": "k"})
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TEXT = {"type": "text", "text": "a picture"}
HISTORY: list[dict[str, Any]] = [
    {"role": "system", "content": "You are an intern."},
    {"role": "user", "content": [TEXT, IMAGE]},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "hm",
        "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "S"}],
        "tool_calls": [
            {"id": i, "type": "function", "function": {"name": "view", "arguments": "{}"}} for i in "ab"
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": [TEXT, IMAGE]},
    {"role": "tool", "tool_call_id": "b", "content": [TEXT]},
    {"role": "user", "content": "Well?"},
]


def sent(model: str, *, images: bool, thinking: bool = True) -> list[dict[str, Any]]:
    before = json.dumps(HISTORY)
    result = outgoing(HISTORY, resolve(model, SETTINGS), images=images, thinking=thinking)
    assert json.dumps(HISTORY) == before
    return result


def test_images_of_tool_results_follow_in_a_user_message() -> None:
    messages = sent("openai/x", images=True)
    assert [message["role"] for message in messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
        "user",
    ]
    assert "data:" not in json.dumps(messages[3])
    assert messages[5]["content"][1] == IMAGE
    assert "call a" in messages[5]["content"][0]["text"]
    assert messages[1]["content"] == [TEXT, IMAGE]


def test_anthropic_takes_images_where_they_are() -> None:
    messages = sent("anthropic/x", images=True)
    assert len(messages) == len(HISTORY)
    assert messages[3]["content"] == [TEXT, IMAGE]


@pytest.mark.parametrize("model", ["openai/x", "anthropic/x", "vllm/x"])
def test_a_model_without_eyes_gets_a_note(model: str) -> None:
    messages = sent(model, images=False)
    assert len(messages) == len(HISTORY)
    assert "data:" not in json.dumps(messages)
    assert json.dumps(messages).count("takes no images") == 2


def test_reasoning_goes_where_it_is_wanted() -> None:
    assert "reasoning_content" not in sent("openai/x", images=True)[2]
    assert "thinking_blocks" not in sent("vllm/x", images=False)[2]
    assert sent("anthropic/x", images=True)[2]["thinking_blocks"]
    assert sent("deepseek/x", images=False)[2]["reasoning_content"] == "hm"
    assert "thinking_blocks" not in sent("anthropic/x", images=True, thinking=False)[2]


def test_breakpoints_stand_at_the_tools_the_system_prompt_and_the_ends_of_the_last_two_requests() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "xy"]
    before = json.dumps([HISTORY, tools])
    messages, marked_tools = mark(HISTORY, tools)
    assert json.dumps([HISTORY, tools]) == before
    assert marked_tools is not None
    assert ["cache_control" in tool for tool in marked_tools] == [False, True]
    places = [place for place, message in enumerate(messages) if "cache_control" in json.dumps(message)]
    assert places == [0, 1, 5]
    unmarked = [message for message, old in zip(messages, HISTORY, strict=True) if message is old]
    assert len(unmarked) == 3


def test_an_empty_message_gets_no_breakpoint() -> None:
    messages, _ = mark([{"role": "user", "content": "hi"}, {"role": "user", "content": " "}], None)
    assert "cache_control" not in json.dumps(messages)
