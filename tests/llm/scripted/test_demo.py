"""The scripted model tells what the tools said, not what it was written to expect."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from ml_intern.llm.scripted.demo import SCRIPT, TASK, Answer, answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Messages = list[dict[str, Any]]


def play(result_of: Callable[[str, dict[str, Any], Messages], str]) -> tuple[Messages, Answer]:
    """Play to the final answer; `result_of` stands in for the tools."""
    messages: Messages = [{"role": "system", "content": "s"}, {"role": "user", "content": TASK}]
    for _ in range(20):
        given = answer(messages)
        if not given.calls:
            return messages, given
        calls: Messages = [
            {"id": f"c{len(messages)}-{at}", "function": {"name": name, "arguments": arguments}}
            for at, (name, arguments) in enumerate(given.calls)
        ]
        messages.append({"role": "assistant", "content": given.text, "tool_calls": calls})
        for call in calls:
            name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
            content = result_of(name, arguments, messages)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})
    raise AssertionError("it never ends")


def measuring(*accuracies: str) -> Callable[[str, dict[str, Any], Messages], str]:
    """Tools that succeed, with these results of the training runs in order."""
    left = list(accuracies)

    def result_of(name: str, arguments: dict[str, Any], _: Messages) -> str:
        if name == "bash" and "train.py" in arguments["command"]:
            return left.pop(0)
        return "(no output)"

    return result_of


def commands(messages: Messages) -> list[str]:
    return [
        json.loads(call["function"]["arguments"])["command"]
        for message in messages
        for call in message.get("tool_calls", ())
        if call["function"]["name"] == "bash"
    ]


def test_it_reports_the_numbers_it_was_given() -> None:
    messages, last = play(measuring("epoch=1\ntest_accuracy=0.6125", "test_accuracy=0.9375"))
    assert "61.3 %" in last.text or "61.2 %" in last.text
    assert "93.8 %" in last.text or "93.7 %" in last.text
    assert commands(messages)[-1] == "rm -r runs/linear"
    assert "deleted, as you approved" in last.text


def test_it_says_so_when_the_change_did_not_help_and_deletes_the_other_weights() -> None:
    messages, last = play(measuring("test_accuracy=0.8000", "test_accuracy=0.7000"))
    assert "no better" in last.text
    assert commands(messages)[-1] == "rm -r runs/squares"


def test_it_runs_again_what_a_crash_lost() -> None:
    lost = "it is unknown whether it took effect"
    messages, last = play(measuring(lost, "test_accuracy=0.5000", "test_accuracy=0.9000"))
    assert len(commands(messages)) == 4
    assert "90.0 %" in last.text


def test_it_gives_up_when_the_training_never_gives_a_number() -> None:
    messages, last = play(measuring(*["python: command not found\n[exit code 127 after 0.1 s]"] * 3))
    assert len(commands(messages)) == 3
    assert "command not found" in last.text
    plans = [
        json.loads(call["function"]["arguments"])
        for message in messages
        for call in message.get("tool_calls", ())
        if call["function"]["name"] == "plan_tool"
    ]
    assert plans[-1] == {"todos": []}, "an unfinished plan would keep the run going"


def test_it_tells_that_a_refused_deletion_did_not_happen() -> None:
    def result_of(name: str, arguments: dict[str, Any], messages: Messages) -> str:
        if name == "bash" and arguments["command"].startswith("rm"):
            return "The user refused this call of bash; it was not run."
        return measured(name, arguments, messages)

    measured = measuring("test_accuracy=0.5000", "test_accuracy=0.9000")
    _, last = play(result_of)
    assert "were not deleted: The user refused" in last.text


def test_it_admits_that_it_knows_no_other_task() -> None:
    last = answer([{"role": "system", "content": "s"}, {"role": "user", "content": "write a poem"}])
    assert not last.calls
    assert "only play that one task" in last.text


def test_the_training_program_is_made_better_by_the_edit(tmp_path: Path) -> None:
    """The real program, and the real edit as the model asks for it."""

    def result_of(name: str, arguments: dict[str, Any], _: Messages) -> str:
        program = tmp_path / "train.py"
        if name == "write":
            program.write_text(arguments["content"])
        elif name == "edit":
            assert program.read_text().count(arguments["old_str"]) == 1
            program.write_text(program.read_text().replace(arguments["old_str"], arguments["new_str"]))
        elif name == "bash" and "train.py" in arguments["command"]:
            done = subprocess.run(
                [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True
            )
            return done.stdout
        return "(no output)"

    _, last = play(result_of)
    assert "55.0 %" in last.text
    assert "87.5 %" in last.text
    assert (tmp_path / "runs" / "squares" / "weights.json").exists()
    assert (tmp_path / "train.py").read_text() != SCRIPT.read_text()
