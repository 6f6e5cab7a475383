"""Runs from the outside: which thread, which format, which exit code, and what the model got to see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.tests.bench.command_line import CommandLine
from ml_intern.tests.bench.script import Step, ToolCall

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from ml_intern.tests.bench.model_server import ModelServer
    from ml_intern.tests.conftest import ServerFactory


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {"ML_INTERN_MODEL_NAME": "vllm/x"})


def bash(command: str) -> Step:
    return Step(tool_calls=[ToolCall("bash", {"command": command})])


def said(server: ModelServer, number: int = -1) -> list[tuple[str, str]]:
    """Role and text of the messages of one request, without the system prompt."""
    body = server.requests[number].body or {}
    return [(message["role"], str(message.get("content"))) for message in body["messages"][1:]]


def test_thread_options_choose_the_thread_and_output_options_the_form(
    cli: CommandLine, start_model_server: ServerFactory
) -> None:
    server = start_model_server(["First.", "Second.", "Third.", "Fourth."])
    cli.env["VLLM_BASE_URL"] = server.base_url

    named = cli("-t", "mine", "one")
    assert (named.code, named.out) == (0, "First.\n")
    assert named.err == "thread mine with vllm/x\n"

    last = cli("two", "-c", "-o", "json")
    assert last.code == 0
    assert last.json["thread_id"] == "mine"
    assert (last.json["status"], last.json["final_response"]) == ("done", "Second.")
    assert (last.json["iterations"], last.json["cost_usd"]) == (1, 0.0)
    assert last.json["usage"]["total_tokens"] > 0

    resumed = cli("-r", "min", "three", "-o", "stream-json")
    assert resumed.code == 0
    assert resumed.names[0] == "ready"
    assert resumed.names[-1] == "turn_complete"
    assert resumed.events[0]["data"]["thread_id"] == "mine"
    assert {event["thread_id"] for event in resumed.events} == {"mine"}
    numbers = [event["seq"] for event in resumed.events]
    assert numbers == sorted(set(numbers))
    streamed = [event["data"]["content"] for event in resumed.events if event["event"] == "assistant_chunk"]
    assert "".join(streamed) == "Third."

    piped = cli("-", "-r", "--no-stream", stdin="four\n")
    assert (piped.code, piped.out) == (0, "Fourth.\n")
    assert said(server) == [
        *[("user", "one"), ("assistant", "First."), ("user", "two"), ("assistant", "Second.")],
        *[("user", "three"), ("assistant", "Third."), ("user", "four\n")],
    ]
    assert [record.stream for record in server.requests] == [True, True, True, False]


def test_an_iteration_limit_ends_with_3_and_a_resume_counts_anew(
    cli: CommandLine, start_model_server: ServerFactory
) -> None:
    server = start_model_server([bash("echo one >> ran"), bash("echo two >> ran"), "Done."])
    cli.env["VLLM_BASE_URL"] = server.base_url
    first = cli("-t", "a", "--max-iterations", "1", "-o", "json", "go")
    assert (first.code, first.json["status"]) == (3, "limit")
    assert (cli.cwd / "ran").read_text() == "one\n"

    second = cli("-r", "a", "--max-iterations", "2")
    assert (second.code, second.out) == (0, "Done.\n")
    assert (cli.cwd / "ran").read_text() == "one\ntwo\n"
    assert len(server.requests) == 3


def test_a_cost_cap_ends_with_3_and_a_higher_one_goes_on(
    cli: CommandLine, start_model_server: ServerFactory
) -> None:
    config = cli.cwd / "prices.json"
    config.write_text(json.dumps({"price_overrides": {"vllm/x": {"input": 1000.0, "output": 1000.0}}}))
    server = start_model_server([bash("echo paid"), "Done."])
    cli.env["VLLM_BASE_URL"] = server.base_url
    options = ["--config", str(config), "-o", "json"]
    first = cli(*options, "-t", "a", "--max-cost", "0.01", "go")
    assert (first.code, first.json["status"]) == (3, "limit")
    assert first.json["cost_usd"] > 0.01
    assert "--max-cost" in first.json["error"]

    again = cli(*options, "-r", "a")
    assert (again.code, again.json["status"]) == (3, "limit"), "the cap belongs to the thread"
    assert len(server.requests) == 1

    raised = cli(*options, "-r", "a", "--max-cost", "1000")
    assert (raised.code, raised.json["final_response"]) == (0, "Done.")
    assert ("tool", "paid") in said(server), "what was paid for is kept"


def test_an_approval_waits_for_a_person_across_processes(
    cli: CommandLine, start_model_server: ServerFactory
) -> None:
    for name in ("one", "two"):
        (cli.cwd / name).mkdir()
    server = start_model_server([bash("rm -r one"), bash("rm -r two"), "Done."])
    cli.env["VLLM_BASE_URL"] = server.base_url
    asked = cli("-t", "a", "--approve", "ask", "-o", "json", "clean up")
    assert (asked.code, asked.json["status"]) == (4, "waiting")
    assert [call["arguments"]["command"] for call in asked.json["approvals"]] == ["rm -r one"]

    prompted, unanswerable, shown = cli.each(
        [["-r", "a", "and now?"], ["approve", "a"], ["threads", "show", "a"]]
    )
    assert prompted.code == 4, "no prompt takes the place of an answer"
    assert "ml-intern approve a" in prompted.err
    assert (unanswerable.code, "--yes" in unanswerable.err) == (2, True)
    assert "rm -r one" in shown.out
    assert len(server.requests) == 1

    refused = cli("approve", "a", "--no", "--feedback", "keep the first", "-o", "json")
    assert refused.code == 4
    assert [call["arguments"]["command"] for call in refused.json["approvals"]] == ["rm -r two"]
    assert (cli.cwd / "one").is_dir()
    assert "keep the first" in said(server)[-1][1]

    answered = cli("-r", "a", "--approve", "auto")
    assert (answered.code, answered.out) == (0, "Done.\n")
    assert not (cli.cwd / "two").exists()
    again = cli("approve", "a", "--yes")
    assert again.code == 1
    assert "waits for no approval" in again.err


class Driver:
    """A process that takes operations, and the events it answers with."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []

    def send(self, name: str, **data: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"op_type": name, "data": data}) + "\n")
        self.process.stdin.flush()

    def until(self, name: str) -> dict[str, Any]:
        """Data of the next event of that name."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(json.loads(line))
            if self.seen[-1]["event"] == name:
                data: dict[str, Any] = self.seen[-1]["data"]
                return data
        assert self.process.stderr is not None
        raise AssertionError(f"it ended without {name}: {self.process.stderr.read()}")


def test_operations_drive_a_thread_and_another_terminal_can_answer_it(
    cli: CommandLine, start_model_server: ServerFactory
) -> None:
    for name in ("one", "two"):
        (cli.cwd / name).mkdir()
    steps = [
        bash("rm -r one"),
        "Deleted.",
        bash("rm -r two"),
        "As well.",
        Step("Late.", hold="never"),
        "Back.",
    ]
    server = start_model_server(steps)
    cli.env["VLLM_BASE_URL"] = server.base_url
    options = ["-t", "a", "--input", "stream-json", "-o", "stream-json", "--approve", "ask"]
    with cli.start(*options) as process:
        driver = Driver(process)
        assert driver.until("ready")["thread_id"] == "a"

        driver.send("user_input", text="clean up")
        call = driver.until("approval_required")["tools"][0]
        driver.send("exec_approval", approvals=[{"tool_call_id": call["tool_call_id"], "approved": True}])
        assert driver.until("turn_complete")["final_response"] == "Deleted."
        assert not (cli.cwd / "one").exists()

        driver.send("user_input", text="the other too")
        driver.until("approval_required")
        held = cli("-r", "a", "mine")
        assert held.code == 1
        assert f"process {process.pid}" in held.err
        elsewhere = cli("approve", "a", "--yes")
        assert elsewhere.code == 0
        assert f"process {process.pid}" in elsewhere.err
        assert driver.until("turn_complete")["final_response"] == "As well."
        assert not (cli.cwd / "two").exists()

        driver.send("user_input", text="hurry")
        server.wait_for_requests(5)
        driver.send("interrupt")
        driver.until("interrupted")
        for wrong in ("dance", "exec_approval"):
            driver.send(wrong)
            driver.until("error")
        driver.send("user_input", text="still there?")
        assert driver.until("turn_complete")["final_response"] == "Back."
        driver.send("compact")
        assert driver.until("compacted")["old_tokens"] > 0
        driver.send("shutdown")
        assert process.stdout is not None
        assert process.stdout.read() == "", "shutdown is not written"
        assert process.wait(60) == 0
    assert driver.seen[-1]["event"] == "compacted"
