"""A signal ends the turn at once, keeps what is finished, and leaves a thread that can go on."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from ml_intern.nodes._entries import text_of, wire_messages
from ml_intern.tests.bench import openai_rules
from ml_intern.tests.bench.script import Script, Step
from ml_intern.tests.crash.launch import CONSOLE_SCRIPT, marked_processes
from ml_intern.tests.crash.scenario import FINAL, MODELS, PROMPT, THREAD, Scenario, call
from ml_intern.tests.crash.verdict import journal_breaches, read_history
from ml_intern.threads.blobs import BlobStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_intern.graphs.state import Entry
    from ml_intern.tests.conftest import ServerFactory
    from ml_intern.tests.crash.launch import Run, Warm

LONG = "sleep 300 & sleep 300"
"""Ended by the signal, both of it, or the test finds it."""
MORE = "And now something else."
SECOND_FINAL = "Something else is done."


def begin(scenario: Scenario) -> Run:
    return scenario.run("-m", MODELS["openai"], "-t", THREAD, PROMPT)


def batch(scenario: Scenario) -> Step:
    return Step(
        tool_calls=[
            call("read", path="a.txt"),
            call("read", path="b.txt"),
            scenario.effect("E1"),
            scenario.effect("E2", LONG),
            scenario.effect("E3"),
        ]
    )


def script(scenario: Scenario, fault: Step | None = None) -> Script:
    faults = {1: [fault]} if fault else {}
    return Script([batch(scenario), FINAL, SECOND_FINAL], mode="by_turns", faults=faults)


def quick(fault: Step) -> Callable[[Scenario], Script]:
    """A batch without anything long, then the fault."""

    def make(scenario: Scenario) -> Script:
        first = Step(tool_calls=[call("read", path="a.txt"), scenario.effect("E1")])
        return Script([first, FINAL, SECOND_FINAL], mode="by_turns", faults={1: [fault]})

    return make


def check_usable(scenario: Scenario) -> list[Entry]:
    history = read_history(scenario.database, THREAD)
    messages = wire_messages(history, "system", BlobStore(scenario.home / "blobs"))
    assert openai_rules.first_violation({"model": "m", "messages": messages}) is None
    assert marked_processes(scenario.mark) == []
    assert [record.refusal for record in scenario.server.requests if record.refusal] == []
    return history


def interrupt(run: Run, number: signal.Signals) -> None:
    run.signal(number)
    assert run.wait() == 130, run.errors
    assert run.events[-1]["event"] == "interrupted"
    assert run.events[-1]["data"]["reason"] == number.name
    assert run.count("interrupted") == 1
    assert "Traceback" not in run.errors
    assert "never retrieved" not in run.errors


def in_the_wait(run: Run, scenario: Scenario) -> bool:
    return len(scenario.server.requests) == 2 and run.count("tool_output") == 2


def in_the_stream(run: Run, _: Scenario) -> bool:
    return run.count("assistant_chunk") >= 3


def in_the_backoff(run: Run, _: Scenario) -> bool:
    return any("next attempt in" in event["data"].get("log", "") for event in run.events)


@pytest.mark.parametrize(
    ("number", "fault", "moment"),
    [
        (signal.SIGINT, Step(stall=True), in_the_wait),
        (signal.SIGTERM, Step(text=FINAL, chunk_chars=3, stall_after_chunks=6), in_the_stream),
        (signal.SIGHUP, Step(status=429, headers={"Retry-After": "60"}), in_the_backoff),
    ],
)
def test_a_signal_ends_the_turn_while_the_model_is_asked_and_it_can_go_on(
    tmp_path: Path,
    warm: Warm,
    number: signal.Signals,
    fault: Step,
    moment: Callable[[Run, Scenario], bool],
) -> None:
    with Scenario(tmp_path / "s", warm, quick(fault)) as scenario:
        run = begin(scenario)
        assert run.until(lambda: moment(run, scenario))
        interrupt(run, number)
        kept = check_usable(scenario)
        assert [entry["kind"] for entry in kept] == ["user", "assistant", "result", "result"]
        again = scenario.run("-r", THREAD)
        assert again.wait() == 0
        assert again.events[-1]["data"]["final_response"] == FINAL
        history = check_usable(scenario)
        assert list(journal_breaches(scenario.database, THREAD, history)) == []
        assert scenario.marked() == ["E1"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_batch_keeps_what_is_finished_and_ends_what_runs(
    tmp_path: Path, warm: Warm, number: signal.Signals
) -> None:
    with Scenario(tmp_path / "s", warm, script) as scenario:
        run = begin(scenario)
        assert run.until(lambda: "E2" in scenario.marked())
        interrupt(run, number)
        history = check_usable(scenario)
        results = [entry for entry in history if entry["kind"] == "result"]
        assert [entry.get("status") for entry in results] == [None, None, None, "cancelled", "cancelled"]
        assert [entry["ok"] for entry in results] == [True, True, True, False, False]
        assert "part of its effect may have happened" in text_of(results[3])
        assert "it has had no effect" in text_of(results[4])
        assert scenario.marked() == ["E1", "E2"]
        again = scenario.run("-r", THREAD)
        assert again.wait() == 0
        assert again.events[-1]["data"]["final_response"] == FINAL
        assert again.count("tool_call") == 0
        assert list(journal_breaches(scenario.database, THREAD, check_usable(scenario))) == []
        assert scenario.marked() == ["E1", "E2"]


def test_a_prompt_after_an_interrupt_is_taken_once_the_turn_is_finished(tmp_path: Path, warm: Warm) -> None:
    with Scenario(tmp_path / "s", warm, script) as scenario:
        run = begin(scenario)
        assert run.until(lambda: "E2" in scenario.marked())
        interrupt(run, signal.SIGINT)
        more = scenario.run("-t", THREAD, MORE)
        assert more.wait() == 0
        finals = [
            event["data"]["final_response"] for event in more.events if event["event"] == "turn_complete"
        ]
        assert finals == [FINAL, SECOND_FINAL]
        users = [text_of(entry) for entry in check_usable(scenario) if entry["kind"] == "user"]
        assert users == [PROMPT, MORE]


def test_a_signal_right_after_the_prompt_loses_it_not(tmp_path: Path, warm: Warm) -> None:
    with Scenario(tmp_path / "s", warm, lambda _: Script([Step(text=FINAL, delay_s=0.5)])) as scenario:
        run = begin(scenario)
        assert run.until(lambda: run.count("user_message") > 0)
        interrupt(run, signal.SIGTERM)
        again = scenario.run("-r", THREAD)
        assert again.wait() == 0, again.errors
        assert again.events[-1]["data"]["final_response"] == FINAL
        users = [text_of(entry) for entry in check_usable(scenario) if entry["kind"] == "user"]
        assert users == [PROMPT]
        assert list(journal_breaches(scenario.database, THREAD, check_usable(scenario))) == []


def test_a_signal_that_whoever_started_the_run_ignores_stays_ignored(
    start_model_server: ServerFactory, tmp_path: Path
) -> None:
    server = start_model_server(Script([Step("Done.", hold="gate")]))
    line = f"trap '' HUP; exec '{CONSOLE_SCRIPT}' -m vllm/scripted -o stream-json Go"
    environment = {**os.environ, "VLLM_BASE_URL": server.base_url}
    with subprocess.Popen(
        ["/bin/sh", "-c", line], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while '"processing"' not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        server.wait_for_requests(1)
        server.release("gate")
        rest = process.stdout.read()
    assert '"turn_complete"' in rest
    assert process.returncode == 0
