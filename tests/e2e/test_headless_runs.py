"""Whole headless runs: the gateway, the thread, the graph and the tools, in this process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from ml_intern.gateways.request import Request
from ml_intern.gateways.run import run
from ml_intern.tests.bench.script import Step, Track
from ml_intern.tests.threads.world import bash, call, calls

if TYPE_CHECKING:
    import pytest

    from ml_intern.tests.threads.world import World, Worlds

RISKY = "mkdir -p build && rm -rf build && echo gone > gone"
LONG_JOB = "echo begun >> begun; sleep 60"


class Run:
    """Runs of one world, each like one command line."""

    def __init__(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        self.world = world
        self._capsys = capsys

    def __call__(self, prompt: str | None = None, **more: Any) -> tuple[int, str]:
        """Exit code and standard output."""
        given = {"model": self.world.model_id, "cwd": self.world.work, **more}
        code = run(Request(prompt, **given), self.world.env)
        return code, self._capsys.readouterr().out

    def json(self, prompt: str | None = None, **more: Any) -> tuple[int, dict[str, Any]]:
        """Exit code and the object of `-o json`."""
        code, out = self(prompt, output="json", **more)
        return code, json.loads(out)

    def events(self, prompt: str | None = None, **more: Any) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and the lines of `-o stream-json`."""
        code, out = self(prompt, output="stream-json", **more)
        return code, [json.loads(line) for line in out.splitlines()]


def test_standard_output_is_the_answer_alone_also_when_it_came_in_pieces(
    worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = Step("The best rate ", finish_reason="length")
    code, out = Run(worlds(calls(bash("echo noise"), text="I look."), cut, "is 3e-4."), capsys)("Which?")
    assert (code, out) == (0, "The best rate is 3e-4.\n")


def test_a_run_that_outgrows_a_small_window_many_times_still_answers(
    worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [calls(call("read", path="loss.log", offset=n * 30, limit=80)) for n in range(40)]
    summary = Track(["The gist."], contains="about to be replaced by your summary", after_end="last")
    world = worlds(*steps, "3e-4.", context_tokens=16_000, tracks=[summary])
    lines = (f"step {n:05} loss 0.12345678 lr 3e-4 ok\n" for n in range(2_000))
    (world.work / "loss.log").write_text("".join(lines))
    code, result = Run(world, capsys).json("Find the best rate.")
    assert (code, result["status"], result["final_response"]) == (0, "done", "3e-4.")
    assert result["iterations"] == 41
    assert "Find the best rate." in str(world.messages())


def test_a_request_that_can_never_fit_is_an_error_with_a_way_out(
    worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = Run(worlds("never", context_tokens=300), capsys).json("Hello")
    assert (code, result["status"]) == (1, "error")
    assert "model" in result["error"]


def test_a_model_that_goes_in_circles_ends_as_a_limit(
    worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    world = worlds(*[calls(bash("echo again >> ran; echo same"))] * 20)
    code, result = Run(world, capsys).json("Go.")
    assert (code, result["status"]) == (3, "limit")
    assert "repeating" in result["error"]
    assert (world.work / "ran").read_text() == "again\n" * 3


def test_exactly_the_allowed_calls_and_then_on_with_r(
    worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Run(worlds(*[calls(bash(f"echo {n} >> ran")) for n in range(4)], "Done."), capsys)
    code, result = again.json("Go.", max_iterations=3)
    assert (code, result["status"], result["iterations"]) == (3, "limit", 3)
    assert len(again.world.server.requests) == 3
    code, result = again.json(resume=result["thread_id"])
    assert (code, result["final_response"]) == (0, "Done.")
    assert (again.world.work / "ran").read_text() == "0\n1\n2\n3\n"


def test_a_waiting_approval_is_answered_only_on_this_very_command_line(
    worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Run(worlds(calls(bash(RISKY)), "Done.", "And more."), capsys)
    code, result = again.json("Clean up.", approve="ask")
    thread = result["thread_id"]
    assert (code, result["status"]) == (4, "waiting")
    assert result["approvals"][0]["arguments"]["command"] == RISKY
    code, result = again.json("Do more.", resume=thread)
    assert (code, result["status"]) == (4, "waiting")
    assert len(again.world.server.requests) == 1
    code, result = again.json("Do more.", resume=thread, approve="auto")
    assert (code, result["final_response"]) == (0, "And more.")
    assert (again.world.work / "gone").exists()


def test_numbers_only_rise_and_each_run_begins_with_ready_and_ends_with_one_closing_event(
    worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Run(worlds(calls(bash("echo x")), "One.", "Two."), capsys)
    code, first = again.events("One?", thread="mine")
    code_2, second = again.events("Two?", thread="mine")
    assert (code, code_2) == (0, 0)
    numbers = [event["seq"] for event in (*first, *second)]
    assert numbers == sorted(set(numbers))
    for events, answer in ((first, "One."), (second, "Two.")):
        assert events[0]["event"] == "ready"
        assert events[0]["data"]["thread_id"] == "mine"
        assert events[-1]["event"] == "turn_complete"
        assert events[-1]["data"]["final_response"] == answer
        assert [event["event"] for event in events].count("turn_complete") == 1
    stored = [row["seq"] for row in again.world.stored(thread_id="mine")]
    shown = [
        event["seq"] for event in (*first, *second) if event["event"] not in ("assistant_chunk", "shutdown")
    ]
    assert stored == shown, "what is shown is stored, and the other way round"


def test_the_paid_answer_is_kept_when_the_cap_ends_the_run(
    worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    world = worlds(Step(tool_calls=[bash("echo kept >> ran")], usage=usage), "Done.", model_id="openai/gpt-x")
    config = world.folder / "config.json"
    prices = {"openai/gpt-x": {"input": 1.0, "output": 1.0}}
    config.write_text(json.dumps({"price_overrides": prices, "compact_at_tokens": 10_000_000}))
    again = Run(world, capsys)
    code, result = again.json("Go.", max_cost=0.5, config=config)
    assert (code, result["status"], result["cost_usd"]) == (3, "limit", 1.0)
    code, result = again.json(resume=result["thread_id"], config=config)
    assert (code, result["status"]) == (3, "limit")
    code, result = again.json(resume=result["thread_id"], max_cost=5.0, config=config)
    assert (code, result["final_response"]) == (0, "Done.")
    assert (world.work / "ran").read_text() == "kept\n"


def test_a_signal_ends_the_turn_as_interrupted_and_r_goes_on(worlds: Worlds) -> None:
    world = worlds(calls(bash(LONG_JOB)), "I stopped.", mode="by_turns")
    command = [sys.executable, "-c", "from ml_intern.cli import main; main()", "-m", world.model_id]
    with subprocess.Popen(
        [*command, "-t", "mine", "-o", "stream-json", "Go."],
        cwd=world.work, env=world.env, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "tool_call":
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert json.loads(line)["event"] == "interrupted"
    done = subprocess.run(
        [*command, "-r", "mine"],
        cwd=world.work, env=world.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "I stopped.\n")
    assert "interrupted the turn" in str(world.messages())
