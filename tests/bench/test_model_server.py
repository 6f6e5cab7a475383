from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ml_intern.tests.bench.model_server import ModelServer
from ml_intern.tests.bench.network_guard import NetworkForbidden, NetworkGuard
from ml_intern.tests.bench.script import Script, Step, ToolCall, Track, script_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_intern.tests.bench.process import ModelServerProcess
    from ml_intern.tests.bench.script import Json
    from ml_intern.tests.conftest import AsyncServerFactory, ServerFactory

USER = {"role": "user", "content": "hi"}
CALL = ToolCall("bash", {"command": "true"})


def ask(server: ModelServer, messages: list[Json] | None = None, **more: Any) -> httpx.Response:
    body = {"model": "m", "messages": messages or [USER], **more}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=30)


def deltas(response: httpx.Response) -> list[Json]:
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def assistant(*call_ids: str) -> Json:
    function = {"name": "bash", "arguments": "{}"}
    calls = [{"id": call_id, "type": "function", "function": function} for call_id in call_ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def test_a_sequence_plays_its_steps_in_order_and_refuses_what_is_beyond_its_end(
    start_model_server: ServerFactory,
) -> None:
    server = start_model_server(["one", {"text": "two"}])
    texts = [ask(server).json()["choices"][0]["message"]["content"] for _ in range(2)]
    assert texts == ["one", "two"]
    refused = ask(server)
    assert refused.status_code == 400
    assert "none for answer 2" in refused.json()["error"]["message"]


def test_by_turns_gives_a_repeated_request_the_same_answer_with_the_same_call_ids(
    start_model_server: ServerFactory,
) -> None:
    steps = [Step(tool_calls=[CALL]), Step(tool_calls=[CALL, CALL]), "done"]
    server = start_model_server({"steps": steps, "mode": "by_turns"})
    history = [USER, assistant("a"), {"role": "tool", "tool_call_id": "a", "content": "ok"}]
    first, again = ask(server, history).json(), ask(server, history).json()
    assert first == again
    assert [call["id"] for call in first["choices"][0]["message"]["tool_calls"]] == [
        "call_0001_0",
        "call_0001_1",
    ]


def test_faults_are_played_once_before_the_step_they_stand_at(start_model_server: ServerFactory) -> None:
    faults = {0: [Step(status=429, headers={"Retry-After": "7"}), Step(status=500)]}
    server = start_model_server(Script(["fine"], faults=faults))
    answers = [ask(server) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 500, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert [record.status for record in server.requests] == [429, 500, 200]


def test_a_track_answers_the_requests_that_contain_its_text(start_model_server: ServerFactory) -> None:
    server = start_model_server(Script(["main"], tracks=[Track(["a summary"], contains="Summarise")]))
    aside = ask(server, [{"role": "user", "content": "Summarise this"}])
    assert aside.json()["choices"][0]["message"]["content"] == "a summary"
    assert ask(server).json()["choices"][0]["message"]["content"] == "main"


def test_a_step_can_be_a_function_of_the_request(start_model_server: ServerFactory) -> None:
    server = start_model_server(lambda request: Step(text=request["messages"][-1]["content"].upper()))
    assert ask(server).json()["choices"][0]["message"]["content"] == "HI"


def test_a_step_function_that_raises_fails_the_test_that_wrote_it() -> None:
    def broken(_request: Json) -> Step:
        raise ZeroDivisionError

    server = ModelServer(broken).start()
    with pytest.raises(httpx.RemoteProtocolError):
        ask(server)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        server.stop()


def test_a_stream_adds_up_to_the_answer_and_reports_usage_only_when_asked(
    start_model_server: ServerFactory,
) -> None:
    step = Step(
        text="x" * 50, tool_calls=[CALL, ToolCall("read", '{"path": "a"}')], usage={"prompt_tokens": 9}
    )
    server = start_model_server([step, step])
    chunks = deltas(ask(server, stream=True, stream_options={"include_usage": True}))
    parts = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(part.get("content") or "" for part in parts) == "x" * 50
    pieces = [piece for part in parts for piece in part.get("tool_calls", ())]
    for place, wanted in enumerate(['{"command": "true"}', '{"path": "a"}']):
        assert "".join(p["function"]["arguments"] for p in pieces if p["index"] == place) == wanted
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["prompt_tokens"] == 9
    plain = deltas(ask(server, stream=True))
    assert all("usage" not in chunk for chunk in plain)


def test_the_faults_of_careless_gateways_can_be_played(start_model_server: ServerFactory) -> None:
    calls = [CALL, ToolCall("read", {"path": "a"})]
    server = start_model_server(
        [
            Step(tool_calls=calls, index_zero=True),
            Step(tool_calls=calls, same_chunk=True),
            Step(tool_calls=calls, empty_arguments=True),
            Step(tool_calls=calls, no_finish_reason=True),
        ]
    )
    streams = [deltas(ask(server, stream=True)) for _ in range(4)]
    calls_of = [[c["choices"][0]["delta"].get("tool_calls") for c in stream] for stream in streams]
    assert {piece["index"] for pieces in calls_of[0] if pieces for piece in pieces} == {0}
    assert [len(pieces) for pieces in calls_of[1] if pieces] == [2]
    assert {piece["function"]["arguments"] for pieces in calls_of[2] if pieces for piece in pieces} == {""}
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in streams[3])


def test_a_cut_stream_breaks_off_and_the_journal_says_so(start_model_server: ServerFactory) -> None:
    server = start_model_server([Step(text="x" * 100, cut_after_chunks=2), Step(drop=True)])
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            ask(server, stream=True)
    records = server.wait_for_requests(2, answered=True)
    assert [record.ended for record in records] == ["cut", "cut"]
    assert records[0].answered_at is None


def test_an_error_can_come_in_the_midst_of_a_stream(start_model_server: ServerFactory) -> None:
    server = start_model_server([Step(text="x" * 100, error_after_chunks=2, error="out of memory")])
    chunks = deltas(ask(server, stream=True))
    assert chunks[-1]["error"]["message"] == "out of memory"
    assert len(chunks) == 3


def test_a_stalled_answer_ends_when_its_client_goes(start_model_server: ServerFactory) -> None:
    server = start_model_server([Step(stall=True)])
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.base_url}/chat/completions", json={"model": "m", "messages": [USER]}, timeout=0.2
        )
    assert server.wait_for_requests(1, answered=True)[0].ended == "client_gone"


async def test_a_held_answer_waits_for_its_release(model_server: AsyncServerFactory) -> None:
    server = await model_server([Step(text="late", hold="go")])
    asking = asyncio.create_task(asyncio.to_thread(ask, server))
    await asyncio.to_thread(server.wait_for_requests, 1)
    assert server.requests[0].ended == "open"
    server.release("go")
    assert (await asking).json()["choices"][0]["message"]["content"] == "late"


def with_arguments(arguments: Any) -> list[Json]:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [USER, {"role": "assistant", "tool_calls": [call]}]


def connect_until(address: tuple[str, int], deadline: float) -> None:
    while time.monotonic() < deadline:
        socket.create_connection(address).close()
        time.sleep(0.05)


OUT_OF_ORDER: list[tuple[str, list[Json], str]] = [
    (
        "no result",
        [USER, assistant("a", "b"), {"role": "tool", "tool_call_id": "a", "content": ""}],
        "messages: b",
    ),
    ("an orphan", [USER, {"role": "tool", "tool_call_id": "a", "content": ""}], "preceeding message"),
    (
        "two results",
        [USER, assistant("a"), *[{"role": "tool", "tool_call_id": "a", "content": ""}] * 2],
        "'a' not found",
    ),
    (
        "a late result",
        [USER, assistant("a"), USER, {"role": "tool", "tool_call_id": "a", "content": ""}],
        "did not have response messages: a",
    ),
    ("a strange role", [{"role": "note", "content": "x"}], "Invalid value: 'note'"),
    ("a private key", [{**USER, "tokens": 3}], "Unknown parameter: 'messages[0].tokens'"),
    ("nothing said", [USER, {"role": "assistant", "content": None}], "got null"),
    (
        "arguments that are no JSON",
        with_arguments("{"),
        "valid JSON",
    ),
    (
        "arguments that are no text",
        with_arguments({}),
        "expected a string, but got an object",
    ),
]


@pytest.mark.parametrize(
    ("messages", "words"), [row[1:] for row in OUT_OF_ORDER], ids=[r[0] for r in OUT_OF_ORDER]
)
def test_openai_refuses_messages_out_of_order(
    messages: list[Json], words: str, start_model_server: ServerFactory
) -> None:
    server = start_model_server(["never"])
    refused = ask(server, messages)
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    assert words in (server.requests[0].refusal or "")


def test_a_history_in_order_is_taken(start_model_server: ServerFactory) -> None:
    results = [{"role": "tool", "tool_call_id": call_id, "content": "ok"} for call_id in ("b", "a")]
    tool = {
        "type": "function",
        "function": {"name": "bash", "parameters": {"type": "object", "properties": {}}},
    }
    server = start_model_server(["fine"])
    history = [{"role": "system", "content": "s"}, USER, assistant("a", "b"), *results, USER]
    assert ask(server, history, tools=[tool]).status_code == 200


@pytest.mark.parametrize(
    ("wording", "words"),
    [
        ("openai", "maximum context length is 100 tokens"),
        ("vllm", "Please reduce the length of the input messages"),
        ("llamacpp", "exceeds the available context size (100 tokens)"),
    ],
)
def test_a_request_above_the_window_is_refused_in_the_words_of_the_provider(
    wording: str, words: str, start_model_server: ServerFactory
) -> None:
    script = {"steps": ["fits"], "context_tokens": 100, "overflow_wording": wording}
    server = start_model_server(script)
    refused = ask(server, [{"role": "user", "content": "x" * 500}])
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    assert ask(server).status_code == 200


def test_a_wrong_key_and_an_unknown_model_are_refused(start_model_server: ServerFactory) -> None:
    server = start_model_server(Script(["ok"], require_key="sk-right", models=["m"]))
    url = f"{server.base_url}/chat/completions"
    body = {"model": "other", "messages": [USER]}
    wrong = httpx.post(url, json=body, headers={"Authorization": "Bearer sk-wrong"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
    assert httpx.post(url, json=body).status_code == 401
    right = {"Authorization": "Bearer sk-right"}
    unknown = httpx.post(url, json=body, headers=right)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert httpx.post(url, json={**body, "model": "m"}, headers=right).status_code == 200
    assert [model["id"] for model in httpx.get(f"{server.base_url}/models").json()["data"]] == ["m"]


def test_the_journal_tells_when_and_how_large_each_request_was(start_model_server: ServerFactory) -> None:
    server = start_model_server({"steps": ["a", "b"]})
    ask(server)
    ask(server, [USER, {"role": "assistant", "content": "a"}, USER])
    journal = httpx.get(f"{server.root_url}/__journal").json()
    assert [record["messages"] for record in journal] == [1, 3]
    assert journal[0]["body"]["messages"] == [USER]
    assert journal[0]["arrived_at"] <= journal[0]["received_at"] <= journal[0]["answered_at"]
    assert journal[0]["answered_at"] < journal[1]["arrived_at"]
    assert journal[1]["body_bytes"] > journal[0]["body_bytes"]


def test_a_body_of_a_megabyte_is_answered_over_a_kept_connection(start_model_server: ServerFactory) -> None:
    server = start_model_server(["a", "b"])
    messages = [{"role": "user", "content": "x" * 2000}] * 500
    with httpx.Client() as client:
        for _ in range(2):
            answer = client.post(
                f"{server.base_url}/chat/completions", json={"model": "m", "messages": messages}
            )
            assert answer.status_code == 200
    assert all(record.body_bytes > 1_000_000 for record in server.requests)


def test_a_misspelt_key_of_a_script_is_an_error() -> None:
    with pytest.raises(TypeError, match="a Step has no tool_cals"):
        script_from([{"tool_cals": []}])


def test_as_a_process_it_plays_json_and_ends_when_its_stdin_closes(
    model_server_process: Callable[[Json], ModelServerProcess],
) -> None:
    server = model_server_process({"steps": [{"text": "from afar"}], "faults": {"0": [{"status": 503}]}})
    url, body = f"{server.base_url}/chat/completions", {"model": "m", "messages": [USER]}
    assert httpx.post(url, json=body).status_code == 503
    assert httpx.post(url, json=body).json()["choices"][0]["message"]["content"] == "from afar"
    assert [record["status"] for record in server.journal()] == [503, 200]
    lines = server.journal_file.read_text().splitlines()
    assert [json.loads(line)["ended"] for line in lines] == ["answered", "answered"]
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.post(url, json=body)


def test_as_a_process_it_does_not_outlive_its_parent(tmp_path: Path) -> None:
    script, port_file, fifo = tmp_path / "s.json", tmp_path / "port", tmp_path / "fifo"
    script.write_text('["hello"]')
    os.mkfifo(fifo)
    # Its stdin stays open, held by this test: only the death of its parent can end it.
    held = os.open(fifo, os.O_RDWR)
    serve = (
        f"{sys.executable} -m ml_intern.tests.bench.model_server --script {script} --port-file {port_file}"
    )
    parent = subprocess.Popen(["/bin/sh", "-c", f"{serve} <{fifo} >/dev/null; true"])
    try:
        deadline = time.monotonic() + 30
        while not port_file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        address = ("127.0.0.1", int(port_file.read_text()))
        socket.create_connection(address).close()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        with pytest.raises(ConnectionRefusedError):
            connect_until(address, deadline)
    finally:
        os.close(held)
        parent.kill()
        parent.wait()


def test_the_guard_lets_no_test_leave_this_machine(network_guard: NetworkGuard) -> None:
    with socket.socket() as sock, pytest.raises(NetworkForbidden):
        sock.connect(("192.0.2.1", 80))
    with pytest.raises(NetworkForbidden):
        socket.getaddrinfo("example.com", 443)
    assert len(network_guard.attempts) == 2
    network_guard.attempts.clear()


def test_no_key_of_the_developer_reaches_a_test(clean_environment: Path) -> None:
    assert os.environ["HOME"] == str(clean_environment)
    assert not [name for name in os.environ if name.endswith(("_API_KEY", "_TOKEN"))]
    assert list(clean_environment.iterdir()) == []
