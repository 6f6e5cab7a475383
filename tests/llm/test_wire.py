"""What only a raw socket can do to a call."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.errors import ContextOverflow, ModelError
from ml_intern.llm.client import ModelClient
from ml_intern.llm.model_settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ml_intern.llm.reply import Reply


class RawServer:
    """Answers every request with the next of some byte strings, and hangs up."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.bodies: list[Any] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        self.bodies.append(json.loads(await reader.readexactly(length)))
        writer.write(self.answers[min(len(self.bodies), len(self.answers)) - 1])
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncIterator[RawServer]:
    raw = RawServer(list(answers))
    server = await asyncio.start_server(raw.handle, "127.0.0.1", 0, limit=1 << 22)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
        await server.wait_closed()


def answer(status: str, body: bytes | str, kind: str = "application/json", more: str = "") -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n{more}"
    return head.encode() + b"Connection: close\r\n\r\n" + raw


def events(*payloads: Any, done: bool = True) -> bytes:
    lines = [
        payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
        for payload in payloads
    ]
    text = "".join(f"data: {line}\n\n" for line in lines) + ("data: [DONE]\n\n" if done else "")
    return answer("200 OK", text, "text/event-stream")


def delta(**fields: Any) -> dict[str, Any]:
    finish = fields.pop("finish_reason", None)
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}  # fmt: skip


async def ask(
    url: str, model: str = "vllm/m", *, stream: bool = True, **settings: Any
) -> tuple[Reply, list[str]]:
    env = {"VLLM_BASE_URL": url, "ANTHROPIC_BASE_URL": url, "OPENAI_BASE_URL": f"{url}/v1"}
    client = ModelClient(model, ModelSettings(**{"env": env, "backoff_s": 0.0, "tries": 2, **settings}))
    told: list[str] = []
    try:
        reply = await client.complete(
            [{"role": "user", "content": "Hello"}],
            None,
            stream=stream,
            on_text=lambda _: None,
            on_discard=told.append,
            on_notice=told.append,
        )
    finally:
        await client.close()
    return reply, told


@pytest.mark.parametrize("model", ["openai/gpt-x", "anthropic/claude-x"])
async def test_a_redirect_is_not_followed_with_the_key(model: str) -> None:
    async with serving(events(delta(content="stolen", finish_reason="stop"))) as other:
        away = answer("307 Temporary Redirect", "", more=f"Location: {other.url}/v1/messages\r\n")
        async with serving(away) as server:
            with pytest.raises(ModelError):
                await ask(server.url, model)
        assert other.bodies == []


async def test_a_request_the_server_hung_up_on_is_sent_once_an_attempt() -> None:
    async with serving(b"") as server:
        with pytest.raises(ModelError, match="failed 2 times"):
            await ask(server.url)
        assert len(server.bodies) == 2


async def test_pieces_of_utf8_and_odd_line_ends_do_no_harm() -> None:
    body = (
        "data: "
        + json.dumps(delta(content="a\u2028b\x85c"), ensure_ascii=False)
        + "\r\n\r\n: a comment\r\n\r\n"
    )
    body += "event: x\r\ndata: " + json.dumps(delta(content="🤗", finish_reason="stop")) + "\r\n\r\n"
    async with serving(answer("200 OK", body, "text/event-stream")) as server:
        reply, told = await ask(server.url)
    assert reply.message["content"] == "a\u2028b\x85c🤗"
    assert told == []


async def test_halves_of_a_surrogate_pair_are_joined_and_lone_ones_left_out() -> None:
    halves = [delta(content="\ud83e"), delta(content="\udd17 and \ud83e"), delta(finish_reason="stop")]
    text = "".join(f"data: {json.dumps(half)}\n\n" for half in halves)
    async with serving(answer("200 OK", text, "text/event-stream")) as server:
        reply, _ = await ask(server.url)
    assert reply.message["content"] == "🤗 and "


async def test_rubbish_in_a_stream_is_a_broken_stream() -> None:
    good = events(delta(content="whole", finish_reason="stop"))
    async with serving(events(delta(content="half"), '{"choices": ['), good) as server:
        reply, told = await ask(server.url)
    assert reply.message["content"] == "whole"
    assert len(told) == 2


async def test_an_overflow_inside_a_stream_is_one() -> None:
    text = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."
    async with serving(events({"error": {"message": text, "code": 400}}, done=False)) as server:
        with pytest.raises(ContextOverflow) as overflow:
            await ask(server.url)
    assert overflow.value.limit_tokens == 8192


async def test_an_answer_that_is_no_json_is_told_as_such() -> None:
    async with serving(answer("200 OK", "<html>Welcome to the login page</html>", "text/html")) as server:
        with pytest.raises(ModelError) as refused:
            await ask(server.url, stream=False)
    assert "\n" not in str(refused.value)


async def test_the_page_of_a_proxy_is_not_shown() -> None:
    page = answer("502 Bad Gateway", "<html>" + "x" * 9000, "text/html")
    async with serving(page) as server:
        with pytest.raises(ModelError) as refused:
            await ask(server.url)
    assert "<html>" not in str(refused.value)
    assert len(str(refused.value)) < 400


async def test_usage_nobody_reported_is_unknown() -> None:
    async with serving(events(delta(content="ok", finish_reason="stop"))) as server:
        reply, _ = await ask(server.url)
    assert reply.usage is None


async def test_cached_tokens_are_counted() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105,
             "prompt_tokens_details": {"cached_tokens": 80}}  # fmt: skip
    last = {**delta(), "choices": [], "usage": usage}
    prices = {"openai/gpt-x": {"usd_per_million": {"input": 10, "output": 100, "cache_read": 1}}}
    async with serving(events(delta(content="ok", finish_reason="stop"), last)) as server:
        reply, _ = await ask(server.url, "openai/gpt-x", models=prices)
    assert reply.usage is not None
    assert reply.usage.cache_read_tokens == 80
    assert reply.cost_usd == pytest.approx((20 * 10 + 80 * 1 + 5 * 100) / 1e6)


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with serving(events(delta(content="ok", finish_reason="stop"))) as server:
        reply, _ = await ask(server.url)
    assert reply.message["content"] == "ok"
