from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ml_intern.tests.bench.script import Script, Step, ToolCall

if TYPE_CHECKING:
    from ml_intern.tests.bench.model_server import ModelServer
    from ml_intern.tests.bench.script import Json
    from ml_intern.tests.conftest import ServerFactory

USER = {"role": "user", "content": "hi"}
CALL = ToolCall("bash", {"command": "true"})
VERSION = {"anthropic-version": "2023-06-01"}


def ask(server: ModelServer, messages: list[Any] | None = None, **more: Any) -> httpx.Response:
    body = {"model": "claude", "max_tokens": 100, "messages": messages or [USER], **more}
    return httpx.post(f"{server.root_url}/v1/messages", json=body, headers=VERSION)


def use(*call_ids: str) -> Json:
    blocks = [{"type": "tool_use", "id": call_id, "name": "bash", "input": {}} for call_id in call_ids]
    return {"role": "assistant", "content": blocks}


def result(*call_ids: str, first: list[Json] | None = None) -> Json:
    blocks = [{"type": "tool_result", "tool_use_id": call_id, "content": "ok"} for call_id in call_ids]
    return {"role": "user", "content": [*(first or []), *blocks]}


def test_a_stream_has_every_event_in_order_and_adds_up(start_model_server: ServerFactory) -> None:
    server = start_model_server(
        [Step(reasoning="hm", text="a" * 30, tool_calls=[CALL], usage={"input_tokens": 7})]
    )
    answer = ask(server, stream=True)
    lines = answer.text.splitlines()
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert names == [event["type"] for event in events]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert (names.count("content_block_start"), names.count("content_block_stop")) == (3, 3)
    parts = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(part.get("text", "") for part in parts) == "a" * 30
    assert json.loads("".join(part.get("partial_json", "") for part in parts)) == {"command": "true"}
    assert any(part["type"] == "signature_delta" for part in parts)
    assert events[0]["message"]["usage"]["input_tokens"] == 7
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_whole_answer_has_the_same_blocks(start_model_server: ServerFactory) -> None:
    server = start_model_server(
        [Step(text="words", tool_calls=[CALL]), Step(text="cut", finish_reason="length")]
    )
    body = ask(server).json()
    assert [block["type"] for block in body["content"]] == ["text", "tool_use"]
    assert body["content"][1]["input"] == {"command": "true"}
    assert body["stop_reason"] == "tool_use"
    assert ask(server).json()["stop_reason"] == "max_tokens"


OUT_OF_ORDER: list[tuple[str, list[Json], str]] = [
    (
        "the assistant first",
        [{"role": "assistant", "content": "x"}],
        'first message must use the "user" role',
    ),
    ("two users in a row", [USER, USER], "roles must alternate"),
    ("a system message", [{"role": "system", "content": "x"}], 'Unexpected role "system"'),
    ("no result", [USER, use("a", "b"), result("a")], "immediately after: b."),
    ("the last word is a call", [USER, use("a")], "immediately after: a."),
    ("an orphan", [USER, {"role": "assistant", "content": "x"}, result("a")], "unexpected `tool_use_id`"),
    (
        "text before the result",
        [USER, use("a"), result("a", first=[{"type": "text", "text": "x"}])],
        "after: a.",
    ),
    ("two results", [USER, use("a"), result("a", "a")], "each tool_use must have a single result"),
    ("an empty text", [{"role": "user", "content": [{"type": "text", "text": ""}]}], "must be non-empty"),
    ("an id used twice", [USER, use("a"), result("a"), use("a"), result("a")], "ids must be unique"),
]


@pytest.mark.parametrize(
    ("messages", "words"), [row[1:] for row in OUT_OF_ORDER], ids=[r[0] for r in OUT_OF_ORDER]
)
def test_anthropic_refuses_messages_out_of_order(
    messages: list[Json], words: str, start_model_server: ServerFactory
) -> None:
    refused = ask(start_model_server(["never"]), messages)
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert words in refused.json()["error"]["message"]


def test_a_history_in_order_is_taken(start_model_server: ServerFactory) -> None:
    server = start_model_server(["fine"])
    assert ask(server, [USER, use("a", "b"), result("b", "a")], system="s").status_code == 200


def test_errors_come_in_the_frame_of_the_provider(start_model_server: ServerFactory) -> None:
    script = Script(
        [Step(status=529), Step(text="abc", chunk_chars=1, error_after_chunks=3)], context_tokens=50
    )
    server = start_model_server(script)
    assert ask(server).json()["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert "event: error" in ask(server, stream=True).text
    long = ask(server, [{"role": "user", "content": "x" * 400}])
    assert "prompt is too long: 10" in long.json()["error"]["message"]
    assert (
        httpx.post(f"{server.root_url}/v1/messages", json={})
        .json()["error"]["message"]
        .startswith("anthropic-version")
    )


def test_a_wrong_key_and_an_unknown_model_are_refused(start_model_server: ServerFactory) -> None:
    server = start_model_server(Script(["ok"], require_key="k", models=["claude-x"]))
    assert ask(server).json()["error"]["message"] == "x-api-key header is required"
    body = {"model": "claude", "max_tokens": 1, "messages": [USER]}
    answer = httpx.post(f"{server.root_url}/v1/messages", json=body, headers={**VERSION, "x-api-key": "k"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "model: claude")
