from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from ml_intern.events import Event, EventName
from ml_intern.gateways.headless import JsonSink, Sink, StreamJsonSink, TextSink
from ml_intern.gateways.outcome import Outcome, Status
from ml_intern.tests.gateways.terminal import terminal

SECRET = "hf_" + "a1B2" * 9


def event(name: EventName, seq: int = 1, **data: Any) -> Event:
    return Event(seq, "t1", name, "2026-01-02T03:04:05+00:00", data)


class Streams:
    """Standard output and error as byte buffers of a given encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.raw_out, self.raw_err = io.BytesIO(), io.BytesIO()
        self.out = io.TextIOWrapper(self.raw_out, encoding=encoding)
        self.err = io.TextIOWrapper(self.raw_err, encoding=encoding)

    @property
    def said(self) -> tuple[str, str]:
        return self.raw_out.getvalue().decode(self.out.encoding), self.raw_err.getvalue().decode(
            self.err.encoding
        )


RUN = [
    event("ready", thread_id="t1", model="a/b"),
    event("tool_call", tool="bash", arguments={"command": "ls -l\nrm x"}, tool_call_id="1"),
    event("tool_log", tool="bash", log="noise\n"),
    event("tool_output", tool="bash", output="some text", success=True, bytes=1234, tool_call_id="1"),
    event("tool_call", tool="read", arguments={"path": "a.py"}, attempt=2, tool_call_id="2"),
    event("tool_output", tool="read", output="no such file", success=False, tool_call_id="2"),
    event("tool_log", tool="system", log="rate limited, waiting 3 s"),
    event("compacted", old_tokens=170000, new_tokens=40000),
    event("plan_update", plan=[{"id": "1", "content": "train", "status": "in_progress"}]),
    event("assistant_message", content="the answer"),
    event("turn_complete", final_response="the answer"),
]


def test_text_has_the_answer_alone_on_stdout_and_progress_on_stderr() -> None:
    streams = Streams()
    sink = TextSink(streams.out, streams.err)
    for one in RUN:
        sink.event(one)
    sink.close(Outcome("done", "t1", "the answer"))
    out, err = streams.said
    assert out == "the answer\n"
    assert err.splitlines() == [
        "thread t1 with a/b",
        "> bash: ls -l rm x",
        "  bash done (1,234 bytes)",
        "> read: a.py (attempt 2)",
        "  read failed: no such file",
        "! rate limited, waiting 3 s",
        "! history shortened from 170,000 to 40,000 tokens",
        "plan 0/1: train",
    ]


def test_quiet_says_nothing_unless_something_went_wrong() -> None:
    streams = Streams()
    sink = TextSink(streams.out, streams.err, verbosity="quiet")
    for one in RUN:
        sink.event(one)
    sink.close(Outcome("limit", "t1", "so far"))
    assert streams.said == ("so far\n", "Stopped: a limit was reached; go on with: ml-intern -r t1\n")


def test_verbose_shows_what_tools_and_model_said() -> None:
    streams = Streams()
    sink = TextSink(streams.out, streams.err, verbosity="verbose")
    for one in RUN:
        sink.event(one)
    sink.event(event("llm_call", latency_ms=12, prompt_tokens=3, completion_tokens=4, cost_usd=None))
    lines = streams.said[1].splitlines()
    assert "    noise" in lines
    assert "    some text" in lines
    assert "the answer" in lines
    assert "  model call: 12 ms, 3 + 4 tokens, price unknown" in lines


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome("error", None, error="no model"), "Error: no model\n"),
        (
            Outcome("limit", "t1", error="the cap is reached; go on with: ml-intern -r t1 --max-cost HIGHER"),
            "Stopped: the cap is reached; go on with: ml-intern -r t1 --max-cost HIGHER\n",
        ),
        (Outcome("interrupted", "t1"), "Interrupted; go on with: ml-intern -r t1\n"),
        (Outcome("interrupted", None, error="SIGTERM"), "Interrupted: SIGTERM\n"),
        (
            Outcome("waiting", "t1", approvals=[{"tool": "bash"}, {"tool": "write"}]),
            "Waiting for approval of bash, write; answer with: ml-intern approve t1\n",
        ),
        (Outcome("done", "t1"), ""),
    ],
)
def test_an_end_that_is_no_success_says_how_to_go_on(outcome: Outcome, said: str) -> None:
    streams = Streams()
    TextSink(streams.out, streams.err).close(outcome)
    assert streams.said == ("", said)


def test_secrets_reach_no_stream() -> None:
    for kind in ("text", "json", "stream"):
        streams = Streams()
        sink: Sink
        if kind == "text":
            sink = TextSink(streams.out, streams.err, secrets=["hunter2hunter2"])
        else:
            sink = (JsonSink if kind == "json" else StreamJsonSink)(streams.out, secrets=["hunter2hunter2"])
        sink.event(event("tool_call", tool="bash", arguments={"command": f"echo {SECRET} hunter2hunter2"}))
        sink.close(Outcome("done", "t1", f"{SECRET} hunter2hunter2"))
        assert SECRET not in "".join(streams.said)
        assert "hunter2" not in "".join(streams.said)
        assert "[REDACTED]" in "".join(streams.said)


def test_json_is_one_object_at_the_end() -> None:
    streams = Streams()
    sink = JsonSink(streams.out)
    for one in RUN:
        sink.event(one)
    assert streams.said == ("", "")
    sink.close(Outcome("done", "t1", "é\nx", usage={"total_tokens": 3}, cost_usd=0.5, iterations=2))
    out = streams.said[0]
    assert out.count("\n") == 1
    assert json.loads(out)["final_response"] == "é\nx"
    assert "é" in out


def test_stream_json_is_one_line_an_event_written_at_once() -> None:
    streams = Streams()
    sink = StreamJsonSink(streams.out)
    for count, one in enumerate(RUN, start=1):
        sink.event(one)
        assert streams.said[0].count("\n") == count
    sink.event(event("shutdown"))
    sink.close(Outcome("done", "t1", "the answer"))
    lines = [json.loads(line) for line in streams.said[0].splitlines()]
    assert [line["event"] for line in lines] == [one.name for one in RUN]
    assert set(lines[0]) == {"seq", "thread_id", "event", "at", "data"}


@pytest.mark.parametrize(
    ("status", "name", "data"),
    [
        ("error", "error", {"error": "no key"}),
        ("limit", "limit_reached", {"message": "no key"}),
        ("interrupted", "interrupted", {"reason": "no key"}),
        ("waiting", "approval_required", {"tools": [], "count": 0}),
        ("done", "turn_complete", {"final_response": None, "iterations": 0}),
    ],
)
def test_a_run_without_a_closing_event_still_gets_its_line(
    status: Status, name: str, data: dict[str, Any]
) -> None:
    streams = Streams()
    StreamJsonSink(streams.out).close(Outcome(status, None, error="no key"))
    (line,) = streams.said[0].splitlines()
    parsed = json.loads(line)
    assert (parsed["event"], parsed["thread_id"], parsed["seq"]) == (name, None, 1)
    assert parsed["data"] == data


def test_the_missing_closing_line_continues_the_numbers() -> None:
    streams = Streams()
    sink = StreamJsonSink(streams.out)
    sink.event(event("processing", seq=41))
    sink.close(Outcome("error", "t1", error="crash"))
    assert [json.loads(line)["seq"] for line in streams.said[0].splitlines()] == [41, 42]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_text_can_be_written_in_every_encoding(encoding: str) -> None:
    awkward = "é 日本 \ud800 lone \U0001f600"
    for make in (JsonSink, StreamJsonSink):
        streams = Streams(encoding)
        sink = make(streams.out)
        sink.event(event("assistant_message", content=awkward))
        sink.close(Outcome("done", "t1", awkward))
        parsed = [json.loads(line) for line in streams.said[0].splitlines()]
        assert "é 日本 \ufffd lone \U0001f600" in json.dumps(parsed, ensure_ascii=False)
    streams = Streams(encoding)
    text = TextSink(streams.out, streams.err)
    text.event(event("tool_call", tool="bash", arguments={"command": awkward}))
    text.close(Outcome("done", "t1", awkward))
    assert "lone" in streams.said[0]
    assert "lone" in streams.said[1]


def test_a_terminal_gets_no_control_characters_and_colours_only_where_wanted() -> None:
    def shown(env: dict[str, str]) -> str:
        with terminal() as (stream, screen):
            sink = TextSink(stream, stream, env=env)
            sink.event(event("tool_call", tool="bash", arguments={"command": "a\x1b[2Jb\x07c"}))
            sink.close(Outcome("done", "t1", "x\x1b]0;title\x07y"))
        return screen.text

    plain = shown({"NO_COLOR": "1", "TERM": "xterm"})
    assert plain == "> bash: abc\r\nxy\r\n"
    coloured = shown({"TERM": "xterm"})
    assert coloured == "\x1b[2m> bash: abc\x1b[0m\r\nxy\r\n"
    assert shown({"TERM": "dumb"}) == plain


WRITE_MUCH = """
import sys
from ml_intern.events import Event
from ml_intern.gateways.headless import StreamJsonSink, TextSink
from ml_intern.gateways.outcome import Outcome
sink = StreamJsonSink(sys.stdout)
for number in range(2000):
    sink.event(Event(number, "t", "assistant_chunk", "now", {"content": "x" * 1000}))
sink.close(Outcome("done", "t"))
sys.stderr.write(f"{sink.out.closed_early} {sink.out.failure.errno if sink.out.failure else None}")
"""


def test_a_reader_that_leaves_early_is_no_error_and_makes_no_noise() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_MUCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0
    assert err.startswith("True ")
    assert "Traceback" not in err


def test_a_full_disk_is_remembered_and_makes_no_noise() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-c", WRITE_MUCH], stdout=full, stderr=subprocess.PIPE, text=True, check=True
        )
    assert done.stderr == "False 28"


def test_no_stdout_at_all_is_survived() -> None:
    sink = TextSink(None, None)
    for one in RUN:
        sink.event(one)
    sink.close(Outcome("done", "t1", "x"))
    closed = Streams()
    closed.out.close()
    late = JsonSink(closed.out)
    late.close(Outcome("done", "t1", "x"))
    assert late.out.closed_early
