"""A provider registered with litellm is reached by its prefix, without HTTP and without a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.errors import ModelError
from ml_intern.llm.client import ModelClient
from ml_intern.llm.loading import load_litellm
from ml_intern.llm.model_settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ml_intern.llm.reply import Reply


@pytest.fixture
async def scripted() -> AsyncIterator[list[dict[str, Any]]]:
    """Chunks that `scripted/…` will give, registered for one test."""
    litellm: Any = await load_litellm()
    chunks: list[dict[str, Any]] = []

    class Scripted(litellm.CustomLLM):  # type: ignore[misc]
        async def astreaming(self, *_: Any, **__: Any) -> AsyncIterator[dict[str, Any]]:
            for chunk in chunks:
                yield chunk

        async def acompletion(self, *_: Any, **more: Any) -> Any:
            response = more["model_response"]
            response.choices[0].message.content = "".join(chunk["text"] for chunk in chunks)
            return response

    before = list(litellm.custom_provider_map)
    litellm.custom_provider_map = [*before, {"provider": "scripted", "custom_handler": Scripted()}]
    yield chunks
    litellm.custom_provider_map = before


def chunk(text: str, *, finish: str = "", tool: Any = None) -> dict[str, Any]:
    return {"text": text, "is_finished": bool(finish), "finish_reason": finish, "index": 0, "tool_use": tool,
            "usage": None}  # fmt: skip


async def ask(*, stream: bool = True) -> tuple[Reply, str]:
    shown: list[str] = []
    client = ModelClient("scripted/demo", ModelSettings(tries=1))
    reply = await client.complete(
        [{"role": "user", "content": "Hello"}],
        None,
        stream=stream,
        on_text=shown.append,
        on_discard=shown.append,
        on_notice=shown.append,
    )
    return reply, "".join(shown)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_text_comes_through(scripted: list[dict[str, Any]], stream: bool) -> None:
    scripted += [chunk("Hello "), chunk("there."), chunk("", finish="stop")]
    reply, shown = await ask(stream=stream)
    assert reply.message["content"] == "Hello there."
    assert shown == ("Hello there." if stream else "")
    assert reply.cost_usd == 0.0


async def test_tool_calls_come_through(scripted: list[dict[str, Any]]) -> None:
    tool = {
        "id": "c1",
        "type": "function",
        "index": 0,
        "function": {"name": "read", "arguments": '{"path": "a"}'},
    }
    scripted += [chunk("", tool=tool), chunk("", finish="tool_calls")]
    reply, _ = await ask()
    assert reply.message["tool_calls"] == [{key: value for key, value in tool.items() if key != "index"}]
    assert reply.finish_reason == "tool_calls"


async def test_a_stream_through_litellm_that_just_ends_is_broken_too(scripted: list[dict[str, Any]]) -> None:
    scripted += [chunk("Half of ")]
    with pytest.raises(ModelError, match="ended in the middle"):
        await ask()
