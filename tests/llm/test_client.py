"""The model client against real HTTP on loopback, with the real litellm between."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.errors import ContextOverflow, ModelError
from ml_intern.llm.client import ModelClient
from ml_intern.llm.model_settings import ModelSettings
from ml_intern.tests.bench.script import Script, Step, ToolCall

if TYPE_CHECKING:
    from ml_intern.llm.reply import Reply
    from ml_intern.tests.bench.model_server import ModelServer
    from ml_intern.tests.conftest import AsyncServerFactory

USER = {"role": "user", "content": "Hello"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Does {name}.",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "strict": {"type": "boolean"}},
                "required": ["path"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("read", "write")
]
BOTH = pytest.mark.parametrize("model", ["openai/gpt-x", "anthropic/claude-x"])
EVERY = pytest.mark.parametrize(
    "model", ["openai/gpt-x", "anthropic/claude-x", "huggingface/org/m", "vllm/m"]
)


@dataclass
class Heard:
    """What a call told its listeners."""

    text: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


@dataclass
class Caller:
    """A client of one server and what it said."""

    client: ModelClient
    heard: Heard

    async def __call__(
        self,
        messages: list[dict[str, Any]] | None = None,
        tools: list[dict[str, Any]] | None = None,
        *,
        stream: bool = True,
        **more: Any,
    ) -> Reply:
        try:
            return await self.client.complete(
                messages or [USER],
                tools,
                stream=stream,
                on_text=self.heard.text.append,
                on_discard=self.heard.discarded.append,
                on_notice=self.heard.notices.append,
                **more,
            )
        finally:
            await self.client.close()


def caller(server: ModelServer, model: str, **settings: Any) -> Caller:
    env = {
        "OPENAI_API_KEY": "sk-secret-of-openai",
        "ANTHROPIC_API_KEY": "sk-ant-secret-of-anthropic",
        "HF_TOKEN": "hf_secretofhuggingface",
        "OPENAI_BASE_URL": server.base_url,
        "ANTHROPIC_BASE_URL": server.root_url,
        "HF_ROUTER_URL": server.base_url,
        "VLLM_BASE_URL": server.root_url,
    }
    quick: dict[str, Any] = {"backoff_s": 0.01, "rate_limit_backoff_s": 0.01, "env": env}
    return Caller(ModelClient(model, ModelSettings(**{**quick, **settings})), Heard())


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


@pytest.mark.parametrize("odd", ["index_zero", "no_index", "same_chunk"])
async def test_calls_are_told_apart_whatever_their_index_says(
    model_server: AsyncServerFactory, odd: str
) -> None:
    calls = (ToolCall("read", {"path": "a" * 60}), ToolCall("write", {"path": "b" * 60}))
    server = await model_server(Step(tool_calls=calls, **{odd: True}))
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


@BOTH
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_passing_error_is_tried_again_and_announced(
    model_server: AsyncServerFactory, model: str, status: int
) -> None:
    server = await model_server([Step(status=status), Step(status=status), Step(text="At last.")])
    call = caller(server, model)
    reply = await call()
    assert reply.message["content"] == "At last."
    assert len(server.requests) == 3
    assert len(call.heard.notices) == 2
    assert "attempt 1 of 4" in call.heard.notices[0]


@BOTH
async def test_retry_after_is_obeyed_and_capped(model_server: AsyncServerFactory, model: str) -> None:
    refused = Step(status=429, headers={"Retry-After": "1000"})
    server = await model_server([refused, Step(text="ok")])
    call = caller(server, model, retry_after_cap_s=0.4)
    started = time.monotonic()
    await call()
    assert time.monotonic() - started >= 0.4
    assert "429" not in call.heard.notices[0]


@BOTH
async def test_attempts_are_bounded(model_server: AsyncServerFactory, model: str) -> None:
    server = await model_server(Script(steps=[Step(status=500)], after_end="last"))
    call = caller(server, model)
    with pytest.raises(ModelError, match="failed 4 times"):
        await call()
    assert len(server.requests) == 4


@BOTH
@pytest.mark.parametrize(
    "broken",
    [
        Step(text="half of an answer " * 20, cut_after_chunks=4),
        Step(text="half of an answer " * 20, error_after_chunks=4),
        Step(text="half of an answer " * 20, no_finish_reason=True),
    ],
    ids=["cut", "error event", "no finish reason"],
)
async def test_a_broken_stream_is_discarded_and_repeated(
    model_server: AsyncServerFactory, model: str, broken: Step
) -> None:
    server = await model_server([broken, Step(text="The whole answer.")])
    call = caller(server, model)
    reply = await call()
    assert reply.message["content"] == "The whole answer."
    assert len(call.heard.discarded) == 1
    assert len(call.heard.notices) == 1
    assert len(server.requests) == 2


@BOTH
@pytest.mark.parametrize(
    "silent",
    [Step(stall=True), Step(text="word " * 50, stall_after_chunks=3)],
    ids=["at once", "in the middle"],
)
async def test_cancelling_hangs_up_at_once(
    model_server: AsyncServerFactory, model: str, silent: Step
) -> None:
    server = await model_server(silent)
    task = asyncio.ensure_future(caller(server, model)())
    await asyncio.to_thread(server.wait_for_requests, 1)
    task.cancel()
    started = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 2
    (record,) = await asyncio.to_thread(server.wait_for_requests, 1, answered=True)
    assert record.ended == "client_gone"


@BOTH
async def test_a_silent_stream_is_given_up(model_server: AsyncServerFactory, model: str) -> None:
    server = await model_server([Step(text="word " * 50, stall_after_chunks=6), Step(text="ok")])
    # The endpoint is on loopback, where the whole time is the limit.
    call = caller(server, model, timeout_s=0.5)
    reply = await call()
    assert reply.message["content"] == "ok"
    assert len(call.heard.discarded) == 1


@EVERY
async def test_a_refused_key_names_its_variable_and_not_itself(
    model_server: AsyncServerFactory, model: str
) -> None:
    server = await model_server(Script(steps=["never"], require_key="another"))
    call = caller(server, model)
    with pytest.raises(ModelError) as refused:
        await call()
    text = str(refused.value)
    variable = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "huggingface": "HF_TOKEN"}
    assert variable.get(model.partition("/")[0], "VLLM_API_KEY") in text
    assert "secret" not in text
    assert "\n" not in text
    assert len(server.requests) == 1


@EVERY
async def test_an_unknown_model_is_said_to_be_one(model_server: AsyncServerFactory, model: str) -> None:
    server = await model_server(Script(steps=["never"], models=["another"]))
    with pytest.raises(ModelError, match="-m"):
        await caller(server, model)()
    assert len(server.requests) == 1


@pytest.mark.parametrize("wording", ["openai", "vllm", "llamacpp"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_overflow_names_the_window(
    model_server: AsyncServerFactory, wording: Any, stream: bool
) -> None:
    server = await model_server(Script(steps=["never"], context_tokens=4096, overflow_wording=wording))
    call = caller(server, "vllm/m")
    with pytest.raises(ContextOverflow) as overflow:
        await call([{"role": "user", "content": "word " * 10_000}], stream=stream)
    assert overflow.value.limit_tokens == 4096
    assert call.client.window == 4096
    assert len(server.requests) == 1


async def test_an_overflow_at_anthropic_names_the_window(model_server: AsyncServerFactory) -> None:
    server = await model_server(Script(steps=["never"], context_tokens=4096))
    with pytest.raises(ContextOverflow) as overflow:
        await caller(server, "anthropic/claude-x")([{"role": "user", "content": "word " * 10_000}])
    assert overflow.value.limit_tokens == 4096


async def test_a_server_nobody_started_is_named(model_server: AsyncServerFactory) -> None:
    server = await model_server()
    await asyncio.to_thread(server.stop)
    with pytest.raises(ModelError, match=f"Cannot reach {server.base_url}.*VLLM_BASE_URL"):
        await caller(server, "vllm/m")()


async def test_a_stale_thinking_signature_is_left_out_and_the_call_repeated(
    model_server: AsyncServerFactory,
) -> None:
    refused = Step(status=400, error="messages.1.content.0: Invalid `signature` in `thinking` block")
    server = await model_server([refused, Step(text="ok")])
    block = {"type": "thinking", "thinking": "Old thoughts.", "signature": "stale"}
    history = [USER, {"role": "assistant", "content": "Yes?", "thinking_blocks": [block]}, USER]
    call = caller(server, "anthropic/claude-x")
    reply = await call(history)
    assert reply.message["content"] == "ok"
    assert len(call.heard.notices) == 1
    first, second = (json.dumps(record.body) for record in server.requests)
    assert "Old thoughts." in first
    assert "Old thoughts." not in second


async def test_a_refused_effort_is_lowered(model_server: AsyncServerFactory) -> None:
    refused = Step(
        status=400, error="Unsupported value: 'high' for reasoning_effort; must be one of low, medium"
    )
    server = await model_server([refused, Step(text="ok")])
    call = caller(server, "huggingface/org/m", reasoning_effort="high")
    await call()
    sent = [record.body["reasoning_effort"] for record in server.requests if record.body]
    assert sent == ["high", "medium"]
    assert call.client.effort == "medium"
    assert "'medium'" in call.heard.notices[0]


async def test_an_effort_the_model_cannot_take_is_sent_no_more(model_server: AsyncServerFactory) -> None:
    refused = Step(status=400, error="reasoning_effort is not supported by this model")
    server = await model_server([refused, Step(text="ok")])
    call = caller(server, "openai/gpt-x", reasoning_effort="high")
    await call(tools=TOOLS)
    bodies = [record.body or {} for record in server.requests]
    assert ["reasoning_effort" in body for body in bodies] == [True, False]


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
