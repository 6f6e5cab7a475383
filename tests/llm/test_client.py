"""Answers through the model client: real HTTP on loopback, with the real litellm between."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.llm.routes import PROVIDER_KEYS
from ml_intern.tests.bench.script import Script, Step, ToolCall
from ml_intern.tests.llm.calling import BOTH, EVERY, TOOLS, USER, Heard, caller

if TYPE_CHECKING:
    from ml_intern.llm.reply import Reply
    from ml_intern.tests.conftest import AsyncServerFactory


def arguments(reply: Reply) -> list[Any]:
    return [json.loads(call["function"]["arguments"]) for call in reply.message["tool_calls"]]


@EVERY
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_answer_comes_back_with_its_usage(
    model_server: AsyncServerFactory, model: str, stream: bool
) -> None:
    server = await model_server(Step(text="Hello from the model, at some length."))
    call = caller(server, model)
    reply = await call(tools=TOOLS, stream=stream)
    assert reply.message == {"role": "assistant", "content": "Hello from the model, at some length."}
    assert reply.finish_reason == "stop"
    assert "".join(call.heard.text) == (reply.message["content"] if stream else "")
    assert reply.usage is not None
    assert reply.usage.prompt_tokens >= server.requests[0].prompt_tokens > 0
    assert reply.usage.completion_tokens > 0
    assert reply.cost_usd == 0.0
    assert server.requests[0].stream is stream


@EVERY
async def test_the_key_of_a_provider_goes_to_that_provider_only(
    model_server: AsyncServerFactory, model: str
) -> None:
    server = await model_server(Step(text="ok"))
    await caller(server, model)()
    sent = str(server.requests[0].headers)
    expected = {
        "openai": "secret-of-openai",
        "anthropic": "secret-of-anthropic",
        "huggingface": "secretofhugg",
    }
    for provider, secret in expected.items():
        assert (secret in sent) is model.startswith(provider)


@BOTH
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_parallel_tool_calls_keep_their_arguments_apart(
    model_server: AsyncServerFactory, model: str, stream: bool
) -> None:
    calls = (
        ToolCall("read", {"path": "a" * 60}),
        ToolCall("write", {"path": "b" * 60}),
        ToolCall("read", {}),
    )
    server = await model_server(Step(text="Two files.", tool_calls=calls))
    reply = await caller(server, model)(tools=TOOLS, stream=stream)
    assert arguments(reply) == [{"path": "a" * 60}, {"path": "b" * 60}, {}]
    assert [call["function"]["name"] for call in reply.message["tool_calls"]] == ["read", "write", "read"]
    assert reply.finish_reason == "tool_calls"
    assert reply.message["content"] == "Two files."


@pytest.mark.parametrize("odd", [{"index_zero": True}, {"no_index": True}, {"same_chunk": True}], ids=str)
async def test_calls_are_told_apart_whatever_their_index_says(
    model_server: AsyncServerFactory, odd: Any
) -> None:
    calls = (ToolCall("read", {"path": "a" * 60}), ToolCall("write", {"path": "b" * 60}))
    server = await model_server(Step(tool_calls=calls, **odd))
    reply = await caller(server, "vllm/m")(tools=TOOLS)
    assert arguments(reply) == [{"path": "a" * 60}, {"path": "b" * 60}]
    assert len({call["id"] for call in reply.message["tool_calls"]}) == 2


@BOTH
async def test_empty_arguments_are_an_empty_object(model_server: AsyncServerFactory, model: str) -> None:
    server = await model_server(Step(tool_calls=(ToolCall("read", {}),), empty_arguments=True))
    reply = await caller(server, model)(tools=TOOLS)
    assert reply.message["tool_calls"][0]["function"]["arguments"] == "{}"
    assert reply.malformed == {}


@BOTH
async def test_broken_arguments_are_kept_beside_the_message(
    model_server: AsyncServerFactory, model: str
) -> None:
    broken = '{"path": "a.txt'
    server = await model_server(Step(tool_calls=(ToolCall("read", broken), ToolCall("read", {"path": "b"}))))
    reply = await caller(server, model)(tools=TOOLS)
    first, second = reply.message["tool_calls"]
    assert first["function"]["arguments"] == "{}"
    assert reply.malformed == {first["id"]: broken}
    assert json.loads(second["function"]["arguments"]) == {"path": "b"}


@BOTH
async def test_repeated_call_ids_are_replaced(model_server: AsyncServerFactory, model: str) -> None:
    calls = (ToolCall("read", {"path": "a"}, id="same"), ToolCall("read", {"path": "b"}, id="same"))
    server = await model_server(Step(tool_calls=calls))
    reply = await caller(server, model)(tools=TOOLS, stream=False)
    ids = [call["id"] for call in reply.message["tool_calls"]]
    assert ids[0] == "same"
    assert ids[1] not in {"", "same"}


@BOTH
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_cut_answer_says_length(model_server: AsyncServerFactory, model: str, stream: bool) -> None:
    server = await model_server(Step(text="And then", finish_reason="length"))
    reply = await caller(server, model)(stream=stream)
    assert reply.finish_reason == "length"


@BOTH
async def test_text_that_looks_like_the_protocol_arrives_whole(
    model_server: AsyncServerFactory, model: str
) -> None:
    text = "data: [DONE]\n\nline\u2028separator and \x85 and 🤗 [DONE]" + " the" * 300
    server = await model_server(Step(text=text, chunk_chars=4))
    call = caller(server, model)
    reply = await call()
    assert reply.message["content"] == text
    assert call.heard.discarded == []


@pytest.mark.parametrize("provider", ["deepseek", "groq", "mistral", "openrouter", "together_ai", "xai"])
async def test_other_providers_go_the_same_way(model_server: AsyncServerFactory, provider: str) -> None:
    answer = Step(text="[DONE] at last", tool_calls=(ToolCall("read", {"path": "a"}),), chunk_chars=0)
    server = await model_server([Step(status=429, headers={"Retry-After": "0"}), answer])
    variable = PROVIDER_KEYS[provider][0]
    env = {variable: "key-of-its-own", f"{provider.upper()}_API_BASE": server.base_url}
    call = caller(server, f"{provider}/m", env=env)
    reply = await call(tools=TOOLS)
    assert reply.message["content"] == "[DONE] at last"
    assert arguments(reply) == [{"path": "a"}]
    assert "key-of-its-own" in str(server.requests[0].headers)


async def test_reasoning_is_kept_and_goes_back_to_anthropic_only(model_server: AsyncServerFactory) -> None:
    step = Step(reasoning="Let me see.", tool_calls=(ToolCall("read", {"path": "a"}),))
    server = await model_server([step, Step(text="done"), Step(text="done")])
    first = await caller(server, "anthropic/claude-x")(tools=TOOLS)
    assert first.message["reasoning_content"] == "Let me see."
    (block,) = first.message["thinking_blocks"]
    assert block["thinking"] == "Let me see."
    assert block["signature"]
    call_id = first.message["tool_calls"][0]["id"]
    history = [USER, first.message, {"role": "tool", "tool_call_id": call_id, "content": "text"}]
    before = json.dumps(history)
    await caller(server, "anthropic/claude-x")(history, TOOLS)
    await caller(server, "openai/gpt-x")(history, TOOLS)
    anthropic, openai = server.requests[1:]
    assert anthropic.body is not None
    assert anthropic.body["messages"][1]["content"][0] == block
    assert openai.body is not None
    assert "Let me see." not in json.dumps(openai.body)
    assert json.dumps(history) == before


@EVERY
async def test_history_and_tools_are_left_as_they_were(model_server: AsyncServerFactory, model: str) -> None:
    server = await model_server(Step(text="ok"))
    history = [
        {"role": "system", "content": "You are an intern."},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path": "a"}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "text"}]},
    ]  # fmt: skip
    before = json.dumps([history, TOOLS])
    await caller(server, model)(history, TOOLS)
    assert json.dumps([history, TOOLS]) == before
    sent = json.dumps(server.requests[0].body)
    assert '"strict": {"type": "boolean"}' in sent


async def test_connections_are_used_again(model_server: AsyncServerFactory) -> None:
    server = await model_server(Script(steps=["ok"], after_end="last"))
    client = caller(server, "vllm/m").client
    heard = Heard()
    for _ in range(3):
        await client.complete(
            [USER],
            None,
            stream=True,
            on_text=heard.text.append,
            on_discard=heard.discarded.append,
            on_notice=heard.notices.append,
        )
    http = client._connection.http()
    pool = http._transport._pool  # type: ignore[attr-defined]
    assert len(pool.connections) == 1
    await client.close()


async def test_a_mistake_of_the_listener_is_not_blamed_on_the_provider(
    model_server: AsyncServerFactory,
) -> None:
    server = await model_server(Step(text="ok"))
    client = caller(server, "vllm/m").client

    def broken(text: str) -> None:
        raise KeyError(text)

    heard = Heard()
    with pytest.raises(KeyError):
        await client.complete(
            [USER], None, stream=True, on_text=broken, on_discard=heard.discarded.append, on_notice=print
        )
    assert len(server.requests) == 1
    await client.close()
