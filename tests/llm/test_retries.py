"""What a failing provider makes of a call: repeated, repaired, given up with a remedy, or cancelled."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.errors import ContextOverflow, ModelError
from ml_intern.tests.bench.script import Script, Step
from ml_intern.tests.llm.calling import BOTH, EVERY, TOOLS, USER, caller

if TYPE_CHECKING:
    from ml_intern.tests.conftest import AsyncServerFactory


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
