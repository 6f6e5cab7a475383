"""One process has a thread; whoever was taken over never writes again."""

from __future__ import annotations

import dataclasses
import signal
from typing import TYPE_CHECKING

import pytest

from ml_intern.tests.bench.script import Script, Step
from ml_intern.tests.crash.launch import marked_processes
from ml_intern.tests.crash.scenario import FINAL, MODELS, PROMPT, THREAD, Scenario, call
from ml_intern.tests.crash.verdict import read_history, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_intern.tests.crash.launch import Run, Warm

TABLES = ("checkpoints", "writes", "events", "effects", "steps", "spend", "approvals", "threads")


def two_steps(scenario: Scenario) -> Script:
    """A read and a command whose second half waits for a file; then an answer."""
    wait = f"while [ ! -e {scenario.folder}/go ]; do sleep 0.02; done; printf 'late\\n' >> {scenario.marks}"
    return Script(
        [
            Step(tool_calls=[call("read", path="a.txt"), scenario.effect("E1", wait)]),
            Step(text=FINAL, chunk_chars=3),
        ],
        mode="by_turns",
    )


def slow_then_two_steps(scenario: Scenario) -> Script:
    """The same, but the first request of all gets another answer, slowly."""
    slow = Step(text="an answer that takes two seconds " * 6, chunk_chars=2, chunk_delay_s=0.02)
    return dataclasses.replace(two_steps(scenario), faults={0: [slow]})


def begin(scenario: Scenario) -> Run:
    return scenario.run("-m", MODELS["openai"], "-t", THREAD, PROMPT)


def stored(scenario: Scenario) -> dict[str, list[dict[str, object]]]:
    return {table: read_rows(scenario.database, f"SELECT * FROM {table}") for table in TABLES}


def test_a_second_process_is_told_who_has_the_thread(tmp_path: Path, warm: Warm) -> None:
    with Scenario(tmp_path / "s", warm, slow_then_two_steps) as scenario:
        first = begin(scenario)
        assert first.until(lambda: first.count("assistant_chunk") > 0)
        for arguments in (["-r", THREAD], ["-t", THREAD, "something else"]):
            second = scenario.run(*arguments, output="text")
            assert second.wait() == 1
            assert f"process {first.pid} on " in second.errors
            assert len([line for line in second.errors.splitlines() if line.startswith("Error: ")]) == 1
            assert second.text == ""
        assert first.count("turn_complete") == 0
        first.kill()
        free = scenario.run("-r", THREAD)
        assert free.until(lambda: "E1" in scenario.marked())
        (scenario.folder / "go").touch()
        assert free.wait() == 0
        assert free.events[-1]["data"]["final_response"] == FINAL


def in_the_stream(run: Run, _: Scenario) -> bool:
    return run.count("assistant_chunk") > 0


def in_a_command(_: Run, scenario: Scenario) -> bool:
    return "E1" in scenario.marked()


@pytest.mark.parametrize("moment", [in_the_stream, in_a_command])
def test_a_stopped_holder_writes_nothing_after_another_took_over(
    tmp_path: Path, warm: Warm, moment: Callable[[Run, Scenario], bool]
) -> None:
    script = two_steps if moment is in_a_command else slow_then_two_steps
    with Scenario(tmp_path / "s", warm, script) as scenario:
        first = begin(scenario)
        assert first.until(lambda: moment(first, scenario))
        first.signal(signal.SIGSTOP)
        (scenario.home / "locks" / f"{THREAD}.lock").unlink()
        second = scenario.run("-r", THREAD)
        if moment is in_the_stream:
            assert second.until(lambda: "E1" in scenario.marked())
            (scenario.folder / "go").touch()
        assert second.wait() == 0, second.errors
        assert second.events[-1]["data"]["final_response"] == FINAL
        before = stored(scenario)

        first.signal(signal.SIGCONT)
        assert first.wait() == 1
        assert stored(scenario) == before
        assert first.events[-1]["event"] == "error"
        assert "took this thread over" in first.events[-1]["data"]["error"]
        assert "Traceback" not in first.errors
        assert "never retrieved" not in first.errors
        assert scenario.marked().count("E1") == 1
        statuses = [e.get("status") for e in read_history(scenario.database, THREAD) if e["kind"] == "result"]
        if moment is in_a_command:
            assert statuses == [None, "unknown"]
            assert "late" not in scenario.marked()
        else:
            assert statuses == [None, None]
        assert marked_processes(scenario.mark) == []


def test_a_holder_that_was_taken_over_says_so_in_one_line(tmp_path: Path, warm: Warm) -> None:
    with Scenario(tmp_path / "s", warm, slow_then_two_steps) as scenario:
        first = scenario.run("-m", MODELS["openai"], "-t", THREAD, PROMPT, output="text")
        scenario.server.wait_for_requests(1)
        first.signal(signal.SIGSTOP)
        (scenario.home / "locks" / f"{THREAD}.lock").unlink()
        second = scenario.run("-r", THREAD)
        assert second.until(lambda: "E1" in scenario.marked())
        (scenario.folder / "go").touch()
        assert second.wait() == 0
        first.signal(signal.SIGCONT)
        assert first.wait() == 1
        errors = [line for line in first.errors.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1
        assert "took this thread over" in errors[0]
        assert first.text == ""
